"""Settings, and the errors that stop a start."""

import asyncio
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import make_url
from starlette.types import Message

import messages
from contract import Heartbeat
from postgres import Postgres
from receiver.app import Tuning, create_app
from receiver.domain.errors import InvalidSetting, StoreUnavailable
from receiver.domain.outcomes import Incoming
from receiver.service.alerts.secret_box import SecretBox
from receiver.settings import misspelt, read_settings
from receiver.store import SqlStore
from receiver.store.dialects import dialect_of
from servers import ANY_PAUSE_SECONDS, Clock, serve, wait_until
from watched import hear

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

START = """
import sys
import receiver.app
import receiver.commands.serve
from receiver.store import SqlStore
from sqlalchemy import make_url
SqlStore(make_url(sys.argv[1])).close()
print(*sys.modules)
"""


def test_start_imports_nothing_that_is_needed_seldom(sqlite_url: str) -> None:
    """
    It would take time and memory: chats have a process of their own, MCP waits for an agent, words
    are stemmed when there are tools to search, other receivers are asked by other commands, the
    protocol is a choice of who starts uvicorn, and the newest tables need no migration.
    """
    start = [sys.executable, "-c", START, sqlite_url]
    imported = subprocess.run(start, capture_output=True, text=True, check=True).stdout.split()

    assert "receiver.app" in imported
    seldom = {"alembic", "apprise", "httpx", "mcp", "receiver.connections", "snowballstemmer"}
    assert not seldom & {*imported}


def test_missing_driver_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed

    with pytest.raises(InvalidSetting, match=r"pip install 'odoo-mcp-fleet\[receiver,postgres\]'"):
        read_settings({"FLEET_DATABASE_URL": "postgresql+psycopg://me@host/fleet"})


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@host/fleet", "postgres://host/fleet", "nonsense"]
)
def test_url_of_no_supported_driver_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"such as .*postgresql\+psycopg://") as refused:
        read_settings({"FLEET_DATABASE_URL": url})

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_in_memory_database_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"such as sqlite:///fleet\.db"):
        read_settings({"FLEET_DATABASE_URL": url})


POSTGRES = "postgresql+psycopg://me:secret@host/fleet"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///fleet.db?timeout=5", "the parameter timeout cannot be used; SQLite has only"),
        ("sqlite:///fleet.db?mode=ro", "the parameter mode: expected rw or rwc"),
        ("sqlite:///fleet.db?mode=rw&mode=rw", "the parameter mode: expected rw or rwc"),
        ("sqlite:///file:fleet.db?uri=true", "the parameter uri cannot be used"),
        ("sqlite://host/fleet.db", "Invalid SQLite URL: sqlite://host/fleet.db$"),
        ("sqlite:///fleet%00.db", "expected the address of a database"),
        (f"{POSTGRES}?prepare_threshold=5", "the parameter prepare_threshold cannot be used: a r"),
        (f"{POSTGRES}?autocommit=false", "the parameter autocommit cannot be used: PostgreSQL's"),
        (f"{POSTGRES}?row_factory=x", "the parameter row_factory cannot be used: PostgreSQL's"),
        (f"{POSTGRES}?sslmodus=require", "the parameter sslmodus cannot be used: PostgreSQL's"),
        (f"{POSTGRES}?client_encoding=latin1", "the parameter client_encoding cannot be used: it"),
        (f"{POSTGRES}?replication=database", "the parameter replication cannot be used: such a c"),
        (f"{POSTGRES}?sslmode=require&sslmode=prefer", "the parameter sslmode is given more than"),
        (f"{POSTGRES}?connect_timeout=soon", "the parameter connect_timeout: expected a whole n"),
        (f"{POSTGRES}?keepalives_idle=-1", "the parameter keepalives_idle: expected a whole numb"),
        (f"{POSTGRES}?host=a:x&host=b:1", "Received non-integer port arguments"),
        (f"{POSTGRES}?host=a,b&port=1,2,3", "number of hosts and ports don't match"),
        ("postgresql+psycopg://me:secret@host:port/fleet", "several hosts are written"),
        ("postgresql+psycopg://me:secret@a:1,b:2/fleet", "several hosts are written"),
    ],
)
def test_unusable_part_of_a_database_url_is_named(url: str, sentence: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^FLEET_DATABASE_URL: .*{sentence}") as refused:
        read_settings({"FLEET_DATABASE_URL": url})

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///fleet.db?mode=rw",
        f"{POSTGRES}?sslmode=require&connect_timeout=9&application_name=fleet",
        "postgresql+psycopg://me@a,b/fleet?target_session_attrs=read-write",
        "postgresql+psycopg://me@/fleet?host=a:1&host=b:2&target_session_attrs=read-write",
    ],
)
def test_database_url_with_parameters_is_accepted(url: str) -> None:
    assert make_url(url) == read_settings({"FLEET_DATABASE_URL": url}).database_url


def test_connection_settings_of_a_database_url_are_used(postgresql_url: str) -> None:
    url = f"{postgresql_url}&application_name=mine&keepalives_idle=77"
    store = SqlStore(read_settings({"FLEET_DATABASE_URL": url}).database_url)
    with store.transactions.read() as connection:
        name = connection.exec_driver_sql("SHOW application_name").scalar_one()
        used = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]
    store.close()

    assert ("mine", "77") == (name, used["keepalives_idle"])


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("sslmode=perhaps", "invalid sslmode value"),
        ("target_session_attrs=any-one", "invalid target_session_attrs value"),
        ("service=nobody", "nobody"),
        ("options=-c nothing=1", "nothing"),
    ],
)
def test_value_that_libpq_refuses_stops_the_start_with_its_sentence(
    postgresql_url: str, parameter: str, named: str
) -> None:
    settings = read_settings({"FLEET_DATABASE_URL": f"{postgresql_url}&{parameter}"})

    with pytest.raises(StoreUnavailable, match=f"cannot be opened: .*{named}"):
        SqlStore(settings.database_url)


def test_watchdog_settings_have_defaults_and_are_read() -> None:
    defaults = read_settings({})
    said = read_settings(
        {
            "FLEET_EVENT_RETENTION_DAYS": "7",
            "FLEET_FORGET_AFTER_DAYS": "30",
            "FLEET_SILENT_SHARE": "0.75",
        }
    )

    assert (timedelta(days=90), None, 0.5) == (
        defaults.event_retention,
        defaults.forget_after,
        defaults.silent_share,
    )
    assert (timedelta(days=7), timedelta(days=30), 0.75) == (
        said.event_retention,
        said.forget_after,
        said.silent_share,
    )


@pytest.mark.parametrize("days", ["1", "36500", "007"])
def test_whole_days_of_retention_are_accepted(days: str) -> None:
    found = read_settings({"FLEET_EVENT_RETENTION_DAYS": days}).event_retention

    assert timedelta(days=int(days)) == found


@pytest.mark.parametrize(
    "days",
    [
        "",
        "0",
        "-1",
        "1.5",
        "36501",
        "9" * 5000,
        "1000000",
        "0000019999999999",
        "\u0661",
        "²",
        "90 ",
        "1e2",
    ],
)
def test_invalid_days_of_retention_are_refused(days: str) -> None:
    for name in ("FLEET_EVENT_RETENTION_DAYS", "FLEET_FORGET_AFTER_DAYS"):
        with pytest.raises(InvalidSetting, match=rf"^{name}: .* from 1 to 36500, got '"):
            read_settings({name: days})


@pytest.mark.parametrize("share", ["0.5", "1", "1.0", "0.999", ".6"])
def test_silent_share_of_half_or_more_is_accepted(share: str) -> None:
    assert float(share) == read_settings({"FLEET_SILENT_SHARE": share}).silent_share


@pytest.mark.parametrize("share", ["", "0", "0.49", "1.01", "-1", "50%", "nan", "inf", "half"])
def test_invalid_silent_share_is_refused(share: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^FLEET_SILENT_SHARE: .* from 0\.5 to 1, got '"):
        read_settings({"FLEET_SILENT_SHARE": share})


@pytest.mark.parametrize("text", ["", "2", "yes", "true", " 1"])
def test_switch_other_than_1_or_0_is_refused(text: str) -> None:
    """`yes` must be an error, not silently one of the two."""
    with pytest.raises(InvalidSetting, match=f"^FLEET_OPEN: expected 1 or 0, got {text!r}$"):
        read_settings({"FLEET_OPEN": text})


@pytest.mark.parametrize("name", ["FLEET_ENDPOINTS", "FLEET_ALERT_ADDRESSES"])
@pytest.mark.parametrize(
    ("text", "quoted"),
    [("", "''"), ("a.example,,b", "''"), ("*,10.0.0.0/33", "'10.0.0.0/33'"), ("10.*", r"'10\.\*'")],
)
def test_unusable_entry_of_the_endpoints_is_quoted(name: str, text: str, quoted: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"^{name}: expected .*; got {quoted}$"):
        read_settings({name: text})


def test_keys_of_alerts_are_read_from_the_environment_or_a_file(tmp_path: Path) -> None:
    key = SecretBox.new_key()
    sealed = SecretBox.of(key).seal("text")
    file = tmp_path / "key"
    file.write_text(f"{SecretBox.new_key()},\n{key}\n")
    file.chmod(0o600)

    for environ in ({"FLEET_SECRET_KEY": key}, {"FLEET_SECRET_KEY_FILE": str(file)}):
        settings = read_settings(environ)
        assert "text" == settings.secret_box.open(sealed)
        assert key not in repr(settings)
    assert not read_settings({}).secret_box.has_key


def test_wrong_key_of_alerts_is_refused_and_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cr3t")
    file.chmod(0o600)
    key, of_file = "FLEET_SECRET_KEY", "FLEET_SECRET_KEY_FILE"
    made = SecretBox.new_key()

    for environ, sentence in (
        ({key: "s3cr3t"}, f"^{key}: expected a key that `odoo-mcp-fleet secret-key` has made"),
        ({key: ""}, f"^{key}: expected a key"),
        ({of_file: str(file)}, f"^{of_file}: expected a key"),
        ({of_file: str(tmp_path)}, f"^{of_file}: .* is no file"),
        ({of_file: str(tmp_path / "missing")}, f"^{of_file}: .*No such file"),
        ({of_file: str(file), key: "s3cr3t"}, f"^{key}, {of_file}: expected one of them"),
        ({of_file: made}, f"^{of_file}: expected the path of a file, got a key"),
    ):
        with pytest.raises(InvalidSetting, match=sentence) as refused:
            read_settings(environ)
        assert "s3cr3t" not in str(refused.value)
        assert made not in str(refused.value)
    file.chmod(0o640)
    with pytest.raises(InvalidSetting, match=f"^{of_file}: .*chmod 600"):
        read_settings({of_file: str(file)})


def test_urls_of_alerts_are_read() -> None:
    environ = {
        "FLEET_PUBLIC_URL": "https://fleet.example.com:8443/odoo/",
        "FLEET_PING_URL": "http://127.0.0.1:8000/uuid?a=b",
    }

    settings = read_settings(environ)

    assert "https://fleet.example.com:8443/odoo" == settings.public_url
    assert environ["FLEET_PING_URL"] == settings.ping_url
    assert "uuid" not in repr(settings)


@pytest.mark.parametrize("name", ["FLEET_PUBLIC_URL", "FLEET_PING_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "fleet.example.com",
        "ftp://a.example",
        "https://",
        "https://a:0/",
        "http://[::1",
        "http://ä",
    ],
)
def test_setting_that_is_no_url_is_refused(name: str, url: str) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: expected"):
        read_settings({name: url})


@pytest.mark.parametrize(
    "url", ["https://a.example/?b", "https://a.example/#b", "https://b@a.example"]
)
def test_public_url_with_more_than_a_path_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^FLEET_PUBLIC_URL: expected") as refused:
        read_settings({"FLEET_PUBLIC_URL": url})

    assert ("@" not in url) == (url in str(refused.value))


NUMBERS = [
    "FLEET_MESSAGES_PER_MINUTE",
    "FLEET_CHANGES_PER_HOUR",
    "FLEET_SERVERS_PER_KEY",
    "FLEET_FAILURES_PER_MINUTE",
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "1_000", "1000000000", "٣"])
def test_invalid_setting_of_a_limit_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidSetting, match=rf"^{name}: expected a whole number from 1 to"):
        read_settings({name: text})


@pytest.mark.parametrize("hours", ["1", "8760", "012"])
def test_whole_session_hours_are_accepted(hours: str) -> None:
    assert timedelta(hours=int(hours)) == read_settings({"FLEET_SESSION_HOURS": hours}).session


@pytest.mark.parametrize("hours", ["", "0", "8761", "-1", "1.5", "12h", "00012", "٣"])
def test_invalid_session_hours_are_refused(hours: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^FLEET_SESSION_HOURS: .* from 1 to 8760, got '"):
        read_settings({"FLEET_SESSION_HOURS": hours})


def test_receiver_that_is_to_stop_goes_on_for_some_seconds() -> None:
    assert timedelta(seconds=600) == read_settings({"FLEET_DRAIN_SECONDS": "600"}).drain


@pytest.mark.parametrize("seconds", ["", "-1", "601", "1.5", "\u0661"])
def test_time_before_a_stop_that_is_no_number_of_seconds_is_named(seconds: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^FLEET_DRAIN_SECONDS: .* from 0 to 600, got '"):
        read_settings({"FLEET_DRAIN_SECONDS": seconds})


@pytest.mark.parametrize("text", ["", "1", "Open", "keys"])
def test_registry_that_is_neither_open_nor_needs_keys_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidSetting, match=f"^FLEET_REGISTRY: expected key or open, got {text!r}$"
    ):
        read_settings({"FLEET_REGISTRY": text})


@pytest.mark.parametrize("text", ["", "fleet", "com/example", "com..example", "a." + 59 * "b"])
def test_namespace_that_is_no_reversed_domain_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^FLEET_REGISTRY_NAMESPACE: expected a domain"):
        read_settings({"FLEET_REGISTRY_NAMESPACE": text})


@pytest.mark.parametrize("name", NUMBERS)
def test_setting_of_a_limit_is_read(name: str) -> None:
    settings = read_settings({name: "999999999"})

    assert 999_999_999 == getattr(settings, name.removeprefix("FLEET_").lower())


def test_all_wrong_settings_are_told_at_once_and_quoted() -> None:
    environ = {
        "FLEET_OPEN": "yes",
        "FLEET_SESSION_HOURS": "12h",
        "FLEET_REGISTRY_NAMESPACE": "x" * 100,
        "FLEET_SECRET_KEY": "s3cr3t",
        "FLEET_PING_URL": "s3cr3t",
        "FLEET_DATABASE_URL": "mysql://me:s3cr3t@host/fleet",
    }

    with pytest.raises(InvalidSetting) as refused:
        read_settings(environ)

    problems = refused.value.problems
    assert {*environ} == {each.partition(":")[0] for each in problems}
    assert "FLEET_OPEN: expected 1 or 0, got 'yes'" in problems
    assert f"com.example.fleet, got '{'x' * 60}…'" in " ".join(problems)
    assert "got one that begins with mysql://" in " ".join(problems)
    assert ". ".join(problems) == str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_misspelt_setting_is_told_with_the_nearest_name() -> None:
    environ = {
        "FLEET_SESION_HOURS": "1",
        "FLEET_ENDPOINT": "s3cr3t",
        "FLEET_COLOUR": "red",
        "FLEET_PORT": "8000",
        "FLEET_KEY": "fleetkey_",
        "FLEET_URL": "http://127.0.0.1",
        "FLEET_TOKEN": "fleetkey_",
        "FLEET_OPEN": "0",
        "OTHER": "",
    }
    ignored = "is no setting, so it is ignored"

    assert [
        f"FLEET_COLOUR {ignored}.",
        f"FLEET_ENDPOINT {ignored}; did you mean FLEET_ENDPOINTS?",
        f"FLEET_PORT {ignored}; it is an option of the command: odoo-mcp-fleet serve --port",
        f"FLEET_SESION_HOURS {ignored}; did you mean FLEET_SESSION_HOURS?",
    ] == misspelt(environ)


def test_variables_that_kubernetes_sets_for_a_service_are_not_misspelt() -> None:
    environ = {
        "FLEET_SERVICE_HOST": "10.0.0.1",
        "FLEET_SERVICE_PORT": "8000",
        "FLEET_RECEIVER_SERVICE_PORT_HTTP": "8000",
        "FLEET_PORT": "tcp://10.0.0.1:8000",
        "FLEET_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "FLEET_RECEIVER_PORT_8000_TCP_PROTO": "tcp",
    }

    assert [] == misspelt(environ)


def test_misspelt_setting_is_logged_at_the_start(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"FLEET_DATABASE_URL": sqlite_url, "FLEET_SESION_HOURS": "1"}
    with serve(create_app(environ=environ)):
        pass

    assert "did you mean FLEET_SESSION_HOURS?" in caplog.text


@pytest.mark.parametrize("name", ["FLEET_EVENT_RETENTION_DAYS", "FLEET_SILENT_SHARE"])
def test_invalid_setting_stops_the_start(sqlite_url: str, name: str) -> None:
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url, name: "much"})

    async def start() -> None:
        async with app.router.lifespan_context(app):
            raise AssertionError("it has started")

    with pytest.raises(InvalidSetting, match=name):
        asyncio.run(start())


def test_server_is_told_in_a_sentence_why_the_app_did_not_start(sqlite_url: str) -> None:
    app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url, "FLEET_SILENT_SHARE": "much"})
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        told.append(message)

    with pytest.raises(InvalidSetting) as raised:
        asyncio.run(app({"type": "lifespan", "state": {}}, receive, send))

    assert [{"type": "lifespan.startup.failed", "message": str(raised.value)}] == told


def test_watchdog_settings_reach_the_watchdog(sqlite_url: str, clock: Clock) -> None:
    environ = {
        "FLEET_DATABASE_URL": sqlite_url,
        "FLEET_EVENT_RETENTION_DAYS": "2",
        "FLEET_SILENT_SHARE": "0.9",
    }
    beats = [messages.slim(server_id=f"s{n}") for n in range(10)]
    pause = ANY_PAUSE_SECONDS
    with serve(
        create_app(environ=environ, clock=clock, tuning=Tuning(absence_seconds=pause))
    ) as first:
        first.post("/heartbeats", json=beats)
        clock.advance(100)
        first.post("/heartbeats", json=beats[:2])
        clock.advance(36)
        wait_until(lambda: 8 == first.get("/events?kind=late").json()["count"])
        silent = first.get("/events?kind=fleet_silent").json()["count"]
    clock.advance(3 * 86400)
    tuning = Tuning(absence_seconds=pause)  # or the days would not count
    with serve(create_app(environ=environ, clock=clock, tuning=tuning)) as second:
        wait_until(lambda: 0 == second.get("/events?kind=registered").json()["count"])

    assert 0 == silent


def test_no_server_is_late_after_a_pause_of_seconds(sqlite_url: str, clock: Clock) -> None:
    """The clock goes on for 20 s at once, as it does for a process that was stopped."""
    with serve(create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock)) as receiver:
        slim = messages.slim(server_id="s", heartbeat_interval_seconds=5)
        receiver.post("/heartbeat", json=slim).raise_for_status()
        wait_until(lambda: "healthy" == receiver.get("/health").json()["status"])
        clock.advance(20)
        wait_until(lambda: "up" == receiver.get("/servers/s").json()["state"])

        assert 0 == receiver.get("/events?kind=late").json()["count"]


def test_client_encoding_of_the_environment_is_overridden(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = SqlStore(make_url(postgresql_url))

    (applied,) = hear(store, [Incoming(Heartbeat(server_id="\U0001f40d"), NOON)])
    kept = store.servers.get("\U0001f40d")
    store.close()

    assert applied.record == kept


def test_synchronous_commit_of_the_database_is_overridden(
    postgres: Postgres, postgresql_url: str
) -> None:
    name = make_url(postgresql_url).database
    postgres.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    store = SqlStore(make_url(postgresql_url))

    with store.transactions.read() as connection:
        setting = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
    store.close()

    assert "on" == setting


def test_database_with_another_encoding_is_refused(postgres: Postgres) -> None:
    postgres.sql(
        "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    )

    with pytest.raises(InvalidSetting, match="the encoding of the database is SQL_ASCII"):
        SqlStore(make_url(postgres.url("ascii")))


def test_failed_sqlite_commit_was_not_committed(sqlite_url: str) -> None:
    url = make_url(sqlite_url)
    database = dialect_of(url)
    engine = database.create_engine(url)

    with engine.connect() as connection:
        committed = database.was_committed(connection, 1)
    engine.dispose()

    assert not committed


def test_restart_loses_no_heartbeat_of_the_history(sqlite_url: str, clock: Clock) -> None:
    for _ in range(2):
        tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
        app = create_app(environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock, tuning=tuning)
        with serve(app) as receiver:
            for n in range(3):
                receiver.post("/heartbeat", json=messages.slim(server_id=f"s{n}"))
    store = SqlStore(make_url(sqlite_url))
    (hour,) = store.hours.since(clock.now)
    store.close()

    assert (1, 6, 0) == (hour.minutes, hour.heartbeats, hour.turned_away)
