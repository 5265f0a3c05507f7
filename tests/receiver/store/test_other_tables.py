"""Tables of another version, and a database in the place of another, under a running receiver."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, insert, make_url, select, update

from contract import Heartbeat
from keyring import made
from receiver.access.key_mirror import KeyMirror
from receiver.domain.databases.silence import SweepOptions
from receiver.domain.errors import StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.store import SqlStore
from receiver.store.migrations import NEWEST
from receiver.store.tables import keys, liveness, watches
from servers import Clock
from watched import beats, endless

NEWER = (
    f"are of version 9999, and this receiver knows versions up to {NEWEST}; install the version "
    "of the receiver that upgraded them, or restore the backup from before the upgrade"
)
OLDER = rf"are of version 0005, older than {NEWEST}, .* restart the receiver, which brings them up"
BOTH = f"of version {NEWEST}, 9999, and this receiver knows versions up to {NEWEST}"


def beat(store: SqlStore, server_id: str = "a") -> None:
    store.servers.apply(beats(server_id))


def set_versions(engine: Engine, *versions: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
        for version in versions:
            connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{version}')")


@pytest.mark.parametrize(("versions", "sentence"), [(("9999",), NEWER), ((NEWEST, "9999"), BOTH)])
def test_tables_of_a_newer_version_stop_the_start(
    database_url: str, engine: Engine, versions: tuple[str, ...], sentence: str
) -> None:
    set_versions(engine, *versions)

    with pytest.raises(StoreUnavailable, match=sentence):
        SqlStore(make_url(database_url))


@pytest.mark.parametrize(
    ("versions", "sentence"),
    [(("9999",), NEWER), ((NEWEST, "9999"), BOTH), (("0005",), OLDER), ((), "has no tables")],
)
def test_tables_of_another_version_refuse_writes_until_they_are_known_again(
    store: SqlStore, engine: Engine, versions: tuple[str, ...], sentence: str
) -> None:
    beat(store)
    set_versions(engine, *versions)
    writes: list[Callable[[], object]] = [
        lambda: beat(store, "nobody looks after it"),
        lambda: store.servers.delete("a", Clock()()),
        lambda: store.watch.note_presence(Clock()(), absent=timedelta(seconds=5)),
        lambda: store.keys.add(made("viewer")[0]),
    ]
    for write in writes:
        with pytest.raises(StoreUnavailable, match=sentence):
            write()
    set_versions(engine, NEWEST)
    beat(store)

    with engine.connect() as connection:
        found = connection.execute(select(liveness.c.server_id, liveness.c.heartbeat_count)).all()
        assert [("a", 2)] == found
        assert [] == connection.execute(select(keys)).all()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE servers RENAME COLUMN hostname TO host",
        "ALTER TABLE servers RENAME TO machines",
        "CREATE UNIQUE INDEX one ON servers ((1))",
    ],
)
def test_statement_that_fails_on_newer_tables_says_so(
    store: SqlStore, engine: Engine, change: str
) -> None:
    beat(store)
    set_versions(engine, "9999")
    with engine.begin() as connection:
        connection.exec_driver_sql(change)

    with pytest.raises(StoreUnavailable, match=NEWER):
        beat(store, "b")


def test_rows_of_another_database_are_read_anew(
    restore: Callable[[], object], store: SqlStore, engine: Engine
) -> None:
    """Of the server `a` both databases have the same revision, and other content."""
    beat(store)
    with engine.connect() as connection:
        revision = connection.execute(select(liveness.c.revision)).scalar_one()
    restore()
    engine.dispose()
    other = Heartbeat(server_id="a", hostname="restored")
    rival = SqlStore(engine.url)
    rival.servers.apply([Incoming(other, Clock()())])
    rival.close()
    with engine.begin() as connection:
        connection.execute(update(liveness).values(revision=revision))
    # More than each heartbeat changes, so that the whole row is written.
    store.servers.apply([Incoming(Heartbeat(server_id="a", port=1), Clock()())])

    record = store.servers.get("a")
    assert record is not None
    assert ("restored", 2) == (record.hostname, record.heartbeat_count)
    assert 1 == store.generation


def test_keys_of_another_database_are_read_anew(
    restore: Callable[[], object], store: SqlStore, engine: Engine
) -> None:
    """Both databases have one key, and the same revision of their keys."""
    old, new = (made("viewer", name=name)[0] for name in ("old", "new"))
    mirror = KeyMirror(store, endless(), clock=Clock())
    store.keys.add(old)
    mirror.read()
    restore()
    engine.dispose()
    rival = SqlStore(engine.url)
    rival.keys.add(new)
    rival.close()
    mirror.read()

    assert ["new"] == [key.name for key in mirror.keys]


def test_silence_before_a_restore_is_not_that_of_the_servers(
    restore: Callable[[], object], store: SqlStore, clock: Clock
) -> None:
    """The backup is an hour old, and says that receivers have been running since long ago."""
    started, absent = clock.now, timedelta.max
    assert started == store.watch.note_presence(clock.now, absent=absent).heard_since
    clock.advance(3600)
    store.watch.note_presence(clock.now, absent=absent)
    restore()
    options = SweepOptions(now=clock.now, heard_since=started)
    store.transactions.write(
        lambda connection: connection.execute(
            insert(watches), {"id": 1, "heard_since": started, "seen_at": started}
        )
    )
    store.servers.apply([Incoming(Heartbeat(server_id="a"), started)])

    assert not store.watch.sweep(options)
    assert ["up"] == states(store, clock)
    heard_since = store.watch.note_presence(clock.now, absent=absent).heard_since
    assert clock.now == heard_since
    store.watch.sweep(SweepOptions(now=clock.now, heard_since=heard_since))
    assert ["up"] == states(store, clock)


def states(store: SqlStore, clock: Clock) -> list[str]:
    return [state for state, _ in store.servers.vitals(clock.now).standing]
