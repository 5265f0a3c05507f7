"""Test helper: PostgreSQL on two nodes under Patroni, with etcd, and HAProxy in front of them."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from operations.machine import blocks, section
from ports import free_port
from servers import NO_AUTHORITIES, wait_until

LOOPBACK = "127.0.0.1"
DEBIAN = "install it with: apt-get install patroni python3-etcd etcd-server haproxy postgresql-15"
PAGE = section("High availability")


def program(name: str, *, path: str = os.environ["PATH"]) -> str:
    """The path of a program that the machine has."""
    found = shutil.which(name, path=path)
    assert found is not None, f"there is no {name} here; {DEBIAN}"
    return found


def postgresql_programs() -> Path:
    """The folder of Debian's newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert found, f"there is no PostgreSQL of Debian here; {DEBIAN}"
    return found[-1].parent


class Program:
    """
    A process of the cluster, which ends with the test.

    Args:
        folder: Where it runs and logs.
        command: What to run.
        user: As whom; None for the tests' own user.
    """

    def __init__(self, folder: Path, *command: str, user: str | None = None) -> None:
        self.log = folder / f"{Path(command[0]).name}.log"
        self._folder = folder
        self._command = command
        self._user = user
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                # Debian's Patroni runs on the system's Python, and not on that of the tests.
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
                stdout=log,
                stderr=log,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else (),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Node:
    """
    A PostgreSQL and its Patroni.

    Attributes:
        name: Its name in the cluster.
        port: Of PostgreSQL.
        rest_port: Of Patroni's REST API.
    """

    def __init__(self, folder: Path, name: str, *, etcd: str, user: str | None) -> None:
        self.name = name
        self.port = free_port()
        self.rest_port = free_port()
        self._data = folder / "data"
        folder.mkdir()
        if user is not None:
            shutil.chown(folder, user, user)
        configuration = folder / "patroni.yml"
        configuration.write_text(self._configuration(folder, etcd))
        self.patroni = Program(folder, program("patroni"), str(configuration), user=user)

    def conninfo(self, database: str) -> str:
        return f"host={LOOPBACK} port={self.port} user=postgres dbname={database} connect_timeout=2"

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            found = connection.execute(statement.encode())
            return found.fetchall() if found.description else []

    def is_primary(self) -> bool:
        return self._says("/primary")

    def is_synchronous_standby(self) -> bool:
        return self._says("/synchronous")

    def kill(self) -> None:
        """End Patroni and every process of PostgreSQL by SIGKILL, as the loss of a machine does."""
        processes = self._postgresql()
        self.patroni.kill()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)

    def start(self) -> None:
        self.patroni.start()

    def write(self, connection: psycopg.Connection) -> bool:
        """Whether a row can be committed, which it cannot on a standby."""
        try:
            connection.execute("INSERT INTO probe DEFAULT VALUES")
        except psycopg.errors.ReadOnlySqlTransaction:
            return False
        return True

    def _postgresql(self) -> list[psutil.Process]:
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
            if postmaster.name() == "postgres":
                return [postmaster, *postmaster.children(recursive=True)]
        return []

    def _says(self, path: str) -> bool:
        try:
            answer = httpx.get(
                f"http://{LOOPBACK}:{self.rest_port}{path}", trust_env=False, verify=NO_AUTHORITIES
            )
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def _configuration(self, folder: Path, etcd: str) -> str:
        (documented,) = blocks(PAGE, "yaml")
        postgresql = {
            "listen": f"{LOOPBACK}:{self.port}",
            "connect_address": f"{LOOPBACK}:{self.port}",
            "data_dir": str(self._data),
            "bin_dir": str(postgresql_programs()),
            "pgpass": str(folder / "pgpass"),
            "authentication": {
                "superuser": {"username": "postgres"},
                "replication": {"username": "replicator"},
            },
            "parameters": {"unix_socket_directories": str(folder), "shared_buffers": "32MB"},
            "pg_hba": [
                "local all all trust",
                f"host all all {LOOPBACK}/32 trust",
                f"host replication all {LOOPBACK}/32 trust",
            ],
        }
        rest = f"{LOOPBACK}:{self.rest_port}"
        more = {
            "scope": "fleet",
            "name": self.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"host": etcd},
            "postgresql": postgresql,
            "watchdog": {"mode": "off"},
        }
        # A line of JSON is YAML.
        return documented + "".join(f"{name}: {json.dumps(each)}\n" for name, each in more.items())


class Cluster:
    """
    Two nodes, etcd, and HAProxy.

    Attributes:
        nodes: Both nodes, in no order.
        port: HAProxy's port, which leads to the primary.
    """

    def __init__(self, nodes: list[Node], port: int) -> None:
        self.nodes = nodes
        self.port = port

    @property
    def primary(self) -> Node:
        (found,) = [node for node in self.nodes if node.is_primary()]
        return found

    def other(self, node: Node) -> Node:
        (found,) = [each for each in self.nodes if each is not node]
        return found

    def wait_until_whole(self) -> None:
        """Wait until one node is the primary and the other its synchronous standby."""
        wait_until(lambda: any(node.is_primary() for node in self.nodes))
        wait_until(lambda: any(node.is_synchronous_standby() for node in self.nodes))

    def hand_over(self) -> None:
        """Let the primary hand over to its standby, as for maintenance."""
        old = self.primary
        wanted = {"leader": old.name, "candidate": self.other(old).name}
        answer = httpx.post(
            f"http://{LOOPBACK}:{old.rest_port}/switchover",
            json=wanted,
            timeout=60,
            trust_env=False,
            verify=NO_AUTHORITIES,
        )
        assert answer.is_success, answer.text

    def urls(self) -> Mapping[str, str]:
        """The documented URLs of a database: by HAProxy, and by the nodes themselves."""
        one, two = self.nodes
        here = {
            "fleet:secret@127.0.0.1/": f"postgres@{LOOPBACK}:{self.port}/",
            "fleet:secret@/": "postgres@/",
            "host=10.0.0.11,10.0.0.12&port=5432,5432": (
                f"host={LOOPBACK},{LOOPBACK}&port={one.port},{two.port}"
            ),
        }
        by_haproxy, by_nodes = (replaced(block, here) for block in blocks(PAGE, "text"))
        return {"haproxy": url_of(by_haproxy), "nodes": url_of(by_nodes)}


def url_of(setting: str) -> str:
    return setting.strip().partition("=")[2].strip("'")


def replaced(text: str, here: Mapping[str, str]) -> str:
    """The text of the page with other addresses."""
    for there, own in here.items():
        text = text.replace(there, own)
    return text


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start a cluster with an empty database `fleet`; end and delete it afterwards."""
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to be run by root
    if user is not None:
        pwd.getpwnam(user)
    # Not a folder of pytest's: the user of PostgreSQL has no access to those.
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="fleet-failover-")))
        folder.chmod(0o755)
        etcd = started_etcd(folder, opened)
        nodes = []
        for name in ("one", "two"):
            node = Node(folder / name, name, etcd=etcd, user=user)
            opened.callback(node.kill)
            nodes.append(node)
        port = started_haproxy(folder, nodes, opened)
        cluster = Cluster(nodes, port)
        try:
            cluster.wait_until_whole()
            cluster.primary.sql("CREATE DATABASE fleet")
            cluster.primary.sql("CREATE TABLE probe (at timestamptz DEFAULT now())")
            yield cluster
        except BaseException:
            for log in sorted(folder.rglob("*.log")):
                print(f"--- {log.relative_to(folder)}\n{log.read_text()[-8000:]}")  # noqa: T201
            raise


def started_etcd(folder: Path, opened: ExitStack) -> str:
    client, peer = (f"{LOOPBACK}:{free_port()}" for _ in range(2))
    (folder / "etcd").mkdir()
    etcd = Program(
        folder / "etcd",
        program("etcd"),
        f"--data-dir={folder / 'etcd/data'}",
        f"--listen-client-urls=http://{client}",
        f"--advertise-client-urls=http://{client}",
        f"--listen-peer-urls=http://{peer}",
        f"--initial-advertise-peer-urls=http://{peer}",
        f"--initial-cluster=default=http://{peer}",
        "--unsafe-no-fsync",
    )
    opened.callback(etcd.kill)
    return client


def started_haproxy(folder: Path, nodes: list[Node], opened: ExitStack) -> int:
    (documented,) = blocks(PAGE, "haproxy")
    port = free_port()
    here = {"bind 127.0.0.1:5432": f"bind {LOOPBACK}:{port}"}
    for node, there in zip(nodes, ("10.0.0.11", "10.0.0.12"), strict=True):
        here[f"{there}:5432 check port 8008"] = (
            f"{LOOPBACK}:{node.port} check port {node.rest_port}"
        )
    (folder / "haproxy").mkdir()
    configuration = folder / "haproxy/haproxy.cfg"
    configuration.write_text(replaced(documented, here))
    path = f"/usr/sbin{os.pathsep}{os.environ['PATH']}"
    haproxy = Program(folder / "haproxy", program("haproxy", path=path), "-f", str(configuration))
    opened.callback(haproxy.kill)
    return port
