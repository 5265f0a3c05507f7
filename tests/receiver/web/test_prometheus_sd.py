"""Service discovery for Prometheus: the servers of the fleet as targets."""

import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from attrs import evolve
from hypothesis import given
from sqlalchemy import make_url

import messages
from contract import ServerRecord
from keyring import bearer, keep, made
from receiver.app import create_app
from receiver.domain.queries import Whereabouts
from receiver.service import fleet
from receiver.store import SqlStore
from receiver.web import prometheus_sd
from receiver.web.prometheus_sd import target_of
from servers import Clock, serve, wait_until
from strategies import records

Json = dict[str, Any]


def targets(receiver: httpx.Client, **query: str) -> list[Json]:
    answer = receiver.get("/sd/prometheus", params=query)
    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    found: list[Json] = answer.json()
    return found


def ids(receiver: httpx.Client, **query: str) -> list[str]:
    return [each["labels"]["server_id"] for each in targets(receiver, **query)]


def address(receiver: httpx.Client, **changed: Any) -> list[str]:
    """Send a heartbeat with these fields; the addresses of all targets."""
    receiver.post("/heartbeat", json=messages.slim(**changed))
    return [address for each in targets(receiver) for address in each["targets"]]


def test_empty_fleet_has_no_targets(receiver: httpx.Client) -> None:
    assert [] == targets(receiver)


@pytest.mark.both_databases
def test_server_is_a_target_with_its_labels(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(endpoint_url="https://acme.example/mcp"))

    assert [
        {
            "targets": ["acme.example:443"],
            "labels": {
                "server_id": "acme_web-1",
                "stage": "production",
                "version": "1.0.0",
                "database": "acme",
                "__scheme__": "https",
                "__meta_fleet_endpoint_url": "https://acme.example/mcp",
                "__meta_fleet_hostname": "web-1",
                "__meta_fleet_odoo_version": "19.0",
            },
        }
    ] == targets(receiver)


def test_unknown_and_empty_fields_are_no_labels(receiver: httpx.Client) -> None:
    receiver.post("/heartbeat", json=messages.slim(hostname="web-1", port=80, odoo_stage=""))

    assert [
        {
            "targets": ["web-1:80"],
            "labels": {"server_id": "acme_web-1", "__meta_fleet_hostname": "web-1"},
        }
    ] == targets(receiver)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://acme.example", "acme.example:80"),
        ("HTTPS://acme.example/mcp?a=1", "acme.example:443"),
        ("http://acme.example:8069/mcp/sse", "acme.example:8069"),
        ("http://[fd00::5]/mcp", "[fd00::5]:80"),
        ("http://[fd00::5]:8069/", "[fd00::5]:8069"),
    ],
)
def test_target_is_the_endpoint_url_first(on_sqlite: httpx.Client, url: str, found: str) -> None:
    addresses = {"primary": "10.0.0.5", "all": ["10.0.0.5"]}

    assert [found] == address(on_sqlite, endpoint_url=url, ip_addresses=addresses, port=8768)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"primary": "10.0.0.5", "all": ["10.0.0.5", "fd00::5"]}, "10.0.0.5:8768"),
        ({"primary": "fd00::5", "all": ["fd00::5"]}, "[fd00::5]:8768"),
        (None, "web-1:8768"),
    ],
)
def test_target_is_the_ip_address_or_else_the_hostname(
    on_sqlite: httpx.Client, changed: Json | None, found: str
) -> None:
    assert [found] == address(on_sqlite, ip_addresses=changed, hostname="web-1", port=8768)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"hostname": "web-1"},
        {"port": 8768},
        {"port": 8768, "hostname": ""},
        {"port": 8768, "hostname": "a/b"},
        {"port": 8768, "hostname": "a:80@b"},
        {"port": 8768, "hostname": "a b\n"},
    ],
)
def test_server_without_an_address_is_no_target(on_sqlite: httpx.Client, changed: Json) -> None:
    assert [] == address(on_sqlite, **changed)


def whereabouts(record: ServerRecord) -> Whereabouts:
    is_needed = record.endpoint_url is None and record.ip_addresses is not None
    address = record.ip_addresses.primary if is_needed and record.ip_addresses else None
    names = Whereabouts.__struct_fields__
    known: Json = {name: getattr(record, name, address) for name in names}
    return Whereabouts(**known)


@given(records())
def test_every_target_is_valid_for_prometheus(record: ServerRecord) -> None:
    target = target_of(whereabouts(record), may_be_at=lambda _: True)

    if target is not None:
        (found,) = target["targets"]
        there = urlsplit(f"//{found}")
        assert (found, True) == (there.netloc, bool(there.hostname))
        assert 1 <= (there.port or 0) <= 65535
        assert all(isinstance(each, str) and each for each in target["labels"].values())
        assert all(re.fullmatch("[a-z_]+", name) for name in target["labels"])


@given(records())
def test_every_target_is_at_the_host_that_was_checked(record: ServerRecord) -> None:
    asked: list[str] = []

    def note(host: str) -> bool:
        asked.append(host)
        return True

    target = target_of(whereabouts(record), may_be_at=note)

    found = [] if target is None else [urlsplit(f"//{each}").hostname for each in target["targets"]]
    assert found == [each.lower() for each in asked]


SPECIAL: list[Json] = [
    {"endpoint_url": "http://169.254.169.254/latest"},
    {"endpoint_url": "http://0xa9fea9fe/latest"},
    {"endpoint_url": "http://metadata.google.internal/mcp"},
    {"endpoint_url": "http://[::ffff:a9fe:a9fe]/mcp"},
    {"ip_addresses": {"primary": "fe80::1", "all": []}, "port": 80},
    {"hostname": "metadata", "port": 80},
]
OF_THIS_MACHINE: list[Json] = [
    {"endpoint_url": "http://127.0.0.1:9090/mcp"},
    {"endpoint_url": "http://2130706433/mcp"},
    {"ip_addresses": {"primary": "127.0.0.1", "all": []}, "port": 80},
    {"hostname": "localhost", "port": 80},
]


@pytest.mark.parametrize("changed", SPECIAL)
def test_server_at_a_special_address_is_in_the_list_and_no_target(
    on_sqlite: httpx.Client, changed: Json
) -> None:
    assert [] == address(on_sqlite, **changed)

    record = on_sqlite.get("/servers/acme_web-1").json()
    assert changed == {name: record[name] for name in changed}


@pytest.mark.parametrize("changed", OF_THIS_MACHINE)
def test_server_of_this_machine_is_a_target_until_there_is_a_key(
    sqlite_url: str, clock: Clock, changed: Json
) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url}
    with serve(create_app(environ=environ, clock=clock)) as receiver:
        before = address(receiver, **changed)
    viewer, token = made("viewer")
    keep(sqlite_url, viewer)
    with serve(create_app(environ=environ, clock=clock)) as receiver:
        receiver.headers.update(bearer(token))
        after = targets(receiver)

    assert (1, []) == (len(before), after)


@pytest.mark.parametrize("changed", OF_THIS_MACHINE)
def test_open_receiver_lists_no_loopback_address_as_a_target(
    sqlite_url: str, clock: Clock, changed: Json
) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_OPEN": "1"}
    with serve(create_app(environ=environ, clock=clock)) as receiver:
        assert [] == address(receiver, **changed)


def test_endpoints_setting_decides_which_servers_are_targets(sqlite_url: str, clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_ENDPOINTS": "*.example,10.0.0.0/8"}
    fleet: dict[str, Json] = {
        "a": {"endpoint_url": "https://acme.example/mcp"},
        "b": {"endpoint_url": "https://acme.evil/mcp"},
        # Where its endpoint may not be told, no other address takes its place.
        "c": {
            "endpoint_url": "https://acme.evil/mcp",
            "ip_addresses": {"primary": "10.0.0.5", "all": []},
            "port": 80,
        },
        "d": {"ip_addresses": {"primary": "10.0.0.5", "all": []}, "port": 80},
        "e": {"ip_addresses": {"primary": "192.0.2.7", "all": []}, "port": 80},
        "f": {"hostname": "web.example", "port": 80},
    }
    with serve(create_app(environ=environ, clock=clock)) as receiver:
        for server_id, changed in fleet.items():
            receiver.post("/heartbeat", json=messages.slim(server_id=server_id, **changed))

        assert ["a", "d", "f"] == ids(receiver)
        assert 6 == receiver.get("/servers").json()["count"]


@pytest.mark.both_databases
def test_servers_of_revoked_or_expired_keys_are_no_targets(database_url: str, clock: Clock) -> None:
    viewer, reads = made("viewer")
    kept, revoked_soon, expired_soon = made("agent"), made("agent"), made("agent")
    expires_at = clock.now + timedelta(seconds=60)
    keep(
        database_url,
        viewer,
        kept[0],
        revoked_soon[0],
        evolve(expired_soon[0], expires_at=expires_at),
    )
    app = create_app(environ={"FLEET_DATABASE_URL": database_url}, clock=clock)
    with serve(app) as receiver:
        for name, (_, token) in {"a": kept, "b": revoked_soon, "c": expired_soon}.items():
            beat = messages.slim(server_id=name, hostname="web", port=80)
            receiver.post("/heartbeat", json=beat, headers=bearer(token)).raise_for_status()
        receiver.headers.update(bearer(reads))
        at_first = ids(receiver)
        clock.advance(60)
        after_expiry = ids(receiver)
        store = SqlStore(make_url(database_url))
        store.keys.revoke(revoked_soon[0].id, clock.now)
        store.close()
        wait_until(lambda: ids(receiver) == ["a"])
        listed = receiver.get("/servers").json()["count"]

    assert (["a", "b", "c"], ["a", "b"], 3) == (at_first, after_expiry, listed)


def test_targets_are_the_same_from_the_cache_and_from_the_database(
    database_url: str, clock: Clock
) -> None:
    """Another receiver, which has none of the rows in memory, gives the same answer."""
    beats: list[Json] = [
        messages.heartbeat(server_id="a", endpoint_url="https://acme.example/mcp"),
        messages.heartbeat(server_id="b", endpoint_url=None, port=8768, hostname="web-b"),
        messages.slim(server_id="c", port=80, ip_addresses={"primary": "fd00::5", "all": []}),
        messages.slim(server_id="d", port=80, hostname="web-d"),
        messages.slim(server_id="e"),
    ]
    environ = {"FLEET_DATABASE_URL": database_url}
    with (
        serve(create_app(environ=environ, clock=clock)) as one,
        serve(create_app(environ=environ, clock=clock)) as other,
    ):
        for beat in beats:
            said = {name: value for name, value in beat.items() if value is not None}
            one.post("/heartbeat", json=said).raise_for_status()
        answers = [each.get("/sd/prometheus") for each in (one, other)]

    assert ["a", "b", "c", "d"] == [each["labels"]["server_id"] for each in answers[0].json()]
    assert answers[0].content == answers[1].content


def test_heartbeat_that_says_nothing_new_leaves_the_tag(on_sqlite: httpx.Client) -> None:
    on_sqlite.post("/heartbeat", json=messages.slim(hostname="web", port=80))
    first = on_sqlite.get("/sd/prometheus")
    known = {"If-None-Match": first.headers["etag"]}

    on_sqlite.post("/heartbeat", json=messages.slim())
    same = on_sqlite.get("/sd/prometheus", headers=known)
    on_sqlite.post("/heartbeat", json=messages.slim(hostname="other"))
    other = on_sqlite.get("/sd/prometheus", headers=known)

    assert [200, 304, 200] == [each.status_code for each in (first, same, other)]
    assert (b"", first.headers["etag"]) == (same.content, same.headers["etag"])


def test_long_list_of_targets_is_sent_while_it_is_made(
    on_sqlite: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        on_sqlite.post("/register", json=messages.registration(server_id=f"new-{name}"))
        on_sqlite.post("/heartbeat", json=messages.heartbeat(server_id=f"up-{name}"))
    short = on_sqlite.get("/sd/prometheus")
    monkeypatch.setattr(prometheus_sd, "_MOST_KEPT_BYTES", 10)
    long = on_sqlite.get("/sd/prometheus")

    assert (True, False) == ("etag" in short.headers, "etag" in long.headers)
    assert short.content == long.content
    assert "chunked" == long.headers["transfer-encoding"]


def test_long_list_of_targets_is_read_in_parts(
    on_sqlite: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        on_sqlite.post("/heartbeat", json=messages.heartbeat(server_id=f"s{n}"))
    whole = on_sqlite.get("/sd/prometheus")
    monkeypatch.setattr(fleet, "_AT_ONCE", 2)

    assert whole.content == on_sqlite.get("/sd/prometheus").content


def test_targets_of_all_states_are_sorted_by_server_id(
    on_sqlite: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c", "a", "e"):
        on_sqlite.post("/heartbeat", json=messages.heartbeat(server_id=name))
    for name in ("d", "b"):
        on_sqlite.post("/register", json=messages.registration(server_id=name))

    for most in (1, 2, 5, 6):
        monkeypatch.setattr(fleet, "_AT_ONCE", most)
        assert [*"abcde"] == ids(on_sqlite)
        assert [*"bd"] == ids(on_sqlite, state="new")


def test_silent_servers_are_no_targets(receiver: httpx.Client, clock: Clock) -> None:
    receiver.post("/register", json=messages.registration(server_id="new"))
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="up"))
    before = ids(receiver)
    clock.advance(100)
    receiver.post("/heartbeat", json=messages.slim(server_id="up"))
    clock.advance(100)

    assert (["new", "up"], ["up"]) == (before, ids(receiver))


def test_state_filter_decides_which_servers_are_targets(
    receiver: httpx.Client, clock: Clock
) -> None:
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="a"))
    clock.advance(100)
    receiver.post("/heartbeat", json=messages.heartbeat(server_id="b"))
    clock.advance(100)

    wait_until(lambda: ids(receiver, state="late") == ["a"])

    assert ["b"] == ids(receiver, state="up")


@pytest.mark.both_databases
def test_filters_of_the_server_list_apply_to_targets(receiver: httpx.Client) -> None:
    fleet = [
        messages.heartbeat(server_id="a", odoo_stage="dev"),
        messages.heartbeat(server_id="b", database="other", version="2.0"),
        messages.heartbeat(server_id="c", odoo_version="18.0", capabilities=["rare"]),
    ]
    receiver.post("/heartbeats", json=fleet)

    found = {
        query: ids(receiver, **dict([query]))
        for query in [
            ("stage", "dev"),
            ("database", "other"),
            ("version", "2.0"),
            ("odoo_version", "18.0"),
            ("capability", "rare"),
            ("q", "oth"),
        ]
    }

    assert [["a"], ["b"], ["b"], ["c"], ["c"], ["b"]] == [*found.values()]


@pytest.mark.parametrize("name", ["limit", "cursor", "sort", "total"])
def test_paging_parameters_of_the_target_list_are_refused(
    on_sqlite: httpx.Client, name: str
) -> None:
    answer = on_sqlite.get("/sd/prometheus", params={name: "1"})

    assert (400, "invalid_parameter") == (answer.status_code, answer.json()["code"])
    assert [name] == [error["path"] for error in answer.json()["errors"]]


def test_unknown_parameter_of_the_target_list_is_refused(on_sqlite: httpx.Client) -> None:
    assert 400 == on_sqlite.get("/sd/prometheus?nonsense=1").status_code


def test_all_of_2100_servers_are_targets(receiver: httpx.Client) -> None:
    expected = send_three_pages(receiver)

    assert expected == ids(receiver)


@pytest.mark.both_databases
def test_database_pages_without_targets_leave_no_gap_in_the_target_list(
    receiver: httpx.Client,
) -> None:
    fleet = [messages.slim(server_id=f"s{n:04}") for n in range(1000)]
    fleet += [messages.heartbeat(server_id=f"t{n}") for n in range(2)]
    for part in (fleet[:1000], fleet[1000:]):
        receiver.post("/heartbeats", json=part)

    assert ["t0", "t1"] == ids(receiver)


def test_unavailable_database_is_answered_with_503(
    on_sqlite: httpx.Client, sqlite_url: str
) -> None:
    """Prometheus keeps its targets on an error; an empty list would remove them."""
    with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as database:
        database.execute("ALTER TABLE servers RENAME TO gone")
        answer = on_sqlite.get("/sd/prometheus")
        database.execute("ALTER TABLE gone RENAME TO servers")

    assert (503, "store_unavailable") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("is_long", [False, True])
def test_target_list_that_fails_halfway_is_an_error_or_cut_off(
    on_sqlite: httpx.Client, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, *, is_long: bool
) -> None:
    """A truncated list must be an error for Prometheus, not a shorter list."""
    monkeypatch.setattr(fleet, "_AT_ONCE", 1000)
    send_three_pages(on_sqlite)
    with closing(sqlite3.connect(str(make_url(sqlite_url).database))) as database:
        database.execute("UPDATE servers SET ip_addresses = '{' WHERE server_id = 's1500'")
        database.execute("UPDATE liveness SET revision = 0 WHERE server_id = 's1500'")
        database.commit()

    if is_long:
        monkeypatch.setattr(prometheus_sd, "_MOST_KEPT_BYTES", 10)
        with pytest.raises(httpx.RemoteProtocolError):
            on_sqlite.get("/sd/prometheus")
    else:
        assert 503 == on_sqlite.get("/sd/prometheus").status_code


def send_three_pages(receiver: httpx.Client) -> list[str]:
    """Send heartbeats of servers that fill three pages; returns their ids."""
    beats = [messages.slim(server_id=f"s{n:04}", hostname="web", port=80) for n in range(2100)]
    for start in range(0, len(beats), 700):
        receiver.post("/heartbeats", json=beats[start : start + 700])
    return [beat["server_id"] for beat in beats]
