"""
The page `/history`, which people know as Charts: pictures, each with its figures in a table.

The history of a period, such as a day, is divided into slots, such as hours.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract import State
from receiver.domain.history import Figures, Hour, Period, Shares, begin_of_hour
from receiver.domain.keys import Power
from receiver.web.context import Services, services
from receiver.web.pages import wording
from receiver.web.pages.drawing import Stack, stack
from receiver.web.pages.pictures.trend import TROUBLED, partly_known, troubled
from receiver.web.pages.rendering import PageRoute, answer_from_thread
from receiver.web.requests import period_query

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    return [PageRoute("/history", history_page, methods=["GET"], needs=Power.READ)]


@frozen
class Entry:
    """
    An entry of a legend.

    Attributes:
        look: The CSS class by which it has its colour.
        label: What the colour stands for.
        number: A number to show beside it: how many servers there are in the last slot that is
            known, or how many heartbeats in the whole period. None to show no number.
    """

    look: str
    label: str
    number: int | None = None


@frozen(kw_only=True)
class Picture:
    """
    A picture, and the figures that it shows.

    Attributes:
        name: The id of the picture on the page.
        title: The title.
        says: What the picture shows, in a sentence.
        measure: What the numbers of a slot are, such as `average of the hour`.
        stack: The shapes to draw.
        legend: What the colours mean.
        heads: The heads of the columns of the table.
        rows: The rows of the table, one for each slot, the newest first. A row has a cell for each
            of `heads`; it is None for a slot of which nothing is known.
        tips: The tooltips, one for each slot, the oldest first; empty for a picture without
            tooltips.
    """

    name: str
    title: str
    says: str
    measure: str
    stack: Stack
    legend: Sequence[Entry]
    heads: Sequence[str]
    rows: Sequence[Sequence[str] | None]
    tips: Sequence[str] = ()


@frozen(kw_only=True)
class Field:
    """
    A field of servers, of which a picture shows how many servers had which value.

    Attributes:
        name: The id of the picture on the page.
        title: The title of the picture.
        read: Returns from what is known of a slot how many servers had which value.
        unknown: The label of the servers whose value is not known.
    """

    name: str
    title: str
    read: Callable[[Hour], Shares]
    unknown: str


async def history_page(request: Request) -> Response:
    """The page with the history of the fleet in the period that the query asks for."""
    period = period_query(request)
    found = await services(request).fleet.figures(period)
    whole = found.whole
    now = await _now(services(request))

    return await answer_from_thread(
        request,
        "history.html",
        period=period.value,
        periods=[each.value for each in Period],
        whole=whole,
        worst=sum(whole.worst.get(state, 0) for state in TROUBLED) if whole else 0,
        of=sum(whole.worst.values()) if whole else 0,
        worst_at=found.worst_at,
        listened=found.listened,
        counted_seconds=_MINUTE * whole.minutes if whole else 0,
        known_from=_name(_share_begins(whole), Period.DAY) if whole else "",
        lost=_lost(whole) if whole else None,
        times=_times(found, period),
        slots=[_name(slot.begins_at, period) for slot in reversed(found.slots)],
        pictures=_pictures(found, period, now) if whole and any(whole.sums.values()) else [],
    )


def _share_begins(whole: Hour) -> datetime:
    """From when on `Figures.listened` counts: it leaves out the first hour, unless it is alone."""
    after = whole.begins_at + timedelta(hours=1)
    return after if begin_of_hour(whole.counted_at) >= after else whole.begins_at


async def _now(found: Services) -> tuple[int, int]:
    """How many servers are up at this moment, and how many there are in all."""
    vitals = await found.calls.read(found.store.servers.vitals, found.clock())
    states: Counter[str] = Counter()
    for (state, _), number in vitals.standing.items():
        states[state] += number
    return states[State.UP.value], sum(states[state] for state in _STACKED)


def _pictures(found: Figures, period: Period, now: tuple[int, int]) -> list[Picture]:
    return [
        _trouble(found, period),
        _up(found, period, now),
        _heartbeats(found, period),
        *(_shares(found, period, field) for field in _FIELDS),
    ]


def _trouble(found: Figures, period: Period) -> Picture:
    """How many servers were late or down, at the worst moment of each slot."""
    assert found.whole is not None
    worst = found.whole.worst
    number = sum(worst.get(state, 0) for state in TROUBLED)
    if found.worst_at is None:
        says = "No server was late or down."
    else:
        of, when = sum(worst.values()), _name(found.worst_at, Period.DAY)
        says = f"At worst {number:,} of {of:,} servers at once, in the hour from {when} UTC."
    return Picture(
        name="trouble",
        title="Late or down",
        says=says,
        measure=f"worst moment of {_SLOT[period]}",
        stack=troubled(found),
        legend=[Entry(state, state) for state in TROUBLED],
        heads=["Down", "Late", "Of", "Available", "Counted"],
        rows=_rows(found, _trouble_row),
        tips=[
            f"{_name(slot.begins_at, period)}: {_trouble_tip(slot.hour)}" for slot in found.slots
        ],
    )


def _trouble_row(hour: Hour) -> Sequence[str]:
    down, late = (hour.worst.get(state, 0) for state in TROUBLED)
    of, share = sum(hour.worst.values()), wording.percent(hour.availability)
    return [f"{down:,}", f"{late:,}", f"{of:,}", share, f"{hour.minutes:,} min"]


def _trouble_tip(hour: Hour | None) -> str:
    if hour is None:
        return "not known, no receiver ran"
    down, late, of, *_ = _trouble_row(hour)
    return f"{down} down, {late} late of {of}, counted in {hour.minutes:,} min"


def _up(found: Figures, period: Period, now: tuple[int, int]) -> Picture:
    """
    How many servers were up, and how many in the other states, on average over each slot.

    The sentence tells how many of how many are up `now`: when many have just gone down, the average
    of the last slot still counts the time before that.
    """

    def mean(hour: Hour) -> list[float]:
        return [hour.mean(state) for state in _STACKED]

    hours = [slot.hour for slot in found.slots]
    known = [hour for hour in hours if hour is not None]
    return Picture(
        name="servers",
        title="Up",
        says=f"{_mean_up(known[0])} at first, {now[0]:,} of {now[1]:,} now.",
        measure=f"average of {_SLOT[period]}",
        stack=stack(
            _STACKED,
            [None if hour is None else mean(hour) for hour in hours],
            partly=partly_known(found),
        ),
        legend=[Entry(state, state) for state in _STACKED],
        heads=[state.capitalize() for state in _STACKED],
        rows=_rows(found, lambda hour: [_decimal(number) for number in mean(hour)]),
    )


def _mean_up(hour: Hour) -> str:
    """How many of how many servers were up, on average."""
    every = sum(hour.sums.values()) / hour.minutes
    return f"{_decimal(hour.mean(State.UP.value))} of {_decimal(every)}"


def _heartbeats(found: Figures, period: Period) -> Picture:
    """How many heartbeats came, and how many did not."""

    def numbers(hour: Hour) -> list[float]:
        return [hour.heartbeats, hour.turned_away, hour.missed]

    assert found.whole is not None
    came, away, missed = numbers(found.whole)
    lost = _lost(found.whole)
    hours = [slot.hour for slot in found.slots]
    share = "" if lost is None else f": {wording.percent(1 - lost)} came"
    return Picture(
        name="heartbeats",
        title="Heartbeats",
        says=f"{came:,.0f} came, {away + missed:,.0f} did not{share}.",
        measure=f"sum of {_SLOT[period]}",
        stack=stack(
            _BEATS,
            [None if hour is None else numbers(hour) for hour in hours],
            partly=partly_known(found),
        ),
        legend=[
            Entry("came", "written", int(came)),
            Entry("away", "turned away by the receiver", int(away)),
            Entry("missed", "missed by late or down servers", round(missed)),
        ],
        heads=["Written", "Turned away", "Missed", "Counted"],
        rows=_rows(
            found, lambda hour: [*(f"{n:,.0f}" for n in numbers(hour)), f"{hour.minutes:,} min"]
        ),
        tips=[
            f"{_name(slot.begins_at, period)}: "
            + (
                "not known"
                if slot.hour is None
                else "{:,.0f} written, {:,.0f} turned away, {:,.0f} missed".format(
                    *numbers(slot.hour)
                )
            )
            for slot in found.slots
        ],
    )


def _lost(hour: Hour) -> float | None:
    """The share of the heartbeats that did not come, 0 to 1; None if none were promised."""
    lost = hour.turned_away + hour.missed
    total = hour.heartbeats + lost
    return lost / total if total else None


def _shares(found: Figures, period: Period, field: Field) -> Picture:
    """How many servers had which value of a field."""
    counts = [None if slot.hour is None else dict(field.read(slot.hour)) for slot in found.slots]
    total: Counter[str | None] = Counter()
    for each in counts:
        total.update(each or {})
    coloured = [value for value, _ in total.most_common() if value][:_COLOURS]
    labels = _labels(total, coloured, field.unknown)
    columns = [None if each is None else _column(each, coloured, labels) for each in counts]
    last = next((column for column in reversed(columns) if column is not None), [])
    heads = [*labels.values()]
    return Picture(
        name=field.name,
        title=field.title,
        says=_most_of(heads, last),
        measure=f"as last counted in {_SLOT[period]}",
        stack=stack([*labels], columns, partly=partly_known(found)),
        legend=[*map(Entry, labels, heads, last)],
        heads=heads,
        rows=[
            None if column is None else [f"{n:,}" for n in column] for column in reversed(columns)
        ],
    )


def _labels(total: Counter[str | None], coloured: Sequence[str], unknown: str) -> dict[str, str]:
    """
    What the colours of a picture stand for, by the CSS class, from the lower edge upwards.

    Args:
        total: How many servers had which value, in all slots together.
        coloured: The values that have a colour of their own; all others have one together.
        unknown: The label of the servers whose value is not known.
    """
    labels = {f"c{n}": wording.brief(value, 40) for n, value in enumerate(coloured)}
    if total[""]:
        labels["untold"] = unknown
    if total.keys() - {*coloured, ""}:
        labels["rest"] = "others"
    return labels


def _column(
    counts: Mapping[str | None, int], coloured: Sequence[str], looks: Iterable[str]
) -> list[int]:
    """
    How many servers a slot has of each colour.

    Args:
        counts: How many servers had which value.
        coloured: The values that have a colour of their own.
        looks: The CSS classes of the colours.
    """
    numbers = {f"c{n}": counts.get(value, 0) for n, value in enumerate(coloured)}
    numbers["untold"] = counts.get("", 0)
    numbers["rest"] = sum(counts.values()) - sum(numbers.values())
    return [numbers[look] for look in looks]


def _most_of(labels: Sequence[str], last: Sequence[int]) -> str:
    """Which value most servers have now, in a sentence."""
    if not any(last):
        return "No server now."
    most = max(last)
    return f"{most:,} of {sum(last):,} servers now: {labels[last.index(most)]}."


def _rows(found: Figures, cells: Callable[[Hour], Sequence[str]]) -> list[Sequence[str] | None]:
    """The rows of a table, the newest first; None for a slot of which nothing is known."""
    return [None if slot.hour is None else cells(slot.hour) for slot in reversed(found.slots)]


def _name(moment: datetime, period: Period) -> str:
    """How a slot is called in the tables: by its beginning, in UTC."""
    day = f"{moment:%a} {moment.day} {moment:%b}"
    return day if period is Period.QUARTER else f"{day} {moment:%H:%M}"


def _times(found: Figures, period: Period) -> list[tuple[float, str]]:
    """The names below a picture, each with its place in percent of the width before it."""
    named = []
    for n, slot in enumerate(found.slots):
        percent = 100 * n / len(found.slots)
        name = _tick(slot.begins_at, period)
        if name and percent <= _LAST_PERCENT:
            named.append((round(percent, 2), name))
    return named


def _tick(begin: datetime, period: Period) -> str:
    """The name of the beginning of a slot below a picture; "" if it is not named there."""
    if period is Period.DAY:
        return f"{begin:%H:%M}" if begin.hour % 6 == 0 else ""
    if period is Period.WEEK:
        return f"{begin:%a} {begin.day}" if begin.hour == 0 else ""
    return f"{begin.day} {begin:%b}" if begin.day in (1, 15) else ""


def _decimal(number: float) -> str:
    """A mean with one decimal, unless it is whole or large."""
    return f"{number:,.0f}" if number >= _LARGE or number == int(number) else f"{number:,.1f}"


_FIELDS = (
    Field(
        name="stages",
        title="Stages",
        read=lambda hour: hour.stages,
        unknown="no stage",
    ),
    Field(
        name="odoo",
        title="Odoo versions",
        read=lambda hour: hour.odoo_versions,
        unknown="not reported",
    ),
    Field(
        name="versions",
        title="MCP server versions",
        read=lambda hour: hour.versions,
        unknown="not reported",
    ),
)
_MINUTE = 60  # seconds
_LARGE = 100
_LAST_PERCENT = 94.0  # a name further to the right would not fit
_COLOURS = 6
_SLOT = {Period.DAY: "the hour", Period.WEEK: "the 3 hours", Period.QUARTER: "the day"}
_STACKED = (State.UP.value, State.NEW.value, State.LATE.value, State.DOWN.value)
_BEATS = ("came", "away", "missed")
