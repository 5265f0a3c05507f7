"""
Turning a receiver's HTTP answers into receipts and errors.

The functions take an answer, and the receiver's URL (`receiver`) in the form in which errors show
it. The statuses 200 and 201 are success. For a redirect (3xx) and for an error (4xx and 5xx) each
function raises Refused, and for any other status BadAnswer.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from client.errors import BadAnswer, Refused
from client.exchange import Answer
from contract import Heartbeat, MalformedJSON, Problem, Registration, Want, parse
from contract.fields import parse_moment

__all__ = [
    "HeartbeatReceipt",
    "RegistrationReceipt",
    "SilenceReceipt",
    "health_of",
    "receipt_of_heartbeat",
    "receipt_of_registration",
    "receipt_of_silence",
    "receipts_of_batch",
]

_SUCCESS = {200, 201}

_STATUS_OF_CODE = {
    "store_unavailable": 503,
    "overloaded": 503,
    "outcome_unknown": 503,
    "internal_error": 500,
}
"""
By the `code` with which a heartbeat is rejected in a batch, the status that it would get alone.

For any other code it is 422.
"""


@frozen(kw_only=True)
class RegistrationReceipt:
    """
    The result of a registration that the receiver has accepted.

    Attributes:
        server_id: The `server_id` of the registration.
        created: Whether the server was new to the receiver.
    """

    server_id: str
    created: bool


@frozen(kw_only=True)
class HeartbeatReceipt:
    """
    The result of a heartbeat that the receiver has accepted.

    Attributes:
        server_id: The `server_id` of the heartbeat.
        heartbeat_count: How many heartbeats of the server the receiver has counted, including
            this one; None when the answer lacks the number.
        wants: What the receiver asks the server to do, such as to register again; empty if it asks
            for nothing. Values that this version of the client does not know are left out.
        next_heartbeat_seconds: After how many seconds the receiver would like the next heartbeat;
            None when it has no wish.
    """

    server_id: str
    heartbeat_count: int | None
    wants: tuple[Want, ...] = ()
    next_heartbeat_seconds: float | None = None


@frozen(kw_only=True)
class SilenceReceipt:
    """
    The result of a request for a silence, in which no alarms are told, that the receiver accepted.

    Attributes:
        server_id: The server that is silenced. If several servers (nodes) send for one database,
            it is the one that the receiver lists in place of all.
        until: When the silence ends, in UTC; None if the answer does not say it.
    """

    server_id: str
    until: datetime | None


def receipt_of_registration(
    answer: Answer, registration: Registration, *, receiver: str
) -> RegistrationReceipt:
    """
    Make a receipt from the answer to a registration.

    Only the HTTP status counts, whatever the body holds.

    Raises Refused or BadAnswer.
    """
    _must_succeed(answer, receiver)

    return RegistrationReceipt(server_id=registration.server_id, created=answer.status == 201)


def receipt_of_heartbeat(
    answer: Answer, heartbeat: Heartbeat, *, receiver: str
) -> HeartbeatReceipt:
    """
    Make a receipt from the answer to a heartbeat.

    If the status is success and the body cannot be read, the receipt lacks what the body would say.

    Raises Refused or BadAnswer.
    """
    _must_succeed(answer, receiver)

    return _receipt(heartbeat, _object(answer.body))


def receipts_of_batch(
    answer: Answer, heartbeats: Sequence[Heartbeat], *, receiver: str
) -> list[HeartbeatReceipt | Refused]:
    """
    Make a receipt or a Refused for each heartbeat of a batch from the answer, in their order.

    Raises Refused if the batch is refused as a whole, and BadAnswer for another status, and if the
    answer does not have one result for each heartbeat.
    """
    _must_succeed(answer, receiver)

    results = _object(answer.body).get("results")
    if not isinstance(results, list) or len(results) != len(heartbeats):
        raise BadAnswer(receiver, "it does not hold one result for each heartbeat")
    return [_result(each, beat, receiver) for each, beat in zip(results, heartbeats, strict=True)]


def receipt_of_silence(answer: Answer, server_id: str, *, receiver: str) -> SilenceReceipt:
    """
    Make a receipt from the answer to a request for a silence of the server `server_id`.

    If the status is success and the body cannot be read, the receipt has this `server_id`, and no
    end of the silence.

    Raises Refused or BadAnswer.
    """
    _must_succeed(answer, receiver)

    silence = _object(answer.body)
    return SilenceReceipt(
        server_id=_text(silence.get("server_id")) or server_id,
        until=_moment(silence.get("ends_at")),
    )


def health_of(answer: Answer, *, receiver: str) -> dict[str, Any]:
    """
    Return the JSON object in the answer to `GET /health`.

    Raises Refused or BadAnswer; BadAnswer, too, if the body is no JSON object, or an empty one.
    """
    _must_succeed(answer, receiver)

    if not (health := _object(answer.body)):
        raise BadAnswer(receiver, "it is no JSON object")
    return health


def _must_succeed(answer: Answer, receiver: str) -> None:
    if answer.status in _SUCCESS:
        return
    if 300 <= answer.status < 400:
        raise Refused(receiver, status=answer.status, detail=_moved_to(answer))
    if answer.status < 400:
        raise BadAnswer(receiver, f"the status is {answer.status}, and 200 or 201 would be right")
    raise _refusal(
        _object(answer.body),
        answer.status,
        receiver,
        retry_after_seconds=_retry_after_seconds(answer.headers),
    )


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The `Retry-After` header in seconds; None if there is none, or if it cannot be read."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    # A date is relative to the answer's own Date header: this host's clock may differ.
    with suppress(ValueError, TypeError, OverflowError):
        until = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, until.total_seconds())
    return None


def _moved_to(answer: Answer) -> str:
    place = _without_secrets(answer.headers.get("location", ""))
    return f"it points to {place or 'nowhere'}, and a redirect is not followed"


def _without_secrets(url: str) -> str:
    """The URL without user, password, query and fragment; empty for text that is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _result(result: object, heartbeat: Heartbeat, receiver: str) -> HeartbeatReceipt | Refused:
    if not isinstance(result, dict):
        raise BadAnswer(receiver, "a result in it is no object")
    if result.get("status") == "ok":
        return _receipt(heartbeat, result)
    status = _whole(result.get("status")) or _STATUS_OF_CODE.get(_text(result.get("code")), 422)
    return _refusal(result, status, receiver)


def _receipt(heartbeat: Heartbeat, result: dict[str, Any]) -> HeartbeatReceipt:
    wants = result.get("wants")
    return HeartbeatReceipt(
        server_id=heartbeat.server_id,
        heartbeat_count=_whole(result.get("heartbeat_count")),
        # A later receiver may want what this client does not know.
        wants=tuple(want for want in Want if isinstance(wants, list) and want.value in wants),
        next_heartbeat_seconds=_seconds(result.get("next_heartbeat_seconds")),
    )


def _refusal(
    problem: dict[str, Any],
    status: int,
    receiver: str,
    *,
    retry_after_seconds: float | None = None,
) -> Refused:
    errors = problem.get("errors")
    return Refused(
        receiver,
        status=status,
        code=_text(problem.get("code")) or "http_error",
        detail=_text(problem.get("detail")) or _text(problem.get("title")),
        errors=map(_problem, errors if isinstance(errors, list) else []),
        retry_after_seconds=retry_after_seconds,
    )


def _problem(error: object) -> Problem:
    problem = error if isinstance(error, dict) else {"message": error}
    return Problem(_text(problem.get("path")), _text(problem.get("message")))


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body; an empty dict for any other body."""
    try:
        value = parse(body)
    except MalformedJSON:
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    return None


def _moment(value: object) -> datetime | None:
    with suppress(ValueError, OverflowError):
        return parse_moment(_text(value))
    return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
