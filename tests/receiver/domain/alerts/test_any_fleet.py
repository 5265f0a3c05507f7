"""Whatever happens to a fleet: what is told, and what is not."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from alarm_world import World, channel, rule, silence
from contract import EventKind, ServerRecord, State
from receiver.domain.alerts.values import Rule


def seconds(number: int) -> timedelta:
    return timedelta(seconds=number)


IDS = [f"db{n}_web" for n in range(8)]
STAGES = ["production", "staging", ""]


def is_apart(record: ServerRecord) -> bool:
    """Whether a server stands for its database, and has not left."""
    is_first = record.superseded_by is None and record.node_of is None
    return is_first and record.state is not State.LEFT


def fall_silent(fleet: World, server_id: str, _: str) -> None:
    if fleet.record(server_id).state.is_heard:
        fleet.go(State.LATE, server_id)


def go_down(fleet: World, server_id: str, other: str) -> None:
    fall_silent(fleet, server_id, other)
    fleet.wait(seconds=150)


def come_back(fleet: World, server_id: str, _: str) -> None:
    fleet.change(server_id, state=State.UP, superseded_by=None, node_of=None)


def leave(fleet: World, server_id: str, _: str) -> None:
    if is_apart(fleet.record(server_id)):
        fleet.go(State.LEFT, server_id)


def all_come_back(fleet: World, *_: str) -> None:
    for each in fleet.rows:
        if fleet.record(each).state.stale:
            fleet.change(each, state=State.UP, superseded_by=None)


def be_rebuilt(fleet: World, server_id: str, other: str) -> None:
    record = fleet.record(server_id)
    if record.state.stale and is_apart(record) and other in fleet.rows:
        fleet.change(server_id, superseded_by=other)


def become_node(fleet: World, server_id: str, other: str) -> None:
    is_possible = other in fleet.rows and fleet.record(other).node_of is None
    if is_possible and is_apart(fleet.record(server_id)):
        fleet.change(server_id, node_of=other, twin_of=None)


def become_twin(fleet: World, server_id: str, other: str) -> None:
    if is_apart(fleet.record(server_id)):
        fleet.change(server_id, twin_of=other)


def be_in_conflict(fleet: World, server_id: str, _: str) -> None:
    if fleet.record(server_id).state is not State.LEFT:
        fleet.change(server_id, conflict_since=fleet.now)


def begin_silence(fleet: World, **said: Any) -> None:
    ends_at = fleet.now + timedelta(minutes=20)
    silence_id = f"s{len(fleet.silences)}"
    fleet.silences.append(silence(silence_id, begins_at=fleet.now, ends_at=ends_at, **said))
    fleet.look_soon()


def end_silence(fleet: World, *_: str) -> None:
    if fleet.silences:
        fleet.silences[-1] = evolve(fleet.silences[-1], ends_at=fleet.now)
        fleet.look_soon()


def acknowledge(fleet: World, *_: str) -> None:
    if fleet.open_alarms():
        fleet.acknowledge(fleet.open_alarms()[-1].id)
        fleet.look_soon()


def attend(fleet: World, *, is_attended: bool) -> None:
    fleet.is_attended = is_attended


ACTS: dict[str, Callable[[World, str, str], None]] = {
    "silent": fall_silent,
    "down": go_down,
    "back": come_back,
    "back again": come_back,
    "left": leave,
    "deleted": lambda fleet, server_id, _: fleet.delete(server_id),
    "outage": lambda fleet, *_: fleet.fall_silent(*fleet.rows),
    "return": all_come_back,
    "rebuilt": be_rebuilt,
    "node": become_node,
    "twin": become_twin,
    "no twin": lambda fleet, server_id, _: fleet.change(server_id, twin_of=None),
    "conflict": be_in_conflict,
    "no conflict": lambda fleet, server_id, _: fleet.change(server_id, conflict_since=None),
    "moved": lambda fleet, server_id, _: fleet.change(server_id, hostname=f"web{fleet.now}"),
    "silence of one": lambda fleet, server_id, _: begin_silence(fleet, server_id=server_id),
    "silence of a stage": lambda fleet, *_: begin_silence(fleet, query="stage:production"),
    "silence of all": lambda fleet, *_: begin_silence(fleet),
    "silence is over": end_silence,
    "acknowledged": acknowledge,
    "receiver away": lambda fleet, *_: attend(fleet, is_attended=False),
    "receiver back": lambda fleet, *_: attend(fleet, is_attended=True),
}
"""What may happen to a server, with another one beside it."""


steps = st.lists(
    st.tuples(st.integers(0, 1200), st.sampled_from([*ACTS]), st.integers(0, len(IDS) - 1)),
    max_size=40,
)
rules = st.lists(
    st.builds(
        lambda kinds, **said: rule(*kinds, **said),
        st.sets(
            st.sampled_from(["down", "late", "twin", "conflict", "flapping", "recovered", "moved"]),
            min_size=1,
        ),
        after=st.sampled_from([0, 60, 300, 3600]).map(seconds),
        query=st.sampled_from(["", "stage:production,none", "server:db1_web,db2_web", "db3"]),
        remind_every=st.none() | st.sampled_from([600, 7200]).map(seconds),
        channel_id=st.sampled_from(["c", "d"]),
    ),
    min_size=1,
    max_size=3,
)


def act(fleet: World, what: str, number: int) -> None:
    """Let one thing happen, if it can."""
    server_id = IDS[number]
    if server_id not in fleet.rows:
        fleet.add(server_id, odoo_stage=STAGES[number % 3])
    ACTS[what](fleet, server_id, IDS[(number + 1) % len(IDS)])


@given(rules, steps, st.sampled_from([1, 3, 1000]), st.sampled_from([1, 7, 500]))
def test_alarms_of_a_random_fleet_are_each_reported_once_and_none_is_lost(
    rules: list[Rule],
    steps: list[tuple[int, str, int]],
    per_hour: int,
    batch: int,
) -> None:
    """`World` checks after each look what must hold always; after a quiet time all was told."""
    fleet = World(
        *(evolve(each, id=f"r{n}") for n, each in enumerate(rules)),
        channels=[channel("c", per_hour=per_hour), channel("d", per_hour=per_hour)],
    )
    fleet.batch = batch
    for number, server_id in enumerate(IDS):
        fleet.add(server_id, odoo_stage=STAGES[number % 3])
    for passed, what, number in steps:
        fleet.wait(seconds=passed)
        act(fleet, what, number)
    fleet.is_attended = True
    fleet.look_soon()
    fleet.wait(hours=12)

    for each in fleet.rules:
        _expect_all_told(fleet, each)
    _expect_ends_told(fleet)


def _expect_all_told(fleet: World, each: Rule) -> None:
    """Each server that is late, down, a twin or in conflict for long has an alarm that was told."""
    for server_id, row in fleet.rows.items():
        record = row.record
        lasts = {
            "late": record.state.stale,
            "down": record.state is State.DOWN,
            "twin": record.twin_of is not None,
            "conflict": record.conflict_since is not None,
        }
        if record.superseded_by or record.state is State.LEFT:
            continue
        if record.node_of:
            lasts["late"] = lasts["down"] = False
        for kind in each.kinds & lasts.keys():
            found = [
                alarm
                for alarm in fleet.open_alarms()
                if (alarm.rule_id, alarm.kind, alarm.server_id) == (each.id, kind, server_id)
            ]
            # An alarm that a node had before is not asked again whether the rule matches.
            least = int(lasts[kind] and _matches(each.query, record))
            assert least <= len(found) <= int(lasts[kind]), (kind, record)
            for alarm in found:
                fleet_alarm = fleet.alarms.get(alarm.part_of or 0)
                assert alarm.told_at or (fleet_alarm and fleet_alarm.told_at)


def _matches(query: str, record: ServerRecord) -> bool:
    return {
        "": True,
        "stage:production,none": record.odoo_stage in {"production", ""},
        "server:db1_web,db2_web": record.server_id in {"db1_web", "db2_web"},
        "db3": "db3" in f"{record.server_id} {record.hostname}",
    }[query]


def _expect_ends_told(fleet: World) -> None:
    """Of what has ended nothing waits, and each end of what was told was told."""
    for alarm in fleet.alarms.values():
        if alarm.ended_at is None:
            continue
        assert alarm.due_at is None
        lasts = alarm.kind not in {EventKind.RECOVERED.value, EventKind.MOVED.value}
        assert fleet.ended[alarm.id] == int(lasts and alarm.told_at is not None)
