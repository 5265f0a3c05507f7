"""The process that sends messages connects to allowed hosts, and does nothing else."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.service.alerts.delivery.guard import Guard, Refused

pytestmark = pytest.mark.one_database

METADATA = "169.254.169.254"


def guard(allowed: str = DEFAULT_ENDPOINTS) -> Guard:
    return Guard(Endpoints.of(allowed))


def connect(
    guard: Guard, address: object, family: int = socket.AF_INET, event: str = "connect"
) -> None:
    with socket.socket(family) as sock:
        guard(f"socket.{event}", (sock, address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        METADATA,
        "100.100.100.200",
        "224.0.0.1",
        "localhost",
        "",
    ],
)
@pytest.mark.parametrize("event", ["connect", "sendto", "sendmsg"])
def test_guard_refuses_connections_to_special_addresses_and_names(host: str, event: str) -> None:
    with pytest.raises(Refused):
        connect(guard(), (host, 80), event=event)


@pytest.mark.parametrize(
    "host", ["::1", "::", "::ffff:127.0.0.1", f"::ffff:{METADATA}", "fe80::1%lo", "64:ff9b::7f00:1"]
)
def test_guard_refuses_connections_to_special_addresses_over_ipv6(host: str) -> None:
    with pytest.raises(Refused):
        connect(guard(), (host, 80, 0, 0), socket.AF_INET6)


def test_guard_allows_connections_to_listed_addresses() -> None:
    connect(guard(), ("192.0.2.1", 443))
    connect(guard(), ("2001:db8::1", 443, 0, 0), socket.AF_INET6)
    connect(guard("10.1.0.0/16"), ("10.1.2.3", 443))
    connect(guard("127.0.0.0/8"), ("127.0.0.1", 443))
    connect(guard(), None, event="sendmsg")  # a socket that is connected


def test_guard_refuses_connections_to_addresses_that_are_not_listed() -> None:
    held = guard("10.1.0.0/16")

    with pytest.raises(Refused):
        connect(held, ("10.2.0.1", 443))

    assert "connections to 10.2.0.1 are not allowed: see FLEET_ALERT_ADDRESSES" == held.refusal


def test_guard_allows_an_unlisted_address_of_a_listed_name() -> None:
    held = guard("*.example.com")
    held("socket.getaddrinfo", ("mail.example.com", 25, 0, 0, 0))

    connect(held, ("10.2.0.1", 25))


def test_guard_refuses_a_special_address_of_a_listed_name() -> None:
    """Whoever holds the name may let it lead anywhere."""
    held = guard("*.example.com")
    held("socket.getaddrinfo", (b"mail.example.com", 25, 0, 0, 0))

    for host in ("127.0.0.1", METADATA):
        with pytest.raises(Refused):
            connect(held, (host, 25))


@pytest.mark.parametrize("event", ["socket.getaddrinfo", "socket.gethostbyname"])
@pytest.mark.parametrize(
    "host", ["localhost", b"localhost", "metadata.google.internal", "0x7f.1", "2130706433", "a:b"]
)
def test_guard_refuses_to_look_up_names_that_are_not_listed(event: str, host: str | bytes) -> None:
    with pytest.raises(Refused):
        guard()(event, (host, 80))


def test_guard_refuses_loopback_after_a_look_up_of_this_machine() -> None:
    held = guard()
    held("socket.getaddrinfo", (None, 80, 0, 0, 0))
    held("socket.getaddrinfo", ("192.0.2.1", 80, 0, 0, 0))

    with pytest.raises(Refused):
        connect(held, ("127.0.0.1", 80))


@pytest.mark.parametrize("event", ["bind", "connect", "sendto"])
def test_guard_refuses_sockets_that_lead_to_no_network(event: str) -> None:
    with pytest.raises(Refused):
        connect(guard(), "/run/docker.sock", socket.AF_UNIX, event)


@pytest.mark.parametrize("event", ["subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"])
def test_guard_refuses_to_start_programs(event: str) -> None:
    with pytest.raises(Refused):
        guard()(event, ("/bin/true", ["/bin/true"], None))


def test_guard_refuses_to_change_files(tmp_path: Path) -> None:
    held = guard()

    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_APPEND):
        with pytest.raises(Refused):
            held("open", (str(tmp_path / "file"), None, flags))
    for event in ("os.remove", "os.rename", "os.mkdir"):
        with pytest.raises(Refused):
            held(event, (str(tmp_path), 0, -1))


def test_guard_allows_reading_only_files_of_python_and_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "packages"
    monkeypatch.setattr(sys, "path", [*sys.path, str(elsewhere), ""])
    monkeypatch.chdir(tmp_path)
    held = guard()

    for path in (os.__file__, os.fsencode(os.__file__), 0, os.devnull, elsewhere / "module.py"):
        held("open", (path, "r", 0))
    held("open", (os.devnull, "w", os.O_WRONLY))
    for path in (
        "/etc/passwd",
        f"{os.__file__}/../../../../../etc/passwd",
        tmp_path / "fleet.db",
        tmp_path / "settings.py",
        elsewhere / "password.txt",
    ):
        with pytest.raises(Refused):
            held("open", (path, "r", 0))


def test_guard_allows_files_at_the_end_but_no_hosts_and_no_programs(tmp_path: Path) -> None:
    held = guard()
    held.allow_files()

    held("open", (str(tmp_path / "file"), "w", os.O_WRONLY | os.O_CREAT))
    held("os.remove", (str(tmp_path / "file"), -1))
    with pytest.raises(Refused):
        connect(held, ("127.0.0.1", 80))
    with pytest.raises(Refused):
        held("subprocess.Popen", ("/bin/true", ["/bin/true"], None, None))


def test_guard_ignores_other_audit_events() -> None:
    guard()("compile", (None, None))


ARMED = f"""
import os, socket, subprocess, sys, tempfile, urllib.request
from receiver.domain.endpoints import Endpoints
from receiver.service.alerts.delivery.guard import Guard, Refused

sys.addaudithook(Guard(Endpoints.of({DEFAULT_ENDPOINTS!r})))
for attempt in sys.argv[1:]:
    try:
        exec(attempt)
    except Refused:
        print("refused")
    except OSError as error:  # urllib wraps it
        print("refused" if isinstance(error.reason, Refused) else repr(error))
    else:
        print("done:", attempt)
"""


def test_guard_as_audit_hook_refuses_the_attempts_of_a_process(tmp_path: Path) -> None:
    """Python itself asks the hook before it does what a plugin wants."""
    attempts = [
        "socket.create_connection(('127.0.0.1', {port}))",
        "socket.create_connection(('localhost', {port}))",
        "socket.create_connection(('::ffff:127.0.0.1', {port}))",
        "socket.socket().connect(('localhost', {port}))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', {port}))",
        "urllib.request.urlopen('http://127.0.0.1:{port}/')",
        "urllib.request.urlopen('http://2130706433:{port}/')",
        f"urllib.request.urlopen('http://{METADATA}/latest/meta-data')",
        "socket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "open('/etc/passwd').read()",
        "open('made', 'w')",
        "tempfile.mkdtemp(dir='.')",
    ]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", ARMED, *(each.replace("{port}", port) for each in attempts)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ["refused"] * len(attempts) == done.stdout.splitlines(), done.stderr
        assert [] == [*tmp_path.iterdir()]
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
