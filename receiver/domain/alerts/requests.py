"""
Requests to create or change channels, rules and silences: read from decoded JSON, and checked.

The class methods `of` read a request, and the methods `issue` make what was asked for.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeGuard, TypeVar

from attrs import field, fields, frozen

from contract import InvalidMessage, Problem, structure
from contract.fields import Moment, ServerId
from contract.fields import Rule as FieldRule
from receiver.domain.alerts.ids import new_id
from receiver.domain.alerts.values import TELLABLE, Channel, ChannelKind, Rule, Silence
from receiver.domain.alerts.windows import check, zone
from receiver.domain.filter_text import MAX_LENGTH, FilterText

__all__ = [
    "LONGEST_SHORT_SILENCE",
    "ChannelChange",
    "ChannelFields",
    "NewChannel",
    "NewRule",
    "NewSilence",
    "ShortSilence",
]

LONGEST_SHORT_SILENCE = timedelta(days=1)
"""How long a server may be silenced at most by the key that it belongs to."""

Asked = TypeVar("Asked")


def _whole(least: int, most: int, unit: str) -> Any:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise ValueError(value)
        if not least <= value <= most:
            raise ValueError(value)
        return int(value)

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return FieldRule(f"a whole number of {unit} from {least:,} to {most:,}", schema, read)


def _text(most: int, *, least: int = 1) -> Any:
    def read(value: Any) -> str:
        if not (isinstance(value, str) and least <= len(value) <= most and value.isprintable()):
            raise ValueError(value)
        if least and not value.strip():
            raise ValueError(value)
        return value

    schema = {"type": "string", "minLength": least, "maxLength": most}
    return FieldRule(f"{least} to {most:,} printable characters", schema, read)


def _one_of(words: Sequence[str], kind: Callable[[str], Any] = str) -> Any:
    def read(value: Any) -> Any:
        if value not in words:
            raise ValueError(value)
        return kind(value)

    return FieldRule(f"one of {', '.join(words)}", {"type": "string", "enum": [*words]}, read)


def _time_zone(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 100:
        raise ValueError(value)
    zone(value)
    return value


def _any_address(value: Any) -> Any:
    # `_address` checks it. A Rule quotes a wrong value in its message, and an address is a secret.
    return value


Name = Annotated[str, _text(100)]
Reason = Annotated[str, _text(200)]
Cron = Annotated[str, _text(100)]
Query = Annotated[str, _text(MAX_LENGTH, least=0)]
TimeZone = Annotated[
    str,
    FieldRule(
        "an IANA time zone such as Europe/Berlin",
        {"type": "string", "minLength": 1, "maxLength": 100},
        _time_zone,
    ),
]
PerHour = Annotated[int, _whole(1, 1000, "messages")]
Kind = Annotated[str, _one_of(sorted(TELLABLE))]
Address = Annotated[
    Any,
    FieldRule(
        "a URL, or of a webhook an object with its url",
        {
            "oneOf": [
                {"type": "string", "minLength": 1, "maxLength": 2000},
                {
                    "type": "object",
                    "properties": {
                        "url": {"type": "string", "minLength": 1, "maxLength": 2000},
                        "secret": {
                            "type": ["string", "null"],
                            "pattern": "^whsec_[A-Za-z0-9+/=]+$",
                        },
                    },
                    "required": ["url"],
                    "additionalProperties": False,
                },
            ]
        },
        _any_address,
    ),
]


@frozen(kw_only=True)
class NewChannel:
    """
    A request for a new channel.

    Attributes:
        name: What people call the channel: 1 to 100 printable characters.
        kind: How messages are delivered: `webhook`, or `apprise` for one of the services that the
            library Apprise knows.
        address: Where messages are delivered to. For apprise it is a URL as Apprise reads it, such
            as `mailtos://user:password@example.com?to=ops@example.com`. For a webhook it is an
            object with the `url`, and perhaps the `secret` that signs the messages: `whsec_` and
            the base64 of 24 to 64 bytes. Without a secret the receiver makes one. The address is
            stored encrypted and never shown.
        per_hour: How many messages are delivered within an hour at most; further alarms wait, and
            are then told in one message.
        report_at: When a report of the last week is sent, as a cron expression such as
            `0 8 * * 1`; null for no report.
        time_zone: The IANA time zone of `report_at` and of the times in messages.
    """

    name: Name
    kind: Annotated[ChannelKind, _one_of([kind.value for kind in ChannelKind], ChannelKind)]
    address: Address = field(repr=False)
    per_hour: PerHour = 20
    report_at: Cron | None = None
    time_zone: TimeZone = "UTC"

    @classmethod
    def of(cls, value: object) -> "NewChannel":
        """
        Read the request from a decoded JSON value.

        The `address` of the result is a text for apprise, and for a webhook a dict with the `url`
        and perhaps the `secret`. Raises InvalidMessage, even for an unknown field, in words that
        never hold the address.
        """
        new, given, problems = _read(cls, value, "channel")
        address = given["address"]
        try:
            address = _address(new.kind, address)
        except ValueError as error:
            problems.append(Problem("address", str(error)))
        problems += _problems_of_cron("report_at", new.report_at, new.time_zone)
        if problems:
            raise InvalidMessage(problems)
        return cls(
            name=new.name,
            kind=new.kind,
            address=address,
            per_hour=new.per_hour,
            report_at=new.report_at,
            time_zone=new.time_zone,
        )

    def issue(self, *, address: bytes, service: str, now: datetime) -> Channel:
        """
        Make the channel, with a new random id, without storing it.

        Args:
            address: The encrypted address.
            service: What may be shown of the address.
            now: The current time.
        """
        return Channel(
            id=new_id(),
            name=self.name,
            kind=self.kind,
            address=address,
            service=service,
            per_hour=self.per_hour,
            report_at=self.report_at,
            time_zone=self.time_zone,
            created_at=now,
        )


@frozen(kw_only=True)
class ChannelFields:
    """
    The fields of a request to change a channel. Of a field that is left out, the value stays.

    Attributes:
        name: What people call the channel: 1 to 100 printable characters.
        address: Another address of the same kind. A webhook gets a new secret, unless the address
            holds one.
        per_hour: How many messages are delivered within an hour at most.
        report_at: When a report of the last week is sent, as a cron expression; null for no report.
        time_zone: The IANA time zone of `report_at` and of the times in messages.
    """

    name: Name | None = None
    address: Address | None = field(default=None, repr=False)
    per_hour: PerHour | None = None
    report_at: Cron | None = None
    time_zone: TimeZone | None = None


@frozen(kw_only=True)
class ChannelChange:
    """
    A request to change a channel.

    Attributes:
        values: The new values by the names of the attributes to change, at least one of `name`,
            `address`, `per_hour`, `report_at` and `time_zone`. An address is a text for apprise,
            and for a webhook a dict with the `url` and perhaps the `secret`. Only `report_at` may
            be None.
    """

    values: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, value: object, channel: Channel) -> "ChannelChange":
        """
        Read the request from a decoded JSON value.

        Raises InvalidMessage, even for an unknown field, in words that never hold the address.

        Args:
            value: The decoded JSON value.
            channel: The channel as it is.
        """
        asked, given, problems = _read(ChannelFields, value, "channel that may be changed")
        known = [each.name for each in fields(ChannelFields)]
        values = {name: getattr(asked, name) for name in known if name in given}
        if not given:
            problems.append(Problem("", f"says nothing to change; it may be: {', '.join(known)}"))
        problems += [
            Problem(name, "may be left out, but not be null")
            for name, new in values.items()
            if new is None and name != "report_at"
        ]
        if values.get("address") is not None:
            try:
                values["address"] = _address(channel.kind, values["address"])
            except ValueError as error:
                problems.append(Problem("address", str(error)))
        problems += _problems_of_cron(
            "report_at",
            values.get("report_at", channel.report_at),
            values.get("time_zone") or channel.time_zone,
        )
        if problems:
            raise InvalidMessage(problems)
        return cls(values=values)


@frozen(kw_only=True)
class NewRule:
    """
    A request for a new rule, or for another content of a rule.

    Attributes:
        name: What people call the rule: 1 to 100 printable characters.
        query: Which servers, as the text of a filter such as `stage:production database:acme`; the
            empty text for all.
        kinds: Which kinds of alarms are told, at least one.
        after_seconds: How long an alarm that lasts must have lasted before it is told, up to 30
            days; 0 to tell it at once.
        channel_id: The id of the channel through which alarms are told.
        remind_seconds: The time between two reminders of an alarm that lasts, 5 minutes to 30 days;
            null for no reminders.
    """

    name: Name
    query: Query = ""
    kinds: tuple[Kind, ...]
    after_seconds: Annotated[int, _whole(0, 2_592_000, "seconds")] = 0
    channel_id: Annotated[str, _text(100)]
    remind_seconds: Annotated[int, _whole(300, 2_592_000, "seconds")] | None = None

    @classmethod
    def of(cls, value: object) -> "NewRule":
        """
        Read the request from a decoded JSON value.

        The `query` of the result is in its canonical form. Raises InvalidMessage, even for an
        unknown field.
        """
        new, _, problems = _read(cls, value, "rule")
        query, wrong = _query(new.query)
        problems += wrong
        if not new.kinds:
            problems.append(Problem("kinds", "expected at least one kind of alarms"))
        if problems:
            raise InvalidMessage(problems)
        return cls(
            name=new.name,
            query=query,
            kinds=tuple(sorted(set(new.kinds))),
            after_seconds=new.after_seconds,
            channel_id=new.channel_id,
            remind_seconds=new.remind_seconds,
        )

    def issue(self, *, now: datetime, rule_id: str | None = None) -> Rule:
        """
        Make the rule without storing it.

        Args:
            now: The current time.
            rule_id: The id of the rule that gets this content; None for a new rule, which gets a
                random id.
        """
        remind = self.remind_seconds
        return Rule(
            id=new_id() if rule_id is None else rule_id,
            name=self.name,
            query=self.query,
            kinds=frozenset(self.kinds),
            after=timedelta(seconds=self.after_seconds),
            channel_id=self.channel_id,
            remind_every=None if remind is None else timedelta(seconds=remind),
            created_at=now,
        )


@frozen(kw_only=True)
class NewSilence:
    """
    A request for a new silence: once, or again and again.

    Attributes:
        query: Which servers, as the text of a filter such as `stage:staging`; the empty text for
            all. Either this or `server_id` must be given, but not both.
        server_id: The id of the only server that is meant.
        begins_at: The beginning; now if it is left out.
        ends_at: The end. Without `cron`, either this or `duration_seconds` must be given, but not
            both. With `cron` it is the time from which on the silence is over; null for no end.
        cron: When the silence begins each time, as a cron expression such as `0 22 * * 6`; null for
            a silence that begins once.
        duration_seconds: How long the silence lasts each time, 1 minute to 30 days. With `cron` it
            must be given.
        time_zone: The IANA time zone of `cron`.
        reason: Why, for people: 1 to 200 printable characters.
    """

    query: Query | None = None
    server_id: ServerId | None = None
    begins_at: Moment | None = None
    ends_at: Moment | None = None
    cron: Cron | None = None
    duration_seconds: Annotated[int, _whole(60, 2_592_000, "seconds")] | None = None
    time_zone: TimeZone = "UTC"
    reason: Reason

    @classmethod
    def of(cls, value: object, *, now: datetime) -> "NewSilence":
        """
        Read the request from a decoded JSON value.

        In the result `begins_at` is never None, `query` is in its canonical form, and a silence
        without `cron` has `ends_at` and no `duration_seconds`. Raises InvalidMessage, even for an
        unknown field.

        Args:
            value: The decoded JSON value.
            now: The current time, at which a silence without `begins_at` begins.
        """
        new, _, problems = _read(cls, value, "silence")
        if (new.query is None) == (new.server_id is None):
            problems.append(Problem("query", _WHICH))
        query, wrong = _query(new.query)
        problems += wrong
        begins_at = new.begins_at or now
        ends_at, wrong = _end_of(new, begins_at, now)
        problems += wrong
        problems += _problems_of_cron("cron", new.cron, new.time_zone)
        if problems:
            raise InvalidMessage(problems)
        return cls(
            query=None if new.query is None else query,
            server_id=new.server_id,
            begins_at=begins_at,
            ends_at=ends_at,
            cron=new.cron,
            duration_seconds=None if new.cron is None else new.duration_seconds,
            time_zone=new.time_zone,
            reason=new.reason,
        )

    def issue(self, *, author: str, now: datetime) -> Silence:
        """
        Make the silence, with a new random id, without storing it.

        Args:
            author: The name of the key with which it is made.
            now: The current time.
        """
        seconds = self.duration_seconds
        return Silence(
            id=new_id(),
            query=self.query or "",
            server_id=self.server_id,
            begins_at=self.begins_at or now,
            ends_at=self.ends_at,
            cron=self.cron,
            duration=None if seconds is None else timedelta(seconds=seconds),
            time_zone=self.time_zone,
            reason=self.reason,
            author=author,
            created_at=now,
        )


@frozen(kw_only=True)
class ShortSilence:
    """
    A request to silence a server from now on, for a maintenance of a known length.

    Attributes:
        minutes: How long the silence lasts, 1 to 1,440 minutes.
        reason: Why, for people: 1 to 200 printable characters.
    """

    minutes: Annotated[int, _whole(1, LONGEST_SHORT_SILENCE // timedelta(minutes=1), "minutes")]
    reason: Reason = "maintenance"

    @classmethod
    def of(cls, value: object) -> "ShortSilence":
        """
        Read the request from a decoded JSON value.

        Raises InvalidMessage, even for an unknown field.
        """
        new, _, problems = _read(cls, value, "silence of a server")
        if problems:
            raise InvalidMessage(problems)
        return new

    def issue(self, server_id: str, *, author: str, now: datetime) -> Silence:
        """
        Make the silence, with a new random id, without storing it.

        Args:
            server_id: The id of the server.
            author: The name of the key with which it is made.
            now: The current time, at which it begins.
        """
        ends_at = now + timedelta(minutes=self.minutes)
        new = NewSilence(server_id=server_id, begins_at=now, ends_at=ends_at, reason=self.reason)
        return new.issue(author=author, now=now)


def _read(
    kind: type[Asked], value: object, what: str
) -> tuple[Asked, Mapping[str, Any], list[Problem]]:
    """
    Read a request, and note its unknown fields, which may be misspelt ones.

    Returns the request, the JSON object that it was read from, and a problem for each unknown
    field. Raises InvalidMessage for a value that is not of this kind.
    """
    new = structure(value, kind)
    assert isinstance(value, dict)  # `structure` raises otherwise
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type] # all are attrs classes
    sentence = f"is no field of a {what}; these are: {', '.join(known)}"
    return new, value, [Problem(name, sentence) for name in value if name not in known]


def _query(text: str | None) -> tuple[str, list[Problem]]:
    """The canonical form of the text of a filter, and what is wrong with it."""
    try:
        found = FilterText.asked(text or "")
    except ValueError as error:
        return "", [Problem("query", str(error))]
    if "key" in found.names():
        return "", [Problem("query", "key: only lists know which key a server belongs to.")]
    return str(found), []


def _end_of(
    new: NewSilence, begins_at: datetime, now: datetime
) -> tuple[datetime | None, list[Problem]]:
    """The end of the silence, and what is wrong with its times."""
    if max(begins_at, new.ends_at or begins_at) > now + _FAR:
        return None, [Problem("ends_at", "a silence begins and ends within the next ten years")]
    if new.cron is not None and new.duration_seconds is None:
        return None, [Problem("duration_seconds", _HOW_LONG_EACH)]
    ends_at = new.ends_at
    if new.cron is None:
        if (ends_at is None) == (new.duration_seconds is None):
            return None, [Problem("ends_at", _HOW_LONG)]
        if ends_at is None:
            ends_at = begins_at + timedelta(seconds=new.duration_seconds or 0)
    if ends_at is not None and ends_at <= begins_at:
        return None, [Problem("ends_at", "is not after the beginning")]
    if ends_at is not None and ends_at <= now:
        return None, [Problem("ends_at", "is over already")]
    return ends_at, []


def _problems_of_cron(name: str, cron: str | None, time_zone: str) -> list[Problem]:
    if cron is None:
        return []
    try:
        check(cron, time_zone)
    except ValueError as error:
        return [Problem(name, str(error))]
    return []


def _address(kind: ChannelKind, address: object) -> str | dict[str, str]:
    """The address in its normal form. Raises ValueError, whose text does not hold the address."""
    if kind is ChannelKind.APPRISE:
        if not (isinstance(address, str) and _is_apprise_url(address)):
            raise ValueError(_APPRISE_URL)
        return address
    if isinstance(address, str):
        address = {"url": address}
    match address:
        case {"url": str(url), **more} if more.keys() <= {"secret"} and _is_http_url(url):
            secret = more.get("secret")
        case _:
            raise ValueError(_WEBHOOK_URL)
    if secret is None:
        return {"url": url}
    if not _is_secret(secret):
        raise ValueError(_SIGNED_BY)
    return {"url": url, "secret": secret}


def _is_secret(secret: object) -> TypeGuard[str]:
    if not (isinstance(secret, str) and secret.startswith("whsec_")):
        return False
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return 24 <= len(key) <= 64


_FAR = timedelta(days=3653)
_is_apprise_url = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x20\x7f\ud800-\udfff]{0,1980}"
).fullmatch
_is_http_url = re.compile(
    r"[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7f\ud800-\udfff]{1,1990}"
).fullmatch
_APPRISE_URL = (
    "expected a URL as Apprise reads it, such as "
    "mailtos://user:password@example.com?to=ops@example.com, without spaces"
)
_WEBHOOK_URL = (
    "expected the address of a webhook: an http or https URL without spaces, as an object with "
    "url, and secret if you have one"
)
_SIGNED_BY = (
    "expected the secret of a webhook as whsec_ and the base64 of 24 to 64 random bytes; leave it "
    "out, and the receiver makes one"
)
_WHICH = (
    "say which servers are meant, either by server_id, or by query: the text of a filter such as "
    "stage:staging, or the empty text for all servers"
)
_HOW_LONG = (
    "say until when, either by ends_at, a time such as 2026-01-31T12:00:00Z, or by duration_seconds"
)
_HOW_LONG_EACH = "say how long the silence lasts each time that it begins again by cron"
