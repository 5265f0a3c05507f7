"""The HTTP client that sends registrations and heartbeats to a receiver."""

import json
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
from urllib.parse import urlencode

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from client import answers, receiver_url
from client.answers import HeartbeatReceipt, RegistrationReceipt, SilenceReceipt
from client.errors import CallFailed, InvalidSetting, InvalidToken, Refused
from client.exchange import Answer, ask, mask_logs
from client.foreign import Mask
from contract import Heartbeat, Registration, dumps

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PhoneHomeClient", "user_agent"]

_BATCH_LIMIT = 1000
_BATCH_LIMIT_BYTES = 1024 * 1024 - len("[]")
_MOST_RETRY_AFTER_SECONDS = 60.0

_log = logging.getLogger(__name__)
_backoff = wait_exponential(multiplier=2)


class PhoneHomeClient:
    """
    A client that sends registrations and heartbeats of servers to one receiver.

    It is thread-safe. `close`, or the end of a `with` block, closes it; calls after that
    raise RuntimeError.

    It opens a new connection for each request, because heartbeats are minutes apart, and a
    heartbeat that is sent over an idle connection which the receiver has just closed would be lost.
    It does not follow redirects and keeps no cookies. Like httpx, it reads proxies and
    certificates from the environment (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` ...).

    If a token or a password is sent unencrypted (plain http) to another machine, it logs a
    warning, once for each receiver and process.

    Args:
        base_url: URL of the receiver, such as `https://host/fleet`; a trailing `/register`,
            `/heartbeat` or `/heartbeats` is removed. User and password in it are sent as
            Basic authentication when there is no token.
        token: Sent as `Authorization: Bearer`; None or empty for no token.
        timeout: How many seconds one whole request may take, from the DNS look-up to the last
            byte of the answer.
        attempts: How often a registration is tried at most, including the first time.
        verify: TLS settings with which the receiver's certificate is checked; by default, the
            certificate authorities of certifi are trusted. `client.trust_only(path)` makes such
            settings for a private authority.
        transport: An httpx transport that replaces the network in tests. With one, the client
            ignores the proxies in the environment.
        sleep: Waits for a number of seconds between two attempts.

    Raises InvalidUrl, InvalidToken or InvalidSetting for arguments that cannot work.
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
        # Set before anything can raise: a traceback tool may call `__repr__`.
        self._base_url, self._has_token = "", bool(token)
        bearer = _Authorization("Bearer", token) if token else None
        del token  # tools that print the local variables of a traceback must not show it
        if bearer is not None and not bearer.is_visible():
            raise InvalidToken("The token may only hold visible ASCII characters, and no spaces.")
        if not 0 < timeout < math.inf:
            raise InvalidSetting(f"The timeout must be above 0 seconds, and is {timeout}.")
        if attempts < 1:
            raise InvalidSetting(f"There must be at least 1 attempt, not {attempts}.")

        url = receiver_url.parse(base_url)
        del base_url  # as above: it may hold a password
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
        """URL of the receiver, without a slash at its end, and without user and password."""
        return self._base_url

    def register(self, registration: Registration) -> RegistrationReceipt:
        """
        Register a server, with retries. The status 200 or 201 is success, whatever the body holds.

        After a temporary failure (no connection, a timeout, an unreadable answer, 408, 429 or
        5xx) the call waits and tries again, until `attempts` are used up. The waits are 2, 4, 8
        ... seconds. A `Retry-After` of the receiver that is longer than such a wait takes its
        place, but counts as 60 seconds if it is more. So the call blocks for at most `attempts`
        timeouts and the waits between them.

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
        Send one heartbeat, without retry. The status 200 or 201 is success, whatever the body
        holds.

        Blocks for at most one timeout. Raises CallFailed; a retry is not needed, because the next
        scheduled heartbeat makes up for a failed one.
        """
        answer = self._post("/heartbeat", dumps(heartbeat))
        return answers.receipt_of_heartbeat(answer, heartbeat, receiver=self._base_url)

    def heartbeats(self, heartbeats: Iterable[Heartbeat]) -> list[HeartbeatReceipt | Refused]:
        """
        Send heartbeats of many servers in batches, without retry.

        A batch holds at most 1,000 heartbeats and 1 MiB, the limits of a receiver. Each
        batch is one request, which may take the whole timeout.

        Returns a receipt for each heartbeat that the receiver accepted, and a Refused for each
        other one, in the order of the heartbeats. Raises CallFailed when a request fails as a
        whole; then the receiver has processed the batches of the requests before it, but the call
        does not return their results.
        """
        results: list[HeartbeatReceipt | Refused] = []
        for batch, body in _batches(heartbeats):
            answer = self._post("/heartbeats", body)
            results += answers.receipts_of_batch(answer, batch, receiver=self._base_url)
        return results

    def silence(
        self, server_id: str, *, minutes: int, reason: str = "maintenance"
    ) -> SilenceReceipt:
        """
        Ask the receiver to tell no alarm about a server for some minutes from now on.

        The token must be that of the key that the server belongs to, or an administrator's. An
        earlier silence of the server that the same key has asked for in this way ends, so that the
        minutes count anew.
        The call does not retry, and blocks for at most one timeout. Raises CallFailed.

        Args:
            server_id: The id of the server.
            minutes: For how many minutes; a receiver allows 1 to 1,440.
            reason: Why, for the people who see the silence: 1 to 200 characters.
        """
        body = json.dumps({"minutes": minutes, "reason": reason}).encode()
        # In the path, clients and proxies would take an id such as `..` for a direction.
        answer = self._post(f"/by-id/servers/silence?{urlencode({'id': server_id})}", body)
        return answers.receipt_of_silence(answer, server_id, receiver=self._base_url)

    def health(self) -> dict[str, Any]:
        """
        Return the JSON object that `GET /health` answers, such as `{"status": "healthy", ...}`.

        Does not retry, and blocks for at most one timeout. Raises CallFailed; if the receiver
        reports that it is unhealthy, the error is a Refused.
        """
        answer = self._ask(self._http.build_request("GET", self._base_url + "/health"))
        return answers.health_of(answer, receiver=self._base_url)

    def close(self) -> None:
        """Release the client's resources. Calls after this raise RuntimeError."""
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
    """
    Return the value of the User-Agent header: the name and version of a Python distribution.

    It is such as `odoo-mcp-fleet/1.2.3`. If the distribution is not installed, it is its name
    without a version.
    """
    try:
        return f"{distribution}/{metadata.version(distribution)}"
    except metadata.PackageNotFoundError:
        return distribution


class _Authorization(httpx.Auth):
    """
    Adds the `Authorization` header to each request; its repr does not show the secret.

    Attributes:
        secrets: Texts to mask in errors and logs.
    """

    def __init__(self, scheme: str, credentials: str, *secrets: str) -> None:
        self.secrets = (credentials, *secrets)
        self._value = f"{scheme} {credentials}"

    def is_visible(self) -> bool:
        """Whether the credentials are visible ASCII, which an HTTP header can carry."""
        return all("!" <= char <= "~" for char in self.secrets[0])

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["authorization"] = self._value
        yield request


def _basic(url: httpx.URL) -> _Authorization | None:
    if not url.userinfo:
        return None
    credentials = b64encode(f"{url.username}:{url.password}".encode()).decode()
    # A user name without a password may be an API key, so it is masked like a password.
    return _Authorization("Basic", credentials, url.password or url.username)


def _http_client(**options: Any) -> httpx.Client:
    headers = {
        # No compression: a small compressed answer could expand to a huge one in memory.
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
    # Raised outside the `with`, without a cause: httpx's error may quote a proxy's password.
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
    retry_after = (isinstance(error, Refused) and error.retry_after_seconds) or 0.0
    return max(_backoff(state), min(retry_after, _MOST_RETRY_AFTER_SECONDS))


def _batches(heartbeats: Iterable[Heartbeat]) -> Iterator[tuple[list[Heartbeat], bytes]]:
    """Split heartbeats into batches within a receiver's limits; yields each with its JSON array."""
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
