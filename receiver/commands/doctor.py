"""The command `doctor`, which looks whether all is well with a receiver, and says what to do."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

import click
from attrs import frozen

from receiver.commands.backends import database_of
from receiver.commands.context import Exit, Surroundings
from receiver.commands.output import Output
from receiver.domain.copying.examining import Examined
from receiver.domain.errors import StoreUnavailable
from receiver.domain.keys import Key, KeyScope
from receiver.probe import ask
from receiver.service.alerts.secret_box import Undecryptable
from receiver.settings import Settings
from receiver.store import SqlStore, backups_in, examine

__all__ = ["Finding", "Level", "add_to"]


class Level(Enum):
    """
    How bad a finding is.

    `ok`: nothing is to be done. `warn`: something is to be done within some days. `fail`: something
    is to be done at once.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@frozen
class Finding:
    """
    What was found out about one thing.

    Attributes:
        about: What was looked at, such as `database`.
        level: How bad the finding is.
        sentence: What was found, and what to do.
    """

    about: str
    level: Level
    sentence: str


Findings = Iterator[Finding]

_SOON = timedelta(days=14)
_CLOCK_TOLERANCE = timedelta(seconds=2)
_RUNNING = timedelta(seconds=10)
_FULL_SHARE = 0.1
_LEAST_BYTES = 200 * 1024 * 1024
_OF_NETWORKS = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3")
_MOUNTS = Path("/proc/self/mounts")
_STANDING = {Level.OK: "ok", Level.WARN: "WARN", Level.FAIL: "FAIL"}


def add_to(program: click.Group) -> None:
    """Add the command to a program."""
    program.add_command(doctor)


@click.command()
@click.option(
    "--backups",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Look also whether the newest backup in this folder is of the last day.",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON, one object a line.")
@click.pass_obj
def doctor(surroundings: Surroundings, *, backups: str | None, is_json: bool) -> int:
    """
    Look whether all is well with the receiver, and say what to do.

    It reads the settings as the receiver does, and looks at the database, its tables, the clock,
    the disk, the receiver, the way to it from outside (FLEET_PUBLIC_URL), keys that expire within
    two weeks, and the secret key. It changes nothing.
    """
    settings = database_of(surroundings)
    now = surroundings.clock()
    found = [*_database(settings, surroundings.clock), *_disk(settings), *_outside(settings, now)]
    if backups is not None:
        found += _backups(settings, Path(backups), now)
    output = Output(surroundings=surroundings, is_json=is_json)
    if is_json:
        for each in found:
            output.json({"about": each.about, "level": each.level.value, "sentence": each.sentence})
    else:
        width = max(len(each.about) for each in found)
        for each in found:
            surroundings.say(f"{_STANDING[each.level]:4}  {each.about:{width}}  {each.sentence}")
    return Exit.OK if all(each.level is Level.OK for each in found) else Exit.NOT_WELL


def _database(settings: Settings, clock: Callable[[], datetime]) -> Findings:
    """Look at the database, and at what can be read from it."""
    url = settings.database_url
    try:
        found = examine(url, clock)
    except StoreUnavailable as error:
        yield Finding("database", Level.FAIL, f"{url}: {error}.")
        return
    now = clock()  # after the database has answered, which may take seconds
    if found.damage is not None:
        yield Finding("database", Level.FAIL, f"{url} is damaged ({found.damage}): restore it.")
    else:
        yield Finding("database", Level.OK, f"{url} answers.")
    yield from _tables(found)
    yield _clock(found, now)
    if not found.is_newest:
        return
    yield _receiver(found, now)
    try:
        with closing(SqlStore(url)) as store:
            keys = store.keys.all()
            channels = store.alerts.channels()
    except StoreUnavailable as error:
        yield Finding("database", Level.FAIL, f"It can be read and not written: {error}.")
        return
    yield from _keys(keys, settings, now)
    yield _secret_key(settings, {each.name: each.address for each in channels})


def _tables(found: Examined) -> Findings:
    versions = ", ".join(found.versions)
    if found.trouble is not None:
        yield Finding("tables", Level.FAIL, f"They cannot be used: {found.trouble}.")
    elif not found.is_newest:
        says = f"They are of version {versions}" if versions else "There are none yet"
        yield Finding("tables", Level.WARN, f"{says}: the next start of a receiver sees to it.")
    else:
        yield Finding("tables", Level.OK, f"They are of the newest version, {versions}.")


def _clock(found: Examined, now: datetime) -> Finding:
    if found.ahead is not None:
        if abs(found.ahead) > _CLOCK_TOLERANCE:
            seconds = found.ahead.total_seconds()
            return Finding(
                "clock",
                Level.WARN,
                f"This machine's clock is {seconds:+.1f} seconds from the database's: let NTP set "
                "both.",
            )
        return Finding("clock", Level.OK, "It agrees with the database's.")
    if found.seen_at is not None and found.seen_at - now > _CLOCK_TOLERANCE:
        return Finding(
            "clock",
            Level.WARN,
            "A receiver has noted a time that is yet to come, so the clock was set back: see "
            "timedatectl.",
        )
    return Finding(
        "clock", Level.OK, f"It is {now:%Y-%m-%d %H:%M:%S} UTC; look whether that is so."
    )


def _receiver(found: Examined, now: datetime) -> Finding:
    seen_at, at = found.seen_at, found.clock or now
    if seen_at is None:
        return Finding("receiver", Level.WARN, "None has run yet: odoo-mcp-fleet serve")
    if at - seen_at > _RUNNING:
        return Finding(
            "receiver",
            Level.FAIL,
            f"None runs since {seen_at:%Y-%m-%d %H:%M:%S} UTC: odoo-mcp-fleet serve",
        )
    return Finding("receiver", Level.OK, "One runs and can write.")


def _keys(keys: list[Key], settings: Settings, now: datetime) -> Findings:
    good = [key for key in keys if key.standing(now) == "active"]
    if not keys:
        who = "everybody" if settings.open else "only this machine"
        yield Finding(
            "keys",
            Level.FAIL,
            f"There is none, so {who} is served: odoo-mcp-fleet keys create --name you "
            "--scope admin",
        )
        return
    if not any(key.scope is KeyScope.ADMIN for key in good):
        yield Finding(
            "keys",
            Level.WARN,
            "None of an administrator is good: odoo-mcp-fleet keys create --name you --scope admin",
        )
    soon = [key for key in good if key.expires_at is not None and key.expires_at - now < _SOON]
    for key in sorted(soon, key=lambda each: str(each.expires_at)):
        yield Finding(
            "keys",
            Level.WARN,
            f"{key.name!r} expires at {key.expires_at:%Y-%m-%d %H:%M} UTC: odoo-mcp-fleet keys "
            f"rotate {key.id} --expires 365d, and give its holder the new one.",
        )
    if not soon:
        yield Finding("keys", Level.OK, f"{len(good)} are good, and none expires within two weeks.")


def _secret_key(settings: Settings, channels: dict[str, bytes]) -> Finding:
    about = "secret key"
    if not settings.secret_box.has_key:
        if channels:
            return Finding(
                about,
                Level.FAIL,
                f"{len(channels)} channels cannot be used without FLEET_SECRET_KEY: set the one "
                "that they were made with.",
            )
        return Finding(about, Level.OK, "None is set, and none is needed without channels.")
    lost = [name for name, address in channels.items() if not _can_open(settings, address)]
    if lost:
        names = ", ".join(map(repr, lost))
        return Finding(
            about,
            Level.FAIL,
            f"It does not open {names}: add the key that they were made with, after a comma, or "
            "enter their addresses anew.",
        )
    older = sum(not settings.secret_box.is_newest(address) for address in channels.values())
    if older:
        return Finding(
            about,
            Level.WARN,
            f"{older} channels are encrypted with an older one than the first: odoo-mcp-fleet "
            "channels reencrypt, and then take that away.",
        )
    return Finding(about, Level.OK, f"It opens the addresses of all {len(channels)} channels.")


def _can_open(settings: Settings, address: bytes) -> bool:
    with suppress(Undecryptable):
        settings.secret_box.open(address)
        return True
    return False


def _disk(settings: Settings) -> Findings:
    """Look at the disk of a file of SQLite, and at who may read the file."""
    url = settings.database_url
    if url.get_backend_name() != "sqlite":
        yield Finding("disk", Level.OK, "It is PostgreSQL's: watch it there.")
        return
    file = Path(url.database or "").absolute()
    room = shutil.disk_usage(file.parent)
    needed = max(_LEAST_BYTES, 2 * file.stat().st_size)
    share = room.free / room.total
    says = f"{room.free / 2**30:.1f} GiB ({share:.0%}) of the disk of {file} are free"
    if room.free < needed or share < _FULL_SHARE:
        level = Level.FAIL if room.free < _LEAST_BYTES else Level.WARN
        yield Finding("disk", level, f"Only {says}: make room, a full disk refuses all messages.")
    else:
        yield Finding("disk", Level.OK, f"{says}.")
    kind = _file_system(file)
    if kind in _OF_NETWORKS:
        yield Finding(
            "disk",
            Level.FAIL,
            f"{file} is on {kind}, where SQLite can be damaged: move it to a disk of this machine, "
            "or to PostgreSQL.",
        )
    if file.stat().st_mode & 0o004:
        yield Finding("disk", Level.WARN, f"{file} may be read by every user: chmod 600 {file}*")


def _file_system(file: Path) -> str | None:
    """The kind of file system that a file is on; None where that cannot be found out."""
    found: tuple[int, str | None] = (0, None)
    with suppress(OSError):
        for line in _MOUNTS.read_text().splitlines():
            _, place, kind, *_ = line.split(" ")
            folder = place.replace("\\040", " ")
            if file.is_relative_to(folder):
                found = max(found, (len(folder), kind))
    return found[1]


def _outside(settings: Settings, now: datetime) -> Findings:
    """Look at the receiver as somebody outside does, by way of its proxy."""
    about, url = "outside", settings.public_url
    if url is None:
        yield Finding(
            about, Level.OK, "FLEET_PUBLIC_URL is not set, so the way from outside was not tried."
        )
        return
    answer = ask(f"{url}/health")
    if answer.status != 200:
        yield Finding(
            about,
            Level.FAIL,
            f"{url}/health: {answer.says}. Look at the proxy, its certificate and the name's "
            "address.",
        )
        return
    yield Finding(about, Level.OK, f"{url}/health answers, as seen from this machine.")
    ends = answer.trusted_until
    if ends is None:
        yield Finding(
            "proxy", Level.WARN, f"{url} is not encrypted, keys included: let a proxy do TLS."
        )
        return
    if ends - now < _SOON:
        yield Finding("proxy", Level.WARN, f"Its certificate ends at {ends:%Y-%m-%d}: renew it.")
    else:
        yield Finding("proxy", Level.OK, f"It does TLS until {ends:%Y-%m-%d}.")
    if "strict-transport-security" not in answer.headers:
        yield Finding(
            "proxy",
            Level.WARN,
            "It sends no Strict-Transport-Security: take its file from deploy/, or add the header.",
        )


def _backups(settings: Settings, folder: Path, now: datetime) -> Findings:
    found = backups_in(folder, settings.database_url)
    if not found:
        yield Finding(
            "backups", Level.FAIL, f"There is none in {folder}: odoo-mcp-fleet backup {folder}"
        )
        return
    age = now - datetime.fromtimestamp(found[-1].stat().st_mtime, timezone.utc)
    level = Level.WARN if age > timedelta(days=1, hours=1) else Level.OK
    says = f"The newest of {len(found)} is {age.total_seconds() / 3600:.1f} hours old"
    advice = f": does a timer run odoo-mcp-fleet backup {folder}?" if level is Level.WARN else "."
    yield Finding("backups", level, says + advice)
