"""The processes that are measured, each kept to one core."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from attrs import field, frozen

__all__ = ["BenchmarkFailed", "Server", "cores", "pinned", "running"]

_HERE = Path(__file__).parent
_PATIENCE_SECONDS = 30.0


class BenchmarkFailed(Exception):
    """What was measured did not work, so the figures mean nothing."""


@frozen(kw_only=True)
class Server:
    """
    A server under uvicorn, in a process of its own.

    Attributes:
        keys: The keys that it asks for, by what they are for; none when it asks for none.
    """

    url: str
    pid: int
    keys: Mapping[str, str] = field(factory=dict, hash=False)

    def memory(self) -> tuple[int, int]:
        """Bytes it holds: resident, and its share of what it shares with others."""
        info = psutil.Process(self.pid).memory_full_info()
        return info.rss, info.pss


def cores() -> tuple[int, int] | None:
    """The cores for the server and for the load, or None where no process can be kept to one."""
    if shutil.which("taskset") is None:
        return None
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def pinned(*, load: bool) -> list[str]:
    """What begins a command that stays on the core for the load, or on the one for the server."""
    both = cores()
    return [] if both is None else ["taskset", "--cpu-list", str(both[load])]


@contextmanager
def running(app: str, *, folder: Path, **environ: str) -> Iterator[Server]:
    """
    Run an app in a folder until the block is left.

    What it says goes to standard error. Settings of a receiver come from `environ` alone.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outer = {name: text for name, text in os.environ.items() if not name.startswith("FLEET_")}
    process = subprocess.Popen(
        [
            *(*pinned(load=False), sys.executable, "-m", "uvicorn", app, f"--port={port}"),
            *("--no-access-log", "--log-level=warning", f"--app-dir={_HERE}"),
        ],
        cwd=folder,
        env={**outer, **environ},
        stdout=sys.stderr,
    )
    try:
        _wait_until_listening(process, app, port)
        yield Server(url=f"http://127.0.0.1:{port}", pid=process.pid)
    finally:
        _end(process)


def _wait_until_listening(process: subprocess.Popen[bytes], app: str, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise BenchmarkFailed(f"{app} did not start; what it said is above.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
