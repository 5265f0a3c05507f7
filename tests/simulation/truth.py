"""What the fleet should say of a made-up world, and what it says wrong."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from contract import Event, EventKind, State
from simulation.story import INTERVAL, SETTLING
from simulation.world import Database, World
from watched import kept_in

__all__ = ["complaints"]

Told = tuple[float, Event]

LATE_SECONDS = 2.5 * INTERVAL
UNNOTICED_SECONDS = 1.0
"""A receiver takes no notice of a clock that is set by no more than that."""
WATCHED_SECONDS = 10 * INTERVAL
NEVER = {EventKind.MOVED, EventKind.UPGRADED, EventKind.CAPABILITIES_CHANGED, EventKind.COPIES}
CAUSES: Mapping[EventKind, set[str]] = {
    EventKind.RESTARTED: {"restart", "start", "cloned"},
    EventKind.TWIN: {"copied"},
    EventKind.CONFLICT: {"cloned"},
    EventKind.LEFT: {"uninstall"},
    EventKind.NODE: {"hosts", "add_host", "roll"},
    EventKind.NODE_LEFT: {"hosts", "add_host", "roll", "remove_host", "rebuild"},
    EventKind.REBUILT: {
        *("rebuild", "roll", "remove_host", "stop", "start", "hosts", "add_host"),
        "copied in the dark",
    },
}


def complaints(world: World) -> list[str]:
    """Each untrue thing that the fleet says after the story, and each true one that it does not."""
    events = world.told
    families: defaultdict[str, list[Database]] = defaultdict(list)
    for database in world.databases:
        families[database.uuid].append(database)
    return [
        *_of_counts(world),
        *_of_events(world, events, families),
        *_of_alarms(world, events),
        *_of_blackouts(world, events),
        *(each for family in families.values() for each in _of_lines(world, family)),
        *(each for family in families.values() for each in _of_copies(family, events)),
    ]


def _of_counts(world: World) -> Iterator[str]:
    for server_id, heartbeats in world.heartbeats.items():
        record = world.store.servers.get(server_id)
        counted = record and record.heartbeat_count
        if counted != heartbeats:
            yield f"{server_id}: {heartbeats} heartbeats were committed, and {counted} counted"


def _of_events(
    world: World, events: Sequence[Told], families: Mapping[str, Sequence[Database]]
) -> Iterator[str]:
    """Events without a cause."""
    away: set[str] = set()
    for seconds, event in events:
        server_id = str(event.server_id)
        at = f"{seconds:.0f} s: {server_id}: {event.kind.value}"
        known = [each for each in world.databases if server_id in each.servers]
        deeds = _deeds(world, families[known[0].uuid] if known else [])
        if event.kind in NEVER:
            yield f"{at}, which never happened"
        if event.kind in CAUSES and not deeds & CAUSES[event.kind]:
            yield f"{at}, without a cause"
        if event.kind is EventKind.UPDATED and _changes_what_was_known(event):
            yield f"{at}: {dict(event.details)}"
        if event.kind in (EventKind.LATE, EventKind.LEFT, EventKind.REBUILT) or _ends_away(event):
            away.add(server_id)
        if event.kind is EventKind.RECOVERED:
            if server_id not in away:
                yield f"{at}, without having been away"
            away.discard(server_id)
        if event.kind is EventKind.FLEET_SILENT:
            # That servers are nodes of one database is not known at once.
            silent = {
                each
                for database in world.databases
                if _is_silent(database, seconds)
                for each in database.servers
            }
            if event.details["silent"] > len(silent):
                yield f"{at}: {dict(event.details)}, and {len(silent)} are"


def _ends_away(event: Event) -> bool:
    """Whether a server is away when its turns, which were only counted, are told again."""
    return event.kind is EventKind.CALM and event.details["state"] != State.UP.value


def _deeds(world: World, family: Sequence[Database]) -> set[str]:
    """What happened to the databases of one uuid."""
    deeds = {what for each in family for _, what in each.deeds}
    if any(_was_copied_in(each, world.blackouts) for each in family):
        deeds.add("copied in the dark")  # what is heard first may be a copy, or a rebuild
    return deeds


def _was_copied_in(database: Database, blackouts: Sequence[tuple[float, float]]) -> bool:
    return any(
        what == "copied" and begin - SETTLING <= at <= end
        for at, what in database.deeds
        for begin, end in blackouts
    )


def _is_silent(database: Database, at: float) -> bool:
    last = max((each for each in database.committed if each <= at), default=at)
    return at - last > LATE_SECONDS


def _changes_what_was_known(event: Event) -> bool:
    return any(change["from"] is not None for change in event.details.values())


def _of_alarms(world: World, events: Sequence[Told]) -> Iterator[str]:
    """Alarms for databases that were heard, and silences that were told late or not at all."""
    for at, event in events:
        if event.kind not in (EventKind.LATE, EventKind.DOWN):
            continue
        server_id = str(event.server_id)
        database = next(each for each in world.databases if server_id in each.servers)
        last = max(each for each in database.committed if each <= at)
        if at - last <= LATE_SECONDS - UNNOTICED_SECONDS:
            since = at - last
            yield f"{at:.0f} s: {server_id}: {event.kind.value}, and was heard {since:.1f} s before"


def _of_blackouts(world: World, events: Sequence[Told]) -> Iterator[str]:
    """Blackouts of which no `fleet_silent` tells, though nothing else happened meanwhile."""
    told = [at for at, event in events if event.kind is EventKind.FLEET_SILENT]
    for begin, end in world.blackouts:
        is_clear = all(
            until < begin - SETTLING or since > end for since, until in world.disturbed
        ) and all(
            at < begin - SETTLING or at > end for each in world.databases for at, _ in each.deeds
        )
        heard = [each for each in world.databases if _is_heard(each, begin)]
        if is_clear and len(heard) >= 3 and not any(begin < at <= end for at in told):
            yield f"{begin:.0f} s: a blackout of {len(heard)} databases was not told"


def _is_heard(database: Database, at: float) -> bool:
    return any(at - LATE_SECONDS < each <= at for each in database.committed)


def _of_lines(world: World, family: Sequence[Database]) -> Iterator[str]:
    """Databases that are not one line with their true state, after a long quiet time."""
    listed = {record.server_id: record.state for record in kept_in(world.store)}
    for database in family:
        if any(each is not database and each.servers is database.servers for each in family):
            is_alive = any(each.is_alive for each in family if each.servers is database.servers)
        else:
            is_alive = database.is_alive
        states = {each: listed[each].value for each in database.servers if each in listed}
        expected = [State.UP.value if is_alive else State.DOWN.value]
        if database.has_left or not database.servers:
            expected = []
        if expected != [*states.values()]:
            yield f"{database.uuid}: should be {expected}, and is {states}"


def _of_copies(family: Sequence[Database], events: Sequence[Told]) -> Iterator[str]:
    """Copies that sent in parallel with their original for long and were not told."""
    told = {str(event.server_id) for _, event in events if event.kind is EventKind.TWIN}
    original = family[0]
    for copy in family[1:]:
        if copy.servers is original.servers:
            continue
        (begin, _) = copy.deeds[0]
        together = [at for at in original.committed if at > begin] and min(
            max(original.committed), max(copy.committed, default=0.0)
        ) - begin
        if together and together > SETTLING and not (told & copy.servers):
            yield f"{copy.uuid}: a copy sent for {together:.0f} s and was not told"
