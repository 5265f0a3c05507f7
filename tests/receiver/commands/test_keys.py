"""`python -m receiver keys`, on a database that a receiver may be using."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import make_url

from commanding import Command, Said
from contract import Heartbeat
from keyring import expired, made
from outages import away
from receiver.domain.keys import Keyring
from receiver.domain.outcomes import Incoming
from receiver.store import Servers, SqlStore
from servers import Clock


class Keys:
    """Runs the commands `keys`, of the older command line or of the program."""

    def __init__(self, database_url: str, clock: Clock, *, is_older: bool = True) -> None:
        environ = {"FLEET_DATABASE_URL": database_url}
        self._command = Command(environ, clock, is_older=is_older)

    def __call__(self, *arguments: str) -> Said:
        return self._command("keys", *arguments)


@pytest.fixture
def command(database_url: str, clock: Clock) -> Keys:
    return Keys(database_url, clock)


def test_key_creation_prints_the_token_alone(
    store: SqlStore, command: Keys, database_url: str
) -> None:
    status, (token,), explained = command("create", "--name", "acme", "--scope", "viewer")

    (key,) = store.keys.all()
    assert key == Keyring([key]).find(token.encode())
    assert 0 == status
    assert (
        f"This is the key {key.id} for 'acme'. It is not shown again: keep it where only its "
        f"holder can read it. Receivers on {database_url} know it within seconds."
    ) == explained


def test_key_of_a_badge_is_explained_by_its_path(command: Keys) -> None:
    _, (token,), explained = command("create", "--name", "readme", "--scope", "badge")

    assert f"is at the receiver's address and /badges/{token}/servers.svg" in explained


def test_key_of_a_registry_is_explained_by_its_path(command: Keys) -> None:
    _, (token,), explained = command("create", "--name", "team", "--scope", "registry")
    _, (other,), again = command("rotate", token)

    said = "MCP clients find the registry at the receiver's address and /registry/{}"
    assert said.format(token) in explained.splitlines()
    assert said.format(other) in again.splitlines()


def test_create_makes_a_key_with_the_given_options(
    store: SqlStore, command: Keys, clock: Clock
) -> None:
    options = ("--scope", "agent", "--servers", "acme_*", "--expires", "90d")
    command("create", "--name", "acme", *options)

    (key,) = store.keys.all()
    assert ("acme", "agent", "acme_*", clock.now + timedelta(days=90)) == (
        key.name,
        key.scope.value,
        key.servers,
        key.expires_at,
    )


def test_key_of_a_database_is_made_without_a_warning(store: SqlStore, command: Keys) -> None:
    _, _, said = command("create", "--name", "a", "--scope", "agent", "--database", "acme")

    (key,) = store.keys.all()
    assert "database:acme" == key.servers
    assert said.startswith("This is the key")


def test_pattern_that_covers_several_databases_is_warned_of(command: Keys) -> None:
    status, (token,), said = command(
        "create", "--name", "a", "--scope", "agent", "--servers", "acme_*"
    )

    assert (0, True) == (status, token.startswith("fleetkey_"))
    assert said.startswith("The pattern acme_* covers servers of several databases")


def test_pattern_and_database_exclude_each_other(command: Keys) -> None:
    answer = command(
        *("create", "--name", "a", "--scope", "agent"),
        *("--servers", "acme_*", "--database", "acme"),
    )

    assert (2, [], "--servers and --database exclude each other") == answer


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1d", timedelta(days=1)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
        ("2026-02-01T12:00:00+00:00", timedelta(days=1)),
    ],
)
def test_expiry_is_a_duration_or_a_time(
    text: str, length: timedelta, store: SqlStore, command: Keys, clock: Clock
) -> None:
    command("create", "--name", "a", "--scope", "viewer", "--expires", text)

    (key,) = store.keys.all()
    assert clock.now + length == key.expires_at


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scope", "root"), "'root' is not one of 'agent', 'viewer'"),
        (("--scope", "agent", "--expires", "soon"), "expected a length of time such as 90d"),
        (("--scope", "agent", "--expires", "0d"), "expected a length of time such as 90d"),
        ((), "Missing option '--scope'"),
    ],
)
def test_invalid_arguments_of_the_keys_command_are_explained(
    options: tuple[str, ...], said: str, command: Keys
) -> None:
    answer = command("create", "--name", "a", *options)

    assert (2, []) == answer[:2]
    assert said in answer.explained
    assert answer.explained.endswith("\nSee: python -m receiver keys create --help")


@pytest.mark.parametrize(
    ("options", "explained"),
    [
        (("--name", ""), 'name: expected 1 to 100 printable characters, got ""'),
        (("--name", "a", "--servers", ""), "servers: expected 1 to 255 printable characters"),
        (("--name", "a", "--expires", "2026-01-01T00:00:00Z"), "expires_at: is over already"),
    ],
)
def test_keys_command_makes_no_invalid_key(
    options: tuple[str, ...], explained: str, store: SqlStore, command: Keys
) -> None:
    answer = command("create", "--scope", "agent", *options)

    assert (2, []) == answer[:2]
    assert explained in answer.explained
    assert [] == store.keys.all()


def test_key_list_shows_all_fields_but_secrets(
    store: SqlStore, command: Keys, clock: Clock
) -> None:
    agent, token = made("agent", servers="acme_*", name="acme")
    store.keys.add(evolve(agent, id="agent00000", expires_at=clock.now + timedelta(days=1)))
    viewer = evolve(made("viewer")[0], id="viewer0000", created_at=clock.now + timedelta(1))
    store.keys.add(viewer)
    store.keys.add_uses({"agent00000": 12}, clock.now)
    store.keys.revoke("viewer0000", clock.now)

    status, lines, _ = command("list")

    assert 0 == status
    rows = """
ID          NAME    SCOPE   SERVERS  STATUS   CREATED     EXPIRES     USED              MESSAGES
agent00000  acme    agent   acme_*   active   2026-01-31  2026-02-01  2026-01-31 12:00  12
viewer0000  viewer  viewer           revoked  2026-02-01  never       never             0
"""
    assert rows.strip().splitlines() == lines
    assert not any(token.rpartition("_")[2] in line for line in lines)


def test_empty_key_list_explains_access_without_keys(
    store: SqlStore, command: Keys, database_url: str
) -> None:
    said = (
        f"There are no keys in {database_url}: only clients on the receiver's own machine are "
        "served."
    )

    assert (0, [], said) == command("list")


def test_key_is_revoked_once(store: SqlStore, command: Keys, clock: Clock) -> None:
    key, _ = made("viewer")
    store.keys.add(key)

    first, second = command("revoke", key.id), command("revoke", key.id)

    assert (0, 1) == (first.status, second.status)
    assert "no key" in second.explained
    assert [clock.now] == [each.revoked_at for each in store.keys.all()]


def test_revoke_forgets_the_servers_of_a_key_if_asked(
    store: SqlStore, command: Keys, clock: Clock
) -> None:
    leaked, other = made("agent")[0], made("agent")[0]
    for key, ids in ((leaked, ("a", "b", "c")), (other, ("d",))):
        store.keys.add(key)
        store.servers.apply([Incoming(Heartbeat(server_id=n), clock.now, key) for n in ids])

    first = command("revoke", leaked.id)
    kept = store.servers.owned(leaked.id)
    second, third = (command("revoke", leaked.id, "--forget") for _ in range(2))

    assert (0, ["a", "b", "c"]) == (first.status, kept)
    assert (0, ["a", "b", "c"]) == (second.status, second.said)
    assert "3 servers of it are forgotten" in second.explained
    assert (0, []) == (third.status, third.said)
    assert ([], ["d"]) == (store.servers.owned(leaked.id), store.servers.owned(other.id))
    assert store.servers.get("a") is None
    assert 1 == command("revoke", "nobody", "--forget").status


def test_revoke_says_that_servers_are_left_when_the_database_goes_away(
    store: SqlStore, command: Keys, clock: Clock
) -> None:
    leaked, _ = made("agent")
    store.keys.add(leaked)
    store.servers.apply([Incoming(Heartbeat(server_id=n), clock.now, leaked) for n in "abc"])

    with away(Servers, "delete_owned", after=1):
        first = command("revoke", leaked.id, "--forget")
    second = command("revoke", leaked.id, "--forget")

    assert (3, ["a"]) == (first.status, first.said)
    assert f"The key {leaked.id} is revoked." in first.explained
    assert "Some may be left, since the database went away: run this again." in first.explained
    assert (0, ["b", "c"]) == (second.status, second.said)


def test_rotate_replaces_the_token(store: SqlStore, command: Keys) -> None:
    key, old = made("agent")
    store.keys.add(key)

    status, (new,), _ = command("rotate", key.id)

    ring = Keyring(store.keys.all())
    assert 0 == status
    assert [None, key.id] == [
        found and found.id for found in map(ring.find, (old.encode(), new.encode()))
    ]


@pytest.mark.parametrize("arguments", [("list",), ("revoke", "a"), ("rotate", "a")])
def test_only_the_create_command_makes_a_new_database(
    arguments: tuple[str, ...], new_sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    """In a wrong folder, commands must fail instead of reading a new, empty database."""
    status, said, explained = Keys(new_sqlite_url, clock)(*arguments)

    assert (2, []) == (status, said)
    assert explained.startswith("There is no database at sqlite:///")
    assert "FLEET_DATABASE_URL" in explained
    assert [] == [*tmp_path.iterdir()]


@pytest.mark.parametrize("is_older", [True, False])
def test_create_makes_no_database_in_the_current_folder_unless_asked(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_older: bool
) -> None:
    """The receiver may run in another folder, and would not know the key."""
    monkeypatch.chdir(tmp_path)
    command = Keys("sqlite:///fleet.db", clock, is_older=is_older)
    create = ("create", "--name", "a", "--scope", "viewer")

    refused, left = command(*create), [*tmp_path.iterdir()]
    made = command(*create, "--create")
    again = command(*create)

    assert (2, []) == refused[:2]
    assert f"There is no database at sqlite:///fleet.db, which is {tmp_path}/fleet.db." in (
        refused.explained
    )
    assert "--create" in refused.explained
    assert [] == left
    assert (0, 0) == (made.status, again.status)
    assert made.explained.startswith(
        f"There was no database at {tmp_path}/fleet.db: it is made now.\n"
    )
    assert again.explained.startswith("This is the key")


def test_create_makes_a_database_at_an_absolute_path_and_says_so(
    new_sqlite_url: str, clock: Clock, tmp_path: Path
) -> None:
    status, _, explained = Keys(new_sqlite_url, clock)("create", "--name=a", "--scope=viewer")

    assert 0 == status
    assert explained.startswith(f"There was no database at {tmp_path}/fleet.db: it is made now.")


def test_password_of_the_database_url_is_not_shown(postgresql_url: str, clock: Clock) -> None:
    url = make_url(postgresql_url).set(password="hunter2")
    explained = Keys(url.render_as_string(hide_password=False), clock)("list").explained

    assert "hunter2" not in explained
    assert "***" in explained


@pytest.mark.parametrize("what", ["revoke", "rotate"])
def test_unknown_id_of_a_key_is_named(what: str, store: SqlStore, command: Keys) -> None:
    said = "There is no key 'nobody' that is not revoked; see: python -m receiver keys list"

    assert (1, [], said) == command(what, "nobody")


def test_whole_key_is_accepted_as_its_id(store: SqlStore, command: Keys, clock: Clock) -> None:
    """A leaked key is found as a whole, and must be revoked quickly."""
    key, token = made("viewer")
    store.keys.add(key)

    answer = command("revoke", token)

    assert 0 == answer.status
    assert token.rpartition("_")[2] not in answer.explained
    assert [clock.now] == [each.revoked_at for each in store.keys.all()]


def test_expired_key_is_rotated_with_a_new_expiry(
    store: SqlStore, command: Keys, clock: Clock
) -> None:
    key = expired(made("agent")[0])
    store.keys.add(key)

    without = command("rotate", key.id)
    with_time = command("rotate", key.id, "--expires", "90d")

    said = f"The key {key.id} has expired: give it another time with --expires"
    assert (1, [], said) == without
    assert 0 == with_time.status
    (rotated,) = store.keys.all()
    assert clock.now + timedelta(days=90) == rotated.expires_at
    assert rotated == Keyring([rotated]).find(with_time.said[0].encode())


@pytest.mark.parametrize(
    "arguments",
    [
        ("revoke", "\udcff"),
        ("hand-over", "--server", "\udcff", "--to", "a"),
        ("hand-over", "--server", "a", "--to", "\udcff"),
    ],
)
def test_argument_that_is_no_utf_8_is_refused(arguments: tuple[str, ...], command: Keys) -> None:
    answer = command(*arguments)

    assert 2 == answer.status
    assert "expected text in UTF-8" in answer.explained


@pytest.mark.parametrize("which", [(), ("--server", "a", "--all-of", "b")])
def test_hand_over_asks_for_one_way_to_say_which_servers(
    which: tuple[str, ...], command: Keys
) -> None:
    answer = command("hand-over", *which, "--to", "a")

    assert 2 == answer.status
    assert "one of --server and --all-of is required" in answer.explained


def test_hand_over_to_a_key_that_cannot_write_is_refused(
    store: SqlStore, command: Keys, clock: Clock
) -> None:
    owner, other = made("agent")[0], made("agent", servers="b*")[0]
    for key in (owner, other):
        store.keys.add(key)
    ids = ("a", "b", "c")
    store.servers.apply([Incoming(Heartbeat(server_id=each), clock.now, owner) for each in ids])

    answer = command("hand-over", "--all-of", owner.id, "--to", other.id)

    said = f"The key {other.id} covers only servers that match 'b*'."
    assert (1, [], said) == answer
    assert [*ids] == store.servers.owned(owner.id)


def test_revoked_key_is_not_rotated(store: SqlStore, command: Keys, clock: Clock) -> None:
    key, _ = made("viewer")
    store.keys.add(key)
    store.keys.revoke(key.id, clock.now)

    assert 1 == command("rotate", key.id).status


def test_hand_over_changes_the_owner_of_servers(
    store: SqlStore, command: Keys, clock: Clock
) -> None:
    one, _ = made("agent")
    other, _ = made("agent")
    for key in (one, other):
        store.keys.add(key)
    store.servers.apply(
        [Incoming(Heartbeat(server_id=each), clock.now, one) for each in ("a", "b", "c")]
    )

    single = command("hand-over", "--server", "a", "--server", "unknown", "--to", other.id)
    rest = command("hand-over", "--all-of", one.id, "--to", other.id)

    assert (1, ["a", "unknown: there is no such server"]) == single[:2]
    assert f"1 of 2 servers belong to the key {other.id} now." == single.explained
    assert (0, ["b", "c"]) == rest[:2]
    assert ["a", "b", "c"] == store.servers.owned(other.id)


def test_hand_over_to_an_unknown_key_is_refused(store: SqlStore, command: Keys) -> None:
    key, _ = made("agent")
    store.keys.add(key)

    answers = [
        command("hand-over", "--server", "a", "--to", "nobody"),
        command("hand-over", "--all-of", "nobody", "--to", key.id),
    ]

    assert [(1, [])] * 2 == [answer[:2] for answer in answers]


def test_invalid_settings_are_explained_one_a_line(clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": "mysql://", "FLEET_OPEN": "yes", "FLEET_OPENED": "1"}

    status, _, explained = Command(environ, clock, is_older=True)("keys", "list")

    assert 2 == status
    misspelt, url, flag = explained.splitlines()
    assert "did you mean FLEET_OPEN?" in misspelt
    assert url.startswith("FLEET_DATABASE_URL: expected the address")
    assert "FLEET_OPEN: expected 1 or 0, got 'yes'" == flag


def test_database_that_does_not_answer_has_a_status_of_its_own(clock: Clock) -> None:
    environ = {"FLEET_DATABASE_URL": "postgresql+psycopg://me@127.0.0.1:1/fleet"}

    status, _, explained = Command(environ, clock, is_older=True)("keys", "list")

    assert 3 == status
    assert "Traceback" not in explained


def test_command_line_prints_the_token_on_stdout(tmp_path: Path, sqlite_url: str) -> None:
    """Only the token is on standard output, so that scripts can read it."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "receiver", "keys", "create"),
            *("--name", "first", "--scope", "admin"),
        ],
        cwd=tmp_path,
        env={
            "FLEET_DATABASE_URL": sqlite_url,
            "PYTHONPATH": ":".join(sys.path),
        },
        capture_output=True,
        text=True,
        check=True,
    )

    store = SqlStore(make_url(sqlite_url))
    (key,) = store.keys.all()
    store.close()
    assert key == Keyring([key]).find(ran.stdout.removesuffix("\n").encode())
    assert f"This is the key {key.id} for 'first'." in ran.stderr.splitlines()[0]
