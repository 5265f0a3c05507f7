"""The proxy by which this host asks a receiver, from the environment: `HTTPS_PROXY` and others."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from attrs import frozen

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

_SECONDS = 1.0


@frozen(kw_only=True)
class Proxy:
    """
    A proxy, without the user and the password that it may need.

    Attributes:
        scheme: That of its URL, such as `http`.
        host: Its name or IP address.
        port: Its TCP port.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{_in_brackets(self.host)}:{self.port}"

    def why_unreachable(self) -> str | None:
        """
        Why no connection to it can be made; None where one can.

        It blocks for a second at most, not counting the DNS look-up.
        """
        try:
            with socket.create_connection((self.host, self.port), timeout=_SECONDS):
                return None
        except OSError as error:
            return " ".join(str(error).split()) or type(error).__name__


def proxy_for(url) -> Proxy | None:
    """The proxy by which httpx asks a URL; None without one."""
    try:
        found = urlsplit(_of_environment(url) or "")
        port = found.port or _PORTS.get(found.scheme, 80)
    except ValueError:
        return None
    if not found.hostname:
        return None
    return Proxy(scheme=found.scheme, host=found.hostname, port=port)


def _of_environment(url) -> str | None:
    parsed = urlsplit(url)
    if proxy_bypass(parsed.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parsed.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _in_brackets(host) -> str:
    return f"[{host}]" if ":" in host else host
