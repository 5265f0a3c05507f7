"""
What commands can do with a fleet, whichever way they reach it.

Objects are the JSON of the HTTP API in both cases, so that commands print the same. Every method
raises a FleetError whose text is a sentence for people.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from receiver.domain.agents.client_files import Client
from receiver.domain.filter_text import FilterText
from receiver.domain.queries import EventFilter

__all__ = ["AlertBackend", "Backend", "Forgotten", "Json"]

Json = dict[str, Any]


class Forgotten(NamedTuple):
    """
    The servers that were forgotten, or would be.

    Attributes:
        ids: Their ids.
        is_more: Whether there are more of them than `ids` names.
    """

    ids: list[str]
    is_more: bool = False


class AlertBackend(Protocol):
    """
    What commands can do with channels, rules, silences and alarms.

    What is asked for is the JSON that the HTTP API takes.
    """

    def channels(self) -> list[Json]:
        """All channels, without their addresses."""

    def must_have_room(self, what: str) -> None:
        """Raise if there are as many `channels`, `rules` or `silences` as there may be."""

    def make_channel(self, asked: Json) -> tuple[Json, str | None]:
        """Make a channel; return it, and the secret of a webhook, which is not shown again."""

    def channel(self, channel_id: str) -> Json:
        """The channel with this id."""

    def change_channel(self, channel_id: str, asked: Json) -> str | None:
        """Change what `asked` names; return the new secret of a webhook, if it has one."""

    def test_channel(self, channel_id: str) -> str | None:
        """Send a test message; return why that failed, or None if it did not."""

    def remove_channel(self, channel_id: str) -> None:
        """Remove a channel and its rules."""

    def rules(self) -> list[Json]:
        """All rules."""

    def make_rule(self, asked: Json) -> Json:
        """Make a rule."""

    def change_rule(self, rule_id: str, asked: Json) -> Json:
        """Give a rule another content."""

    def remove_rule(self, rule_id: str) -> None:
        """Remove a rule."""

    def silences(self, *, ended: bool) -> list[Json]:
        """The silences; with `ended`, those that have ended, too."""

    def make_silence(self, asked: Json) -> Json:
        """Make a silence."""

    def end_silence(self, silence_id: str) -> None:
        """End a silence now."""

    def alarms(self, *, is_open: bool | None, limit: int) -> list[Json]:
        """Alarms, newest first: those that last, or that are over; None for all."""

    def acknowledge(self, alarm_id: int) -> None:
        """Let no reminder of an alarm be sent."""


class Backend(Protocol):
    """
    What commands can do with a fleet.

    Attributes:
        where: The URL of the receiver or of the database, without a password.
        alerts: What they can do with alerts.
    """

    @property
    def where(self) -> str: ...

    @property
    def alerts(self) -> AlertBackend: ...

    def now(self) -> datetime:
        """The current time, of which `ago` and the like are counted."""

    def status(self) -> Json:
        """
        How the fleet and its receiver are.

        `healthy`, and `trouble`, which says why not; `version` of the receiver, or None;
        `servers`, their number by state; `stages`, the same for each stage; `flapping` and
        `alarms`, numbers. The last four are None where only a key would tell them.
        """

    def servers(
        self, matching: FilterText, *, order: str, limit: int | None = None
    ) -> Iterator[Json]:
        """The servers that match, as `GET /servers` tells of them."""

    def client_file(self, client: Client, matching: FilterText) -> tuple[str, bool]:
        """
        The file with which an MCP client connects to the servers that match.

        Returns also whether more servers match than the file holds.
        """

    def forget(
        self, matching: FilterText, *, silent_for: timedelta | None, is_dry_run: bool
    ) -> Forgotten:
        """Forget the servers that match and are down, have left or are superseded."""

    def forget_server(self, server_id: str) -> None:
        """Forget one server, whatever its state is."""

    def events(self, wanted: EventFilter, *, limit: int) -> list[Json]:
        """The newest events, oldest first."""

    def follow(self, wanted: EventFilter, *, after: int | None) -> Iterator[Json]:
        """
        Events as they happen, without an end.

        They begin after the event with the number `after`, or now if it is None. When the receiver
        or the database goes away, that is told, and no event is lost when it is back.
        """

    def keys(self) -> list[Json]:
        """All keys that were ever made, without their secrets."""

    def make_key(self, asked: Json) -> Json:
        """Make a key; returns `key`, `token`, `path` and `warnings`."""

    def revoke_key(self, key_id: str, *, forgets: bool) -> Json:
        """
        Refuse a key from now on; with `forgets`, delete its servers, too.

        Returns with `forgotten` how many these are, and with `server_ids` which, where it is known.
        """

    def rotate_key(self, key_id: str, expires_at: datetime | None) -> Json:
        """
        Give a key another secret, and another time if `expires_at` is not None.

        Returns `id`, `token` and `path`.
        """

    def hand_over(self, ids: Sequence[str], to: str) -> list[str]:
        """Make servers belong to a key; return the ids of those that exist."""

    def owned(self, key_id: str) -> list[str]:
        """The ids of the servers that belong to a key."""
