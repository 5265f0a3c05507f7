"""The section of the front page that says what needs somebody: what is wrong, and since when."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from anyio import to_thread
from attrs import evolve, field, frozen

from contract import EventKind, ServerRecord
from receiver.domain.filter_text import FilterText
from receiver.domain.grouping.problems import Problem, Trouble, problems
from receiver.domain.keys import Key, Keyring
from receiver.service.problems.troubles import Found
from receiver.web.context import Services
from receiver.web.pages import wording
from receiver.web.pages.silenced import Silenced
from receiver.web.pages.sizes import fitting_problems

__all__ = ["Problems", "problems_of"]


@frozen(kw_only=True)
class OfFleet:
    """
    What is wrong beside the servers.

    Attributes:
        cannot_write: Whether messages of servers cannot be written to the database.
        undelivered: How many messages about alarms reached nobody.
        expired: Keys that have expired, each with the number of its servers, which cannot send.
        expiring: Keys that will expire soon, the next one first.
    """

    cannot_write: bool = False
    undelivered: int = 0
    expired: Sequence[tuple[Key, int]] = ()
    expiring: Sequence[Key] = ()

    @property
    def is_any(self) -> bool:
        return bool(self.cannot_write or self.undelivered or self.expired or self.expiring)


@frozen(kw_only=True)
class Problems:
    """
    What is wrong with the servers that a filter finds.

    Attributes:
        shown: The most urgent problems.
        left: For each trouble, how many servers with it are in none of `shown`.
        counts: How many servers have which trouble.
        has_more: Whether there are more of them than were read.
        silenced: The problems of servers that are silenced.
        of_fleet: What is wrong beside the servers.
        calm_since: Since when all servers have been heard in time, and receivers have been running,
            if nothing is wrong.
        matching: The filter.
    """

    shown: Sequence[Problem]
    left: Mapping[Trouble, int]
    counts: Mapping[Trouble, int]
    has_more: bool
    silenced: Sequence[Problem]
    of_fleet: OfFleet = field(factory=OfFleet)
    calm_since: datetime
    matching: FilterText

    @property
    def is_calm(self) -> bool:
        return not (self.counts or self.of_fleet.is_any)

    @property
    def is_narrowed(self) -> bool:
        return self.matching != FilterText()

    @property
    def silenced_servers(self) -> int:
        """How many servers with a trouble are silenced."""
        return len({each.server_id for problem in self.silenced for each in problem.servers})

    def in_list(self, trouble: Trouble, problem: Problem | None = None) -> str | None:
        """
        The URL of the list of the servers with a trouble, within the filter.

        With a problem, it is narrowed to the stage of its servers, if they have one in common. None
        if a list cannot be filtered by this trouble.
        """
        if trouble not in _STATES:
            return None
        wanted = evolve(self.matching, state=(trouble.value,))
        if problem is not None and len(problem.stages) == 1:
            wanted = evolve(wanted, stage=(problem.stages[0][0],))
        return f"./?{urlencode({'query': str(wanted)})}"

    def in_timeline(self, problem: Problem) -> str | None:
        """The URL of the events with which a problem began; None if its time is not known."""
        if problem.first is None or problem.last is None:
            return None
        return wording.span_url([EventKind(problem.trouble.value)], problem.first, problem.last)


async def problems_of(found: Services, matching: FilterText, silenced: Silenced) -> Problems:
    """
    Find out what is wrong with the servers that match, in whichever state they are.

    Raises StoreUnavailable.
    """
    troubles = await found.troubles.find()
    return await to_thread.run_sync(_problems, found, troubles, matching, silenced)


def _problems(
    found: Services, troubles: Found, matching: FilterText, silenced: Silenced
) -> Problems:
    matching = matching.in_any_state()
    is_narrowed = matching != FilterText()
    each, quiet = troubles.once(
        (matching, silenced.windows),
        lambda: _grouped(troubles, matching, silenced, found.mirror.keys),
    )
    shown = fitting_problems(each, most=_MOST_SHOWN)
    counts = _counts(each)
    return Problems(
        shown=shown,
        left={trouble: n for trouble, n in (counts - _counts(shown)).items() if n},
        counts=counts,
        has_more=troubles.has_more,
        silenced=quiet,
        of_fleet=OfFleet() if is_narrowed else _of_fleet(found, troubles),
        calm_since=_calm_since(found, troubles),
        matching=matching,
    )


def _grouped(
    troubles: Found, matching: FilterText, silenced: Silenced, keys: Keyring
) -> tuple[list[Problem], list[Problem]]:
    """The problems of the servers that match: of those that are not silenced, and of those."""
    loud: list[ServerRecord] = []
    quiet: list[ServerRecord] = []
    without_keys, is_of_key = _by_key(matching, keys)
    for record, _, owner in troubles.servers:
        if is_of_key(owner) and without_keys.matches(record):
            (quiet if silenced.of(record) else loud).append(record)
    return problems(loud), problems(quiet)


def _by_key(matching: FilterText, keys: Keyring) -> tuple[FilterText, Callable[[str | None], bool]]:
    """
    Divide a filter: what a record tells, and which keys its server may belong to.

    Returns the filter without keys, and a function that tells whether the key with an id is meant,
    or that a server belongs to none.
    """
    unwanted = dict(matching.without).get(_KEY, ())
    rest = tuple(each for each in matching.without if each[0] != _KEY)

    def is_meant(owner: str | None) -> bool:
        key = None if owner is None else keys.get(owner)
        called = {owner or "", *([] if key is None else [key.name])}
        is_wanted = not matching.key or not called.isdisjoint(matching.key)
        return is_wanted and called.isdisjoint(unwanted)

    return evolve(matching, key=(), without=rest), is_meant


def _counts(each: Sequence[Problem]) -> Counter[Trouble]:
    counts: Counter[Trouble] = Counter()
    for problem in each:
        counts[problem.trouble] += len(problem.servers)
    return counts


def _of_fleet(found: Services, troubles: Found) -> OfFleet:
    now = found.clock()
    keys = found.mirror.keys
    expired = [
        (key, number)
        for key_id, number in troubles.expired.items()
        if (key := keys.get(key_id)) is not None
    ]
    ends: Callable[[Key], datetime] = lambda key: key.expires_at or now  # noqa: E731 - to be typed
    return OfFleet(
        cannot_write=found.fleet.trouble() is not None,
        undelivered=found.alerts.counts.given_up,
        expired=sorted(expired, key=lambda each: each[1], reverse=True),
        expiring=sorted((key for key in keys if key.expires_soon_since(now)), key=ends),
    )


def _calm_since(found: Services, troubles: Found) -> datetime:
    heard_since = found.fleet.heard_since() or found.clock()
    return max(heard_since, troubles.calm_since or heard_since)


_KEY = "key"
_STATES = (Trouble.DOWN, Trouble.LATE)
_MOST_SHOWN = 8
