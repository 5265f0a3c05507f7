"""
The exceptions that the receiver raises.

    contract.FleetError
    └── ReceiverError
        ├── InvalidSetting      an environment variable is wrong     invalid_setting
        ├── StoreUnavailable    the database does not answer         store_unavailable
        │   └── OutcomeUnknown  a commit may have succeeded or not   outcome_unknown
        ├── CopyRefused         a copy cannot be made, or is wrong   copy_refused
        ├── Overloaded          too many messages wait               overloaded
        └── Refusal             a request is refused                 its own code
"""

from collections.abc import Iterable, Mapping

from contract import FleetError, Problem

__all__ = [
    "CopyRefused",
    "InvalidSetting",
    "OutcomeUnknown",
    "Overloaded",
    "ReceiverError",
    "Refusal",
    "StoreUnavailable",
]


class ReceiverError(FleetError):
    """The base class of all errors that the receiver raises on purpose."""

    code = "receiver_error"


class InvalidSetting(ReceiverError):
    """
    Environment variables `FLEET_*` are not valid.

    Attributes:
        problems: A sentence about each of these variables, which names it. The sentence quotes the
            value, unless the value may hold a secret.
    """

    code = "invalid_setting"

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__(". ".join(problems))


class StoreUnavailable(ReceiverError):
    """The database does not answer; unless the error is OutcomeUnknown, nothing was changed."""

    code = "store_unavailable"


class OutcomeUnknown(StoreUnavailable):
    """The connection broke during a commit; it is not known whether the commit has succeeded."""

    code = "outcome_unknown"


class CopyRefused(ReceiverError):
    """A database cannot be copied in the way that was asked for, or differs from its copy."""

    code = "copy_refused"


class Overloaded(ReceiverError):
    """Too many messages wait to be written to the database; this message is not written."""

    code = "overloaded"


class Refusal(ReceiverError):
    """
    A request is refused, and answered with a problem document (RFC 9457).

    The text of the error is the `detail` of the document: a sentence for people.

    Attributes:
        status: The HTTP status.
        code: The stable name of the error, for programs.
        errors: Which fields or parameters of the request are invalid, and why; may be empty.
        headers: Headers of the answer, such as `Retry-After`; may be empty.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Iterable[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(detail)
