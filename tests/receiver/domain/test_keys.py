"""Keys: tokens and digests, scopes, patterns of server ids, and expiry."""

import re
import string
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import InvalidMessage
from keyring import expired, made, revoked
from receiver.domain.keys import (
    Key,
    Keyring,
    NewKey,
    Power,
    digest,
    id_of,
    path_of,
    warning_about,
)
from servers import Clock

NOW = Clock().now


def test_key_has_a_prefix_for_secret_scanners() -> None:
    key, token = made("agent")

    assert re.fullmatch(r"fleetkey_[A-Za-z0-9]{10}_[A-Za-z0-9]{43}", token)
    assert token.split("_")[1] == key.id


def test_new_keys_are_all_different() -> None:
    tokens = {made("agent")[1] for _ in range(1000)}

    assert 1000 == len(tokens)
    # A thousand tokens miss one of 62 last characters once in some 10^5 runs.
    assert set(string.ascii_letters + string.digits) == {token[-1] for token in tokens}


def test_token_finds_its_key() -> None:
    one, token = made("agent")
    other, _ = made("viewer")

    assert one is Keyring([one, other]).find(token.encode())


@pytest.mark.parametrize(
    "header", ["Bearer {}", "bearer {}", "Bearer  {}", "Bearer {} ", " BEARER   {}\t"]
)
def test_header_of_a_key_may_have_spaces_around_the_key(header: str) -> None:
    key, token = made("agent")
    authorization = header.format(token).encode()
    ring = Keyring([key])

    assert [key, key] == [ring.bearer(authorization), ring.bearer(authorization)]


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic {}", "{}", "Bearer x {}"])
def test_header_of_another_form_has_no_key(header: str) -> None:
    key, token = made("agent")

    assert None is Keyring([key]).bearer(header.format(token).encode())


@pytest.mark.parametrize("place", [0, 9, 19, 20, 40, 62])
def test_token_with_one_wrong_character_is_refused(place: int) -> None:
    key, token = made("agent")
    wrong = token[:place] + ("x" if token[place] != "x" else "y") + token[place + 1 :]

    assert Keyring([key]).find(wrong.encode()) is None


@pytest.mark.parametrize("wrong", [b"", b"fleetkey_", b"\xff" * 63, b"x" * 65_536])
def test_malformed_token_is_refused(wrong: bytes) -> None:
    key, _ = made("agent")

    assert Keyring([key]).find(wrong) is None


def test_longer_or_shorter_token_is_refused() -> None:
    key, token = made("agent")

    assert [None] * 3 == [
        Keyring([key]).find(each.encode()) for each in (token[:-1], token + "a", " " + token)
    ]


def test_digest_of_a_token_is_refused() -> None:
    """A thief of the database must not be able to use the digests as tokens."""
    key, _ = made("agent")

    assert Keyring([key]).find(key.digest) is None
    assert Keyring([key]).find(key.digest.hex().encode()) is None


def test_secret_of_a_key_is_neither_stored_nor_in_repr() -> None:
    key, token = made("agent")
    secret = token.rpartition("_")[2]

    assert digest(token) == key.digest
    assert secret not in repr(key)
    assert key.digest.hex() not in repr(key)
    assert "digest" not in key.to_json(NOW)
    assert secret not in str(key.to_json(NOW))


def test_key_json_has_all_fields_but_the_digest() -> None:
    key, _ = made("agent", servers="acme_*", name="Acme")

    assert {
        "id": key.id,
        "name": "Acme",
        "scope": "agent",
        "servers": "acme_*",
        "created_at": "2026-01-31T12:00:00Z",
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "messages": 0,
        "standing": "active",
    } == key.to_json(NOW)


def test_keyring_is_true_once_it_had_a_key() -> None:
    key, _ = made("agent")

    assert not Keyring([])
    assert Keyring([key])
    assert Keyring([revoked(key)])


@pytest.mark.parametrize(
    ("scope", "powers"),
    [
        ("agent", {Power.WRITE}),
        ("viewer", {Power.READ, Power.LIST}),
        ("registry", {Power.LIST}),
        ("badge", {Power.BADGE}),
        ("admin", {*Power}),
    ],
)
def test_scope_decides_the_powers_of_a_key(scope: str, powers: set[Power]) -> None:
    key, _ = made(scope)

    assert powers == {power for power in Power if key.may(power)}


@pytest.mark.parametrize("scope", ["agent", "viewer", "admin"])
def test_key_of_another_scope_has_no_path(scope: str) -> None:
    assert path_of(*made(scope)) is None


@pytest.mark.parametrize(
    ("scope", "path"), [("registry", "/registry/{}"), ("badge", "/badges/{}/servers.svg")]
)
def test_key_of_a_registry_or_a_badge_has_a_path(scope: str, path: str) -> None:
    key, token = made(scope)

    assert path.format(token) == path_of(key, token)


def test_key_lapses_when_it_is_revoked_or_expires_whichever_is_first() -> None:
    now = Clock().now
    key, _ = made("viewer")
    day = timedelta(days=1)

    assert key.lapsed_at(now) is None
    assert evolve(key, expires_at=now + day).lapsed_at(now) is None
    assert now - day == evolve(key, expires_at=now - day).lapsed_at(now)
    assert now == evolve(key, revoked_at=now, expires_at=now + day).lapsed_at(now)
    assert now - day == evolve(key, revoked_at=now, expires_at=now - day).lapsed_at(now)


@pytest.mark.parametrize(
    ("pattern", "covered", "others"),
    [
        ("*", ["a", "a\u2028b", "ä/ö"], []),
        ("acme_*", ["acme_", "acme_web-1"], ["Acme_web-1", "xacme_web-1", "acme"]),
        ("acme_web-?", ["acme_web-1"], ["acme_web-12", "acme_web-"]),
        ("acme", ["acme"], ["acme\n", "acme_web-1", ""]),
        ("[ab]_*", ["a_1", "b_1"], ["c_1"]),
        (
            "database:acme",
            ["acme_web-1", "acme_odoosh-160c005e", "acme_ä/ö"],
            ["acme_corp_web-1", "acme_", "acme", "xacme_web-1", "Acme_web-1", "acme_web-1\n_"],
        ),
        (
            "database:acme_corp",
            ["acme_corp_web-1"],
            ["acme_web-1", "acme_corp_eu_web-1", "acme_corp_", "acme_corp"],
        ),
        ("database:a*c", ["a*c_web-1"], ["abc_web-1"]),
        ("database:a.c", ["a.c_web-1"], ["abc_web-1"]),
    ],
)
def test_key_pattern_matches_server_ids(
    pattern: str, covered: list[str], others: list[str]
) -> None:
    key, _ = made("agent", servers=pattern)

    assert covered == [each for each in [*covered, *others] if key.covers(each)]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("acme_*", "such as acme_corp_web-1 of the database acme_corp: .* write database:acme$"),
        ("my_acme_*", "such as my_acme_corp_web-1 of .* write database:my_acme$"),
        ("acme*", "^The pattern acme\\* covers servers of several .* write database:NAME$"),
        ("*_web-1", "several databases: .* write database:NAME$"),
        ("[ab]_*", "several databases: .* write database:NAME$"),
        ("acme_*-1", "several databases: .* write database:NAME$"),
    ],
)
def test_pattern_that_covers_several_databases_is_warned_of(pattern: str, said: str) -> None:
    warning = warning_about(pattern)

    assert warning is not None
    assert re.search(said, warning), warning


@pytest.mark.parametrize(
    "pattern", ["*", "acme_web-1", "acme_web-?", "database:acme", "database:*"]
)
def test_patterns_of_a_single_database_cause_no_warning(pattern: str) -> None:
    assert warning_about(pattern) is None


@given(
    st.text("ab_-", min_size=1, max_size=6),
    st.text("ab_-", min_size=1, max_size=6),
    st.text("ab-", min_size=1, max_size=4),
)
def test_key_of_a_database_covers_no_other(database: str, other: str, host: str) -> None:
    key, _ = made("agent", servers=f"database:{database}")

    assert key.covers(f"{database}_{host}")
    assert (database == other) == key.covers(f"{other}_{host}")


def test_server_that_a_warning_names_is_covered() -> None:
    key, _ = made("agent", servers="acme_*")

    assert key.covers("acme_corp_web-1")


def test_pattern_does_not_limit_admin_keys() -> None:
    key, _ = made("admin")

    assert evolve(key, servers="acme_*").covers("blue_1")


def test_key_id_is_read_from_a_whole_token() -> None:
    key, token = made("agent")

    assert [key.id, key.id, "any"] == [id_of(text) for text in (token, key.id, "any")]


def test_only_keys_that_can_write_a_server_may_own_it() -> None:
    acme, admin, viewer = made("agent", servers="acme_*")[0], made("admin")[0], made("viewer")[0]

    def why_not(key: Key, server_id: str = "acme_1") -> str | None:
        reason = key.why_not_own(server_id, NOW)
        return reason and reason.removeprefix(f"The key {key.id} ")

    assert [None, None, None] == [why_not(acme), why_not(admin), why_not(admin, "blue_1")]
    assert "covers only servers that match 'acme_*'." == why_not(acme, "blue_1")
    assert "is a viewer's, which sends no messages." == why_not(viewer)
    assert "is expired." == why_not(expired(acme))
    assert "is revoked." == why_not(revoked(acme))


def test_standing_of_a_key_is_revoked_before_expired() -> None:
    key, _ = made("agent")
    standings = [each.standing(NOW) for each in (key, expired(key), revoked(expired(key)))]

    assert ["active", "expired", "revoked"] == standings


def test_key_is_valid_until_its_expiry() -> None:
    key = evolve(made("agent")[0], expires_at=NOW)

    assert not key.is_expired(NOW - timedelta(microseconds=1))
    assert key.is_expired(NOW)


GOOD = {"name": "Acme", "scope": "agent"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "expected an object, got a list"),
        ({}, "name: is required; scope: is required"),
        (GOOD | {"name": " "}, 'name: expected 1 to 100 printable characters, got " "'),
        (GOOD | {"name": "a\nb"}, 'name: expected 1 to 100 printable characters, got "a\\nb"'),
        (GOOD | {"name": 5}, "name: expected 1 to 100 printable characters, got 5"),
        (
            GOOD | {"scope": "root"},
            'scope: expected one of agent, viewer, registry, badge, admin, got "root"',
        ),
        (GOOD | {"servers": ""}, 'servers: expected 1 to 255 printable characters, got ""'),
        (
            GOOD | {"expires_at": "90d"},
            'expires_at: expected an ISO 8601 time with an offset, got "90d"',
        ),
        (GOOD | {"expires_at": "2026-01-31T12:00:00Z"}, "expires_at: is over already"),
        (
            GOOD | {"scope": "viewer", "servers": "acme_*"},
            "servers: restricts agents only, not a key with scope viewer",
        ),
        (
            GOOD | {"servers": "database:"},
            "servers: expected the name of a database after database:",
        ),
        (
            GOOD | {"server": "acme_*"},
            "server: is no field of a key; these are: name, scope, servers, expires_at",
        ),
    ],
)
def test_invalid_new_key_is_refused(asked: Any, said: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        NewKey.of(asked, now=NOW)

    assert said == str(raised.value)


def test_long_key_name_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        NewKey.of(GOOD | {"name": "a" * 101}, now=NOW)

    assert "a" * 100 == NewKey.of(GOOD | {"name": "a" * 100}, now=NOW).name


def test_new_key_has_the_requested_fields() -> None:
    asked = GOOD | {"servers": "acme_*", "expires_at": "2026-05-01T12:00:00Z"}

    key, token = NewKey.of(asked, now=NOW).issue(now=NOW)

    assert isinstance(key, Key)
    assert ("acme_*", NOW + timedelta(days=90)) == (key.servers, key.expires_at)
    assert key is Keyring([key]).find(token.encode())
