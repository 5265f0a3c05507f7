"""Write the page of the settings, docs/settings.md, from `receiver.settings`."""

import sys
from pathlib import Path

from receiver.settings import SECRET_KEYS, SETTINGS

HERE = Path(__file__).parent

_TOPICS = {
    "Where the fleet is kept, and for how long": (
        "FLEET_DATABASE_URL",
        "FLEET_EVENT_RETENTION_DAYS",
        "FLEET_FORGET_AFTER_DAYS",
    ),
    "Who may come in, and where others are led": (
        "FLEET_OPEN",
        "FLEET_SESSION_HOURS",
        "FLEET_FAILURES_PER_MINUTE",
        "FLEET_ENDPOINTS",
        "FLEET_REGISTRY",
        "FLEET_REGISTRY_NAMESPACE",
    ),
    "How much a key may do": (
        "FLEET_MESSAGES_PER_MINUTE",
        "FLEET_CHANGES_PER_HOUR",
        "FLEET_SERVERS_PER_KEY",
    ),
    "Alerts": (
        "FLEET_SECRET_KEY",
        "FLEET_SECRET_KEY_FILE",
        "FLEET_ALERT_ADDRESSES",
        "FLEET_PUBLIC_URL",
        "FLEET_PING_URL",
        "FLEET_SILENT_SHARE",
    ),
    "The process": ("FLEET_DRAIN_SECONDS", "FLEET_LOG_FORMAT"),
}

_BEGIN = """# Settings

<!-- Made by docs/generate_settings.py from receiver/settings.py: nox -s settings -->

All settings of a receiver are environment variables; none is needed.
A service has them in `/etc/odoo-mcp-fleet.env`, a container in `fleet.env`: \
[Operations](operations.md#install).
They are read once, at its start, and by the commands that open its database.
Values that cannot be used stop the start with a sentence for each, which names the setting \
and quotes the value, unless that may hold a secret.
A variable that begins with `FLEET_` and is no setting is told in the log, with the name that it \
was probably meant to have.
Where it listens, workers and TLS are \
[options of `odoo-mcp-fleet serve`](program.md#run-a-receiver).
"""

_END = """
## Variables of programs that ask a receiver

| variable | is read by | meaning |
| --- | --- | --- |
| `FLEET_URL` | `odoo-mcp-fleet` | The receiver to ask, in place of the database. |
| `FLEET_KEY` | `odoo-mcp-fleet` | The key to send it. |
| `FLEET_TOKEN` | `python -m client` | The token to send with messages: an agent's key. |

The addon's settings are in [its own README](../odoo_addon/mcp_phone_home/README.rst).
"""


def page() -> str:
    """The text of the page. Raises ValueError if a setting is under no topic, or under two."""
    listed = sorted(name for names in _TOPICS.values() for name in names)
    if listed != sorted([*SETTINGS, *SECRET_KEYS]):
        raise ValueError("each setting belongs under one topic of docs/generate_settings.py")
    return "".join([_BEGIN, *map(_topic, _TOPICS), _END])


def _topic(title: str) -> str:
    rows = "".join(map(_row, _TOPICS[title]))
    return f"\n## {title}\n\n| setting | default | meaning |\n| --- | --- | --- |\n{rows}"


def _row(name: str) -> str:
    if name in SECRET_KEYS:
        return f"| `{name}` | none | {SECRET_KEYS[name]} |\n"
    setting = SETTINGS[name]
    default = setting.default
    shown = "none" if default is None else default if _is_number(default) else f"`{default}`"
    return f"| `{name}` | {shown} | {setting.meaning} |\n"


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def main() -> int:
    (HERE / "settings.md").write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
