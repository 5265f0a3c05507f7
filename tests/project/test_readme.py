"""The manual's examples in Python run, and its tables of settings are complete and correct."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.settings import read_settings

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "docs/settings.md").read_text()
OF_RECEIVERS = SETTINGS.partition("## Variables of programs")[0]
MANUAL = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
ADDON = ROOT / "odoo_addon/mcp_phone_home"
ADDON_README = "".join(file.read_text() for file in sorted(ADDON.glob("readme/*.md")))


class Watched(Mapping[str, str]):
    """An empty environment that records the names that were looked up."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_setting_of_a_receiver_is_in_the_settings_table() -> None:
    environ = Watched()
    read_settings(environ)

    assert environ.asked == set(re.findall(r"^\| `(FLEET_\w+)` \|", OF_RECEIVERS, re.MULTILINE))


def test_every_parameter_of_the_addon_is_in_the_table() -> None:
    assert parameters("services/*.py") == set(
        re.findall(r"^\| `(mcp\.\w+)` \|", ADDON_README, re.MULTILINE)
    )


def test_every_parameter_of_the_addon_is_deleted_with_it() -> None:
    assert parameters("services/*.py") == parameters("hooks.py")


def test_every_environment_variable_is_documented() -> None:
    sources = [
        f for room in ("client", "receiver", "odoo_addon") for f in ROOT.glob(f"{room}/**/*.py")
    ]
    named = {
        name
        for file in sources
        for name in re.findall(r'"((?:FLEET|MCP|ODOO)_[A-Z_]+)"', file.read_text())
    }

    text = ADDON_README + "".join(page.read_text() for page in MANUAL)

    assert {"FLEET_TOKEN", "MCP_PHONE_HOME_TOKEN", "ODOO_STAGE"} <= named
    assert set() == {name for name in named if f"`{name}`" not in text}


def test_defaults_of_the_addon_are_those_in_the_table() -> None:
    source = (ADDON / "services/settings.py").read_text()
    rows = dict(re.findall(r"^\| `(mcp\.\w+)` \| (\d+) \|", ADDON_README, re.MULTILINE))
    found = dict(re.findall(r"^DEFAULT_(\w+) = (\d+)", source, re.MULTILINE))

    assert rows == {
        "mcp.phone_home_timeout": found["TIMEOUT_SECONDS"],
        "mcp.phone_home_retries": found["ATTEMPTS"],
        "mcp.heartbeat_longest_interval": found["LONGEST_INTERVAL_SECONDS"],
        "mcp.server_port": found["PORT"],
    }


def test_defaults_of_settings_are_those_in_the_table() -> None:
    defaults = dict(re.findall(r"^\| `(FLEET_\w+)` \| `?(.+?)`? \|", OF_RECEIVERS, re.MULTILINE))
    settings = read_settings({})

    assert Endpoints.of(DEFAULT_ENDPOINTS) == settings.endpoints == settings.alert_addresses
    assert defaults == {
        "FLEET_ALERT_ADDRESSES": DEFAULT_ENDPOINTS,
        "FLEET_DATABASE_URL": str(settings.database_url),
        "FLEET_ENDPOINTS": DEFAULT_ENDPOINTS,
        "FLEET_EVENT_RETENTION_DAYS": str(settings.event_retention.days),
        "FLEET_CHANGES_PER_HOUR": str(settings.changes_per_hour),
        "FLEET_FAILURES_PER_MINUTE": str(settings.failures_per_minute),
        "FLEET_FORGET_AFTER_DAYS": str(settings.forget_after).lower(),
        "FLEET_LOG_FORMAT": settings.log_format,
        "FLEET_MESSAGES_PER_MINUTE": str(settings.messages_per_minute),
        "FLEET_OPEN": str(int(settings.open)),
        "FLEET_DRAIN_SECONDS": str(settings.drain // timedelta(seconds=1)),
        "FLEET_PING_URL": str(settings.ping_url).lower(),
        "FLEET_PUBLIC_URL": str(settings.public_url).lower(),
        "FLEET_REGISTRY": "open" if settings.registry_is_open else "key",
        "FLEET_REGISTRY_NAMESPACE": settings.registry_namespace,
        "FLEET_SECRET_KEY": "some" if settings.secret_box.has_key else "none",
        "FLEET_SECRET_KEY_FILE": "some" if settings.secret_box.has_key else "none",
        "FLEET_SERVERS_PER_KEY": str(settings.servers_per_key),
        "FLEET_SESSION_HOURS": str(settings.session // timedelta(hours=1)),
        "FLEET_SILENT_SHARE": str(settings.silent_share),
    }


@pytest.mark.parametrize(
    "code",
    [
        each
        for page in MANUAL
        for each in re.findall(r"```python\n(.+?)```", page.read_text(), re.DOTALL)
    ],
)
def test_python_examples_run(code: str) -> None:
    exec(compile(code, "the manual", "exec"), {})


def parameters(files: str) -> set[str]:
    """The names of the system parameters in these files of the addon."""
    sources = "".join(file.read_text() for file in ADDON.glob(files))
    return set(re.findall(r'"(mcp\.\w+)"', sources))
