"""How many servers are in each state and stage."""

from collections.abc import Collection, Mapping

from attrs import frozen

from contract import State
from receiver.domain.queries import NODE, SUPERSEDED, Filter, index_text
from receiver.web.pages import wording
from receiver.web.pages.browse.view import View

__all__ = ["LEFT", "Tally", "Tile", "counted", "stages", "tiles", "with_names"]

Tally = Mapping[tuple[str, str | None], int]
"""The number of servers by state and stage. None stands for all stages with long names."""


def with_names(tally: Mapping[tuple[str, str], int], stages: Collection[str]) -> Tally:
    """
    Replace the digests by which the database counts stages with long names.

    Args:
        tally: The number of servers by state and stage, which may be the digest of a long name.
        stages: Known names; the digests of other names become None.
    """
    known = {index_text(stage): stage for stage in stages}
    named: dict[tuple[str, str | None], int] = {}
    for (state, text), n in tally.items():
        # The index stores short names unchanged: what it would change must be a digest.
        name = known.get(text, text if text == index_text(text) else None)
        named[state, name] = named.get((state, name), 0) + n
    return named


@frozen(kw_only=True)
class Tile:
    """
    How many servers are in a state, and in which stages.

    Attributes:
        state: The state; None for all states.
        label: The name of the state that people see.
        count: How many servers are in the state.
        stages: The most frequent stages and their numbers of servers; the stage None stands for
            all stages with long names.
        more_stages: How many other stages there are.
        link: A link to the list of these servers.
        is_current: Whether the page shows that list.
    """

    state: State | None
    label: str
    count: int
    stages: list[tuple[str | None, int]]
    more_stages: int
    link: str
    is_current: bool


def tiles(tally: Tally, view: View, matching: Filter) -> list[Tile]:
    """A tile for all servers and one for each state, within the stage of the filter."""
    stages = matching.stage
    within = {key: n for key, n in tally.items() if not stages or key[1] in stages}
    return [_tile(within, state, view, matching) for state in (None, *_COUNTED)]


def _tile(tally: Tally, state: State | None, view: View, matching: Filter) -> Tile:
    stage, name = matching.stage, state and state.value
    tally = {key: n for key, n in tally.items() if name in (None, key[0])}
    by_stage = _by_stage(tally)
    return Tile(
        state=state,
        label=name.capitalize() if name else "All servers",
        count=sum(tally.values()),
        stages=by_stage[:_STAGES],
        more_stages=len(by_stage[_STAGES:]),
        link=view.only(state=name, stage=stage),
        is_current=matching.state == (name,) if name else matching == Filter(stage=stage),
    )


def _by_stage(tally: Tally) -> list[tuple[str | None, int]]:
    """The number of servers in each stage, the most frequent stage first."""
    numbers: dict[str | None, int] = {}
    for (_, stage), n in tally.items():
        numbers[stage] = numbers.get(stage, 0) + n
    return sorted(numbers.items(), key=lambda item: (-item[1], item[0] or ""))


def stages(tally: Tally, matching: Filter) -> list[str]:
    """The stages that the filter offers: the most frequent, and those chosen now."""
    found = [stage for stage, _ in _by_stage(tally) if stage is not None][:_STAGES]
    return [*found, *(chosen for chosen in matching.stage if chosen not in found)]


def counted(tally: Tally, matching: Filter) -> int | None:
    """How many servers match a filter; None if a count by state and stage does not tell."""
    if not _UNCOUNTED.isdisjoint(matching.state):
        return None
    if matching != Filter(stage=matching.stage, state=matching.state):
        return None
    return sum(
        n
        for (state, stage), n in tally.items()
        if (not matching.state or state in matching.state)
        and (not matching.stage or stage in matching.stage)
    )


LEFT = State.LEFT.value
_UNCOUNTED = {SUPERSEDED, NODE, LEFT}
"""Values of the filter `state` for which the page shows no number of servers."""

_COUNTED = [state for state in wording.STATES if state is not State.LEFT]
_STAGES = 4
