"""Which events are one line of the timeline."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import EventKind
from receiver.domain.grouping.timeline import Brief, Entry, Group, together

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def brief(number: int, seconds: float, kind: str, server_id: str | None) -> Brief:
    return Brief(number, NOW + timedelta(seconds=seconds), EventKind(kind), server_id)


def told(entry: Entry) -> str:
    """An entry as a short text: kind and servers."""
    servers = entry.server_ids if isinstance(entry, Group) else [str(entry.server_id)]
    return f"{entry.kind.value} {' '.join(servers)}"


def lines(*events: Brief, most: int = 50) -> list[str]:
    return [told(entry) for entry in together(events, most=most)[0]]


def test_outage_is_one_timeline_line_also_between_other_events() -> None:
    outage = [brief(n, n, "upgraded" if n == 25 else "down", f"s{n}") for n in range(50, 0, -1)]
    events = [brief(99, 100, "upgraded", "x"), *outage]

    entries, taken = together(events, most=50)

    upgraded, down, other = entries
    assert isinstance(down, Group)
    assert ("upgraded x", "upgraded s25") == (told(upgraded), told(other))
    assert (50, 49, EventKind.DOWN) == (down.id, len(down.server_ids), down.kind)
    assert (NOW + timedelta(seconds=1), NOW + timedelta(seconds=50)) == (down.first, down.last)
    assert 51 == taken


def test_timeline_groups_neither_two_servers_nor_repeated_events_of_one() -> None:
    assert ["down b", "down a"] == lines(brief(2, 1, "down", "b"), brief(1, 0, "down", "a"))
    assert ["moved a"] * 3 == lines(*(brief(n, n, "moved", "a") for n in (3, 2, 1)))


def test_events_more_than_a_minute_apart_are_not_grouped() -> None:
    times = {5: 240, 4: 180, 3: 120, 2: 59, 1: 0}

    assert ["down s5 s4 s3", "down s2", "down s1"] == lines(
        *(brief(number, seconds, "down", f"s{number}") for number, seconds in times.items())
    )


def test_timeline_group_lasts_for_ten_minutes_at_most() -> None:
    events = [brief(n, 50 * n, "restarted", f"s{n}") for n in range(30, 0, -1)]

    entries, _ = together(events, most=50)

    assert [13, 13, 4] == [len(entry.server_ids) for entry in entries if isinstance(entry, Group)]


def test_events_of_the_fleet_stay_alone() -> None:
    events = [brief(n, n, "fleet_silent", None) for n in (4, 3, 2, 1)]

    assert ["fleet_silent None"] * 4 == lines(*events)


def test_timeline_lines_that_exceed_a_page_are_left_to_the_next() -> None:
    events = [
        brief(5, 5, "down", "c"),
        brief(4, 4, "moved", "x"),
        brief(3, 3, "down", "b"),
        brief(2, 2, "down", "a"),
        brief(1, 1, "restarted", "y"),
    ]

    entries, taken = together(events, most=3)

    assert (["down c b a", "moved x", "restarted y"], 5) == ([*map(told, entries)], taken)
    entries, taken = together(events, most=2)
    assert (["down c", "moved x"], 2) == ([*map(told, entries)], taken)


def test_group_says_that_earlier_events_of_it_were_left_out() -> None:
    outage = [brief(n, n, "down", f"s{n}") for n in range(50, 0, -1)]

    def has_more(following: Brief | None) -> list[bool]:
        entries, _ = together(outage, most=50, following=following)
        return [entry.has_more for entry in entries if isinstance(entry, Group)]

    assert [False] == has_more(None)
    assert [True] == has_more(brief(0, -58, "late", "s1"))
    assert [False] == has_more(brief(0, -60, "down", "s0"))
    events = [*outage, brief(0, 0.5, "moved", "x"), brief(-1, 0.4, "restarted", "x")]
    group, _ = together(events, most=2)[0]
    assert isinstance(group, Group)
    assert group.has_more


@pytest.mark.hypothesis
@given(
    st.lists(
        st.tuples(
            st.integers(0, 90), st.sampled_from(["down", "late"]), st.sampled_from([*"abcd", None])
        )
    ),
    st.integers(1, 9),
)
def test_each_event_is_in_one_timeline_line(
    steps: list[tuple[int, str, str | None]], most: int
) -> None:
    events: list[Brief] = []
    seconds = 0
    for number, (step, kind, server_id) in enumerate(steps):
        seconds -= step
        events.append(brief(len(steps) - number, seconds, kind, server_id))

    entries, taken = together(events, most=most)

    assert len(entries) <= most
    assert bool(events) == bool(taken)
    shown = {told(entry).partition(" ")[0] for entry in entries}
    assert {event.kind.value for event in events[:taken]} == shown
    alone = [entry for entry in entries if isinstance(entry, Brief)]
    groups = [entry for entry in entries if isinstance(entry, Group)]
    for event in events[:taken]:
        found = [entry for entry in alone if entry == event] + [
            group
            for group in groups
            if group.kind is event.kind
            and event.server_id in group.server_ids
            and group.first <= event.at <= group.last
        ]
        assert found
    assert [*sorted((entry.id for entry in entries), reverse=True)] == [each.id for each in entries]
