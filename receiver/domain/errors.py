"""
What the receiver raises.

    contract.FleetError
    └── ReceiverError
        ├── InvalidSetting      a FLEET_ variable cannot be used     invalid_setting
        ├── StoreUnavailable    the database does not answer         store_unavailable
        │   └── OutcomeUnknown  what became of a commit is unknown   outcome_unknown
        ├── Overloaded          too many messages wait               overloaded
        └── Refusal             a request that gets another answer   its own code
"""

from collections.abc import Iterable, Mapping

from contract import FleetError, Problem

__all__ = [
    "InvalidSetting",
    "OutcomeUnknown",
    "Overloaded",
    "ReceiverError",
    "Refusal",
    "StoreUnavailable",
]


class ReceiverError(FleetError):
    """Anything the receiver raises on purpose."""

    code = "receiver_error"


class InvalidSetting(ReceiverError):
    """A setting that stops the start; the sentence names it and never shows its value."""

    code = "invalid_setting"


class StoreUnavailable(ReceiverError):
    """The database does not answer; what was asked of it did not happen."""

    code = "store_unavailable"


class OutcomeUnknown(StoreUnavailable):
    """The database did not say what became of a commit; it may have happened."""

    code = "outcome_unknown"


class Overloaded(ReceiverError):
    """More messages wait to be written than may wait; the new ones did not join them."""

    code = "overloaded"


class Refusal(ReceiverError):
    """
    A request that is answered with a problem document.

    Attributes:
        status: The HTTP status.
        code: What went wrong, for machines.
        errors: What is wrong where, when it is known.
        headers: To send along.
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
