"""What else one might keep a list of servers in; each runs as its own first example shows it."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import frozen

from laboratory import Laboratory
from processes import Server, free_port, serving
from traffic import Load, Traffic

__all__ = ["Alternative", "alternatives"]


@frozen
class Alternative:
    """
    A server that is no receiver, with requests that tell it of a server each.

    Attributes:
        name: Its name, and what it does with a request.
        server: The running process.
        load: The requests.
    """

    name: str
    server: Server
    load: Load


def alternatives(
    lab: Laboratory, traffic: Traffic, say: Callable[[str], None]
) -> Iterator[Alternative]:
    """Start etcd, a Prometheus Pushgateway and a sketch with Flask, as far as installed."""
    programs = {
        "etcd": ("etcd, durable", _etcd, traffic.puts),
        "prometheus-pushgateway": (
            "Prometheus Pushgateway, in memory",
            _pushgateway,
            traffic.pushes,
        ),
        sys.executable: ("Flask and a dict, in memory", _flask, traffic.heartbeats),
    }
    for program, (name, command, load) in programs.items():
        if shutil.which(program) is None:
            say(f"{program} is not installed, and left out")
        else:
            port = free_port()
            folder = lab.folder / Path(program).name
            folder.mkdir()
            server = lab.run(serving(command(port), port=port, folder=folder, quiet=True))
            yield Alternative(name, server, load())


def _etcd(port: int) -> Sequence[str]:
    clients, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    return [
        *("etcd", "--data-dir=data", "--log-level=error"),
        *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
        *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
        f"--initial-cluster=default={peers}",
    ]


def _pushgateway(port: int) -> Sequence[str]:
    return [
        *("prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"),
        "--log.level=error",
    ]


def _flask(port: int) -> Sequence[str]:
    app = Path(__file__).with_name("dictionary.py")
    return [sys.executable, "-m", "flask", f"--app={app}", "run", f"--port={port}"]
