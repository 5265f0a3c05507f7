"""The key mirror: a copy of all keys in memory; reads changed keys, writes their last use."""

from collections.abc import Iterable
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from keyring import made
from receiver.access import key_mirror
from receiver.access.key_mirror import KeyMirror
from receiver.domain.errors import StoreUnavailable
from receiver.domain.keys import Key, Keyring
from receiver.store import SqlStore
from receiver.store.credentials.keys import ChangedKeys
from receiver.store.tables import keys
from servers import Clock
from watched import endless


@pytest.fixture
def mirror(store: SqlStore, clock: Clock) -> KeyMirror:
    return KeyMirror(store, endless(), clock=clock)


@pytest.fixture
def found(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the keys that each query for changed keys has returned."""
    names: list[list[str]] = []
    changed = store.keys.changed

    def noted(*, since: int) -> ChangedKeys:
        answer = changed(since=since)
        names.append([key.name for key in answer.keys])
        return answer

    monkeypatch.setattr(store.keys, "changed", noted)
    return names


def add(store: SqlStore, *names: str) -> list[Key]:
    new = [made("viewer", name=name)[0] for name in names]
    for key in new:
        store.keys.add(key)
    return new


def test_key_mirror_reads_only_the_keys_that_changed(
    store: SqlStore, found: list[list[str]], clock: Clock
) -> None:
    one, other, _ = add(store, "one", "other", "third")
    mirror = KeyMirror(store, endless(), clock=clock)
    mirror.read()
    store.keys.revoke(one.id, clock.now)
    store.keys.rotate(other.id, b"another", None)
    mirror.read()
    add(store, "fourth")
    mirror.read()
    mirror.read()

    assert [["one", "other", "third"], [], ["one", "other"], ["fourth"], []] == [
        sorted(names) for names in found
    ]
    assert {key.id: key for key in store.keys.all()} == {key.id: key for key in mirror.keys}


def test_key_change_without_a_new_revision_is_read_after_a_while(
    store: SqlStore, mirror: KeyMirror, clock: Clock
) -> None:
    """An older version of the receiver may write to the same database without revisions."""
    add(store, "one")
    mirror.read()
    store.transactions.write(
        lambda connection: connection.execute(update(keys).values(revoked_at=clock.now))
    )

    for _ in range(30):
        mirror.read()

    assert ["revoked"] == [each.standing(clock.now) for each in mirror.keys]


def test_deleted_keys_are_gone_at_the_next_read(store: SqlStore, mirror: KeyMirror) -> None:
    one, other = add(store, "one", "other")
    mirror.read()
    store.transactions.write(
        lambda connection: connection.execute(delete(keys).where(keys.c.id == one.id))
    )

    mirror.read()

    assert [other.id] == [key.id for key in mirror.keys]


def test_first_key_is_known_before_requests_need_one(
    store: SqlStore, mirror: KeyMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are checked in another thread than the one that reads the keys."""
    needed: list[bool] = []

    def keyring(found: Iterable[Key]) -> Keyring:
        needed.append(mirror.had_keys)
        return Keyring(found)

    monkeypatch.setattr(key_mirror, "Keyring", keyring)
    (key,) = add(store, "one")
    mirror.read()

    assert [False] == needed
    assert mirror.had_keys
    assert key == mirror.keys.get(key.id)


def test_last_use_is_written_again_after_a_failure(
    store: SqlStore, mirror: KeyMirror, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = add(store, "one")
    mirror.read()
    mirror.note_use(key)

    def fail(*_: object) -> None:
        raise StoreUnavailable("the database does not answer: test")

    with monkeypatch.context() as patch:
        patch.setattr(store.keys, "add_uses", fail)
        with pytest.raises(StoreUnavailable):
            mirror.write_uses()
    clock.advance(60)
    mirror.write_uses()

    assert [clock.now] == [each.last_used_at for each in store.keys.all()]


def test_key_uses_written_by_two_receivers_add_up(
    store: SqlStore, other: SqlStore, clock: Clock
) -> None:
    one, two = add(store, "one", "two")
    store.keys.add_uses({one.id: 3, two.id: 1}, clock.now)
    other.keys.add_uses({two.id: 5, one.id: 2}, clock.now + timedelta(seconds=1))

    assert {one.id: 5, two.id: 6} == {key.id: key.messages for key in store.keys.all()}
