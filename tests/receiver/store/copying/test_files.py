"""A fleet is written into a file, and read from it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from receiver.domain.errors import CopyRefused, StoreUnavailable
from receiver.store import SqlStore, migrations, read_fleet, write_fleet
from watched import Watched, kept_in

from .conftest import NOW, content, quiet

Change = Callable[[list[Any]], object]


def exported(url: str) -> list[bytes]:
    written: list[bytes] = []
    write_fleet(make_url(url), written.append, now=NOW, progress=quiet)
    return b"".join(written).splitlines(keepends=True)


def imported(url: str, lines: list[bytes]) -> dict[str, int]:
    return dict(read_fleet(make_url(url), lines, progress=quiet))


def test_export_file_can_be_imported_into_each_kind_of_database(
    full_url: str, new_postgresql_url: str, second_sqlite_url: str
) -> None:
    lines = exported(full_url)

    rows = imported(new_postgresql_url, lines)
    imported(second_sqlite_url, exported(new_postgresql_url))

    head, end = json.loads(lines[0]), json.loads(lines[-1])
    assert {
        "format": "odoo-mcp-fleet",
        "version": 1,
        "tables": migrations.NEWEST,
        "created_at": "2026-01-31T12:00:00Z",
    } == head
    assert rows == end["end"]["rows"]
    assert 4 == rows["servers"]
    assert content(full_url) == content(new_postgresql_url) == content(second_sqlite_url)


def test_export_file_has_the_values_of_messages(sqlite_url: str) -> None:
    store = SqlStore(make_url(sqlite_url))
    Watched(store).register("a", capabilities=("x",), hostname="web-1")
    store.close()

    rows = [json.loads(line) for line in exported(sqlite_url)]

    (server,) = [each["row"] for each in rows if each.get("table") == "servers"]
    assert ["x"] == server["capabilities"]
    assert "web-1" == server["hostname"]
    assert 1769860800000000 == server["first_seen"]
    assert "version" not in server, "what is null is left out"


def test_export_file_of_an_earlier_version_is_brought_up_to_date(
    new_sqlite_url: str, new_postgresql_url: str
) -> None:
    engine = create_engine(new_sqlite_url)
    with engine.begin() as connection:
        migrations.upgrade(connection, "0006")
        connection.execute(
            text(
                "INSERT INTO servers (server_id, capabilities, first_seen, last_seen, "
                "heartbeat_count, state, state_since, revision) "
                """VALUES ('a', '["x", "y"]', 1, 2, 3, 'up', 1, 4)"""
            )
        )
    engine.dispose()
    lines = exported(new_sqlite_url)

    imported(new_postgresql_url, lines)

    assert "0006" == json.loads(lines[0])["tables"]
    store = SqlStore(make_url(new_postgresql_url))
    (record,) = kept_in(store)
    store.close()
    assert (("x", "y"), 3) == (record.capabilities, record.heartbeat_count)


def test_export_of_a_database_without_a_complete_fleet_is_refused(
    new_postgresql_url: str, sqlite_url: str
) -> None:
    with pytest.raises(CopyRefused, match="there is no fleet"):
        exported(new_postgresql_url)
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'coming-0013'"))
    engine.dispose()
    with pytest.raises(CopyRefused):
        exported(sqlite_url)


def changed(lines: list[bytes], number: int, **values: Any) -> list[bytes]:
    """The lines with other values in one of them."""
    return [
        *lines[:number],
        json.dumps({**json.loads(lines[number]), **values}).encode() + b"\n",
        *lines[number:][1:],
    ]


WRONG: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "names no format": lambda lines: changed(lines, 0, format="other"),
    "is of the version 2 of the format": lambda lines: changed(lines, 0, version=2),
    "has tables of version 9999": lambda lines: changed(lines, 0, tables="9999"),
    "line 1 is no JSON": lambda lines: lines[:0],
    "line 2 is no JSON, or was cut off": lambda lines: [lines[0], lines[1][:-3]],
    "line 2 is no JSON object": lambda lines: [lines[0], b"[]\n"],
    "there is no table 'theirs'": lambda lines: changed(lines, 1, table="theirs"),
    "line 2 has no row of the table": lambda lines: changed(lines, 1, row={"theirs": 1}),
    "has no row of": lambda lines: changed(lines, 1, row=None),
    "expected a whole number, got 'x'": lambda lines: [
        lines[0],
        b'{"table": "pauses", "row": {"id": "x"}}',
    ],
    "expected a text, got 1": lambda lines: [lines[0], b'{"table": "keys", "row": {"id": 1}}'],
    "a row of secrets: .*base64|a row of secrets: .*padding": lambda lines: [
        lines[0],
        b'{"table": "secrets", "row": {"name": "a", "value": "x"}}',
    ],
    "a row of pauses cannot be written": lambda lines: [
        lines[0],
        b'{"table": "pauses", "row": {"id": 1}}',
    ],
    "does not end with the numbers of its rows": lambda lines: lines[:-1],
    "lacks rows, or has more than it says": lambda lines: [lines[0], lines[-1]],
    "the end tells no numbers": lambda lines: [lines[0], b'{"end": {}}'],
    "there is something after the end": lambda lines: [*lines, lines[1]],
}


def test_invalid_export_file_is_refused_and_a_valid_one_can_follow(
    full_url: str, second_sqlite_url: str
) -> None:
    lines = exported(full_url)

    for said, spoil in WRONG.items():
        with pytest.raises(CopyRefused, match=said):
            imported(second_sqlite_url, spoil(lines))
    with pytest.raises(StoreUnavailable, match="has only a part of it"):
        SqlStore(make_url(second_sqlite_url))
    imported(second_sqlite_url, lines)

    assert content(full_url) == content(second_sqlite_url)


def test_import_into_a_database_with_a_fleet_is_refused(
    full_url: str, sqlite_url: str, postgresql_url: str
) -> None:
    lines = exported(full_url)
    store = SqlStore(make_url(postgresql_url))
    Watched(store).beat("theirs")
    store.close()

    with pytest.raises(CopyRefused, match="has a fleet already"):
        imported(postgresql_url, lines)
    engine = create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0012'"))
    engine.dispose()
    with pytest.raises(CopyRefused, match="older than"):
        imported(postgresql_url, lines)
