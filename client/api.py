"""The client that phones home."""

import logging
import math
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import metadata
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from client import answers, receiver_url
from client.answers import HeartbeatReceipt, RegistrationReceipt
from client.errors import CallFailed, InvalidSetting, InvalidToken, Refused
from client.exchange import Answer, ask, mask_logs
from client.foreign import Mask
from contract import Heartbeat, Registration, dumps

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PhoneHomeClient", "user_agent"]

_BATCH_LIMIT = 1000
_BATCH_LIMIT_BYTES = 1024 * 1024 - len("[]")
_LONGEST_ASKED_SECONDS = 60.0

_log = logging.getLogger(__name__)
_doubling = wait_exponential(multiplier=2)


class PhoneHomeClient:
    """
    Tells a receiver about servers.

    It may be used from several threads at once, and is closed by `close` or at the
    end of a `with` block; calls after that raise RuntimeError.

    Every exchange is a connection of its own: heartbeats are far apart, and one sent
    over an idle connection that the receiver just dropped would be lost.
    Redirects are not followed, and cookies not kept. Proxies and certificates are taken
    from the environment (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` ...) as httpx does.

    A token, or a name and a password, that would go over plain http to another machine is
    warned of in the log, once in a process for each receiver.

    Args:
        base_url: Where the receiver is, such as `https://host/fleet`; `/register`,
            `/heartbeat` or `/heartbeats` at its end is taken off. A name and a
            password in it are sent as Basic authentication when there is no token.
        token: Sent as `Authorization: Bearer`; none when empty.
        timeout: Seconds for one whole exchange, from the look-up of the name to the
            last byte of the answer.
        attempts: How often a registration is tried in all.
        verify: How to check the receiver's certificate; by default against the
            authorities that certifi lists. `client.trust_only(path)` makes one for a
            private authority.
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
        # First of all, for the repr that a traceback may show.
        self._base_url, self._has_token = "", bool(token)
        bearer = _Authorization("Bearer", token) if token else None
        del token  # a traceback that lists variables must not show it
        if bearer is not None and not bearer.is_visible():
            raise InvalidToken("The token may only hold visible ASCII characters, and no spaces.")
        if not 0 < timeout < math.inf:
            raise InvalidSetting(f"The timeout must be above 0 seconds, and is {timeout}.")
        if attempts < 1:
            raise InvalidSetting(f"There must be at least 1 attempt, not {attempts}.")

        url = receiver_url.parse(base_url)
        del base_url  # nor a password in it
        auth = bearer or _basic(url)
        self._base_url = str(url.copy_with(userinfo=b"")).rstrip("/")
        self._mask = Mask(*(auth.secrets if auth else ()))
        self._timeout_seconds = timeout
        self._attempts = attempts
        self._sleep = sleep
        if auth is not None and receiver_url.is_exposed(url):
            _warn_of_exposure(self._base_url)
        mask_logs()
        self._http = _http_client(
            auth=auth,
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
        after the first, second, third ... failure, or after what `Retry-After` asks for,
        when that is longer; a minute of that at most.
        It takes up to `attempts` timeouts and these waits together.

        Raises the CallFailed of the last attempt.
        """
        retrying = Retrying(
            retry=retry_if_exception(_is_temporary),
            stop=stop_after_attempt(self._attempts),
            wait=_pause_seconds,
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
        token = "'**********'" if self._has_token else None
        return f"PhoneHomeClient({self._base_url!r}, token={token})"

    def _register_once(self, registration: Registration) -> RegistrationReceipt:
        answer = self._post("/register", dumps(registration))
        return answers.receipt_of_registration(answer, registration, receiver=self._base_url)

    def _post(self, path: str, body: bytes) -> Answer:
        return self._ask(self._http.build_request("POST", self._base_url + path, content=body))

    def _ask(self, request: httpx.Request) -> Answer:
        return ask(
            self._http,
            request,
            receiver=self._base_url,
            timeout_seconds=self._timeout_seconds,
            mask=self._mask,
        )


def user_agent(distribution: str = "odoo-mcp-fleet") -> str:
    """`odoo-mcp-fleet/1.2.3`, without the version when the distribution is not installed."""
    try:
        return f"{distribution}/{metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return distribution


class _Authorization(httpx.Auth):
    """
    The header that says who asks; its repr does not.

    Attributes:
        secrets: What nobody else may read.
    """

    def __init__(self, scheme: str, credentials: str, *secrets: str) -> None:
        self.secrets = (credentials, *secrets)
        self._value = f"{scheme} {credentials}"

    def is_visible(self) -> bool:
        """Whether a header can carry it."""
        return all("!" <= char <= "~" for char in self.secrets[0])

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["authorization"] = self._value
        yield request


def _basic(url: httpx.URL) -> _Authorization | None:
    if not url.userinfo:
        return None
    credentials = b64encode(f"{url.username}:{url.password}".encode()).decode()
    # A name without a password is a secret itself.
    return _Authorization("Basic", credentials, url.password or url.username)


def _http_client(**options: Any) -> httpx.Client:
    headers = {
        # An answer that was packed could be small on the wire and huge in memory.
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": user_agent(),
    }
    with suppress(ImportError, OSError, ValueError, httpx.InvalidURL):
        return httpx.Client(
            headers=headers,
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            **options,
        )
    # Not from inside: the error there may quote a proxy's URL, and its password.
    raise InvalidSetting("The proxy or the certificates that the environment names cannot be used.")


@lru_cache(maxsize=1024)
def _warn_of_exposure(receiver: str) -> None:
    _log.warning(
        "The token or the password for the receiver at %s goes over plain http, where others "
        "can read it on the way. Use https.",
        receiver,
    )


def _is_temporary(error: BaseException) -> bool:
    return isinstance(error, CallFailed) and error.temporary


def _pause_seconds(state: RetryCallState) -> float:
    error = state.outcome and state.outcome.exception()
    asked = (isinstance(error, Refused) and error.retry_after_seconds) or 0.0
    return max(_doubling(state), min(asked, _LONGEST_ASKED_SECONDS))


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
