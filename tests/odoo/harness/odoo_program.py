"""Running the commands and servers of a real Odoo."""

import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ports import free_port
from postgres import Postgres
from provision import Odoo

ADDONS = Path(__file__).parents[3] / "odoo_addon"
USER = "odoo"

# Environment variables that would configure Odoo, the addon or PostgreSQL; tests drop them.
_FOREIGN = re.compile(r"^(PG|ODOO_|OPENERP_|MCP_|LISTEN_)|_proxy$", re.IGNORECASE)

NO_PAGES = """
UPDATE ir_ui_view SET active = false
 WHERE type = 'qweb' AND arch_db::text LIKE '%t-call-assets%'
"""

_COMMAND_SECONDS = 600
_STOP_SECONDS = 20


class Log:
    """The log file of an Odoo process, as it is at each call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, *wanted: str) -> list[str]:
        """The lines that contain all of these texts."""
        text = self.path.read_text(errors="replace")
        return [line for line in text.splitlines() if all(each in line for each in wanted)]

    def complaints(self) -> list[str]:
        """The lines of level WARNING, ERROR or CRITICAL."""
        return [line for line in self.lines() if _COMPLAINT.match(line)]

    def print_tail(self) -> None:
        """Print the last 60 lines; pytest shows them when a test fails."""
        print(f"--- the end of {self.path}", *self.lines()[-60:], "---", sep="\n")  # noqa: T201


_COMPLAINT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ \d+ (WARNING|ERROR|CRITICAL) ")


@dataclass(frozen=True)
class Finished:
    """
    A command of Odoo that has exited with status 0.

    Attributes:
        log: Its log.
        output: Its standard output.
    """

    log: Log
    output: str


class Server:
    """
    A running Odoo server.

    Attributes:
        pid: Of its main process.
        url: Its base URL.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", log: Log, port: int) -> None:
        self.log = log
        self.pid = process.pid
        self.url = f"http://127.0.0.1:{port}"
        self._process = process

    def wait_until(self, holds: Callable[[], object], *, seconds: float) -> None:
        """Poll `holds` until it is true. Raises AssertionError after so many seconds."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self._process.poll() is None, "Odoo has ended by itself"
            assert time.monotonic() < deadline, f"not so within {seconds} seconds"
            time.sleep(0.1)

    def stop(self) -> None:
        """Terminate the server, and kill it when it does not exit in time."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class OdooProgram:
    """
    The Odoo program with the project's addons on its path, and its PostgreSQL.

    `folder` holds its settings, data and logs. Tests copy the databases of `create_templates`.
    """

    def __init__(self, odoo: Odoo, postgres: Postgres, folder: Path) -> None:
        self.postgres = postgres
        if not postgres.sql(f"SELECT 1 FROM pg_roles WHERE rolname = '{USER}'"):
            postgres.sql(f"CREATE ROLE {USER} LOGIN CREATEDB")
        self._odoo = odoo
        self._folder = folder
        self._config = folder / "odoo.conf"
        self._runs = 0
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
        Run a command until it exits; `script` is its standard input.

        Raises AssertionError when its exit status is not 0.
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

    def create_templates(self) -> None:
        """Create the databases that others are copies of: with `base`, and with the addon too."""
        self.postgres.create_database(_BASE, owner=USER)
        self.install(_BASE, "base")
        self.create_database(_ADDON)
        self.install(_ADDON, "mcp_phone_home")

    def create_database(self, name: str) -> None:
        """Create a database with nothing but `base` installed."""
        self.postgres.create_database(name, template=_BASE, owner=USER)

    def create_database_with_addon(self, name: str) -> None:
        """Create a database with the addon installed, in which no receiver is set."""
        self.postgres.create_database(name, template=_ADDON, owner=USER)

    def install(self, database: str, module: str, *options: str, **environ: str) -> Finished:
        return self.run(*_on(database), "-i", module, *_BRIEFLY, *options, **environ)

    def upgrade(self, database: str, *modules: str) -> Finished:
        return self.run(*_on(database), "-u", ",".join(modules), *_BRIEFLY)

    def test(self, database: str, module: str) -> Finished:
        """
        Install a module and run its own tests, which must ask for no page of the web client.

        Odoo would compile the scripts and stylesheets of all pages first, which takes longer than
        the tests; it finds no page that has any.
        """
        self.postgres.sql(NO_PAGES, database=database)
        port = f"--http-port={free_port()}"
        return self.run(*_on(database), "-i", module, port, f"--test-tags=/{module}", *_BRIEFLY)

    def shell(self, database: str, script: str, *options: str, **environ: str) -> Finished:
        """Run a script in `odoo shell`, where `env` is defined."""
        return self.run("shell", *_on(database), "--no-http", *options, script=script, **environ)

    def config_with(self, path: Path, **options: str | None) -> str:
        """
        Write a configuration file with additional options; returns the argument `--config=...`.

        An option that is None is omitted.
        """
        told = {**self._options, **options}.items()
        lines = [f"{name} = {value}\n" for name, value in told if value is not None]
        path.write_text("".join(["[options]\n", *lines]))
        return f"--config={path}"

    def with_packages(self, folder: Path) -> dict[str, str]:
        """Environment variables that add the folder to Odoo's PYTHONPATH."""
        known = self._odoo.environment.get("PYTHONPATH")
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), known)))}

    def export_translations(self, database: str, module: str, path: Path) -> Path:
        """Export the translation template of a module to a `.pot` file."""
        self.run("i18n", "export", *_on(database), f"--output={path}", "--languages=pot", module)
        return path

    def set_parameters(self, database: str, **values: str) -> None:
        """Set system parameters by SQL, by their names without the prefix `mcp.`."""
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
        Run a server with one cron thread, and stop it when the block ends.

        `database` is the name of a database, or several names as in `a,b`. With a `hostname`,
        the server sees that as the name of its host.
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
        # Odoo wants its sub-command before the options.
        command = list(itertools.takewhile(lambda arg: not arg.startswith("-"), args))
        options = args[len(command) :]
        return [*self._odoo.command, *command, f"--config={self._config}", *options]

    def _environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
        return {**kept, **self._odoo.environment, **environ}

    def _new_log(self) -> Log:
        self._runs += 1
        return Log(self._folder / f"odoo-{self._runs}.log")


_BASE, _ADDON = "template_base", "template_addon"
_BRIEFLY = ("--stop-after-init", "--max-cron-threads=0")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _on(database: str) -> tuple[str, ...]:
    return ("-d", database)


def _on_host(name: str | None) -> tuple[str, ...]:
    """The prefix of a command that runs it in a UTS namespace with another hostname."""
    if name is None:
        return ()
    # `--map-root-user` gives an unprivileged user the rights to create the namespace.
    rights = () if os.geteuid() == 0 else ("--map-root-user",)
    rename = 'hostname "$0" && exec "$@"'
    return ("unshare", "--uts", *rights, "sh", "-c", rename, name)
