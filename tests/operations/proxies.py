"""nginx and HAProxy with the shipped configuration, as ordinary processes on loopback."""

import getpass
import grp
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import trustme

from ports import free_port
from servers import NO_AUTHORITIES, PATIENCE_SECONDS, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"

HOST = "fleet.example.com"
"""The host name in the shipped configuration."""

NGINX = """
user {user} {group};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class Front:
    """
    A running reverse proxy.

    Attributes:
        http_port: Port that redirects clients to HTTPS.
        https_port: Port that serves HTTPS.
        access_log: Path of the proxy's access log.
    """

    def __init__(self, ports: tuple[int, int], access_log: Path, ca: trustme.CA) -> None:
        self.http_port, self.https_port = ports
        self.access_log = access_log
        self._trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(self._trust)

    def client(
        self, address: str = "127.0.0.1", *, key: str | None = None, tls: bool = True
    ) -> httpx.Client:
        """An HTTPS client of the proxy that connects from a given address, with a key."""
        port = self.https_port if tls else self.http_port
        credentials = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(
            base_url=f"http{'s' if tls else ''}://127.0.0.1:{port}",
            headers={"Host": HOST, **credentials},
            timeout=PATIENCE_SECONDS,
            transport=httpx.HTTPTransport(verify=self._trust, local_address=address),
        )

    def is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.https_port)) == 0


@contextmanager
def nginx(folder: Path, port: int) -> Iterator[Front]:
    """Run nginx in front of a port."""
    ca, certificate = _certificate()
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "chain.pem", append=True)
    ports = free_port(), free_port()
    site = rendered(
        "nginx.conf",
        {
            "listen 80;": f"listen 127.0.0.1:{ports[0]};",
            "listen [::]:80;": f"listen 127.0.0.3:{ports[0]};",
            "listen 443 ": f"listen 127.0.0.1:{ports[1]} ",
            "listen [::]:443 ": f"listen 127.0.0.3:{ports[1]} ",
            "/etc/ssl/certs/fleet.example.com.pem": f"{folder}/chain.pem",
            "/etc/ssl/private/fleet.example.com.key": f"{folder}/key.pem",
            "127.0.0.1:8000": f"127.0.0.1:{port}",
        },
    )
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, **_whoever()))
    front = Front(ports, folder / "access.log", ca)
    command = [program("nginx"), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    with _running(command, front, folder / "error.log"):
        yield front


@contextmanager
def bare_nginx(folder: Path, port: int, directives: str) -> Iterator[httpx.Client]:
    """Run nginx in front of a port with nothing but `proxy_pass` and some more directives."""
    own = free_port()
    passes = f"proxy_pass http://127.0.0.1:{port}; {directives}"
    site = f"server {{ listen 127.0.0.1:{own}; location / {{ {passes} }} }}"
    (folder / "site.conf").write_text(site)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, **_whoever()))
    front = Front((own, own), folder / "access.log", trustme.CA())
    command = [program("nginx"), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    with (
        _running(command, front, folder / "error.log"),
        httpx.Client(
            base_url=f"http://127.0.0.1:{own}",
            timeout=PATIENCE_SECONDS,
            trust_env=False,
            verify=NO_AUTHORITIES,
        ) as client,
    ):
        yield client


@contextmanager
def haproxy(folder: Path, port: int) -> Iterator[Front]:
    """Run HAProxy in front of a port."""
    ca, certificate = _certificate()
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "all.pem")
    ports = free_port(), free_port()
    chroot = folder / "chroot"
    chroot.mkdir()
    whoever = _whoever()
    configuration = rendered(
        "haproxy.cfg",
        {
            "log /dev/log local0": "log stdout format raw local0",
            "chroot /var/lib/haproxy": f"chroot {chroot}" if os.geteuid() == 0 else "",
            "user haproxy": f"user {whoever['user']}",
            "group haproxy": f"group {whoever['group']}",
            "bind :::80 v4v6": f"bind 127.0.0.1:{ports[0]}",
            "bind :::443 v4v6": f"bind 127.0.0.1:{ports[1]}",
            "/etc/haproxy/certs/fleet.example.com.pem": f"{folder}/all.pem",
            "server receiver 127.0.0.1:8000": f"server receiver 127.0.0.1:{port}",
        },
    )
    (folder / "haproxy.cfg").write_text(configuration)
    front = Front(ports, folder / "proxy.log", ca)
    with _running([program("haproxy"), "-f", f"{folder}/haproxy.cfg"], front, folder / "proxy.log"):
        yield front


def rendered(name: str, places: Mapping[str, str]) -> str:
    """A shipped configuration file with only these texts replaced."""
    text = (DEPLOY / name).read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join([*lines, ""])
    for shipped, here in places.items():
        assert 1 == text.count(shipped), shipped
        text = text.replace(shipped, here)
    return text


def program(name: str) -> str:
    """The path of a program. Fails where it is missing, because no test may be skipped."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])  # which only root has in its PATH
    found = shutil.which(name, path=path)
    assert found is not None, f"{name} is not installed: apt-get install {name}"
    return found


@contextmanager
def _running(command: list[str], front: Front, log: Path) -> Iterator[None]:
    with log.open("a") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        wait_until(lambda: process.poll() is not None or front.is_up())
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()  # a killed proxy would leave its workers behind
        process.wait()


def _certificate() -> tuple[trustme.CA, trustme.LeafCert]:
    ca = trustme.CA()
    return ca, ca.issue_cert(HOST, "127.0.0.1")


def _whoever() -> dict[str, str]:
    """User and group of this process, under which the proxies run too."""
    return {"user": getpass.getuser(), "group": grp.getgrgid(os.getegid()).gr_name}
