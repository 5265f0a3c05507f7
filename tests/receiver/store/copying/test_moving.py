"""A fleet is moved from one database to another."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from shutil import copyfile

import pytest
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from contract import Heartbeat, ServerRecord
from receiver.domain.copying.moving import Moved
from receiver.domain.errors import CopyRefused, StoreUnavailable
from receiver.domain.outcomes import Applied, Incoming
from receiver.domain.queries import ALL_EVENTS, Filter
from receiver.store import SqlStore, bring_back, move
from receiver.store.copying import place as place_module
from servers import wait_until
from watched import Watched, have_patience, kept_in

from .conftest import NOW, content, quiet

EMPTY = "name an empty database"


def moved(source: str, target: str, *, only_copy: bool = False) -> Moved:
    return move(make_url(source), make_url(target), progress=quiet, only_copy=only_copy)


def opened(url: str) -> SqlStore:
    return SqlStore(make_url(url))


def test_moved_fleet_is_the_same_there_and_back(
    full_url: str, new_postgresql_url: str, second_sqlite_url: str
) -> None:
    before = content(full_url)

    there = moved(full_url, new_postgresql_url)
    on_postgresql = content(new_postgresql_url)
    back = moved(new_postgresql_url, second_sqlite_url)

    assert before == on_postgresql == content(second_sqlite_url)
    assert there.is_done
    assert there.counts == back.counts
    assert all(n == m > 0 for n, m in there.counts.values()), there.counts


def test_moved_fleet_goes_on_in_postgresql(sqlite_url: str, new_postgresql_url: str) -> None:
    assert_goes_on(sqlite_url, new_postgresql_url)


def test_moved_fleet_goes_on_in_sqlite(postgresql_url: str, second_sqlite_url: str) -> None:
    assert_goes_on(postgresql_url, second_sqlite_url)


def assert_goes_on(source: str, target: str) -> None:
    """Tools are found by their names, also new ones, and no event gets the number of another."""
    store = opened(source)
    fleet = Watched(store)
    fleet.register("a", capabilities=("sale_order_create",))
    fleet.register("b", capabilities=("other",))
    store.close()
    (end,) = (json.loads(line) for line in content(source) if line.startswith(b'{"end"'))

    moved(source, target)

    store = opened(target)
    offering = partial(kept_in, store)
    assert ["a"] == ids(offering(Filter(capability="sale_order_create")))
    Watched(store).register("a", capabilities=("renamed",))
    assert ["a"] == ids(offering(Filter(capability="renamed")))
    assert [] == ids(offering(Filter(capability="sale_order_create")))
    (event,) = store.events.page(ALL_EVENTS, before=None, limit=1).events
    store.close()
    assert end["end"]["numbers"]["events"] + 1 == event.id


def ids(records: Sequence[ServerRecord]) -> list[str]:
    return [each.server_id for each in records]


def test_acknowledged_messages_survive_a_move_to_postgresql_under_load(
    sqlite_url: str, new_postgresql_url: str
) -> None:
    assert_nothing_is_lost(sqlite_url, new_postgresql_url)


def test_acknowledged_messages_survive_a_move_back_to_sqlite_under_load(
    postgresql_url: str, second_sqlite_url: str
) -> None:
    assert_nothing_is_lost(postgresql_url, second_sqlite_url)


def assert_nothing_is_lost(source: str, target: str) -> None:
    """Heartbeats arrive until the database refuses them; those that were acknowledged count."""
    store = opened(source)
    have_patience(store)  # so that nothing is refused because the move holds a lock for long
    names = [f"acme_{number}" for number in range(50)]
    acknowledged: Counter[str] = Counter()
    refused: list[str] = []
    is_over = threading.Event()

    def send() -> None:
        while not (refused or is_over.is_set()):
            try:
                beats = [Incoming(Heartbeat(server_id=name), NOW) for name in names]
                for name, outcome in zip(names, store.servers.apply(beats), strict=True):
                    assert isinstance(outcome, Applied)
                    acknowledged[name] += 1
            except StoreUnavailable as error:
                refused.append(str(error))

    sending = threading.Thread(target=send)
    sending.start()
    try:
        wait_until(lambda: acknowledged.total() > 100)
        done = moved(source, target)
        wait_until(lambda: bool(refused))
    finally:
        is_over.set()
        sending.join()
        store.close()

    assert "the fleet was moved to another database" in refused[0]
    assert (50, 50) == done.counts["servers"]
    there = opened(target)
    assert acknowledged == {each.server_id: each.heartbeat_count for each in kept_in(there)}
    there.close()


def test_copy_beforehand_leaves_receivers_alone(sqlite_url: str, new_postgresql_url: str) -> None:
    """What changes, comes and goes after it is in the move."""
    store = opened(sqlite_url)
    fleet = Watched(store)
    fleet.beat("changes", "goes", "stays")

    copied = moved(sqlite_url, new_postgresql_url, only_copy=True)
    fleet.beat("changes", "comes")
    store.servers.delete("goes", NOW)
    again = moved(sqlite_url, new_postgresql_url, only_copy=True)
    fleet.beat("changes")
    done = moved(sqlite_url, new_postgresql_url)
    store.close()

    assert [False, False, True] == [copied.is_done, again.is_done, done.is_done]
    assert content(sqlite_url) == content(new_postgresql_url)
    there = opened(new_postgresql_url)
    counts = {each.server_id: each.heartbeat_count for each in kept_in(there)}
    there.close()
    assert {"changes": 3, "comes": 1, "stays": 1} == counts


def test_server_that_goes_after_a_copy_is_not_in_the_move(
    sqlite_url: str, second_sqlite_url: str, sqlite_template: Path
) -> None:
    """Of the others, which are alike already, nothing is written again."""
    store = opened(sqlite_url)
    Watched(store).beat("goes", "stays")
    copyfile(sqlite_template, str(make_url(second_sqlite_url).database))
    moved(sqlite_url, second_sqlite_url, only_copy=True)
    store.servers.delete("goes", NOW)
    store.close()

    done = moved(sqlite_url, second_sqlite_url)

    assert (1, 1) == done.counts["servers"]
    assert content(sqlite_url) == content(second_sqlite_url)


def test_interrupted_move_can_be_continued(full_url: str, new_postgresql_url: str) -> None:
    class Interrupted(Exception):
        pass

    for most in (1, 5, 30):
        left = iter(range(most))

        def interrupt(_: str, __: int, ___: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Interrupted

        with pytest.raises(Interrupted):
            move(make_url(full_url), make_url(new_postgresql_url), progress=interrupt)
        with pytest.raises(StoreUnavailable, match="has only a part of it"):
            opened(new_postgresql_url)

    moved(full_url, new_postgresql_url)

    assert content(full_url) == content(new_postgresql_url)


def test_moved_fleet_can_be_brought_back(sqlite_url: str, new_postgresql_url: str) -> None:
    store = opened(sqlite_url)
    Watched(store).beat("a")
    moved(sqlite_url, new_postgresql_url)
    with pytest.raises(StoreUnavailable, match="was moved to another database"):
        Watched(store).beat("a")
    with pytest.raises(StoreUnavailable, match="was moved to another database"):
        opened(sqlite_url)
    with pytest.raises(CopyRefused, match="was moved to another database"):
        moved(new_postgresql_url, sqlite_url)

    bring_back(make_url(sqlite_url))

    Watched(store).beat("a")
    assert [2] == [each.heartbeat_count for each in kept_in(store)]
    store.close()
    with pytest.raises(CopyRefused, match="it is not being moved"):
        bring_back(make_url(sqlite_url))


def test_move_into_a_database_with_other_tables_or_a_fleet_is_refused(
    full_url: str, new_postgresql_url: str, postgresql_url: str, second_sqlite_url: str
) -> None:
    engine = create_engine(new_postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (a int)"))
    engine.dispose()
    with pytest.raises(CopyRefused, match="has tables that are not of a fleet"):
        moved(full_url, new_postgresql_url)

    store = opened(postgresql_url)
    Watched(store).beat("a")
    with pytest.raises(CopyRefused, match=r"has a fleet already \(1 servers"):
        moved(full_url, postgresql_url)
    Watched(store).beat("a")  # and goes on
    store.close()

    opened(second_sqlite_url).close()  # an empty one, which a receiver has made
    moved(full_url, second_sqlite_url)
    assert content(full_url) == content(second_sqlite_url)


def test_move_from_a_source_that_is_no_fleet_of_this_version_is_refused(
    new_sqlite_url: str, sqlite_url: str, new_postgresql_url: str
) -> None:
    with pytest.raises(CopyRefused, match="there is no fleet"):
        moved(new_postgresql_url, new_sqlite_url)
    engine = create_engine(sqlite_url)
    for version, said in (
        ("0003", "older than"),
        ("moved-0003", "marked by another version"),
        ("9", "knows versions up to"),
    ):
        with engine.begin() as connection:
            connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))
        with pytest.raises(CopyRefused, match=said):
            moved(sqlite_url, new_postgresql_url)
    engine.dispose()


def test_rows_that_another_program_adds_during_a_move_are_noticed(
    sqlite_url: str, new_postgresql_url: str
) -> None:
    """In the end the numbers of rows are compared."""

    def add(what: str, _: int, __: int) -> None:
        if what == "comparing watches":
            engine = create_engine(new_postgresql_url)
            with engine.begin() as connection:
                theirs = "INSERT INTO secrets VALUES ('theirs', 'x') ON CONFLICT DO NOTHING"
                connection.execute(text(theirs))
            engine.dispose()

    with pytest.raises(CopyRefused, match=r"different numbers of rows in secrets \(0 and 1\)"):
        move(make_url(sqlite_url), make_url(new_postgresql_url), progress=add)


def test_move_waits_for_a_locked_sqlite_file(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_module, "_PAUSE_SECONDS", 0)
    busy = sqlite3.OperationalError()
    busy.sqlite_errorname = "SQLITE_BUSY"
    locked = OperationalError(None, None, busy)
    place = place_module.Place(make_url(sqlite_url))
    left = iter([locked] * 3)

    def work(_: Connection) -> str:
        for error in left:
            raise error
        return "done"

    def never(_: Connection) -> None:
        raise locked

    def fails(_: Connection) -> None:
        raise StoreUnavailable

    try:
        assert "done" == place._attempted(work)  # noqa: SLF001 - how it waits is its own business
        with pytest.raises(StoreUnavailable):
            place._attempted(never)  # noqa: SLF001 - as above
        with pytest.raises(StoreUnavailable):
            place._attempted(fails)  # noqa: SLF001 - as above
    finally:
        place.close()


def test_move_continues_no_sequence_for_ids_that_the_database_does_not_generate(
    postgresql_url: str,
) -> None:
    place = place_module.Place(make_url(postgresql_url))
    try:
        with place.writing() as connection:
            connection.execute(text("CREATE TABLE theirs (id bigint PRIMARY KEY)"))
            connection.execute(text("INSERT INTO theirs VALUES (7)"))
            place.dialect.continue_after(connection, "theirs", "id", 9)
            assert 7 == place.dialect.last_number(connection, "theirs", "id")
    finally:
        place.close()
