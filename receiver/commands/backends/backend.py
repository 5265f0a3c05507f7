"""
What commands can do with a fleet, whether they reach it over HTTP or by its database.

Objects are the JSON of the HTTP API in both cases, so that commands print the same. A method that
fails, for instance because what it is about does not exist, raises a FleetError whose text is a
sentence for people.
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
    The servers that were forgotten (deleted), or would be in a dry run.

    Attributes:
        ids: The ids of the servers.
        is_more: Whether further servers match, which are not in `ids`.
    """

    ids: list[str]
    is_more: bool = False


class AlertBackend(Protocol):
    """
    What commands can do with channels, rules, silences and alarms.

    An argument `asked` is the JSON object that the HTTP API takes as the body of a request.
    """

    def channels(self) -> list[Json]:
        """All channels, without their addresses, oldest first."""

    def must_have_room(self, what: str) -> None:
        """
        Raise if there are so many channels, rules or silences that no more can be made.

        Over HTTP this never raises: the receiver refuses to make one then.

        Args:
            what: `channels`, `rules` or `silences`.
        """

    def make_channel(self, asked: Json) -> tuple[Json, str | None]:
        """
        Make a channel; return it, and the secret with which messages to a webhook are signed.

        The secret is not shown again; it is None for a channel that is no webhook.
        """

    def channel(self, channel_id: str) -> Json:
        """The channel with this id."""

    def change_channel(self, channel_id: str, asked: Json) -> str | None:
        """
        Change the attributes of a channel that `asked` names.

        Returns the new secret of a webhook if its address is changed, and else None.
        """

    def test_channel(self, channel_id: str) -> str | None:
        """
        Send a test message through a channel now, and wait for what comes of it.

        Returns None if the message was delivered, and otherwise the reason why not, for people.
        """

    def remove_channel(self, channel_id: str) -> None:
        """Remove a channel and its rules."""

    def rules(self) -> list[Json]:
        """All rules, oldest first."""

    def make_rule(self, asked: Json) -> Json:
        """Make a rule; return it."""

    def change_rule(self, rule_id: str, asked: Json) -> Json:
        """Replace the whole content of a rule by `asked`; return the changed rule."""

    def remove_rule(self, rule_id: str) -> None:
        """Remove a rule; its open alarms end."""

    def silences(self, *, ended: bool) -> list[Json]:
        """The silences that have not ended; if `ended` is true, all silences. Oldest first."""

    def make_silence(self, asked: Json) -> Json:
        """Make a silence; return it."""

    def end_silence(self, silence_id: str) -> None:
        """End a silence now."""

    def alarms(self, *, is_open: bool | None, limit: int) -> list[Json]:
        """
        Alarms, newest first, and at most `limit`.

        The alarms that have not ended if `is_open` is True, those that have ended if it is False,
        and all alarms if it is None.
        """

    def acknowledge(self, alarm_id: int) -> None:
        """Acknowledge an alarm that has not ended, so that no more reminders of it are sent."""


class Backend(Protocol):
    """
    What commands can do with a fleet.

    Attributes:
        where: The URL of the receiver or of the database, without a password.
        alerts: What commands can do with channels, rules, silences and alarms.
    """

    @property
    def where(self) -> str: ...

    @property
    def alerts(self) -> AlertBackend: ...

    def now(self) -> datetime:
        """The current time, from which commands count how long ago something was."""

    def status(self) -> Json:
        """
        How the fleet and its receiver are, as a dictionary.

        `healthy`: whether the receiver works. `trouble`: a sentence why it does not, or None.
        `version`: the version of the receiver. `servers`: how many servers are in each state, by
        the name of the state. `stages`: the same numbers for each stage, by stage and state.
        `flapping`: how many servers flap. `alarms`: how many alarms are open. All but the first two
        are None if the receiver tells them only to clients with a key, and there is no key.
        """

    def servers(
        self, matching: FilterText, *, order: str, limit: int | None = None
    ) -> Iterator[Json]:
        """
        The servers that match a filter, each as an object in the answer of `GET /servers`.

        Args:
            matching: The filter.
            order: The order of the servers, a value of `receiver.domain.queries.Order`.
            limit: How many servers there are at most; None for all that match.
        """

    def client_file(self, client: Client, matching: FilterText) -> tuple[str, bool]:
        """
        The text of the configuration file with which an MCP client connects to some servers.

        These are the servers that match. Returns also whether more servers match than the file
        holds. Raises if there is no server to connect to.
        """

    def forget(
        self, matching: FilterText, *, silent_for: timedelta | None, is_dry_run: bool
    ) -> Forgotten:
        """
        Forget (delete) the servers that match and are down, have left or are superseded.

        That takes several steps; raises BrokenOff if one fails that is not the first.

        Args:
            matching: The filter.
            silent_for: Only servers that have sent no message for this length of time; None for
                servers that have sent one at any time.
            is_dry_run: Whether to return the servers without deleting them.
        """

    def forget_server(self, server_id: str) -> None:
        """Forget (delete) one server, whatever its state is."""

    def annotation(self, server_id: str) -> Json:
        """The labels and the note of the database of a server, and who last changed them."""

    def relabel(self, server_id: str, asked: Json) -> Json:
        """
        Change the labels and the note of the database of a server, and tell so by an event.

        Returns them as they are then. Raises if there is no such server.

        Args:
            server_id: The server; all servers of its database get the same.
            asked: The JSON object that `PATCH /servers/{server_id}/labels` takes.
        """

    def events(self, wanted: EventFilter, *, limit: int) -> list[Json]:
        """The newest events that match, at most `limit`; of these, the oldest comes first."""

    def follow(self, wanted: EventFilter, *, after: int | None) -> Iterator[Json]:
        """
        Yield the events that match, in the order in which they happen, without an end.

        The first is the next one after the event with the number `after`; if that is None, the
        first from now on. When the receiver or the database goes away, the user is told, and no
        event is lost when it is back.
        """

    def keys(self) -> list[Json]:
        """All keys that were ever made, without their secrets, oldest first."""

    def make_key(self, asked: Json) -> Json:
        """
        Make the key that `asked` describes: the JSON object that `POST /keys` takes.

        Returns a dictionary. `key`: the new key without its secret. `token`: the whole text of the
        key, which is not shown again. `path`: the path that the key opens by itself, or None.
        `warnings`: sentences, such as that the key covers more servers than may be meant.
        """

    def revoke_key(self, key_id: str, *, forgets: bool) -> Json:
        """
        Revoke a key; if `forgets` is true, delete its servers, too.

        Returns a dictionary with `status` and `id`. If `forgets` is true it also has `forgotten`,
        the number of servers that were deleted; their ids in `server_ids`, except over HTTP; and
        `more`, which is true if some may be left because the database has failed.
        """

    def rotate_key(self, key_id: str, expires_at: datetime | None) -> Json:
        """
        Give a key another secret, and let it expire at `expires_at`, or as before if that is None.

        Raises over HTTP if `expires_at` is not None. Returns a dictionary with the `id` of the key;
        its new whole text, `token`, which is not shown again; and `path`, the path that the key
        opens by itself, or None.
        """

    def hand_over(self, ids: Sequence[str], to: str) -> list[str]:
        """
        Make servers belong to a key; return the ids of those that exist, which now do.

        Args:
            ids: The ids of the servers.
            to: The id of the key.
        """

    def owned(self, key_id: str) -> list[str]:
        """The ids of the servers that belong to a key, sorted. Cannot be told over HTTP: raises."""
