"""Channels, rules, silences and alarms that are reached by a receiver's HTTP API."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote

from receiver.commands.backends.backend import Json
from receiver.commands.context import CommandFailed, WrongUse

__all__ = ["HttpAlerts", "segment"]


class Call(Protocol):
    """Sends a request to the HTTP API, and returns the JSON object in the answer."""

    def __call__(self, method: str, path: str, *, params: Any = (), json: object = None) -> Json:
        """Send a request to `path`, with `params` in its query and `json` as its body, if any."""


class HttpAlerts:
    """
    An `AlertBackend` of a receiver's HTTP API.

    Args:
        call: Sends the requests.
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    def channels(self) -> list[Json]:
        return self._all("channels")

    def must_have_room(self, what: str) -> None:
        """Do nothing: the receiver refuses to make one when there are too many."""

    def make_channel(self, asked: Json) -> tuple[Json, str | None]:
        made = self._call("POST", "/channels", json=asked)
        return made["channel"], made["secret"]

    def channel(self, channel_id: str) -> Json:
        found = {channel["id"]: channel for channel in self.channels()}.get(channel_id)
        if found is None:
            raise CommandFailed(f"There is no channel {channel_id!r}.")
        return found

    def change_channel(self, channel_id: str, asked: Json) -> str | None:
        made = self._call("PATCH", f"/channels/{segment(channel_id)}", json=asked)
        secret: str | None = made["secret"]
        return secret

    def test_channel(self, channel_id: str) -> str | None:
        error: str | None = self._call("POST", f"/channels/{segment(channel_id)}/test")["error"]
        return error

    def remove_channel(self, channel_id: str) -> None:
        self._call("DELETE", f"/channels/{segment(channel_id)}")

    def rules(self) -> list[Json]:
        return self._all("rules")

    def make_rule(self, asked: Json) -> Json:
        with _asking_for("channel_id", asked, self.channel):
            return self._call("POST", "/rules", json=asked)

    def change_rule(self, rule_id: str, asked: Json) -> Json:
        with _asking_for("channel_id", asked, self.channel):
            return self._call("PUT", f"/rules/{segment(rule_id)}", json=asked)

    def remove_rule(self, rule_id: str) -> None:
        self._call("DELETE", f"/rules/{segment(rule_id)}")

    def silences(self, *, ended: bool) -> list[Json]:
        return self._all("silences", ended=str(ended).lower())

    def make_silence(self, asked: Json) -> Json:
        with _asking_for("server_id", asked, self._server):
            return self._call("POST", "/silences", json=asked)

    def _server(self, server_id: str) -> Json:
        return self._call("GET", "/by-id/servers", params={"id": server_id})

    def end_silence(self, silence_id: str) -> None:
        self._call("DELETE", f"/silences/{segment(silence_id)}")

    def alarms(self, *, is_open: bool | None, limit: int) -> list[Json]:
        asked = {"limit": str(limit)}
        if is_open is not None:
            asked["open"] = str(is_open).lower()
        return self._all("alarms", **asked)

    def acknowledge(self, alarm_id: int) -> None:
        self._call("POST", f"/alarms/{alarm_id}/acknowledge")

    def _all(self, what: str, **asked: str) -> list[Json]:
        found: list[Json] = self._call("GET", f"/{what}", params=asked)[what]
        return found


@contextmanager
def _asking_for(name: str, asked: Json, read: Callable[[str], object]) -> Iterator[None]:
    """
    A context for a request whose body names something that must exist, such as a server.

    The receiver refuses a body that names nothing that exists as it refuses any wrong value. So if
    this is the only value that is wrong, `read` is called with it, which raises CommandFailed if
    there is no such thing. Otherwise the refusal, a WrongUse, is raised.

    Args:
        name: The name of the value in the body.
        asked: The body.
        read: Reads what the value names.
    """
    try:
        yield
    except WrongUse as error:
        if error.paths == {name}:
            read(asked[name])
        raise


def segment(text: str) -> str:
    """Quote a text for a URL, slashes included, so that it is a single segment of a path."""
    return quote(text, safe="")
