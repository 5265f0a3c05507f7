"""The section of the front page that says what needs somebody: what is wrong, and since when."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlencode

from attrs import evolve, field, frozen

from contract import EventKind, ServerRecord
from receiver.domain.databases import Noted
from receiver.domain.filter_text import FilterText
from receiver.domain.grouping.problems import Problem, Trouble, problems
from receiver.domain.keys import Key, Keyring
from receiver.service.problems.troubles import Found
from receiver.web.context import Services
from receiver.web.pages import wording
from receiver.web.pages.silenced import Silenced
from receiver.web.pages.sizes import fitting_problems
from receiver.web.pages.told import Told, told_of

__all__ = ["Problems", "problems_of"]


@frozen(kw_only=True)
class OfFleet:
    """
    What is wrong with the fleet, apart from its servers.

    Attributes:
        cannot_write: Whether messages of servers cannot be written to the database.
        undelivered: How many messages about alarms were given up within the last day.
        expired: Keys that have expired, each with the number of its servers, which cannot send any
            more; the key with most servers first.
        expiring: Keys that will expire soon, beginning with the one that expires first.
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

    A trouble is what may be wrong with a server, such as that it is down. A problem is a group of
    servers with the same trouble, which as a rule began at the same time.

    Attributes:
        shown: The most urgent problems.
        left: For each trouble, how many servers with it are in none of the problems `shown`.
        counts: For each trouble, how many servers have it, without those that are silenced.
        quiet_counts: For each trouble, how many servers that are silenced have it.
        has_more: Whether more servers have a trouble than were read, so that some are not counted.
        silenced: The problems of servers that are silenced: nobody is told of their alarms.
        told: Who is told of each of the problems `shown`, by their troubles and first servers.
        has_channel: Whether anybody can be told of anything.
        of_fleet: What is wrong apart from the servers; nothing if the filter has any words.
        calm_since: If nothing is wrong with the whole fleet, since when all servers have been heard
            in time, and receivers have been running.
        is_since_start: Whether `calm_since` is the time at which receivers have begun to run
            without an interruption, so that the servers may have been well for longer.
        matching: The filter, without its words for the state.
        ignores_state: Whether the filter has words for the state, which are ignored.
    """

    shown: Sequence[Problem]
    left: Mapping[Trouble, int]
    counts: Mapping[Trouble, int]
    quiet_counts: Mapping[Trouble, int]
    has_more: bool
    silenced: Sequence[Problem]
    told: Mapping[tuple[Trouble, str], Sequence[Told]]
    has_channel: bool
    of_fleet: OfFleet = field(factory=OfFleet)
    calm_since: datetime
    is_since_start: bool
    matching: FilterText
    ignores_state: bool

    @property
    def is_calm(self) -> bool:
        return not (self.counts or self.of_fleet.is_any)

    @property
    def down(self) -> int:
        """How many servers are down, without those that are silenced."""
        return self.counts.get(Trouble.DOWN, 0)

    def silenced_in(self, state: str) -> int:
        """How many servers in a state, `down` or `late`, are silenced; 0 for other states."""
        return sum(n for trouble, n in self.quiet_counts.items() if trouble.value == state)

    @property
    def is_narrowed(self) -> bool:
        return self.matching != FilterText()

    @property
    def all_counts(self) -> list[tuple[Trouble, int, int]]:
        """Each trouble with the numbers of servers that have it: not silenced, and silenced."""
        numbers = (
            (each, self.counts.get(each, 0), self.quiet_counts.get(each, 0)) for each in Trouble
        )
        return [(each, loud, quiet) for each, loud, quiet in numbers if loud or quiet]

    def told_of(self, problem: Problem) -> Sequence[Told]:
        """Who is told of a problem; nothing of one whose servers are silenced."""
        return self.told.get(_key(problem), ())

    @property
    def silenced_servers(self) -> int:
        """How many servers with a trouble are silenced."""
        return len({each.server_id for problem in self.silenced for each in problem.servers})

    def in_list(self, trouble: Trouble, problem: Problem | None = None) -> str | None:
        """
        The URL of the list of the servers with a trouble that the filter finds.

        If a problem is given and all of its servers have the same stage, the list has only servers
        of this stage. None for a trouble that no list can be filtered by: for any but `down` and
        `late`.
        """
        if trouble not in _STATES:
            return None
        return f"./?{urlencode({'query': str(self._listing(trouble, problem))})}"

    def in_stages(
        self, problem: Problem, totals: Mapping[str, int] | None
    ) -> list[tuple[str, str | None]]:
        """
        The first stages of a problem in words, each with the URL of the list of its servers there.

        The URL is None if no list can be filtered by the trouble, if it would be long, or if there
        is only one stage, to which `in_list` leads.

        Args:
            problem: The problem.
            totals: How many servers the fleet has in each stage; None if that is not known.
        """
        texts = wording.counted_stages(problem.stages, totals)
        return [
            (text, self._in_stage(problem, stage))
            for text, (stage, _) in zip(texts, problem.stages, strict=False)
        ]

    def _in_stage(self, problem: Problem, stage: str) -> str | None:
        if problem.trouble not in _STATES or len(problem.stages) == 1:
            return None
        query = str(evolve(self._listing(problem.trouble, problem), stage=(stage,)))
        return f"./?{urlencode({'query': query})}" if wording.fits_into_link(query) else None

    def _listing(self, trouble: Trouble, problem: Problem | None) -> FilterText:
        """The filter of the list to which `in_list` leads."""
        wanted = evolve(self.matching, state=(trouble.value,))
        if problem is not None and len(problem.stages) == 1:
            wanted = evolve(wanted, stage=(problem.stages[0][0],))
        return wanted

    def in_timeline(self, problem: Problem) -> str | None:
        """
        The URL of all that happened to the servers of a problem around its beginning.

        That is the time from when the first of them was last heard until the trouble began with the
        last one, and some minutes before and after. None if it is not known when that was. If no
        short text of a filter finds the servers, the events are those with which the trouble began
        with any server.
        """
        if problem.first is None or problem.last is None:
            return None
        since = min(problem.first, problem.seen[0]) - _AROUND
        until = problem.last + _AROUND
        query = self._finding(problem)
        if query is None:
            return wording.span_url([EventKind(problem.trouble.value)], problem.first, problem.last)
        return wording.span_url((), since, until, query, is_grouped=True)

    def _finding(self, problem: Problem) -> str | None:
        """
        The text of a filter that finds the servers of a problem; None if there is no short one.

        If they are too many to be named, it is the text of the list of the servers with the
        trouble, which may have further servers.
        """
        wanted = []
        if len(problem.servers) <= _MOST_IN_QUERY:
            ids = tuple(each.server_id for each in problem.servers)
            wanted.append(FilterText(server=ids))
        if problem.trouble in _STATES:
            wanted.append(self._listing(problem.trouble, problem))
        return next(filter(wording.fits_into_link, map(str, wanted)), None)

    @property
    def quiet(self) -> list[tuple[Trouble, int, datetime | None, bool]]:
        """
        What is wrong with silenced servers, and since when.

        Each trouble has the number of its servers, the time at which it began with the first of
        them, which is None if that is not known, and whether it began with all of them together.
        """
        found = []
        for trouble, number in self.quiet_counts.items():
            these = [each for each in self.silenced if each.trouble is trouble]
            first = min((each.first for each in these if each.first is not None), default=None)
            found.append((trouble, number, first, len(these) == 1))
        return found


def problems_of(
    found: Services, troubles: Found, matching: FilterText, silenced: Silenced
) -> Problems:
    """
    Find out what is wrong with those of some servers that match a filter, in whichever state.

    Words of the filter for the state are ignored. Blocks, because it reads the database for the
    words of notes. Raises StoreUnavailable.
    """
    noted = found.store.labels.noted(matching.words)
    asked_for, matching = matching, matching.in_any_state()
    is_narrowed = matching != FilterText()
    asked = (matching, noted.key, silenced.windows, silenced.noted.key)
    each, quiet = troubles.once(
        asked,
        lambda: _grouped(troubles, matching, noted, silenced, found.mirror.keys),
    )
    shown = fitting_problems(each, most=_MOST_SHOWN)
    counts = _counts(each)
    told = troubles.once(("told", *asked), lambda: _told(shown, troubles, found.clock()))
    calm_since, is_since_start = _calm(found, troubles)
    return Problems(
        shown=shown,
        left={trouble: n for trouble, n in (counts - _counts(shown)).items() if n},
        counts=counts,
        quiet_counts=_counts(quiet),
        has_more=troubles.has_more,
        silenced=quiet,
        told=told,
        has_channel=troubles.telling.has_channel,
        of_fleet=OfFleet() if is_narrowed else _of_fleet(found, troubles),
        calm_since=calm_since,
        is_since_start=is_since_start,
        matching=matching,
        ignores_state=matching != asked_for,
    )


def _grouped(
    troubles: Found, matching: FilterText, noted: Noted, silenced: Silenced, keys: Keyring
) -> tuple[list[Problem], list[Problem]]:
    """The problems of those servers that match and are not silenced, and of the silenced ones."""
    loud: list[ServerRecord] = []
    quiet: list[ServerRecord] = []
    without_keys, is_of_key = _by_key(matching, keys)
    for record, _, owner in troubles.servers:
        if is_of_key(owner) and without_keys.matches(record, noted.words_of(record)):
            (quiet if silenced.of(record) else loud).append(record)
    return problems(loud), problems(quiet)


def _by_key(matching: FilterText, keys: Keyring) -> tuple[FilterText, Callable[[str | None], bool]]:
    """
    Divide a filter into what a record tells, and the keys that its server may belong to.

    Returns the filter without keys, and a function that tells whether a server may belong to the
    key with an id; it is given None for a server that belongs to no key.
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


def _told(
    shown: Sequence[Problem], troubles: Found, now: datetime
) -> Mapping[tuple[Trouble, str], Sequence[Told]]:
    return {
        _key(each): told_of(each.servers, troubles.telling, now, trouble=each.trouble)
        for each in shown
    }


def _key(problem: Problem) -> tuple[Trouble, str]:
    return problem.trouble, problem.servers[0].server_id


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


def _calm(found: Services, troubles: Found) -> tuple[datetime, bool]:
    """The `Problems.calm_since`, and its `is_since_start`."""
    started = found.fleet.heard_since() or found.clock()
    since = max(started, troubles.calm_since or started)
    return since, since == started


_KEY = "key"
_MOST_IN_QUERY = 20
"""How many servers of a problem are named at most in the text of a filter."""

_AROUND = timedelta(minutes=5)
"""How much of the time before and after a problem's beginning is shown of what happened then."""

_STATES = (Trouble.DOWN, Trouble.LATE)
_MOST_SHOWN = 8
