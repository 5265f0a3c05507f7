"""`doctor` says in one sentence each what is wrong, and what to do."""

import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from attrs import evolve
from sqlalchemy import create_engine, make_url, text
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from alarm_world import channel
from commanding import Command
from keyring import keep, made
from receiver.commands import doctor as looking
from receiver.service.alerts.secret_box import SecretBox
from receiver.store import SqlStore
from servers import Clock, serve


@pytest.fixture
def well_url(sqlite_url: str, clock: Clock) -> str:
    """A fleet with which all is well, and whose receiver has run a moment ago."""
    keep(sqlite_url, made("admin")[0])
    ran(sqlite_url, clock)
    Path(str(make_url(sqlite_url).database)).chmod(0o600)
    return sqlite_url


def ran(url: str, clock: Clock) -> None:
    store = SqlStore(make_url(url))
    store.watch.note_presence(clock(), absent=timedelta(seconds=5))
    store.close()


def found_by(
    url: str, clock: Callable[[], datetime], *arguments: str, **environ: str
) -> tuple[int, dict[str, Any]]:
    """The exit status, and the levels and sentences by what they are about."""
    command = Command({"FLEET_DATABASE_URL": url, **environ}, clock)
    status, said, _ = command("doctor", "--json", *arguments)
    found: dict[str, Any] = {}
    for line in map(json.loads, said):
        found.setdefault(line["about"], []).append((line["level"], line["sentence"]))
    return status, found


def test_doctor_reports_ok_for_every_check_of_a_healthy_receiver(
    well_url: str, clock: Clock
) -> None:
    status, said, explained = Command({"FLEET_DATABASE_URL": well_url}, clock)("doctor")

    assert (0, "") == (status, explained)
    assert all(line.startswith("ok ") for line in said), said
    abouts = {line[6:].partition("  ")[0] for line in said}
    assert {
        *("database", "tables", "clock", "receiver", "keys", "secret key", "disk", "outside"),
    } == abouts


def test_doctor_says_that_a_new_database_needs_a_key_and_a_receiver(
    sqlite_url: str, clock: Clock
) -> None:
    status, found = found_by(sqlite_url, clock)

    assert 5 == status
    assert [("fail", NO_KEY)] == found["keys"]
    assert [("warn", "None has run yet: odoo-mcp-fleet serve")] == found["receiver"]
    assert "so everybody is served" in found_by(sqlite_url, clock, FLEET_OPEN="1")[1]["keys"][0][1]


NO_KEY = (
    "There is none, so only this machine is served: odoo-mcp-fleet keys create --name you "
    "--scope admin"
)


def test_doctor_names_the_keys_that_expire_soon(well_url: str, clock: Clock) -> None:
    soon, _ = made("admin", name="Ada")
    later, _ = made("viewer", name="later")
    gone, _ = made("agent", name="gone")
    keep(
        well_url,
        evolve(soon, expires_at=clock.now + timedelta(days=13)),
        evolve(later, expires_at=clock.now + timedelta(days=15)),
        evolve(gone, expires_at=clock.now),
    )

    _, found = found_by(well_url, clock)

    ((level, sentence),) = found["keys"]
    assert "warn" == level
    assert sentence.startswith("'Ada' expires at 2026-02-13 12:00 UTC: odoo-mcp-fleet keys rotate ")


def test_doctor_reports_a_fleet_without_an_admin_key(sqlite_url: str, clock: Clock) -> None:
    keep(sqlite_url, made("viewer")[0])

    assert "None of an administrator is good" in found_by(sqlite_url, clock)[1]["keys"][0][1]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0003", ("warn", "They are of version 0003: the next start of a receiver sees to it.")),
        ("moved-1", ("fail", "They cannot be used: the fleet was moved to another database")),
        ("9", ("fail", "They cannot be used: the tables of the database are of version 9")),
    ],
)
def test_doctor_reports_tables_of_another_version(
    version: str, said: tuple[str, str], well_url: str, clock: Clock
) -> None:
    change(well_url, f"UPDATE alembic_version SET version_num = '{version}'")

    status, found = found_by(well_url, clock)

    ((level, sentence),) = found["tables"]
    assert (5, said[0], True) == (status, level, sentence.startswith(said[1])), sentence
    assert "keys" not in found


def change(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_doctor_reports_a_database_without_tables(new_sqlite_url: str, clock: Clock) -> None:
    Path(str(make_url(new_sqlite_url).database)).touch()

    assert [("warn", "There are none yet: the next start of a receiver sees to it.")] == found_by(
        new_sqlite_url, clock
    )[1]["tables"]


def test_doctor_reports_an_unreachable_or_damaged_database(well_url: str, clock: Clock) -> None:
    away = "postgresql+psycopg://fleet@127.0.0.1:1/fleet"
    status, found = found_by(away, clock)
    assert (5, "fail") == (status, found["database"][0][0])
    assert [("ok", "It is PostgreSQL's: watch it there.")] == found["disk"]

    with closing(sqlite3.connect(str(make_url(well_url).database))) as file, file:
        file.execute("CREATE TABLE t (a)")
        file.execute("INSERT INTO t VALUES (1)")
        file.execute("PRAGMA writable_schema = ON")
        file.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (a CHECK (a > 1))' WHERE name = 't'"
        )
    _, found = found_by(well_url, clock)
    assert ("fail", True) == (found["database"][0][0], "is damaged" in found["database"][0][1])


def test_doctor_reports_that_no_receiver_runs(well_url: str, clock: Clock) -> None:
    clock.advance(60)

    assert [("fail", "None runs since 2026-01-31 12:00:00 UTC: odoo-mcp-fleet serve")] == found_by(
        well_url, clock
    )[1]["receiver"]


def test_doctor_reports_a_clock_that_was_set_back(well_url: str, clock: Clock) -> None:
    clock.advance(-60)

    ((level, sentence),) = found_by(well_url, clock)[1]["clock"]
    assert ("warn", True) == (level, "so the clock was set back" in sentence)


def test_doctor_compares_the_clock_with_that_of_postgresql(
    postgresql_url: str, clock: Clock
) -> None:
    assert "seconds from the database's" in found_by(postgresql_url, clock)[1]["clock"][0][1]

    def now() -> datetime:
        return datetime.now(timezone.utc)

    assert [("ok", "It agrees with the database's.")] == found_by(postgresql_url, now)[1]["clock"]


def test_doctor_finds_no_wrong_clock_when_the_database_answers_slowly(postgresql_url: str) -> None:
    """Three seconds pass between one reading of the clock and the next."""
    passed = itertools.count(-6, 3)

    def slow() -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=next(passed))

    assert [("ok", "It agrees with the database's.")] == found_by(postgresql_url, slow)[1]["clock"]


def test_doctor_reports_channels_without_their_secret_key(well_url: str, clock: Clock) -> None:
    keys = [SecretBox.new_key() for _ in range(2)]
    sealed = SecretBox([keys[0]]).seal("https://example.com")
    store = SqlStore(make_url(well_url))
    store.alerts.add_channel(evolve(channel(name="ops"), address=sealed), None)
    store.close()

    without = found_by(well_url, clock)[1]["secret key"]
    other = found_by(well_url, clock, FLEET_SECRET_KEY=keys[1])[1]["secret key"]
    both = found_by(well_url, clock, FLEET_SECRET_KEY=",".join(reversed(keys)))[1]["secret key"]
    newest = found_by(well_url, clock, FLEET_SECRET_KEY=",".join(keys))[1]["secret key"]

    assert ("fail", True) == (without[0][0], "1 channels cannot be used" in without[0][1])
    assert ("fail", True) == (other[0][0], "It does not open 'ops'" in other[0][1])
    assert ("warn", True) == (both[0][0], "odoo-mcp-fleet channels reencrypt" in both[0][1])
    assert [("ok", "It opens the addresses of all 1 channels.")] == newest


class Room(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "level"), [(2**40, "ok"), (2**36, "warn"), (2**20, "fail")])
def test_doctor_reports_a_full_disk(
    free: int, level: str, well_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Room(2**41, 0, free))

    assert level == found_by(well_url, clock)[1]["disk"][0][0]


def test_doctor_reports_a_database_file_that_everybody_may_read(
    well_url: str, clock: Clock
) -> None:
    Path(str(make_url(well_url).database)).chmod(0o644)

    assert "chmod 600" in found_by(well_url, clock)[1]["disk"][1][1]


def test_doctor_reports_a_database_file_on_a_network_file_system(
    well_url: str, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/a {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(looking, "_MOUNTS", mounts)
    assert "is on nfs4, where SQLite can be damaged" in found_by(well_url, clock)[1]["disk"][1][1]

    mounts.unlink()
    assert 1 == len(found_by(well_url, clock)[1]["disk"])


def front(status: int, **headers: str) -> Starlette:
    def answer(_: object) -> Response:
        return PlainTextResponse("it", status, headers=headers)

    return Starlette(routes=[Route("/health", answer)])


def test_doctor_requests_the_public_url(well_url: str, clock: Clock) -> None:
    with serve(front(200)) as client:
        url = str(client.base_url)
        status, found = found_by(well_url, clock, FLEET_PUBLIC_URL=url)
    assert (5, "ok") == (status, found["outside"][0][0])
    assert [("warn", f"{url} is not encrypted, keys included: let a proxy do TLS.")] == found[
        "proxy"
    ]

    with serve(front(502)) as client:
        _, found = found_by(well_url, clock, FLEET_PUBLIC_URL=str(client.base_url))
    assert ("fail", True) == (found["outside"][0][0], "502 it. Look at" in found["outside"][0][1])


def test_doctor_checks_the_certificate_of_the_public_url(
    well_url: str, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    clock.now = datetime.now(timezone.utc)
    secured = {"Strict-Transport-Security": "max-age=1"}
    long, short = clock.now + timedelta(days=90), clock.now + timedelta(days=13)

    well = over_tls(authority, long, well_url, clock, **secured)
    assert [("ok", f"It does TLS until {long:%Y-%m-%d}.")] == well
    ends, bare = over_tls(authority, short, well_url, clock)
    assert ("warn", f"Its certificate ends at {short:%Y-%m-%d}: renew it.") == ends
    assert bare[1].startswith("It sends no Strict-Transport-Security")


def over_tls(
    authority: trustme.CA, ends: datetime, url: str, clock: Clock, **headers: str
) -> list[tuple[str, str]]:
    """What is found of the proxy."""
    certificate = authority.issue_cert("localhost", not_after=ends)
    with (
        certificate.private_key_and_cert_chain_pem.tempfile() as pem,
        serve(front(200, **headers), ssl_certfile=pem) as client,
    ):
        public = f"https://localhost:{client.base_url.port}"
        found: list[tuple[str, str]] = found_by(url, clock, FLEET_PUBLIC_URL=public)[1]["proxy"]
    return found


def test_doctor_checks_the_backups(well_url: str, clock: Clock, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    asked = ("--backups", str(folder))
    assert "There is none in" in found_by(well_url, clock, *asked)[1]["backups"][0][1]

    backup = folder / "fleet-2026-01-30-120000.db"
    backup.touch()
    for hours, level in ((24, "ok"), (30, "warn")):
        at = clock.now.timestamp() - hours * 3600
        os.utime(backup, (at, at))
        assert level == found_by(well_url, clock, *asked)[1]["backups"][0][0]


def test_doctor_reports_a_database_that_cannot_be_written(well_url: str, clock: Clock) -> None:
    engine = create_engine(well_url)
    with engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        _, found = found_by(well_url, clock)
        other.rollback()
    engine.dispose()

    assert "It can be read and not written" in found["database"][1][1]
