"""Texts of the pages: times, records and events in words, and availability as SVG bars."""

from receiver.domain.alerts.reports import percent
from receiver.web.pages.wording.events import (
    Superseded,
    Tale,
    fits_into_link,
    silence_url,
    span_url,
    superseded,
    tale,
)
from receiver.web.pages.wording.groups import named_servers, tale_of_many
from receiver.web.pages.wording.kinds import (
    ALARMS,
    BY_IMPORTANCE,
    FEW_SERVERS,
    HINTS,
    KINDS,
    NAMED_SERVERS,
    OF_TOOLS,
    REACHES,
    SCOPES,
    STATES,
    SUMMED_UP,
    TOPICS,
    TROUBLES,
    counted,
    many,
)
from receiver.web.pages.wording.records import FACTS, Fact, facts
from receiver.web.pages.wording.strips import Strip, strip
from receiver.web.pages.wording.texts import brief, called, is_seen, names, shown, stages, titled
from receiver.web.pages.wording.times import ago, clock, duration, exactly, window

__all__ = [
    "ALARMS",
    "BY_IMPORTANCE",
    "FACTS",
    "FEW_SERVERS",
    "HINTS",
    "KINDS",
    "NAMED_SERVERS",
    "OF_TOOLS",
    "REACHES",
    "SCOPES",
    "STATES",
    "SUMMED_UP",
    "TOPICS",
    "TROUBLES",
    "Fact",
    "Strip",
    "Superseded",
    "Tale",
    "ago",
    "brief",
    "called",
    "clock",
    "counted",
    "duration",
    "exactly",
    "facts",
    "fits_into_link",
    "is_seen",
    "many",
    "named_servers",
    "names",
    "percent",
    "shown",
    "silence_url",
    "span_url",
    "stages",
    "strip",
    "superseded",
    "tale",
    "tale_of_many",
    "titled",
    "window",
]
