"""
The JSON objects with which a receiver answers registrations and heartbeats.

Each message has one such object; the answer to a batch of heartbeats holds one for each of them.
"""

from enum import Enum
from typing import Annotated, Any

from attrs import frozen

from contract.errors import Problem
from contract.fields import Count, Interval, Rule, ServerId, Text

__all__ = ["HeartbeatAnswer", "RegistrationAnswer", "RejectedAnswer", "Want"]


class Want(str, Enum):
    """
    What a receiver can ask for in its answer to a heartbeat; later versions may ask for more.

    `registration`: The sender shall register its server once more, with the description of the
    tools, because the receiver knows no description with the `tools_digest` of the heartbeat.
    """

    REGISTRATION = "registration"


def _only(word: str) -> Rule:
    def read(value: Any) -> str:
        if value == word:
            return word
        raise ValueError(value)

    return Rule(f"the word {word}", {"const": word}, read)


@frozen(kw_only=True)
class RegistrationAnswer:
    """
    The answer to a registration that is stored. Its HTTP status is 201 for a new server, else 200.

    Attributes:
        status: Always `registered`.
        server_id: The `server_id` of the registration.
    """

    status: Annotated[str, _only("registered")]
    server_id: ServerId


@frozen(kw_only=True)
class HeartbeatAnswer:
    """
    The answer to a heartbeat that is stored.

    Attributes:
        status: Always `ok`.
        server_id: The `server_id` of the heartbeat.
        heartbeat_count: Number of heartbeats received from the server since its first message,
            including this one.
        wants: What the receiver asks the sender for, as values of `Want`; None if it asks for
            nothing. A sender ignores values that it does not know.
        next_heartbeat_seconds: After how many seconds the receiver would like the next heartbeat;
            None if it has no wish. A sender may ignore the wish. One that fulfils it declares the
            new interval in its next heartbeat (`heartbeat_interval_seconds`).
    """

    status: Annotated[str, _only("ok")]
    server_id: ServerId
    heartbeat_count: Count
    wants: tuple[Text, ...] | None = None
    next_heartbeat_seconds: Interval | None = None


@frozen(kw_only=True)
class RejectedAnswer:
    """
    In the answer to a batch of heartbeats, the result for a heartbeat that is not stored.

    Attributes:
        status: Always `rejected`.
        code: A stable name for the reason, such as `invalid_message`.
        errors: Why the heartbeat is not stored: each field that is not valid, or another reason.
    """

    status: Annotated[str, _only("rejected")]
    code: Text
    errors: tuple[Problem, ...]
