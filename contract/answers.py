"""What a receiver answers to the messages of senders, one JSON object for each message."""

from enum import Enum
from typing import Annotated, Any

from attrs import frozen

from contract.errors import Problem
from contract.fields import Count, Interval, Rule, ServerId, Text

__all__ = ["HeartbeatAnswer", "RegistrationAnswer", "RejectedAnswer", "Want"]


class Want(str, Enum):
    """
    What a receiver asks a sender for, as far as this version knows.

    `registration`: to register once more, with the description of its tools, because the receiver
    does not know the one that `tools_digest` stands for.
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
        status: `registered`.
        server_id: The `server_id` of the registration.
    """

    status: Annotated[str, _only("registered")]
    server_id: ServerId


@frozen(kw_only=True)
class HeartbeatAnswer:
    """
    The answer to a heartbeat that is stored.

    Attributes:
        status: `ok`.
        server_id: The `server_id` of the heartbeat.
        heartbeat_count: Number of heartbeats received from the server since its first message.
        wants: What the receiver asks the sender for, values of `Want`; a sender ignores those that
            it does not know.
        next_heartbeat_seconds: After how many seconds the receiver would like the next heartbeat.
            The sender need not obey. One that does declares its new interval in that heartbeat
            (`heartbeat_interval_seconds`).
    """

    status: Annotated[str, _only("ok")]
    server_id: ServerId
    heartbeat_count: Count
    wants: tuple[Text, ...] | None = None
    next_heartbeat_seconds: Interval | None = None


@frozen(kw_only=True)
class RejectedAnswer:
    """
    The answer to a heartbeat of a batch that is not stored.

    Attributes:
        status: `rejected`.
        code: A stable name for the reason, such as `invalid_message`.
        errors: What is wrong.
    """

    status: Annotated[str, _only("rejected")]
    code: Text
    errors: tuple[Problem, ...]
