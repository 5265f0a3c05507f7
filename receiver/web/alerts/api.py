"""
The HTTP API of alerts: channels, rules, silences, alarms, deliveries and the weekly report.

A channel is a place to which messages are sent, such as a chat or a webhook. A rule says which
events of which servers are told through which channel. An event that a rule matches begins an
alarm, and a message about alarms is a delivery. A silence is a time in which alarms of some servers
are not told. All lists may be had as files.

A viewer's key reads all of it, but no address of a channel; an administrator's key changes it. An
agent's key may silence its own servers, for a day at most.
"""

from functools import partial
from typing import Any

import orjson
from attrs import fields
from starlette.requests import Request
from starlette.responses import Response

from receiver.domain.alerts.requests import LONGEST_SHORT_SILENCE
from receiver.domain.alerts.values import Alarm, Delivery
from receiver.domain.cursors import write_event_cursor
from receiver.domain.keys import Power
from receiver.web import openapi
from receiver.web.admin_api import decoded_json, must_hold_a_key
from receiver.web.alerts import answers, changes, reports
from receiver.web.alerts.answers import (
    alarm_json,
    channel_json,
    delivery_json,
    rule_json,
    silence_json,
)
from receiver.web.context import services
from receiver.web.exports import (
    AnyPart,
    FileFormat,
    Part,
    Sheet,
    described,
    file_answer,
    or_file,
    whole_file,
)
from receiver.web.openapi import Json, answer, listed, object_of, operation
from receiver.web.requests import (
    AlarmQuery,
    DeliveryQuery,
    alarm_query,
    asks_for_ended,
    delivery_query,
)
from receiver.web.routing import Guarded

__all__ = ["routes"]


def routes() -> list[Guarded]:
    """The routes of alerts, each with its description for the OpenAPI document."""
    read = partial(Guarded, methods=["GET"], needs=Power.READ)
    manage = partial(Guarded, needs=Power.MANAGE)
    return [
        read(
            "/channels", or_file(list_channels, channels_file), describes=described(_LIST_CHANNELS)
        ),
        manage("/channels", add_channel, methods=["POST"], describes=_ADD_CHANNEL),
        manage("/channels/{channel_id}", patch, methods=["PATCH"], describes=_CHANGE_CHANNEL),
        manage("/channels/{channel_id}", remove, methods=["DELETE"], describes=_REMOVE_CHANNEL),
        manage("/channels/{channel_id}/test", try_out, methods=["POST"], describes=_TEST_CHANNEL),
        read("/rules", or_file(list_rules, rules_file), describes=described(_LIST_RULES)),
        manage("/rules", add_rule, methods=["POST"], describes=_ADD_RULE),
        manage("/rules/{rule_id}", put_rule, methods=["PUT"], describes=_CHANGE_RULE),
        manage("/rules/{rule_id}", delete_rule, methods=["DELETE"], describes=_REMOVE_RULE),
        read(
            "/silences", or_file(list_silences, silences_file), describes=described(_LIST_SILENCES)
        ),
        manage("/silences", add_silence, methods=["POST"], describes=_ADD_SILENCE),
        manage("/silences/{silence_id}", end_silence, methods=["DELETE"], describes=_END_SILENCE),
        # A server_id may contain slashes.
        Guarded(
            "/servers/{server_id:path}/silence",
            silence_server,
            methods=["POST"],
            needs=Power.WRITE,
            describes=_SILENCE_SERVER,
        ),
        read("/alarms", or_file(list_alarms, alarms_file), describes=described(_LIST_ALARMS)),
        manage(
            "/alarms/{alarm_id}/acknowledge", acknowledge, methods=["POST"], describes=_ACKNOWLEDGE
        ),
        read(
            "/deliveries",
            or_file(list_deliveries, deliveries_file),
            describes=described(_LIST_DELIVERIES),
        ),
        *reports.routes(),
    ]


_OF_CHANGES = (400, 401, 403, 404, 408, 409, 413, 415, 422, 503)


def _list_of(name: str, schema: Json) -> Json:
    return object_of(**{name: listed(schema)}, count=openapi.COUNT)


def _page_of(name: str, schema: Json) -> Json:
    return object_of(
        **{name: listed(schema)}, count=openapi.COUNT, next_cursor={"type": ["string", "null"]}
    )


# Channels

_MADE_CHANNEL = object_of(
    channel=answers.CHANNEL,
    secret={
        "type": ["string", "null"],
        "description": "With what the receiver of a webhook checks signatures; null where there is "
        "none, or none is new.",
    },
)
_LIST_CHANNELS = operation(
    "listChannels",
    "All channels, without their addresses",
    answers={200: answer("The channels", _list_of("channels", answers.CHANNEL))},
    problems=(401, 403, 503),
)


async def list_channels(request: Request) -> Response:
    """Answer with all channels, without their addresses."""
    return _whole("channels", await _channels(request))


async def channels_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of all channels, without their addresses."""
    return await whole_file(request, file_format, _CHANNELS, await _channels(request))


async def _channels(request: Request) -> list[Json]:
    found = services(request)
    return [channel_json(each) for each in await found.calls.read(found.store.alerts.channels)]


_ADD_CHANNEL = operation(
    "addChannel",
    "Make a channel, through which messages are delivered",
    description="The first channel gets a rule: down for five minutes, of servers in production or "
    "without a stage.",
    request_body=openapi.body(answers.NEW_CHANNEL),
    answers={201: answer("The channel, and a secret that is not shown again", _MADE_CHANNEL)},
    problems=_OF_CHANGES,
)


async def add_channel(request: Request) -> Response:
    """Make a channel. Only this answer contains the secret that signs the messages of a webhook."""
    channel, secret = await changes.make_channel(request, await decoded_json(request))
    return _json({"channel": channel_json(channel), "secret": secret}, status=201)


_CHANGE_CHANNEL = operation(
    "changeChannel",
    "Change some attributes of a channel",
    request_body=openapi.body(answers.CHANNEL_CHANGE),
    answers={200: answer("The channel, and a secret that is not shown again", _MADE_CHANNEL)},
    problems=_OF_CHANGES,
)


async def patch(request: Request) -> Response:
    """Change those attributes of a channel that the body names."""
    channel_id = request.path_params["channel_id"]
    asked = await decoded_json(request)
    channel, secret = await changes.change_channel(request, channel_id, asked)
    return _json({"channel": channel_json(channel), "secret": secret})


def _removed(status: str) -> Json:
    return object_of(status={"const": status}, id=openapi.TEXT)


_REMOVE_CHANNEL = operation(
    "removeChannel",
    "Remove a channel, its rules, and what waits to be delivered through it",
    answers={200: answer("It is removed", _removed("removed"))},
    problems=(401, 403, 404, 503),
)


async def remove(request: Request) -> Response:
    """Remove a channel, its rules, and what waits to be delivered through it."""
    channel = await changes.remove_channel(request, request.path_params["channel_id"])
    return _json({"status": "removed", "id": channel.id})


_TEST_CHANNEL = operation(
    "testChannel",
    "Send a test message through a channel",
    answers={
        200: answer(
            "What came of it",
            object_of(
                status={"enum": ["delivered", "failed"]},
                error={"type": ["string", "null"], "description": "Why it failed."},
            ),
        )
    },
    problems=(401, 403, 404, 409, 503),
)


async def try_out(request: Request) -> Response:
    """Send a test message through a channel, and say whether it was delivered, or why not."""
    _must_not_come_from_elsewhere(request)
    error = await changes.test_channel(request, request.path_params["channel_id"])
    return _json({"status": "delivered" if error is None else "failed", "error": error})


# Rules

_LIST_RULES = operation(
    "listRules",
    "All rules: which events are told, of which servers, and where",
    answers={200: answer("The rules", _list_of("rules", answers.RULE))},
    problems=(401, 403, 503),
)


async def list_rules(request: Request) -> Response:
    """Answer with all rules."""
    return _whole("rules", await _rules(request))


async def rules_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of all rules."""
    return await whole_file(request, file_format, _RULES, await _rules(request))


async def _rules(request: Request) -> list[Json]:
    found = services(request)
    return [rule_json(each) for each in await found.calls.read(found.store.alerts.rules)]


_ADD_RULE = operation(
    "addRule",
    "Make a rule",
    request_body=openapi.body(answers.NEW_RULE),
    answers={201: answer("The rule", answers.RULE)},
    problems=_OF_CHANGES,
)


async def add_rule(request: Request) -> Response:
    """Make the rule that the body describes."""
    return _json(rule_json(await changes.make_rule(request, await decoded_json(request))), 201)


_CHANGE_RULE = operation(
    "changeRule",
    "Give a rule another content",
    request_body=openapi.body(answers.NEW_RULE),
    answers={200: answer("The rule", answers.RULE)},
    problems=_OF_CHANGES,
)


async def put_rule(request: Request) -> Response:
    """Replace the content of a rule by that of the body."""
    rule_id = request.path_params["rule_id"]
    asked = await decoded_json(request)
    return _json(rule_json(await changes.change_rule(request, rule_id, asked)))


_REMOVE_RULE = operation(
    "removeRule",
    "Remove a rule",
    answers={200: answer("It is removed", _removed("removed"))},
    problems=(401, 403, 404, 503),
)


async def delete_rule(request: Request) -> Response:
    """Remove a rule, whose open alarms end."""
    rule = await changes.remove_rule(request, request.path_params["rule_id"])
    return _json({"status": "removed", "id": rule.id})


# Silences

_ENDED = openapi.parameter(
    "ended", "Whether silences that have ended are listed, too.", {"type": "boolean"}
)
_LIST_SILENCES = operation(
    "listSilences",
    "The silences: times in which alarms of some servers are not told",
    parameters=[_ENDED],
    answers={200: answer("The silences", _list_of("silences", answers.SILENCE))},
    problems=(400, 401, 403, 503),
)


async def list_silences(request: Request) -> Response:
    """Answer with the silences that have not ended; with `ended=true` in the query, with all."""
    return _whole("silences", await _silences(request))


async def silences_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the silences that the query asks for."""
    return await whole_file(request, file_format, _SILENCES, await _silences(request))


async def _silences(request: Request) -> list[Json]:
    ended = asks_for_ended(request)
    found = services(request)
    now = found.clock()
    silences = await found.calls.read(found.store.alerts.silences, now, ended=ended)
    return [silence_json(each, now) for each in silences]


_ADD_SILENCE = operation(
    "addSilence",
    "Make a silence, for once or again and again",
    request_body=openapi.body(answers.NEW_SILENCE),
    answers={201: answer("The silence", answers.SILENCE)},
    problems=_OF_CHANGES,
)


async def add_silence(request: Request) -> Response:
    """Make the silence that the body describes."""
    silence = await changes.make_silence(request, await decoded_json(request))
    return _json(silence_json(silence, silence.created_at), 201)


_SILENCE_SERVER = operation(
    "silenceServer",
    "Silence a server from now on, for a maintenance",
    description="A key of the scope agent may silence the servers that belong to it, for "
    f"{LONGEST_SHORT_SILENCE.days * 24} hours at most. Another such silence of the server takes "
    "the place of the one before.",
    request_body=openapi.body(answers.SHORT_SILENCE),
    answers={201: answer("The silence", answers.SILENCE)},
    problems=_OF_CHANGES,
)


async def silence_server(request: Request) -> Response:
    """Silence a server from now on, for the minutes that the body says."""
    server_id = request.path_params["server_id"]
    silence = await changes.silence_server(request, server_id, await decoded_json(request))
    return _json(silence_json(silence, silence.created_at), 201)


_END_SILENCE = operation(
    "endSilence",
    "End a silence now",
    answers={200: answer("It has ended", _removed("ended"))},
    problems=(401, 403, 404, 409, 503),
)


async def end_silence(request: Request) -> Response:
    """End a silence now. What has ended already cannot be ended again: raises Refusal (409)."""
    silence = await changes.end_silence(request, request.path_params["silence_id"])
    return _json({"status": "ended", "id": silence.id})


# Alarms and deliveries

_OPEN = openapi.parameter(
    "open", "Only alarms that last, or only those that are over.", {"type": "boolean"}
)
_LIST_ALARMS = operation(
    "listAlarms",
    "The alarms, newest first",
    parameters=[openapi.LIMIT, openapi.CURSOR, _OPEN, openapi.OF_SERVER],
    answers={200: answer("A page", _page_of("alarms", answers.ALARM))},
    problems=(400, 401, 403, 503),
)


async def list_alarms(request: Request) -> Response:
    """Answer with a page of the alarms that match the query, newest first."""
    query = alarm_query(request)
    page, before = await _alarms(request, query, query.before, query.limit)
    cursor = None if before is None else write_event_cursor(before)
    return _page("alarms", [alarm_json(each) for each in page], cursor)


async def alarms_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the alarms that match the query, newest first."""
    query = alarm_query(request)

    async def read(before: int | None, limit: int) -> AnyPart[int]:
        page, following = await _alarms(request, query, before, limit)
        return Part(_ALARMS.part(file_format, map(alarm_json, page)), len(page)), following

    most = query.limit if "limit" in request.query_params else None
    return await file_answer(request, file_format, _ALARMS, read, begin=query.before, most=most)


async def _alarms(
    request: Request, query: AlarmQuery, before: int | None, limit: int
) -> tuple[list[Alarm], int | None]:
    """At most `limit` alarms with ids below `before`, and the next page's `before` or None."""
    found = services(request)
    alarms = await found.calls.read(
        found.store.alerts.alarms,
        is_open=query.is_open,
        server_id=query.server_id,
        before=before,
        limit=limit + 1,
    )
    page = alarms[:limit]
    return page, page[-1].id if len(alarms) > len(page) else None


_ACKNOWLEDGE = operation(
    "acknowledgeAlarm",
    "Acknowledge an alarm: no reminder of it is sent any more",
    answers={200: answer("The alarm", answers.ALARM)},
    problems=(401, 403, 404, 409, 503),
)


async def acknowledge(request: Request) -> Response:
    """Acknowledge an alarm, so that no reminder of it is sent any more."""
    _must_not_come_from_elsewhere(request)
    alarm_id = changes.alarm_id_of(request)
    return _json(alarm_json(await changes.acknowledge(request, alarm_id)))


_OF_CHANNEL = openapi.parameter("channel_id", "Only those through this channel.", openapi.TEXT)
_LIST_DELIVERIES = operation(
    "listDeliveries",
    "The messages that were sent, wait, or were given up, newest first",
    parameters=[openapi.LIMIT, openapi.CURSOR, _OF_CHANNEL],
    answers={200: answer("A page", _page_of("deliveries", answers.DELIVERY))},
    problems=(400, 401, 403, 503),
)


async def list_deliveries(request: Request) -> Response:
    """Answer with a page of the deliveries that match the query, newest first."""
    query = delivery_query(request)
    page, cursor = await _deliveries(request, query, query.before, query.limit)
    return _page("deliveries", [delivery_json(each) for each in page], cursor)


async def deliveries_file(request: Request, file_format: FileFormat) -> Response:
    """Answer with a file of the deliveries that match the query, newest first."""
    query = delivery_query(request)

    async def read(before: str | None, limit: int) -> AnyPart[str]:
        page, following = await _deliveries(request, query, before, limit)
        return Part(_DELIVERIES.part(file_format, map(delivery_json, page)), len(page)), following

    most = query.limit if "limit" in request.query_params else None
    return await file_answer(request, file_format, _DELIVERIES, read, begin=query.before, most=most)


async def _deliveries(
    request: Request, query: DeliveryQuery, before: str | None, limit: int
) -> tuple[list[Delivery], str | None]:
    """At most `limit` deliveries that follow that with the id `before`, and the next `before`."""
    found = services(request)
    deliveries = await found.calls.read(
        found.store.alerts.deliveries,
        channel_id=query.channel_id,
        before=before,
        limit=limit + 1,
    )
    page = deliveries[:limit]
    return page, page[-1].id if len(deliveries) > len(page) else None


def _must_not_come_from_elsewhere(request: Request) -> None:
    """
    Raise Refusal for a request without a key to a call that takes no body.

    Before the first key is made, clients on the receiver's machine need none. A web page that is
    open in a browser there could make such a request, because it needs no preflight without JSON.
    """
    must_hold_a_key(request)


_CHANNELS = Sheet(name="channels", columns=[*answers.CHANNEL["properties"]])
_RULES = Sheet(
    name="rules",
    columns=[*answers.RULE["properties"]],
    special={"kinds": lambda rule: ", ".join(rule["kinds"])},
)
_SILENCES = Sheet(name="silences", columns=[*answers.SILENCE["properties"]])
_ALARMS = Sheet(name="alarms", columns=[each.name for each in fields(Alarm)])
_DELIVERIES = Sheet(
    name="deliveries", columns=[each.name for each in fields(Delivery) if each.name != "body"]
)


def _whole(name: str, items: list[Json]) -> Response:
    return _json({name: items, "count": len(items)})


def _page(name: str, items: list[Json], cursor: str | None) -> Response:
    return _json({name: items, "count": len(items), "next_cursor": cursor})


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
