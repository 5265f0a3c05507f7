"""Running the server processes, each pinned to one CPU core."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import psutil
from attrs import field, frozen

__all__ = [
    "BenchmarkFailed",
    "Server",
    "cores",
    "free_port",
    "paused",
    "pinned",
    "running",
    "serving",
]

_HERE = Path(__file__).parent
_PATIENCE_SECONDS = 30.0
_SETTLE_SECONDS = 0.5


class BenchmarkFailed(Exception):
    """A server or request failed, so the figures are meaningless; says what failed."""


@frozen(kw_only=True)
class Server:
    """
    A running uvicorn process.

    Attributes:
        url: Base URL of the server.
        pid: Process id.
        keys: Tokens by scope, `agent` and `admin`; empty for a server without keys.
    """

    url: str
    pid: int
    keys: Mapping[str, str] = field(factory=dict, hash=False)

    def memory(self) -> tuple[int, int]:
        """Memory of the process in bytes: resident set (RSS) and proportional set (PSS)."""
        info = psutil.Process(self.pid).memory_full_info()
        return info.rss, info.pss


def cores() -> tuple[int, int] | None:
    """The CPU cores for the server and for the load; None where `taskset` is missing."""
    if shutil.which("taskset") is None:
        return None
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def pinned(*, load: bool) -> list[str]:
    """The prefix of a command that pins it to the core for the load, or to the server's."""
    both = cores()
    return [] if both is None else ["taskset", "--cpu-list", str(both[load])]


def free_port() -> int:
    """A TCP port of the loopback address that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(app: str, *, folder: Path, http: str = "auto", **environ: str) -> Iterator[Server]:
    """
    Run an ASGI app under uvicorn, in a folder, until the block ends; see `serving`.

    `http` is uvicorn's option of that name: how it speaks HTTP.
    """
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", app, f"--port={port}"),
        *(f"--http={http}", "--no-access-log", "--log-level=warning", f"--app-dir={_HERE}"),
    ]
    with serving(command, port=port, folder=folder, environ=environ) as server:
        yield server


@contextmanager
def paused(servers: Collection[Server]) -> Iterator[None]:
    """
    Stop the processes of servers until the block ends.

    What they do by themselves would take time of the core that they share with the one that is
    measured: a receiver looks again at servers that are new, and others collect garbage. The block
    begins when that one has done what it put off while it was stopped itself.
    """
    for each in servers:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        time.sleep(_SETTLE_SECONDS)
        yield
    finally:
        for each in servers:
            os.kill(each.pid, signal.SIGCONT)


@contextmanager
def serving(
    command: Sequence[str],
    *,
    port: int,
    folder: Path,
    quiet: bool = False,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    """
    Run a server that listens at a port, in a folder, until the block ends.

    Its output goes to standard error, unless `quiet`. Of the `FLEET_` variables it gets only those
    of `environ`.
    Raises BenchmarkFailed when it does not listen within half a minute.
    """
    outer = {name: text for name, text in os.environ.items() if not name.startswith("FLEET_")}
    process = subprocess.Popen(
        [*pinned(load=False), *command],
        cwd=folder,
        env={**outer, **environ},
        stdout=subprocess.DEVNULL if quiet else sys.stderr,
        stderr=subprocess.DEVNULL if quiet else None,
    )
    try:
        _wait_until_listening(process, " ".join(command), port)
        yield Server(url=f"http://127.0.0.1:{port}", pid=process.pid)
    finally:
        _end(process)


def _wait_until_listening(process: subprocess.Popen[bytes], name: str, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchmarkFailed(f"This did not start; what it said is above: {name}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
