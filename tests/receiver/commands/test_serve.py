"""`odoo-mcp-fleet serve`."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import trustme

from commanding import Command, Said
from keyring import keep, made
from ports import free_port
from servers import PATIENCE_SECONDS, Clock, wait_until

PROGRAM = "import sys; from receiver.commands import main; sys.exit(main())"


class Serve:
    """
    Runs the command with a server that only notes how it was started.

    Attributes:
        started: The options of each start.
    """

    def __init__(self, **environ: str) -> None:
        self.environ = environ
        self.started: list[dict[str, Any]] = []

    def __call__(self, *arguments: str, columns: int | None = None) -> Said:
        command = Command(self.environ, Clock(), run_server=self._start, columns=lambda: columns)
        return command("serve", "--port", "0", *arguments)

    def _start(self, app: str, **options: Any) -> None:
        self.started.append({"app": app, **options})


def test_receiver_is_served_with_its_limits(new_sqlite_url: str) -> None:
    serve = Serve(FLEET_DATABASE_URL=new_sqlite_url)
    port = free_port()

    status, said, explained = serve(
        *("--host", "127.0.0.5", "--port", str(port), "--workers", "4", "--proxy", "10.0.0.4"),
        *("--log-level", "warning"),
    )

    assert (0, []) == (status, said)
    assert "it is made now" in explained
    assert [
        {
            "app": "receiver.app:app",
            "host": "127.0.0.5",
            "port": port,
            "http": "receiver.connections:Careful",
            "server_header": False,
            "timeout_graceful_shutdown": 10,
            "timeout_worker_healthcheck": 30,
            "workers": 4,
            "forwarded_allow_ips": "10.0.0.4",
            "log_level": "warning",
        }
    ] == serve.started


def test_serve_prints_the_url_of_the_fleet_and_how_to_make_a_key(sqlite_url: str) -> None:
    serve = Serve(FLEET_DATABASE_URL=sqlite_url)
    without_key = serve(columns=80).explained
    serve.environ["FLEET_OPEN"] = "1"
    is_open = serve(columns=80).explained
    serve.environ["FLEET_OPEN"] = "0"
    keep(sqlite_url, made("admin")[0])

    assert f"The fleet is kept in {sqlite_url}." in without_key
    assert "odoo-mcp-fleet keys create --name you --scope admin" in without_key
    assert "keys create" not in is_open
    assert "keys create" not in serve(columns=80).explained
    assert "" == serve().explained


def test_serve_explains_unusable_options_before_the_receiver_starts(
    sqlite_url: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    for name in ("one", "two"):
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    (tmp_path / "text").write_text("hello")
    serve = Serve(FLEET_DATABASE_URL=sqlite_url)
    one, two, text = (str(tmp_path / name) for name in ("one.pem", "two.pem", "text"))

    assert "belong together" in serve("--tls-cert", one).explained
    assert "belong together" in serve("--tls-key", one).explained
    assert "cannot be used for TLS: key values mismatch" in (
        serve("--tls-cert", one, "--tls-key", two).explained
    )
    assert "cannot be used for TLS" in serve("--tls-cert", text, "--tls-key", text).explained
    assert "does not exist" in serve("--tls-cert", "/nothing", "--tls-key", one).explained
    assert 0 == serve("--tls-cert", one, "--tls-key", one).status
    assert [(one, one)] == [(each["ssl_certfile"], each["ssl_keyfile"]) for each in serve.started]
    serve.environ["FLEET_OPEN"] = "yes"
    assert 2 == serve().status
    serve.environ = {"FLEET_DATABASE_URL": "postgresql+psycopg://me@127.0.0.1:1/fleet"}
    assert 3 == serve().status
    assert 1 == len(serve.started)


def test_serve_explains_an_address_at_which_it_cannot_listen(new_sqlite_url: str) -> None:
    serve = Serve(FLEET_DATABASE_URL=new_sqlite_url)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        in_use = serve("--port", port)
        everywhere = serve("--host", "0.0.0.0", "--port", port)
    elsewhere = serve("--host", "192.0.2.1")
    unknown = [serve("--host", host) for host in ("nobody.invalid", "a..b")]

    assert (2, [], f"Nothing can listen at 127.0.0.1 and port {port}: Address already in use") == (
        *in_use[:2],
        in_use.explained.partition(": end the program")[0],
    )
    assert "already in use" in everywhere.explained
    assert (2, True) == (elsewhere.status, "192.0.2.1 and port 0: Cannot" in elsewhere.explained)
    for said in unknown:
        assert (2, True) == (said.status, "neither an address nor a name" in said.explained)
    assert [0, 0] == [serve("--host", host).status for host in ("", "localhost")]
    assert 2 == len(serve.started)


def test_serve_and_move_explain_that_the_folder_of_a_database_is_missing(
    sqlite_url: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/none/fleet.db"
    served = Serve(FLEET_DATABASE_URL=url)()
    moved = Command({"FLEET_DATABASE_URL": sqlite_url}, Clock())("move", "--yes", "--to", url)

    for said in (served, moved):
        assert (2, [], True) == (*said[:2], f"no folder {tmp_path}/none: make it" in said.explained)


def test_receiver_is_served_over_tls(tmp_path: Path) -> None:
    """In a process, which keeps to its limits and ends when it is asked to."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    port = free_port()
    pem = str(tmp_path / "server.pem")
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM, "serve", "--port", str(port)),
                *("--tls-cert", pem, "--tls-key", pem),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=output,
            stderr=output,
        )
    command = Command({"FLEET_URL": f"https://127.0.0.1:{port}"}, Clock())

    try:
        wait_until(lambda: 3 != command("status", "--ca", str(tmp_path / "ca.pem")).status)
        (found,) = command("status", "--json", "--ca", str(tmp_path / "ca.pem")).said
        untrusted = command("list")
        with httpx.Client(verify=False, trust_env=False, timeout=PATIENCE_SECONDS) as client:
            many = {f"x-{n}": "" for n in range(101)}
            headers = client.get(f"https://127.0.0.1:{port}/health", headers=many)
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(PATIENCE_SECONDS)

    assert json.loads(found)["healthy"]
    assert (3, True) == (untrusted.status, "certificate" in untrusted.explained)
    assert 431 == headers.status_code
    assert "server" not in headers.headers
    assert 0 == status, log.read_text()
    assert (tmp_path / "fleet.db").exists()
