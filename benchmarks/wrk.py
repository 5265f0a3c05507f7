"""Running the load generator wrk."""

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
    """
    The result of one run of wrk.

    Attributes:
        requests: Number of answered requests.
        seconds: Duration of the run.
        p50_ms: Median latency.
        p99_ms: 99th percentile of the latency.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def require() -> None:
    """Raise BenchmarkFailed, with how to install wrk, where it is missing."""
    if shutil.which("wrk") is None:
        raise BenchmarkFailed(
            "The load comes from wrk, which is not installed: `apt-get install wrk` on Debian, "
            "`brew install wrk` on macOS, or built from its source, https://github.com/wg/wrk."
        )


def version() -> str:
    """The version of wrk."""
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False)
    return said.stdout.removeprefix("wrk ").partition(" ")[0]


def run(load: Load, server: Server, *, seconds: int, fewest: int = _FEWEST_REQUESTS) -> Run:
    """
    Send the requests of `load` to a server for some seconds, as fast as it answers.

    Raises BenchmarkFailed when a request fails, or when fewer than `fewest` were answered.
    """
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
    if requests < fewest:
        raise BenchmarkFailed(
            f"{load.name}: {requests} answers in {seconds} s are too few to measure with."
        )
    return Run(**result)
