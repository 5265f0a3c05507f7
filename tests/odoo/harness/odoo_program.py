"""Running a real Odoo: its commands to their end, and its server as long as a test needs it."""

import itertools
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postgres import Postgres
from provision import Odoo

ADDONS = Path(__file__).parents[3] / "odoo_addon"
USER = "odoo"

# What would set up an Odoo, its addon or its PostgreSQL behind a test's back.
_FOREIGN = re.compile(r"^(PG|ODOO_|OPENERP_|MCP_|LISTEN_)|_proxy$", re.IGNORECASE)

_COMMAND_SECONDS = 240
_STOP_SECONDS = 20


class Log:
    """What an Odoo has logged so far."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, *wanted: str) -> list[str]:
        """The lines that hold every one of these texts."""
        text = self.path.read_text(errors="replace")
        return [line for line in text.splitlines() if all(each in line for each in wanted)]

    def complaints(self) -> list[str]:
        """The lines at WARNING or worse."""
        return [line for line in self.lines() if _COMPLAINT.match(line)]

    def print_tail(self) -> None:
        """Print the last lines, which pytest shows when a test fails."""
        print(f"--- the end of {self.path}", *self.lines()[-60:], "---", sep="\n")  # noqa: T201


_COMPLAINT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ \d+ (WARNING|ERROR|CRITICAL) ")


@dataclass(frozen=True)
class Finished:
    """
    A command of Odoo that has ended well.

    Attributes:
        log: What it has logged.
        output: What it has printed.
    """

    log: Log
    output: str


class Server:
    """A server of Odoo that is running."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Log, port: int) -> None:
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self._process = process

    def wait_until(self, holds: Callable[[], object], *, seconds: float) -> None:
        """Look again and again until it holds; fail when it takes too long."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self._process.poll() is None, "Odoo has ended by itself"
            assert time.monotonic() < deadline, f"not so within {seconds} seconds"
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask it to end, and see to it that it does."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class OdooProgram:
    """
    An Odoo with the project's addons on its path and a PostgreSQL to work with.

    Its settings, data and logs are in `folder`; `template` is a database to copy, with
    nothing but `base` installed.
    """

    template = "template_odoo"

    def __init__(self, odoo: Odoo, postgres: Postgres, folder: Path) -> None:
        self.postgres = postgres
        postgres.sql(f"CREATE ROLE {USER} LOGIN CREATEDB")
        self._odoo = odoo
        self._folder = folder
        self._config = folder / "odoo.conf"
        self._runs = 0
        self._templates: set[str] = set()
        self._options = {
            "addons_path": str(ADDONS),
            "data_dir": str(folder / "data"),
            "db_host": str(postgres.socket_folder),
            "db_user": USER,
            "http_interface": "127.0.0.1",
            "with_demo": "False",
        }
        self.config_with(self._config)

    def run(self, *args: str, script: str = "", **environ: str) -> Finished:
        """
        Run a command to its end; `script` is what it reads.

        Raises AssertionError when it fails.
        """
        log = self._new_log()
        with log.path.open("wb") as stderr:
            process = subprocess.run(
                self._command(*args),
                env=self._environment(environ),
                input=script,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        log.print_tail()
        assert process.returncode == 0, f"odoo {' '.join(args)} ended with {process.returncode}"
        return Finished(log, process.stdout)

    def create_database(self, name: str, *, empty: bool = False) -> None:
        """Make a database with nothing but `base` installed, or with not even that."""
        template = "template0" if empty else self.template
        self.postgres.create_database(name, template=template, owner=USER)

    def create_database_with(self, name: str, module: str) -> None:
        """Make a database that has the module too; it is installed only the first time."""
        template = f"template_{module}"
        if template not in self._templates:
            self.create_database(template)
            self.install(template, module)
            self._templates.add(template)
        self.postgres.create_database(name, template=template, owner=USER)

    def install(self, database: str, module: str, *options: str, **environ: str) -> Finished:
        return self.run(*_on(database), "-i", module, *_BRIEFLY, *options, **environ)

    def upgrade(self, database: str, *modules: str) -> Finished:
        return self.run(*_on(database), "-u", ",".join(modules), *_BRIEFLY)

    def test(self, database: str, module: str) -> Finished:
        """Install a module and run its own tests."""
        port = f"--http-port={free_port()}"
        return self.run(*_on(database), "-i", module, port, f"--test-tags=/{module}", *_BRIEFLY)

    def shell(self, database: str, script: str, *options: str, **environ: str) -> Finished:
        """Run a script that knows `env`."""
        return self.run("shell", *_on(database), "--no-http", *options, script=script, **environ)

    def config_with(self, path: Path, **options: str | None) -> str:
        """
        Write a configuration that has these options too; gives back the one to run with.

        An option that is None is left out.
        """
        told = {**self._options, **options}.items()
        lines = [f"{name} = {value}\n" for name, value in told if value is not None]
        path.write_text("".join(["[options]\n", *lines]))
        return f"--config={path}"

    def with_packages(self, folder: Path) -> dict[str, str]:
        """Variables by which an Odoo imports what is in that folder too."""
        known = self._odoo.environment.get("PYTHONPATH")
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), known)))}

    def export_translations(self, database: str, module: str, path: Path) -> Path:
        """Write a template of what a module has to translate, to a `.pot` file."""
        self.run("i18n", "export", *_on(database), f"--output={path}", "--languages=pot", module)
        return path

    def set_parameters(self, database: str, **values: str) -> None:
        """Set system parameters, named without their `mcp.`, while no Odoo is running."""
        for name, value in values.items():
            self.postgres.sql(
                "INSERT INTO ir_config_parameter (key, value) VALUES "
                f"({_quoted(f'mcp.{name}')}, {_quoted(value)})",
                database=database,
            )

    @contextmanager
    def server(
        self, database: str, *args: str, hostname: str | None = None, **environ: str
    ) -> Iterator[Server]:
        """
        A server of one database, with one cron thread; stopped in the end.

        Several databases are told as `a,b`. With a `hostname` it is on a host of that name.
        """
        port = free_port()
        options = (f"--http-port={port}", "--max-cron-threads=1")
        log = self._new_log()
        with log.path.open("wb") as stderr:
            process = subprocess.Popen(
                [*_on_host(hostname), *self._command(*_on(database), *options, *args)],
                env=self._environment(environ),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
            server = Server(process, log, port)
            try:
                yield server
            finally:
                server.stop()
                log.print_tail()

    def _command(self, *args: str) -> list[str]:
        # Its sub-commands come first, its options after them.
        command = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args))
        options = args[len(command) :]
        return [*self._odoo.command, *command, f"--config={self._config}", *options]

    def _environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
        return {**kept, **self._odoo.environment, **environ}

    def _new_log(self) -> Log:
        self._runs += 1
        return Log(self._folder / f"odoo-{self._runs}.log")


_BRIEFLY = ("--stop-after-init", "--max-cron-threads=0")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _on(database: str) -> tuple[str, ...]:
    return ("-d", database)


def _on_host(name: str | None) -> tuple[str, ...]:
    """What a command is to be begun with, so that it sees another hostname."""
    if name is None:
        return ()
    # Whoever is not root is so among those that see that name.
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    rename = 'hostname "$0" && exec "$@"'
    return ("unshare", "--uts", *rights, "sh", "-c", rename, name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
