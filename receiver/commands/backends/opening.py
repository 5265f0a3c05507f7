"""The options that say which fleet a command is about, and opening it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from receiver.commands.backends.backend import Backend
from receiver.commands.backends.database import DatabaseBackend
from receiver.commands.context import Print, Surroundings, WrongUse
from receiver.commands.output import Output
from receiver.settings import Settings, misspelt, read_settings
from receiver.store import URL, SqlStore

__all__ = ["Context", "Reach", "check_folder", "database_of", "opened", "reaching"]

_URL = "FLEET_URL"
_KEY = "FLEET_KEY"


@frozen(kw_only=True)
class Reach:
    """
    Which fleet a command is about.

    Attributes:
        url: The URL of a receiver; None for the one in FLEET_URL, or else the database.
        key_file: A file that holds the key; None for the key in FLEET_KEY.
        authorities: A file with the certificate authorities to trust; None for the usual ones.
        is_local: Whether the database is opened, also if FLEET_URL names a receiver.
        makes_database: Whether the file of a SQLite database is made if it does not exist. None if
            it is made only at an absolute path, because a path that depends on the current folder
            may lead elsewhere than is meant.
    """

    url: str | None = None
    key_file: str | None = None
    authorities: str | None = None
    is_local: bool = False
    makes_database: bool | None = False


@frozen(kw_only=True)
class Context:
    """
    What a command needs, beside its arguments.

    Attributes:
        backend: Reads and changes the fleet, over HTTP or by its database.
        surroundings: What the command gets from outside, such as the environment variables.
        output: Prints what was found.
    """

    backend: Backend
    surroundings: Surroundings
    output: Output

    @property
    def explain(self) -> Print:
        """The function that prints a sentence for people to standard error."""
        return self.surroundings.explain

    def command(self, words: str) -> str:
        """How to call a command, such as `odoo-mcp-fleet keys list` for the words `keys list`."""
        return f"{self.surroundings.program} {words}"


@contextmanager
def opened(surroundings: Surroundings, reach: Reach) -> Iterator[Backend]:
    """
    A context within which a fleet is open; its connections are closed at the end.

    Raises WrongUse, InvalidSetting or StoreUnavailable when it cannot be opened.

    Args:
        surroundings: Has the environment variables that say what `reach` leaves open.
        reach: Which fleet.
    """
    url = reach.url
    if url is None and not (reach.is_local or surroundings.is_on_database):
        url = surroundings.environ.get(_URL) or None
    with ExitStack() as closing:
        if url is not None:
            # It takes a tenth of a second, and whoever opens the database does not need it.
            from receiver.commands.backends.over_http import HttpBackend  # noqa: PLC0415 - see above

            http = HttpBackend(
                url,
                key=_key(surroundings, reach),
                authorities=reach.authorities,
                surroundings=surroundings,
            )
            closing.callback(http.close)
            yield http
        else:
            settings = database_of(surroundings, makes_database=reach.makes_database)
            store = SqlStore(settings.database_url)
            closing.callback(store.close)
            yield DatabaseBackend(store, settings, surroundings)


def database_of(surroundings: Surroundings, *, makes_database: bool | None = False) -> Settings:
    """
    Read the settings from the environment variables, and check that the database is there.

    Prints a sentence about each variable that looks like a misspelt setting, and one if a database
    will be made. Raises InvalidSetting, and WrongUse if the database is a file that does not exist
    and that may not be made (opening it would make a new, empty fleet) or cannot be, because its
    folder does not exist.

    Args:
        surroundings: Has the environment variables.
        makes_database: Whether the file of a SQLite database may be made if it does not exist; None
            if it may be made only at an absolute path.
    """
    for sentence in misspelt(surroundings.environ):
        surroundings.explain(sentence)
    settings = read_settings(surroundings.environ)
    file = _missing_file(settings.database_url)
    if file is None:
        return settings
    if makes_database is None:
        makes_database = file.is_absolute()
    if not makes_database:
        raise WrongUse(_NO_DATABASE.format(settings.database_url, file.absolute()))
    check_folder(settings.database_url)
    surroundings.explain(f"There was no database at {file.absolute()}: it is made now.")
    return settings


def check_folder(url: URL) -> None:
    """Raise WrongUse if a database is a file that does not exist, nor its folder."""
    file = _missing_file(url)
    if file is not None and not file.parent.is_dir():
        raise WrongUse(
            f"{url} is {file.absolute()}, and there is no folder {file.absolute().parent}: make it "
            "first, or name another file. A path that begins at the root has a fourth slash."
        )


def _missing_file(url: URL) -> Path | None:
    """The file of a SQLite database if it does not exist; None otherwise."""
    if url.get_backend_name() != "sqlite":
        return None
    file = Path(url.database or "")
    return None if file.exists() else file


def _key(surroundings: Surroundings, reach: Reach) -> str | None:
    key = surroundings.environ.get(_KEY)
    if reach.key_file is not None:
        try:
            key = Path(reach.key_file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it holds no key"
            raise WrongUse(f"The key cannot be read from {reach.key_file!r}: {why}") from None
    if not key:
        return None
    if not all("!" <= each <= "~" for each in key):
        raise WrongUse("The key may hold visible ASCII characters only, and no spaces.")
    return key


Command = Callable[..., int]


def reaching(*, may_create: bool = False) -> Callable[[Command], Command]:
    """
    Give a command the options that say which fleet it is about and how its result is printed.

    Its function gets a `Context` in front of its arguments.

    Args:
        may_create: Whether the command may make a database where there is none, with `--create`.
    """

    def decorate(function: Command) -> Command:
        @click.pass_obj
        @wraps(function)
        def run(surroundings: Surroundings, /, **options: Any) -> int:
            reach = Reach(
                url=options.pop("url"),
                key_file=options.pop("key_file"),
                authorities=options.pop("ca"),
                is_local=options.pop("local"),
                makes_database=(options.pop("create") or None) if may_create else False,
            )
            output = Output(surroundings=surroundings, is_json=options.pop("json"))
            with opened(surroundings, reach) as backend:
                context = Context(backend=backend, surroundings=surroundings, output=output)
                return function(context, **options)

        command: Command = run
        for option in reversed([*_OPTIONS, *([_CREATE] if may_create else [])]):
            command = option(command)
        return command

    return decorate


_OPTIONS = [
    click.option("--json", is_flag=True, help="Print JSON, one object a line."),
    click.option(
        "--url",
        metavar="URL",
        help="Ask this receiver, with the key in FLEET_KEY. By default the one in FLEET_URL is "
        "asked; without that, the database in FLEET_DATABASE_URL is opened, which needs no key.",
    ),
    click.option("--key-file", metavar="FILE", help="A file that holds the key."),
    click.option("--ca", metavar="FILE", help="Trust the authorities in this PEM file only."),
    click.option("--local", is_flag=True, help="Open the database, also if FLEET_URL is set."),
]
_CREATE = click.option("--create", is_flag=True, help="Make the database if there is none.")
_NO_DATABASE = (
    "There is no database at {}, which is {}. If there is a receiver, run this in its folder, set "
    "FLEET_DATABASE_URL as it is set there, or name the receiver with --url. A new fleet is begun "
    "by `odoo-mcp-fleet serve`, or by `keys create --create`."
)
