"""
The forms of alerts: channels, rules, silences and acknowledgements.

They make the same changes as the API, by the same functions, and answer with a redirect, so that
loading a page again makes nothing twice.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from contract import InvalidMessage, Problem
from contract.fields import format_moment
from receiver.domain.alerts.values import LASTING, TELLABLE, Channel, ChannelKind, Rule
from receiver.domain.errors import Refusal
from receiver.domain.keys import Power
from receiver.web.alerts import changes
from receiver.web.context import services
from receiver.web.cookies import Notice
from receiver.web.pages import wording
from receiver.web.pages.form_handlers import Act, Fields, Question, confirmed, form
from receiver.web.pages.rendering import PageRoute, answer, redirect, server_url
from receiver.web.pages.silenced import silence_notice, silences_notice
from receiver.web.routing import with_ids_in_query

__all__ = ["routes"]

_ALERTS = "/alerts"


def routes() -> list[BaseRoute]:
    """The routes of the forms."""
    page = partial(PageRoute, needs=Power.MANAGE)
    both, post = ["GET", "POST"], ["POST"]
    return [
        page("/alerts/channels/new", _shown(new_channel, make_channel), methods=both),
        page("/alerts/channels/{channel_id}", _shown(old_channel, change_channel), methods=both),
        page("/alerts/channels/{channel_id}/test", form(try_out), methods=post),
        page(
            "/alerts/channels/{channel_id}/remove",
            confirmed(removing_channel, remove_channel),
            methods=both,
        ),
        page("/alerts/rules/new", _shown(new_rule, make_rule), methods=both),
        page("/alerts/rules/{rule_id}", _shown(old_rule, change_rule), methods=both),
        page("/alerts/rules/{rule_id}/remove", confirmed(removing_rule, remove_rule), methods=both),
        page("/alerts/silences/new", _shown(new_silence, make_silence), methods=both),
        page("/alerts/silences/{silence_id}/end", form(end_silence), methods=post),
        page("/alerts/alarms/{alarm_id}/acknowledge", form(acknowledge), methods=post),
        # A server_id may contain slashes.
        *with_ids_in_query(
            [page("/server/{server_id:path}/silence", form(silence_server), methods=post)]
        ),
    ]


@frozen(kw_only=True)
class Sheet:
    """
    A form before somebody has written anything in it.

    Attributes:
        template: The template of the page.
        fields: What the fields contain at first.
        about: The channel or rule that is to be changed; None for a new one.
    """

    template: str
    fields: Fields
    about: Channel | Rule | None = None


def _shown(
    fill: Callable[[Request], Awaitable[Sheet]],
    act: Act,
) -> Callable[[Request], Awaitable[Response]]:
    """
    Make the endpoint that shows a form (GET), and makes the change that it is for (POST).

    A form that was refused is shown again, with the reason and with what was written in it; but
    without the address of a channel, which is a secret.
    """

    async def show(request: Request, fields: Fields | None, refused: Refusal | None) -> Response:
        found, sheet = services(request), await fill(request)
        return answer(
            request,
            sheet.template,
            status=200 if refused is None else refused.status,
            fields=sheet.fields if fields is None else {**fields, "address": ""},
            about=sheet.about,
            channels=await found.calls.read(found.store.alerts.channels),
            refused=refused,
            LASTING_KINDS=sorted(LASTING),
            OTHER_KINDS=sorted(TELLABLE - LASTING),
        )

    async def show_again(request: Request, fields: Fields, refused: Refusal) -> Response:
        return await show(request, fields, refused)

    taken = form(act, refused=show_again)

    async def page(request: Request) -> Response:
        return await (taken(request) if request.method == "POST" else show(request, None, None))

    return page


# Channels


async def new_channel(_: Request) -> Sheet:
    fields = {"kind": ChannelKind.APPRISE.value, "per_hour": "20", "time_zone": "UTC"}
    return Sheet(template="channel.html", fields=fields)


async def old_channel(request: Request) -> Sheet:
    channel = await _channel(request)
    fields = {
        "name": channel.name,
        "per_hour": str(channel.per_hour),
        "report_at": channel.report_at or "",
        "time_zone": channel.time_zone,
    }
    return Sheet(template="channel.html", fields=fields, about=channel)


async def make_channel(request: Request, fields: Fields) -> RedirectResponse:
    """Make a channel; the next page shows the secret of a webhook once."""
    asked = {"kind": fields.get("kind", ""), "address": fields.get("address", "")}
    channel, secret = await changes.make_channel(request, {**_channel_of(fields), **asked})
    return _to_alerts(request, f"The channel {channel.name} was made.{_secret(secret)}")


async def change_channel(request: Request, fields: Fields) -> RedirectResponse:
    """Change a channel; if the field for the address is empty, the address stays as it is."""
    asked = _channel_of(fields)
    if fields.get("address"):
        asked["address"] = fields["address"]
    channel_id = request.path_params["channel_id"]
    channel, secret = await changes.change_channel(request, channel_id, asked)
    return _to_alerts(request, f"The channel {channel.name} was changed.{_secret(secret)}")


async def try_out(request: Request, _: Fields) -> RedirectResponse:
    """Send a test through a channel; the next page says whether it was delivered."""
    channel = await _channel(request)
    error = await changes.test_channel(request, channel.id)
    if error is None:
        return _to_alerts(request, f"A test was sent through the channel {channel.name}.")
    said = wording.brief(error, _LONGEST_ERROR)
    return _to_alerts(request, f"The test through the channel {channel.name} failed: {said}")


async def removing_channel(request: Request) -> Question:
    channel = await _channel(request)
    return Question(
        title="Remove this channel?",
        about=channel.name,
        says=[
            "Its rules are removed, too, and what waits to be sent through it is not sent.",
            "Nobody can read its address any more, not even you: it would have to be written anew.",
        ],
        does="Remove this channel",
        back=_ALERTS,
    )


async def remove_channel(request: Request, _: Fields) -> RedirectResponse:
    channel = await changes.remove_channel(request, request.path_params["channel_id"])
    return _to_alerts(request, f"The channel {channel.name} was removed.")


async def _channel(request: Request) -> Channel:
    return await changes.channel_of(request, request.path_params["channel_id"])


def _channel_of(fields: Fields) -> dict[str, Any]:
    """The JSON that asks for a channel, as the API takes it, without the address."""
    return {
        "name": fields.get("name", ""),
        "per_hour": _number(fields.get("per_hour", "")),
        "report_at": fields.get("report_at") or None,
        "time_zone": fields.get("time_zone") or "UTC",
    }


def _secret(secret: str | None) -> str:
    if secret is None:
        return ""
    return f" This is the only time that the secret which signs its messages is shown: {secret}"


# Rules


async def new_rule(request: Request) -> Sheet:
    query = request.query_params.get("query", "")
    return Sheet(template="rule.html", fields={"after": "5", "kind-down": "1", "query": query})


async def old_rule(request: Request) -> Sheet:
    rule = await _rule(request)
    fields = {
        "name": rule.name,
        "query": rule.query,
        "after": _minutes(rule.after),
        "channel_id": rule.channel_id,
        "remind": _minutes(rule.remind_every),
        **{f"kind-{kind}": "1" for kind in rule.kinds},
    }
    return Sheet(template="rule.html", fields=fields, about=rule)


async def make_rule(request: Request, fields: Fields) -> RedirectResponse:
    rule = await changes.make_rule(request, _rule_of(fields))
    return _to_alerts(request, f"The rule {rule.name} was made.")


async def change_rule(request: Request, fields: Fields) -> RedirectResponse:
    rule = await changes.change_rule(request, request.path_params["rule_id"], _rule_of(fields))
    return _to_alerts(request, f"The rule {rule.name} was changed.")


async def removing_rule(request: Request) -> Question:
    rule = await _rule(request)
    return Question(
        title="Remove this rule?",
        about=rule.name,
        says=["What it tells is told no more. Alarms of it that last now end, and nobody is told."],
        does="Remove this rule",
        back=_ALERTS,
    )


async def remove_rule(request: Request, _: Fields) -> RedirectResponse:
    rule = await changes.remove_rule(request, request.path_params["rule_id"])
    return _to_alerts(request, f"The rule {rule.name} was removed.")


async def _rule(request: Request) -> Rule:
    return await changes.rule_of(request, request.path_params["rule_id"])


def _rule_of(fields: Fields) -> dict[str, Any]:
    """The JSON that asks for a rule, as the API takes it."""
    return {
        "name": fields.get("name", ""),
        "query": fields.get("query", ""),
        "kinds": sorted(kind for kind in TELLABLE if f"kind-{kind}" in fields),
        "after_seconds": _seconds(fields.get("after") or "0"),
        "channel_id": fields.get("channel_id", ""),
        "remind_seconds": _seconds(fields["remind"]) if fields.get("remind") else None,
    }


# Silences and alarms


async def new_silence(request: Request) -> Sheet:
    fields = {
        "query": request.query_params.get("query", ""),
        "reason": "Maintenance",
        "lasts": "120",
        "time_zone": "UTC",
    }
    return Sheet(template="silence.html", fields=fields)


async def make_silence(request: Request, fields: Fields) -> RedirectResponse:
    """
    Make a silence; the times in the form are local times of the time zone in the form.

    The form is refused if it says neither which servers are meant nor that all are, so that a field
    that was left empty silences nothing. In a form with an end, the minutes count only if the
    silence begins again and again.
    """
    zone = fields.get("time_zone") or "UTC"
    if bool(fields.get("query", "").strip()) is ("all" in fields):
        raise InvalidMessage([Problem("query", _WHICH_SERVERS)])
    lasts = fields.get("lasts") if fields.get("cron") or not fields.get("ends_at") else None
    asked = {
        "query": fields.get("query", ""),
        "reason": fields.get("reason", ""),
        "begins_at": _moment(fields.get("begins_at"), zone),
        "ends_at": _moment(fields.get("ends_at"), zone),
        "duration_seconds": _seconds(lasts) if lasts else None,
        "cron": fields.get("cron") or None,
        "time_zone": zone,
    }
    silence = await changes.make_silence(request, asked)
    return _to_alerts(request, await silence_notice(services(request), silence))


async def silence_server(request: Request, fields: Fields) -> RedirectResponse:
    """Silence a server from now on; redirect to its page."""
    server_id = request.path_params["server_id"]
    asked: dict[str, Any] = {"minutes": _number(fields.get("minutes", ""))}
    if fields.get("reason"):
        asked["reason"] = fields["reason"]
    silence = await changes.silence_server(request, server_id, asked)
    said = silences_notice([silence], "The server is silenced")
    return redirect(request, f"/{server_url(server_id)}", notice=said)


async def end_silence(request: Request, _: Fields) -> RedirectResponse:
    await changes.end_silence(request, request.path_params["silence_id"])
    return _to_alerts(request, "The silence was ended. Alarms that last are told now.")


async def acknowledge(request: Request, fields: Fields) -> RedirectResponse:
    """Acknowledge an alarm; redirect to the page on which that was done."""
    alarm = await changes.acknowledge(request, changes.alarm_id_of(request))
    server_id = alarm.server_id
    if server_id is None:
        return _to_alerts(request, f"The alarm was {_ACKNOWLEDGED}")
    name = wording.brief(alarm.known.get("server", {}).get("database") or server_id, 60)
    page = f"/{server_url(server_id)}" if fields.get("back") == "server" else _ALERTS
    is_told = alarm.told_at is not None or alarm.part_of is not None
    said = _ACKNOWLEDGED if is_told else _ACKNOWLEDGED_EARLY
    return redirect(request, page, notice=f"The alarm of {name} was {said}")


# What all forms have


def _to_alerts(request: Request, notice: str | Notice) -> RedirectResponse:
    return redirect(request, _ALERTS, notice=notice)


def _number(text: str) -> float | str:
    """The number that a text means; if it is none, the text itself, which the API refuses."""
    try:
        return float(text)
    except ValueError:
        return text


def _seconds(minutes: str) -> float | str:
    """A number of minutes in seconds; if it is no number, the text, which the API refuses."""
    number = _number(minutes)
    return number if isinstance(number, str) else number * 60


def _minutes(duration: timedelta | None) -> str:
    return "" if duration is None else f"{duration / timedelta(minutes=1):g}"


def _moment(text: str | None, zone: str) -> str | None:
    """
    A local time of a form, such as `2026-01-31T12:00`, in UTC as the API takes it.

    If the text is not a time, or the time zone is unknown, the text is returned as it is, for the
    API to refuse. None if the field is empty.
    """
    if not text:
        return None
    try:
        return format_moment(
            datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
        )
    except (ValueError, OverflowError, KeyError, OSError):
        return text


_ACKNOWLEDGED = "acknowledged: nobody is reminded of it any more."
_ACKNOWLEDGED_EARLY = (
    "acknowledged before it was told: it is told once, and nobody is reminded of it."
)
_WHICH_SERVERS = "say which servers are silenced, or tick All servers, but not both"
_LONGEST_ERROR = 200  # a cookie holds it
