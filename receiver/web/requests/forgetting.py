"""The query parameters of calls that delete ("forget") servers."""

from datetime import timedelta

from attrs import frozen
from starlette.requests import Request

from receiver.domain.errors import Refusal
from receiver.domain.forgetting import FORGETTABLE
from receiver.domain.queries import ALL_SERVERS, Filter
from receiver.web.requests.filters import (
    FILTERS,
    LIST_PARAMETERS,
    filter_of,
    read_filter,
    read_words,
)
from receiver.web.requests.parameters import (
    MAX_LIMIT,
    Parameter,
    is_number,
    read_flag,
    read_limit,
    read_parameters,
)

__all__ = ["MAX_DAYS", "ForgetQuery", "asks_to_forget", "forget_query"]

MAX_DAYS = 36_500


@frozen(kw_only=True)
class ForgetQuery:
    """
    The query parameters of a call that deletes ("forgets") servers.

    Attributes:
        limit: How many servers to delete at most, 1 to 1,000. A few more may be deleted, because
            all servers of a database are deleted together.
        matching: The filters.
        silent_for: Delete only servers whose last message was received longer ago than this; None
            for any time.
        is_dry_run: Whether only to list the servers that would be deleted.
    """

    limit: int = MAX_LIMIT
    matching: Filter = ALL_SERVERS
    silent_for: timedelta | None = None
    is_dry_run: bool = False


def forget_query(request: Request) -> ForgetQuery:
    """
    Read the query parameters of a call that deletes ("forgets") servers.

    Raises Refusal (400), which lists all parameters that are wrong. Raises Refusal, too, when the
    query has no filter, because a URL that has lost its query must not delete all servers.
    """
    found = read_parameters(request, _FORGET)
    matching = filter_of(found)
    if matching == ALL_SERVERS and "silent_for" not in found:
        raise Refusal(400, "filter_missing", _SAY_WHICH)
    return ForgetQuery(matching=matching, **found)


def asks_to_forget(request: Request) -> bool:
    """Whether the query has `forget=true`. Raises Refusal (400) for any parameter but `forget`."""
    return bool(read_parameters(request, _REVOKE).get("forget"))


_SAY_WHICH = (
    "Say which servers to forget: by state=down, silent_for_days=30 or another filter of the "
    "list. With dry_run=true nothing is forgotten, and the answer says what would be."
)


def _forgettable_states(text: str) -> frozenset[str]:
    states = frozenset(text.split(","))
    if not states.issubset(FORGETTABLE):
        raise ValueError(_MAY_NOT_GO)
    return states


def _forgettable_filter(text: str) -> Filter:
    found = read_filter(text)
    if not {*found.state}.issubset(FORGETTABLE):
        raise ValueError(f"state: {_MAY_NOT_GO}")
    return found


_MAY_NOT_GO = (
    f"expected one of {', '.join(FORGETTABLE)}: servers that are heard are not forgotten, "
    "and a node goes with its database; DELETE /servers/{server_id} deletes any server"
)


def _days(text: str) -> timedelta:
    if not (is_number(text) and int(text) <= MAX_DAYS):
        raise ValueError(f"expected a whole number of days from 1 to {MAX_DAYS}")
    return timedelta(days=int(text))


def _some_words(text: str) -> frozenset[str]:
    if not text:
        raise ValueError("is empty, which finds every server; leave it out, if that is meant")
    return read_words(text)


_FORGET: dict[str, Parameter] = {
    "dry_run": ("is_dry_run", read_flag),
    "limit": ("limit", read_limit),
    "silent_for_days": ("silent_for", _days),
    **{name: LIST_PARAMETERS[name] for name in FILTERS},
    "query": ("written", _forgettable_filter),
    "state": ("state", _forgettable_states),
    "q": ("words", _some_words),
}
_REVOKE: dict[str, Parameter] = {"forget": ("forget", read_flag)}
