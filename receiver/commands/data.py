"""The commands that copy a whole database: backups, files, and moves to another database."""

import gzip
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import click

from receiver.commands.arguments import text
from receiver.commands.backends import check_folder, database_of
from receiver.commands.context import CommandFailed, Exit, Surroundings, WrongUse
from receiver.commands.output import Output
from receiver.domain.copying.moving import Progress
from receiver.domain.errors import InvalidSetting
from receiver.settings import read_settings
from receiver.store import URL, back_up, backups_in, bring_back, read_fleet, write_fleet
from receiver.store import move as move_fleet

__all__ = ["add_to"]

F = TypeVar("F", bound=Callable[..., Any])

_STANDARD = "-"
_JSON = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


def add_to(program: click.Group) -> None:
    """Add the commands to a program."""
    for command in (backup, export, import_, move):
        program.add_command(command)


@click.command()
@click.argument("place", type=text)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Delete all but the newest so many backups in the folder.",
)
@_JSON
@click.pass_obj
def backup(surroundings: Surroundings, *, place: str, keep: int | None, is_json: bool) -> int:
    """
    Write a backup of the database, into a folder or a new file.

    PLACE is the folder, in which the file is named after the time, or the name of the file.
    Receivers may run. A backup of SQLite is a file that takes the place of fleet.db; one of
    PostgreSQL is made by pg_dump, which must be installed, and is for pg_restore.
    """
    folder = Path(place)
    if keep is not None and not folder.is_dir():
        raise WrongUse(f"--keep is for a folder, and {place!r} is none")
    url = database_of(surroundings).database_url
    file = back_up(url, folder, now=surroundings.clock())
    gone = [] if keep is None else backups_in(folder, url)[:-keep]
    for each in gone:
        each.unlink()
    output = Output(surroundings=surroundings, is_json=is_json)
    size = file.stat().st_size
    output.one(
        {"file": str(file), "bytes": size, "deleted": [str(each) for each in gone]}, str(file)
    )
    surroundings.explain(
        f"{size:,} bytes of {url} are backed up. They hold hashes of the keys, and what signs "
        "sessions: keep them as safe as the database."
    )
    return Exit.OK


@click.command()
@click.argument("file", type=text)
@click.pass_obj
def export(surroundings: Surroundings, *, file: str) -> int:
    """
    Write everything of the database into a file in JSON Lines.

    - is standard output. Receivers may run: the file holds one moment. Its name may end in .gz. It
    holds hashes of the keys, and what signs sessions.
    """
    url = database_of(surroundings).database_url
    with _new_file(file) as writing, _bar(surroundings) as progress:
        rows = write_fleet(url, writing.write, now=surroundings.clock(), progress=progress)
    surroundings.explain(f"{sum(rows.values()):,} rows of {url} are written.")
    return Exit.OK


@click.command("import")
@click.argument("file", type=text)
@click.pass_obj
def import_(surroundings: Surroundings, *, file: str) -> int:
    """
    Read a file that `export` has written into the database.

    - is standard input. FLEET_DATABASE_URL must name a database without a fleet. No receiver starts
    on it before all is read. A file of an earlier version is brought up to date.
    """
    url = database_of(surroundings, makes_database=True).database_url
    with _old_file(file) as lines, _bar(surroundings) as progress:
        rows = read_fleet(url, lines, progress=progress)
    surroundings.explain(f"{sum(rows.values()):,} rows are read into {url}.")
    return Exit.OK


@click.command()
@click.option(
    "--to",
    type=text,
    metavar="URL",
    help="The other database, without a password: that is asked of ~/.pgpass and PGPASSWORD. "
    "- reads the whole URL from the terminal or standard input.",
)
@click.option("--copy-only", is_flag=True, help="Copy, and leave receivers alone.")
@click.option("--cancel", is_flag=True, help="Let receivers go on with the database of before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
@click.pass_obj
def move(  # noqa: PLR0913 - its options
    surroundings: Surroundings,
    *,
    to: str | None,
    copy_only: bool,
    cancel: bool,
    yes: bool,
    is_json: bool,
) -> int:
    """
    Move the fleet to another database, and go on if interrupted.

    It goes from FLEET_DATABASE_URL to an empty database, from SQLite to PostgreSQL and back, while
    receivers run: at first all is copied, then they are made to refuse messages, which their
    senders send again, and the rest is copied and counted. Then start them with the other URL. Run
    it again to go on with an interrupted move; with --copy-only before it, receivers refuse
    messages for a moment only.
    """
    source = database_of(surroundings).database_url
    if cancel:
        if to is not None or copy_only:
            raise WrongUse("--cancel goes alone")
        bring_back(source)
        surroundings.explain(f"Receivers on {source} go on within seconds.")
        return Exit.OK
    target = _target(surroundings, to)
    if target == source:
        raise WrongUse("both databases are the same")
    if not (copy_only or yes) and not _is_agreed(surroundings, source):
        return Exit.INTERRUPTED
    with _bar(surroundings) as progress:
        moved = move_fleet(source, target, progress=progress, only_copy=copy_only)
    rows = [(name, f"{n:,}", f"{m:,}") for name, (n, m) in sorted(moved.counts.items())]
    output = Output(surroundings=surroundings, is_json=is_json)
    if is_json:
        counts = {name: {"from": n, "to": m} for name, (n, m) in sorted(moved.counts.items())}
        seconds = round(moved.silent_seconds, 3)
        output.json({"done": moved.is_done, "silent_seconds": seconds, "rows": counts})
    else:
        output.table(("TABLE", "FROM", "TO"), rows)
    surroundings.explain(_outcome(surroundings, source, target, moved.is_done))
    return Exit.OK


def _is_agreed(surroundings: Surroundings, source: URL) -> bool:
    agreed = surroundings.ask(
        f"In the end, receivers on {source} refuse messages until they are started with the other "
        "URL. Move?"
    )
    if agreed is None:
        raise WrongUse("nobody can be asked; say --yes, or --copy-only")
    return agreed


def _outcome(surroundings: Surroundings, source: URL, target: URL, is_done: bool) -> str:  # noqa: FBT001 - of a result
    if not is_done:
        return (
            f"All is copied to {target}, and receivers go on with {source}. Run the same without "
            "--copy-only to move."
        )
    return (
        f"The fleet is in {target}. Set FLEET_DATABASE_URL to it, and start the receivers anew: "
        f"until then they refuse messages, which are sent again. {source} keeps what it had; to go "
        f"on with that instead: {surroundings.program} move --cancel"
    )


def _target(surroundings: Surroundings, to: str | None) -> URL:
    if to is None:
        raise WrongUse("say where to: --to postgresql+psycopg://fleet@db.example.com/fleet")
    given = surroundings.read("URL of the other database") if to == _STANDARD else to
    try:
        url = read_settings({"FLEET_DATABASE_URL": given}).database_url
    except InvalidSetting as error:
        said = " ".join(error.problems).replace("FLEET_DATABASE_URL", "--to")
        raise WrongUse(said) from None
    check_folder(url)
    if to != _STANDARD and url.password is not None:
        raise WrongUse(
            "--to holds a password, which everybody on this machine can see in the list of "
            "processes; put it into ~/.pgpass or PGPASSWORD, or say --to - and write the URL then"
        )
    return url


@contextmanager
def _bar(surroundings: Surroundings) -> Iterator[Progress]:
    """Show a progress bar, at a terminal only; yields a function that is told of the progress."""
    if surroundings.columns() is None or not sys.stderr.isatty():
        yield lambda _, __, ___: None
        return
    from rich.console import Console  # noqa: PLC0415 - only terminals need it
    from rich.progress import Progress as Bar  # noqa: PLC0415 - see above

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )


@contextmanager
def _new_file(name: str) -> Iterator[IO[bytes]]:
    """Write a file that gets its name when it is whole, and that only its owner may read."""
    if name == _STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    file, part = Path(name), Path(f"{name}.part")
    try:
        if file.exists():
            raise CommandFailed(f"{name} is there already")
        descriptor = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            if name.endswith(".gz"):
                with gzip.open(raw, "wb", compresslevel=6) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        part.rename(file)
    except OSError as error:
        raise CommandFailed(f"{name} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _old_file(name: str) -> Iterator[Iterable[bytes]]:
    if name == _STANDARD:
        yield sys.stdin.buffer
        return
    try:
        with (gzip.open if name.endswith(".gz") else open)(name, "rb") as lines:
            yield lines
    except (OSError, EOFError) as error:
        why = getattr(error, "strerror", None) or error
        raise CommandFailed(f"{name} cannot be read: {why}") from error
