"""Labels and notes of databases: whose they are, how long they are kept, and how they are found."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from contract import EventKind, Heartbeat, InvalidMessage
from keyring import made
from odoos import DATABASE
from receiver.domain.databases import Annotation, Relabelling
from receiver.domain.errors import Refusal
from receiver.domain.filter_text import FilterText
from receiver.domain.forgetting import Forgettable
from receiver.domain.keys import Key
from receiver.domain.outcomes import Incoming
from receiver.domain.queries import Filter, Order, PageRequest
from receiver.store import SqlStore
from receiver.store.migrations import upgrade
from watched import Watched, at_once


def change(fleet: Watched, *ids: str, **asked: Any) -> list[str]:
    """Change the labels and notes of the databases of some servers."""
    wanted = Relabelling.of(asked)
    return [*fleet.store.labels.change([*ids], wanted, at=fleet.now, by="Ada")]


def said_of(fleet: Watched, server_id: str) -> tuple[tuple[str, ...], str]:
    """The labels and the note of the database of a server; its record has the same labels."""
    found = fleet.store.labels.of(server_id)
    assert found is not None
    assert (found.labels or None) == fleet.record(server_id).labels
    return found.labels, found.note


def labelled(engine: Engine) -> set[tuple[str, str]]:
    """The labels in the inverted index, and the servers that have them."""
    query = "SELECT value, server_id FROM facets WHERE name = 'label'"
    with engine.connect() as connection:
        return {(value, server_id) for value, server_id in connection.exec_driver_sql(query)}


def stored(engine: Engine) -> list[str]:
    """The subjects of all annotations."""
    query = "SELECT subject FROM annotations ORDER BY subject"
    with engine.connect() as connection:
        return [*connection.exec_driver_sql(query).scalars()]


def beat_of(fleet: Watched, key: Key, server_id: str, **said: Any) -> None:
    message = Heartbeat(server_id=server_id, **said)
    fleet.store.servers.apply([Incoming(message, fleet.now, key)])


def test_labels_and_note_are_kept_over_a_rebuild_and_go_with_the_last_server(
    fleet: Watched, engine: Engine
) -> None:
    fleet.beat("old", **DATABASE)
    fleet.beat("other", "left", database_uuid=300 * "u")
    assert ["old", "other"] == change(
        fleet, "old", "nobody", "other", "no\0", "old", add=["gold"], note="Call Ada."
    )
    fleet.go_on(300, "other", "left")
    fleet.register("new", **DATABASE)
    fleet.sweep()
    fleet.beat("new", "other")

    assert "new" == fleet.record("old").superseded_by
    assert [(("gold",), "Call Ada.")] * 4 == [
        said_of(fleet, each) for each in ("old", "new", "other", "left")
    ]
    assert {("gold", each) for each in ("old", "new", "other", "left")} == labelled(engine)
    assert [("gold", 2 if len(fleet.ids()) == 2 else 3)] == fleet.store.labels.all()
    assert {"labels": {"gained": ["gold"], "lost": []}, "note": "written", "by": "Ada"} == (
        fleet.details(EventKind.LABELLED)[0]
    )
    assert ["old", "other"] == [who for kind, who in fleet.told() if kind == "labelled"]

    fleet.store.servers.delete("new", fleet.now)
    assert 2 == len(stored(engine))
    fleet.store.servers.delete("old", fleet.now)
    assert 1 == len(stored(engine))
    assert {("gold", "other"), ("gold", "left")} == labelled(engine)
    for state in ("down", "superseded"):
        fleet.go_on(600)
        asked = Forgettable(matching=Filter(state=state))
        fleet.store.servers.forget(asked, fleet.now)
    assert ([], set()) == (stored(engine), labelled(engine))
    assert None is fleet.store.labels.of("old") is fleet.store.labels.of("a\0")
    fleet.beat("old", **DATABASE)
    assert ((), "") == said_of(fleet, "old")


def test_notes_of_servers_are_read_at_once(fleet: Watched) -> None:
    fleet.beat("a", "b", database_uuid="u")
    fleet.beat("c", "d", "e")
    change(fleet, "a", note="Call Ada.")
    change(fleet, "c", note="Old", labels=["gold"])
    change(fleet, "d", labels=["gold"])

    records = [fleet.record(each) for each in "abcde"]

    assert {"a": "Call Ada.", "b": "Call Ada.", "c": "Old"} == fleet.store.labels.notes(records)
    assert {} == fleet.store.labels.notes([])


def test_search_words_find_the_current_labels_and_notes(fleet: Watched) -> None:
    fleet.beat("old", **DATABASE)
    fleet.beat("alone", "other")
    change(fleet, "old", add=["Straße"], note="Call ANN first.\nThen Bob.")
    change(fleet, "alone", note="100% Ann's")

    assert ["alone", "old"] == found(fleet, "ann")
    assert ["old"] == found(fleet, "STRASSE") == found(fleet, "bob ann")
    assert (["alone"], []) == (found(fleet, "100%"), found(fleet, "10_%"))
    fleet.go_on(300, "alone", "other")
    fleet.register("new", **DATABASE)
    fleet.sweep()
    assert ["alone", "new"] == found(fleet, "ann")
    change(fleet, "new", note="")
    fleet.beat("alone", database_uuid="u-2")
    assert (["alone"], ["new"]) == (found(fleet, "ann"), found(fleet, "strasse"))
    fleet.store.servers.delete("alone", fleet.now)
    assert [] == found(fleet, "ann")


def found(fleet: Watched, text: str) -> list[str]:
    """The servers of the list that has this text as its filter; other ways find the same."""
    matching = FilterText.parse(text).to_filter()
    page = fleet.store.servers.page(
        matching, Order.SERVER_ID, PageRequest(limit=100, now=fleet.now)
    )
    ids = [record.server_id for record in page.records]
    reachable = fleet.store.servers.reachable(matching, after=None, limit=100).whereabouts
    assert ids == [each.server_id for each in reachable]
    return ids


def test_label_change_is_made_as_a_whole_or_not_at_all(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a", "b")
    change(fleet, "a", labels=[f"{n}" for n in range(20)])
    before = fleet.store.labels.of("a")
    told = len(fleet.told())

    with pytest.raises(InvalidMessage, match="this one would have 21"):
        change(fleet, "b", "a", add=["x"])
    with pytest.raises(Refusal, match="changed the labels or the note meanwhile"):
        fleet.store.labels.change(
            ["a"], Relabelling.of({"note": "x"}), at=fleet.now, by="Bob", seen=""
        )
    change(fleet, "a", add=["7"])

    assert (before, Annotation()) == (fleet.store.labels.of("a"), fleet.store.labels.of("b"))
    assert told == len(fleet.told())
    assert before is not None
    fleet.store.labels.change(
        ["a"], Relabelling.of({"labels": []}), at=fleet.now, by="Bob", seen=before.version
    )
    assert ([], set(), None) == (stored(engine), labelled(engine), fleet.record("a").labels)


@pytest.mark.one_database
def test_database_of_several_chosen_servers_is_labelled_once(fleet: Watched) -> None:
    fleet.beat("a", "b", **DATABASE)

    assert ["b", "a"] == change(fleet, "b", "a", add=["gold"], note="Call Ada.")

    assert (("gold",), "Call Ada.") == said_of(fleet, "a") == said_of(fleet, "b")
    assert ["b"] == [who for kind, who in fleet.told() if kind == "labelled"]


def test_server_keeps_its_labels_when_it_tells_another_uuid(fleet: Watched, engine: Engine) -> None:
    fleet.beat("a", "b", "c")
    fleet.beat("node", **DATABASE)
    change(fleet, "a", add=["gold"], note="Call Ada.")
    change(fleet, "b", add=["eu"])

    fleet.beat("a", "b", **DATABASE)  # a database of which nothing was said, and that has a server

    for each in ("a", "b", "node"):
        assert (("eu", "gold"), "Call Ada.") == said_of(fleet, each)
    assert ["uuid:u-1"] == stored(engine)
    fleet.clock.advance(60)
    fleet.beat("a", "b", "node")
    assert 60 == (fleet.record("node").last_seen - fleet.record("node").first_seen).seconds

    fleet.beat("a", database_uuid="u-2")  # the copy of a database gets a UUID of its own

    assert ["uuid:u-1", "uuid:u-2"] == stored(engine)
    fleet.beat("c", database_uuid="u-2")
    for each in ("a", "b", "c", "node"):
        assert (("eu", "gold"), "Call Ada.") == said_of(fleet, each)
    found = [each for each in fleet.details(EventKind.LABELLED) if "by" not in each]
    assert [
        {"labels": {"gained": ["gold"], "lost": []}, "note": "written"},
        {"labels": {"gained": ["eu", "gold"], "lost": []}, "note": "written"},
    ] == [each for each in found if "gold" in each["labels"]["gained"]]


def test_no_key_labels_the_database_of_another_key(fleet: Watched) -> None:
    (mine, _), (theirs, _) = made("agent"), made("agent")
    fleet.store.keys.add(mine)
    fleet.store.keys.add(theirs)
    beat_of(fleet, theirs, "victim", **DATABASE)
    beat_of(fleet, mine, "thief")
    change(fleet, "thief", add=["muted"])

    beat_of(fleet, mine, "thief", **DATABASE)

    assert ((), "") == said_of(fleet, "victim") == said_of(fleet, "thief")
    assert {"labels": {"gained": [], "lost": ["muted"]}} == fleet.details(EventKind.LABELLED)[-1]
    change(fleet, "victim", add=["gold"])
    assert ("gold",) == said_of(fleet, "thief")[0]


def test_server_that_comes_while_its_database_is_labelled_has_the_labels(
    fleet: Watched, other: SqlStore
) -> None:
    second = Watched(other)
    for n in range(4):
        uuid = f"u-{n}"
        fleet.beat(f"old-{n}", database_uuid=uuid)

        def label(n: int = n) -> None:
            change(fleet, f"old-{n}", add=["gold"])

        def come(n: int = n, uuid: str = uuid) -> None:
            second.beat(f"new-{n}", database_uuid=uuid)

        jobs: list[Callable[[], object]] = [label, come]
        at_once(*jobs)

        assert (("gold",), "") == said_of(fleet, f"old-{n}") == said_of(fleet, f"new-{n}")
        fleet.beat(f"new-{n}")
        assert (("gold",), "") == said_of(second, f"new-{n}")


def test_servers_of_an_older_version_get_families_at_the_upgrade(new_database_url: str) -> None:
    engine = create_engine(new_database_url)
    insert = text(
        "INSERT INTO servers (server_id, database_uuid, first_seen, last_seen, heartbeat_count,"
        " state, state_since, revision) VALUES (:id, :uuid, 0, 0, 0, 'up', 0, 0)"
    )
    uuids = {"a": "u-1", "b": None, "c": 300 * "u", "d": "sha256:x", "e": 300 * "u"}
    with engine.begin() as connection:
        upgrade(connection, "0013")
        for server_id, uuid in uuids.items():
            connection.execute(insert, {"id": server_id, "uuid": uuid})
        upgrade(connection, "0018")
        insert = text(
            "INSERT INTO annotations (subject, labels, note, changed_at, changed_by)"
            " VALUES (:subject, :labels, :note, 0, 'Ada')"
        )
        for subject, labels, note in (
            ("uuid:u-1", '["straße"]', ""),
            ("server:b", None, "Call ANN first."),
        ):
            connection.execute(insert, {"subject": subject, "labels": labels, "note": note})
    engine.dispose()

    store = SqlStore(make_url(new_database_url))
    fleet = Watched(store)
    assert (["a"], ["b"]) == (found(fleet, "strasse"), found(fleet, "ann"))
    change(fleet, "c", add=["long"])
    change(fleet, "d", add=["digest"])

    assert [None, None, ("long",), ("digest",), ("long",)] == [
        fleet.record(each).labels for each in "abcde"
    ]
    fleet.beat("f", database_uuid="sha256:x")
    assert ("digest",) == fleet.record("f").labels
    store.close()
