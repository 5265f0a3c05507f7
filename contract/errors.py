"""
The errors of the project: each class with the `code` that programs can match on.

    FleetError                      root of all errors               fleet_error
    ├── InvalidMessage              a value breaks the contract      invalid_message
    ├── MalformedJSON               bytes are not JSON               malformed_json
    ├── WrongServer                 a message of another server      wrong_server
    ├── client.ClientError          see client.errors
    └── receiver.ReceiverError      the receiver's own errors
"""

from collections.abc import Iterable

from attrs import frozen

from contract.fields import Text

__all__ = ["FleetError", "InvalidMessage", "MalformedJSON", "Problem", "WrongServer"]


class FleetError(Exception):
    """
    The base class of every error that this project raises on purpose.

    Attributes:
        code: A stable, machine-readable name of the kind of error, such as `wrong_server`.
    """

    code = "fleet_error"


@frozen
class Problem:
    """
    One thing that is wrong with a value.

    Attributes:
        path: The path of the value, such as `ip_addresses.primary` or `capabilities[3]`;
            empty for the message as a whole.
        message: What is wrong, for people, such as "expected a port from 1 to 65535, got 0".
    """

    path: Text
    message: Text

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidMessage(FleetError):
    """
    A message, or an argument of its constructor, has a value that is not allowed.

    Attributes:
        problems: The problems that were found, at least one. Decoding finds all of them, but a
            constructor stops at the first.
    """

    code = "invalid_message"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))


class MalformedJSON(FleetError):
    """Some bytes, or a text, cannot be read as JSON in UTF-8."""

    code = "malformed_json"


class WrongServer(FleetError):
    """
    A message cannot be merged into a record, because the record is that of another server.

    Attributes:
        record_id: The `server_id` of the record.
        message_id: The `server_id` of the message.
    """

    code = "wrong_server"

    def __init__(self, record_id: str, message_id: str) -> None:
        self.record_id = record_id
        self.message_id = message_id
        super().__init__(record_id, message_id)

    def __str__(self) -> str:
        return f"a message from {self.message_id!r} cannot change the record of {self.record_id!r}"
