"""The names, versions and documents of the entries of the MCP registry."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import ServerRecord, State
from receiver.domain.agents.registry import (
    Claim,
    Entry,
    Identity,
    holders,
    is_namespace,
    reported_version,
    rivals_for,
    search_of,
    version_of,
    whose,
)
from registry_rules import expect_entry, expect_version
from server_records import server_record
from strategies import texts

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NAMESPACE = "com.example.fleet"


def claim(server_id: str = "acme_web", **said: Any) -> Claim:
    given: dict[str, Any] = {"database": "acme", "database_uuid": "u", "stage": "production"}
    given |= {"owner": None, "server_id": server_id, "twin_of": None, "first_seen": NOW}
    given |= {"is_gone": False, "is_heard": True, **said}
    identity = Identity(**{name: given.pop(name) for name in Identity._fields})
    return Claim(identity=identity, **given)


def record(**said: Any) -> ServerRecord:
    given: dict[str, Any] = {"server_id": "acme_web", "endpoint_url": "https://acme.example/mcp"}
    return server_record(at=NOW, **{**given, "state": State.UP, **said})


def name_of(claimed: Claim) -> str:
    (name,) = holders(NAMESPACE, [claimed]).values()
    return name


def entry_of(described: ServerRecord, owner: str | None = None) -> Entry | None:
    claimed = claim(
        described.server_id,
        database=described.database,
        database_uuid=described.database_uuid,
        owner=owner,
    )
    name = holders(NAMESPACE, [claimed]).get(described.server_id)
    if name is None:
        return None
    return Entry(name=name, record=described, last_heard=NOW, updated_at=NOW, is_lapsed=False)


# Names


def test_registry_name_of_a_database_equals_the_recorded_one() -> None:
    """Clients keep names in their files; another digest would be another server to them."""
    assert f"{NAMESPACE}/acme-t7nzvp57m7qu6tr7" == name_of(claim())


def test_rebuilt_server_has_the_same_name() -> None:
    assert name_of(claim("one")) == name_of(claim("two", first_seen=NOW + timedelta(days=1)))


@pytest.mark.parametrize(
    "said",
    [
        {"database": "acme2"},
        {"database_uuid": "v"},
        {"stage": "staging"},
        {"stage": None},
        {"owner": "abcdefghij"},
    ],
)
def test_registry_name_differs_when_an_identifying_field_differs(said: dict[str, Any]) -> None:
    assert name_of(claim()) != name_of(claim(**said))


@pytest.mark.parametrize("said", [{"database_uuid": None}, {"database": None}])
def test_server_without_an_identity_of_its_database_is_named_by_its_id(said: Any) -> None:
    name = name_of(claim(**said))

    assert name == name_of(claim(**said, stage="staging"))
    assert name != name_of(claim("another", **said))
    assert name != name_of(claim(**said, owner="abcdefghij"))


@given(server_id=texts(), database=st.none() | texts())
def test_registry_name_leads_to_the_database_or_server_id_to_look_for(
    server_id: str, database: str | None
) -> None:
    claimed = claim(server_id, database=database)
    names = holders(NAMESPACE, [claimed])

    for name in names.values():
        found = whose(NAMESPACE, name)
        assert found is not None
        assert (found.database, found.server_id) in {(database, None), (None, server_id)}


def test_server_with_an_unusable_id_has_no_registry_name() -> None:
    assert {} == holders(NAMESPACE, [claim("ü" * 40, database=None)])


def test_server_with_an_unusable_database_name_is_named_by_its_id() -> None:
    name = name_of(claim("acme_web", database="ü" * 40))

    assert name.startswith(f"{NAMESPACE}/_.acme_web-")


def test_registry_name_belongs_to_the_older_of_two_servers_while_it_is_heard() -> None:
    old, new = claim("old"), claim("new", first_seen=NOW + timedelta(seconds=1))

    assert ["old"] == [*holders(NAMESPACE, [new, old])]
    assert ["new"] == [*holders(NAMESPACE, [old._replace(is_heard=False), new])]
    assert ["new"] == [*holders(NAMESPACE, [old._replace(is_gone=True), new])]


def test_registry_name_belongs_to_the_newest_of_the_servers_that_are_gone() -> None:
    old = claim("old", is_gone=True)
    new = claim("new", first_seen=NOW + timedelta(seconds=1), is_gone=True)

    assert ["new"] == [*holders(NAMESPACE, [old, new])]


def test_registry_names_of_twins_differ() -> None:
    """Or clients would be sent now to one, now to the other."""
    old = claim("old", twin_of="new")
    new = claim("new", twin_of="old", first_seen=NOW + timedelta(seconds=1))

    names = holders(NAMESPACE, [old, new])
    silent = holders(NAMESPACE, [old._replace(is_heard=False), new])

    assert name_of(claim()) == names["old"] != names["new"]
    assert names == silent
    others = [claim("other", database_uuid="v").identity, claim("third", stage="dev").identity]
    for name in names.values():
        asked = rivals_for(name, [*others, old.identity, new.identity])
        assert ["old", "new"] == asked
    assert [] == rivals_for(f"{NAMESPACE}/acme-{16 * 'a'}", [old.identity])


@pytest.mark.parametrize("text", ["com.example", "io.github.a-b", "A.b.c-d.e1", "1.2"])
def test_reversed_domain_is_a_namespace(text: str) -> None:
    assert is_namespace(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme", ("acme", None)),
        ("FLEET", (None, None)),
        ("com.example.fleet/", (None, None)),
        ("fleet/acme", ("acme", None)),
        ("com.example/acme", ("com.example/acme", None)),
        (f"{NAMESPACE}/acme-aaaaaaaaaaaaaaaa", (None, f"{NAMESPACE}/acme-aaaaaaaaaaaaaaaa")),
    ],
)
def test_registry_search_text_becomes_a_search_by_server_name(
    text: str, found: tuple[Any, Any]
) -> None:
    assert found == search_of(NAMESPACE, text)


# Versions


@pytest.mark.parametrize("version", ["1.0.0", "19.0.1.0.0", "1.0-beta+5", "v2", "a" * 255])
def test_single_valid_version_is_unchanged_in_the_registry(version: str) -> None:
    assert version == version_of(version)


@pytest.mark.parametrize(
    "reported",
    [
        *("", "latest", "LATEST", "^1.0", "~1.0", ">=1", "1.x", "1.X.0", "1.*", "*", "1 - 2"),
        *("1 || 2", "a" * 256, "ü", "0.0.0-unreported", "0.0.0-reported.ge", "0.0.0-reported."),
    ],
)
def test_version_that_is_not_allowed_gets_another_one(reported: str) -> None:
    version = version_of(reported)

    expect_version(version)
    assert reported != version


def test_unreported_version_gets_a_placeholder() -> None:
    assert "0.0.0-unreported" == version_of(None)


@given(st.none() | texts() | st.from_regex(r"[0-9.x^*-]{1,9}", fullmatch=True))
def test_registry_version_is_valid_and_maps_back_to_the_reported_one(reported: str | None) -> None:
    version = version_of(reported)

    expect_version(version)
    if reported and len(reported.encode()) <= 60:
        assert reported == reported_version(version)


@given(texts(), texts())
def test_distinct_reported_versions_have_distinct_registry_versions(one: str, other: str) -> None:
    assert (one == other) == (version_of(one) == version_of(other))


@pytest.mark.parametrize("version", ["^1.0", "0.0.0-reported.1", "0.0.0-reported.GE", "latest"])
def test_unknown_registry_version_maps_to_no_reported_version(version: str) -> None:
    assert reported_version(version) is None


# Documents

OUTLANDISH = 'a\n{b} ${HOME} ${input:x} "; <b>\x1b ü' + "z" * 200


@given(
    database=st.none() | texts() | st.just(OUTLANDISH),
    stage=st.none() | texts() | st.just(OUTLANDISH),
    version=st.none() | texts() | st.just(OUTLANDISH),
    hostname=st.none() | texts(),
)
def test_registry_entries_match_the_api_whatever_servers_report(
    database: str | None, stage: str | None, version: str | None, hostname: str | None
) -> None:
    described = record(
        database=database,
        database_uuid="u",
        odoo_stage=stage,
        version=version,
        hostname=hostname,
        endpoint_url="HTTPS://acme.example/mcp",
    )
    entry = entry_of(described)
    assert entry is not None

    expect_entry(entry.to_json())


def test_header_for_the_database_is_left_out_where_it_would_not_be_safe() -> None:
    entry = entry_of(record(database="{x}", database_uuid="u"))
    assert entry is not None

    (header,) = entry.to_json()["server"]["remotes"][0]["headers"]
    assert "Authorization" == header["name"]


def test_registry_entry_shows_a_hundred_tools_and_counts_all() -> None:
    entry = entry_of(record(capabilities=tuple(f"tool_{n}" for n in range(101))))
    assert entry is not None

    own = entry.to_json()["_meta"][f"{NAMESPACE}/fleet"]
    assert (100, 101) == (len(own["tools"]), own["toolCount"])


@pytest.mark.parametrize(
    ("said", "status", "has_address"),
    [
        ({"state": State.NEW}, "active", True),
        ({"state": State.LATE}, "active", True),
        ({"state": State.DOWN}, "deprecated", True),
        ({"state": State.LEFT}, "deleted", False),
        ({"superseded_by": "b"}, "deleted", False),
    ],
)
def test_registry_status_follows_from_the_state(
    said: dict[str, Any], status: str, *, has_address: bool
) -> None:
    entry = entry_of(record(**said))
    assert entry is not None

    content = entry.to_json()
    expect_entry(content)
    assert status == content["_meta"]["io.modelcontextprotocol.registry/official"]["status"]
    assert has_address == ("remotes" in content["server"])
    assert (status == "deleted") == entry.is_deleted
    lapsed = evolve(entry, is_lapsed=True).to_json()
    expect_entry(lapsed)
    assert "remotes" not in lapsed["server"]
