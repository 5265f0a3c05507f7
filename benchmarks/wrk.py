"""The load generator, wrk."""

import json
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from processes import BenchmarkFailed, Server, pinned
from traffic import Load

__all__ = ["Run", "require", "run", "version"]

_SCRIPT = Path(__file__).with_suffix(".lua")
_FEWEST_REQUESTS = 10


@frozen(kw_only=True)
class Run:
    """What came of sending requests for a while: how many were answered, and how fast."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def require() -> None:
    """Raises BenchmarkFailed, with how to get it, where wrk is not installed."""
    if shutil.which("wrk") is None:
        raise BenchmarkFailed(
            "The load comes from wrk, which is not installed: `apt-get install wrk` on Debian, "
            "`brew install wrk` on macOS, or built from its source, https://github.com/wg/wrk."
        )


def version() -> str:
    """Which wrk this is."""
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return said.stdout.removeprefix("wrk ").partition(" ")[0]


def run(load: Load, server: Server, *, seconds: int) -> Run:
    """Send requests. Raises BenchmarkFailed when one fails, or too few were answered."""
    output = subprocess.run(
        [
            *(*pinned(load=True), "wrk", "--threads=1", f"--connections={load.connections}"),
            *(f"--duration={seconds}s", "--timeout=10s", f"--script={_SCRIPT}"),
            *(server.url, "--", load.path, server.keys.get("agent", "")),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    result = json.loads(output.partition("RESULT ")[2])
    requests, failed = result["requests"], result.pop("failed")
    if failed:
        raise BenchmarkFailed(f"{load.name}: {failed} requests failed, where none may.")
    if requests < _FEWEST_REQUESTS:
        raise BenchmarkFailed(
            f"{load.name}: {requests} answers in {seconds} s are too few to measure with."
        )
    return Run(**result)
