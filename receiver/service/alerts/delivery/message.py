"""A message as it is handed to the process that sends it, and what came of that."""

from typing import Any

from attrs import frozen

__all__ = ["Message", "Result"]


@frozen(kw_only=True)
class Message:
    """
    A message to be sent.

    Attributes:
        id: The id of the message, the same in each attempt.
        kind: The value of its `DeliveryKind`.
        thread: An id that the messages of one thread share; empty for a message without a thread.
        title: The first line, for people.
        text: The message for people.
        body: The JSON for programs.
    """

    id: str
    kind: str
    thread: str
    title: str
    text: str
    body: Any


@frozen(kw_only=True)
class Result:
    """
    What came of sending a message.

    Attributes:
        error: Why the message was not sent, for people; None if it was.
        warning: What went wrong although the message was sent, for people: not all of its
            recipients have got it, for instance. None if nothing went wrong.
    """

    error: str | None = None
    warning: str | None = None
