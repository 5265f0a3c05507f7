"""What a receiver's answers mean."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from client.errors import BadAnswer, Refused
from client.exchange import Answer
from contract import Heartbeat, MalformedJSON, Problem, Registration, parse

__all__ = [
    "HeartbeatReceipt",
    "RegistrationReceipt",
    "health_of",
    "receipt_of_heartbeat",
    "receipt_of_registration",
    "receipts_of_batch",
]

_SUCCESS = {200, 201}


@frozen(kw_only=True)
class RegistrationReceipt:
    """
    The receiver knows the server now.

    Attributes:
        server_id: As it was sent.
        created: Whether the receiver had never heard of it.
    """

    server_id: str
    created: bool


@frozen(kw_only=True)
class HeartbeatReceipt:
    """
    The receiver took in a heartbeat.

    Attributes:
        server_id: As it was sent.
        heartbeat_count: Heartbeats the receiver has counted for the server, this one
            included; None when the answer does not say.
    """

    server_id: str
    heartbeat_count: int | None


def receipt_of_registration(
    answer: Answer, registration: Registration, *, receiver: str
) -> RegistrationReceipt:
    """Read the answer to a registration. The status decides, whatever the body holds."""
    _must_succeed(answer, receiver)

    return RegistrationReceipt(server_id=registration.server_id, created=answer.status == 201)


def receipt_of_heartbeat(
    answer: Answer, heartbeat: Heartbeat, *, receiver: str
) -> HeartbeatReceipt:
    """Read the answer to a heartbeat. The status decides, whatever the body holds."""
    _must_succeed(answer, receiver)

    return _receipt(heartbeat, _object(answer.body))


def receipts_of_batch(
    answer: Answer, heartbeats: Sequence[Heartbeat], *, receiver: str
) -> list[HeartbeatReceipt | Refused]:
    """Read the answer to a batch: one result for each heartbeat, in their order."""
    _must_succeed(answer, receiver)

    results = _object(answer.body).get("results")
    if not isinstance(results, list) or len(results) != len(heartbeats):
        raise BadAnswer(receiver, "it does not hold one result for each heartbeat")
    return [_result(said, beat, receiver) for said, beat in zip(results, heartbeats, strict=True)]


def health_of(answer: Answer, *, receiver: str) -> dict[str, Any]:
    """Read what a receiver says of itself."""
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
        _object(answer.body), answer.status, receiver, retry_after_seconds=_patience(answer.headers)
    )


def _patience(headers: Mapping[str, str]) -> float | None:
    """How many seconds the receiver asks to be left alone."""
    said = headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    # A date is one of the receiver's clock, and so is the date of the answer.
    with suppress(ValueError, TypeError, OverflowError):
        until = parsedate_to_datetime(said) - parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, until.total_seconds())
    return None


def _moved_to(answer: Answer) -> str:
    place = _without_secrets(answer.headers.get("location", ""))
    return f"it points to {place or 'nowhere'}, and a redirect is not followed"


def _without_secrets(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


def _result(said: object, heartbeat: Heartbeat, receiver: str) -> HeartbeatReceipt | Refused:
    if not isinstance(said, dict):
        raise BadAnswer(receiver, "a result in it is no object")
    if said.get("status") == "ok":
        return _receipt(heartbeat, said)
    return _refusal(said, _whole(said.get("status")) or 422, receiver)


def _receipt(heartbeat: Heartbeat, said: dict[str, Any]) -> HeartbeatReceipt:
    count = _whole(said.get("heartbeat_count"))
    return HeartbeatReceipt(server_id=heartbeat.server_id, heartbeat_count=count)


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
    said = error if isinstance(error, dict) else {"message": error}
    return Problem(_text(said.get("path")), _text(said.get("message")))


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, or an empty one."""
    try:
        value = parse(body)
    except MalformedJSON:
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
