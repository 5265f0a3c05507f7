"""The client that phones home."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx
from attrs import evolve
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from client import answers, receiver_url
from client.answers import HeartbeatReceipt, RegistrationReceipt
from client.errors import CallFailed, InvalidSetting, InvalidToken, Refused
from client.exchange import Answer, ask
from contract import Heartbeat, Registration, dumps

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PhoneHomeClient", "user_agent"]

_BATCH_LIMIT = 1000
_BATCH_LIMIT_BYTES = 1024 * 1024 - len("[]")


class PhoneHomeClient:
    """
    Tells a receiver about servers.

    It may be used from several threads at once, and is closed by `close` or at the
    end of a `with` block; calls after that raise RuntimeError.

    Every exchange is a connection of its own: heartbeats are far apart, and one sent
    over an idle connection that the receiver just dropped would be lost.
    Redirects are not followed. Proxies and certificates are taken from the
    environment (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` ...) as httpx does.

    Args:
        base_url: Where the receiver is, such as `https://host/fleet`; `/register`,
            `/heartbeat` or `/heartbeats` at its end is taken off. A name and a
            password in it are sent as Basic authentication when there is no token.
        token: Sent as `Authorization: Bearer`; none when empty.
        timeout: Seconds for one whole exchange, from the look-up of the name to the
            last byte of the answer.
        attempts: How often a registration is tried in all.
        verify: How to check the receiver's certificate; by default against the
            authorities that certifi lists.
        transport: Carries the requests instead of a socket. The environment is
            then left alone.
        sleep: Waits for a number of seconds.

    Raises InvalidUrl, InvalidToken or InvalidSetting for what cannot work.
    """

    def __init__(  # noqa: PLR0913 - all but one by name, all but one optional
        self,
        base_url: str,
        *,
        token: str | None = None,
        timeout: float = 5.0,
        attempts: int = 3,
        verify: SSLContext | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise InvalidSetting(f"The timeout must be above 0 seconds, and is {timeout}.")
        if attempts < 1:
            raise InvalidSetting(f"There must be at least 1 attempt, not {attempts}.")

        url = receiver_url.parse(base_url)
        self._base_url = str(url.copy_with(userinfo=b"")).rstrip("/")
        self._token = _checked(token or "")
        self._timeout_seconds = timeout
        self._attempts = attempts
        self._sleep = sleep
        self._http = _http_client(
            token=self._token,
            auth=None if self._token else _basic(url),
            timeout=timeout,
            verify=True if verify is None else verify,
            transport=transport,
        )

    @property
    def base_url(self) -> str:
        """Where the receiver is, without a slash at its end, a name or a password."""
        return self._base_url

    def register(self, registration: Registration) -> RegistrationReceipt:
        """
        Make a server known; 200 and 201 are success, whatever the body holds.

        What may be better later (no connection, no answer in time, an odd answer,
        408, 429 and 5xx) is tried again, up to `attempts` in all, 2, 4, 8 ... seconds
        after the first, second, third ... failure.
        It takes up to `attempts` timeouts and these waits together.

        Raises the CallFailed of the last attempt.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_temporary),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(multiplier=2),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._register_once, registration)

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatReceipt:
        """
        Say once that a server is alive; 200 and 201 are success, whatever the body holds.

        Raises CallFailed. There is no second attempt: the next heartbeat is one.
        """
        answer = self._post("/heartbeat", dumps(heartbeat))
        return answers.receipt_of_heartbeat(answer, heartbeat, receiver=self._base_url)

    def heartbeats(self, heartbeats: Iterable[Heartbeat]) -> list[HeartbeatReceipt | Refused]:
        """
        Say once that many servers are alive.

        The result holds a receipt, or the reason why there is none, for each
        heartbeat in order. What exceeds a receiver's limits, 1,000 heartbeats or
        1 MiB, goes in several exchanges, each with the whole timeout.

        Raises CallFailed when an exchange fails as a whole; those before it were
        heard.
        """
        results: list[HeartbeatReceipt | Refused] = []
        for batch, body in _batches(heartbeats):
            answer = self._post("/heartbeats", body)
            results += answers.receipts_of_batch(answer, batch, receiver=self._base_url)
        return results

    def health(self) -> dict[str, Any]:
        """
        What the receiver says of itself, such as `{"status": "healthy", ...}`.

        Raises CallFailed, which is a Refused when the receiver says that it is not well.
        """
        answer = self._ask(self._http.build_request("GET", self._base_url + "/health"))
        return answers.health_of(answer, receiver=self._base_url)

    def close(self) -> None:
        """Let go of what the client holds."""
        self._http.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        token = "'**********'" if self._token else None
        return f"PhoneHomeClient({self._base_url!r}, token={token})"

    def _register_once(self, registration: Registration) -> RegistrationReceipt:
        answer = self._post("/register", dumps(registration))
        return answers.receipt_of_registration(answer, registration, receiver=self._base_url)

    def _post(self, path: str, body: bytes) -> Answer:
        return self._ask(self._http.build_request("POST", self._base_url + path, content=body))

    def _ask(self, request: httpx.Request) -> Answer:
        answer = ask(
            self._http, request, receiver=self._base_url, timeout_seconds=self._timeout_seconds
        )
        if self._token and answer.status >= 400:
            # A receiver or a proxy may quote the request, and an error quotes them.
            return evolve(answer, body=answer.body.replace(self._token.encode(), b"***"))
        return answer


def user_agent(distribution: str = "odoo-mcp-fleet") -> str:
    """`odoo-mcp-fleet/1.2.3`, without the version when the distribution is not installed."""
    try:
        return f"{distribution}/{metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return distribution


def _http_client(*, token: str, **options: Any) -> httpx.Client:
    headers = {
        # An answer that was packed could be small on the wire and huge in memory.
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": user_agent(),
    }
    if token:
        headers["authorization"] = f"Bearer {token}"
    try:
        return httpx.Client(
            headers=headers,
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            **options,
        )
    except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
        raise InvalidSetting(
            "The proxy or the certificates that the environment names cannot be used."
        ) from error


def _basic(url: httpx.URL) -> tuple[str, str] | None:
    return (url.username, url.password) if url.userinfo else None


def _checked(token: str) -> str:
    if not all("!" <= char <= "~" for char in token):
        raise InvalidToken("The token may only hold visible ASCII characters, and no spaces.")
    return token


def _is_temporary(error: BaseException) -> bool:
    return isinstance(error, CallFailed) and error.temporary


def _batches(heartbeats: Iterable[Heartbeat]) -> Iterator[tuple[list[Heartbeat], bytes]]:
    """Heartbeats by the batch that a receiver takes, each with its JSON."""
    batch: list[Heartbeat] = []
    parts: list[bytes] = []
    size = 0
    for beat in heartbeats:
        part = dumps(beat)
        if batch and (len(batch) == _BATCH_LIMIT or size + len(part) > _BATCH_LIMIT_BYTES):
            yield batch, _array(parts)
            batch, parts, size = [], [], 0
        batch.append(beat)
        parts.append(part)
        size += len(part) + len(",")
    if batch:
        yield batch, _array(parts)


def _array(parts: list[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"
