"""
What is done with many servers of the list at once: forget, silence, hand over, label, compare.

On the page with the list somebody ticks servers, or chooses all that match its filters, and presses
a button. The answer to that form is a page that says what would be done with how many servers, and
asks for what else must be known. Only the form of that page changes something; like all such forms
it is answered with a redirect: to the part of the list from which somebody came, with its filters.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from attrs import evolve, field, frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from contract import InvalidMessage, Problem
from receiver.domain.alerts.values import Silence
from receiver.domain.databases import Relabelling, labels_in
from receiver.domain.errors import OutcomeUnknown, Refusal, StoreUnavailable
from receiver.domain.filter_text import MAX_LENGTH, FilterText
from receiver.domain.forgetting import FORGETTABLE, Forgettable
from receiver.domain.keys import Key, Power
from receiver.domain.queries import Filter, Order, PageRequest, Place
from receiver.service.forgetting import Forgetting
from receiver.web import cookies
from receiver.web.admin_api import audited, forget_many, must_hold_a_key
from receiver.web.alerts import changes
from receiver.web.context import services
from receiver.web.databases.labels import relabel
from receiver.web.pages.rendering import PageRoute, answer, redirect
from receiver.web.pages.silenced import silence_notice, silences_notice
from receiver.web.pages.wording import is_seen
from receiver.web.problems import refusal
from receiver.web.requests import form_pairs

__all__ = ["routes"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

MOST_FORGOTTEN = 5000
"""About how many servers one form forgets at most."""

MOST_NAMED = 20
"""How many of the chosen servers a page names at most."""

MOST_GOING = 100
"""How many servers the page names at most that asks whether to forget them."""

_AT_ONCE = 200
"""How many servers are changed in one transaction at most."""

_NOTHING_CHOSEN = "Tick the servers in the list first, or all of this list."
_OF_LISTS = ("query", "sort", "limit", "cursor")
_MOST_TICKED = 1000
_MOST_BYTES = 1024 * 1024


def routes() -> list[BaseRoute]:
    """The routes of the form on the list, and of the forms that change something."""
    page = partial(PageRoute, methods=["POST"], needs=Power.MANAGE)
    return [
        page("/selection", choose),
        *(page(f"/selection/{name}", _changing(name)) for name in _DEEDS),
    ]


@frozen(kw_only=True)
class Selection:
    """
    The servers that somebody chose.

    Attributes:
        ids: The ids of the servers that were ticked; empty if `query` is not None.
        query: The text of a filter, if somebody chose all servers that match it; None if servers
            were ticked.
        fields: The other fields of the form.
    """

    ids: tuple[str, ...] = ()
    query: str | None = None
    fields: Mapping[str, str] = field(factory=dict)

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]]) -> "Selection":
        """
        Read the fields of a form, names and texts.

        Raises Refusal if the filter cannot be read.
        """
        fields = {name: text for name, text in pairs if name != "server"}
        if "all" in fields:
            query = fields.get("query", "")
            try:
                FilterText.asked(query)
            except ValueError as error:
                problem = Problem("query", str(error))
                raise Refusal(400, "invalid_parameter", str(problem), errors=[problem]) from error
            return cls(query=query, fields=fields)
        ids = tuple(dict.fromkeys(text for name, text in pairs if name == "server"))
        return cls(ids=ids, fields=fields)

    @property
    def is_empty(self) -> bool:
        """Whether no server was ticked, and not all servers of a list are chosen."""
        return self.query is None and not self.ids

    @property
    def list_path(self) -> str:
        """The path of the part of the list from which somebody came, with its filters."""
        said = parse_qsl(self.fields.get("list", "").partition("?")[2])
        query = urlencode([each for each in said if each[0] in _OF_LISTS])
        return f"/?{query}" if query else "/"

    @property
    def matching(self) -> Filter:
        """A filter that finds those of these servers that lists show."""
        if self.query is None:
            return Filter(server_id=self.ids)
        return FilterText.parse(self.query).to_filter()

    def forgettable(self) -> Forgettable | None:
        """
        A filter for those of the servers that may be forgotten (deleted).

        If somebody chose all servers that match a filter without a state, only those that are down
        are meant. None if the filter names only states in which no server may be forgotten.
        """
        matching = self.matching
        if self.query is None:
            return Forgettable(matching=matching)
        # A list without a state shows none that are superseded or have left: these are not meant.
        wanted = matching.state or ("down",)
        states = tuple(state for state in wanted if state in FORGETTABLE)
        return Forgettable(matching=evolve(matching, state=states)) if states else None

    async def batches(self, request: Request) -> AsyncIterator[list[str]]:
        """The ids of the servers, in lists of at most `_AT_ONCE`."""
        found = services(request)
        if self.query is None:
            for start in range(0, len(self.ids), _AT_ONCE):
                yield [*self.ids[start : start + _AT_ONCE]]
            return
        after: Place | None = None
        is_last = False
        while not is_last:
            asked = PageRequest(limit=_AT_ONCE, now=found.clock(), after=after)
            page = await found.calls.read(
                found.store.servers.page, self.matching, Order.SERVER_ID, asked
            )
            yield [record.server_id for record in page.records]
            after = page.next_after
            is_last = after is None


Change = Callable[[Request, Selection], Awaitable[str | cookies.Notice]]
"""Does something with the chosen servers; returns the notice that tells what was done."""

Ask = Callable[[Request, Selection], Awaitable[dict[str, Any]]]
"""Returns the variables for the template of the page that asks whether to do something."""


@frozen(kw_only=True)
class Deed:
    """
    Something that is done with many servers.

    Attributes:
        title: The question that the page asks.
        does: The text of the button.
        ask: Returns what the page tells apart from the servers, as variables for its template.
        change: Does it.
    """

    title: str
    does: str
    ask: Ask
    change: Change


async def choose(request: Request) -> Response:
    """
    Show the page that asks whether to do something with the chosen servers.

    The field `do` of the form says what to do, or the parameter `do` of the URL: by that a button
    is about all servers that match, also when some are ticked. For two servers to be compared,
    redirect to the page that compares them, and for one of them to the page that asks for the
    other. If too few servers are chosen, redirect to the list, which says so.
    """
    selection = await _read(request)
    name = selection.fields.get("do") or request.query_params.get("do", "")
    if name == "compare":
        if len(selection.ids) not in (1, 2):
            return redirect(request, selection.list_path, notice="Tick the two servers to compare.")
        return redirect(request, f"/compare?{urlencode([*zip('ab', selection.ids, strict=False)])}")
    if name not in _DEEDS:
        raise Refusal(400, "invalid_form", "The form does not say what to do.")
    if selection.is_empty:
        return redirect(request, selection.list_path, notice=_NOTHING_CHOSEN)
    return await _asked(request, selection, name, None)


def _changing(name: str) -> Callable[[Request], Awaitable[Response]]:
    """Make the endpoint that does something with the chosen servers; `name` is one of `_DEEDS`."""

    async def change(request: Request) -> Response:
        selection = await _read(request)
        if selection.is_empty:
            return redirect(request, selection.list_path, notice=_NOTHING_CHOSEN)
        try:
            notice = await _DEEDS[name].change(request, selection)
        except (Refusal, InvalidMessage) as error:
            return await _asked(request, selection, name, refusal(error))
        return redirect(request, selection.list_path, notice=notice)

    return change


async def _as_far_as_possible(steps: AsyncIterator[T]) -> tuple[list[T], str]:
    """
    Do something in several transactions, each of which is a step of an iterator.

    Returns what each step has returned, and a sentence for the notice if not all of them were
    made, because the database has failed after the first one; otherwise it is empty. Raises
    StoreUnavailable if it fails before, and OutcomeUnknown when it is not known whether the last
    step was made.
    """
    done: list[T] = []
    try:
        async for each in steps:
            done.append(each)  # noqa: PERF401 - it must have what came before an error
    except OutcomeUnknown:
        raise
    except StoreUnavailable as error:
        if not done:
            raise
        _log.warning("Some servers that were to be changed are not: %s", error)
        return done, " Then the database did not answer: choose the others again."
    return done, ""


async def _read(request: Request) -> Selection:
    """Read a form, and check its CSRF token."""
    pairs = await form_pairs(
        request.scope,
        request.receive,
        services(request).body_timeout,
        max_bytes=_MOST_BYTES,
        max_fields=_MOST_TICKED + 20,
    )
    cookies.check_form(request.scope, dict(pairs))
    return Selection.of(pairs)


async def _asked(
    request: Request, selection: Selection, name: str, refused: Refusal | None
) -> Response:
    deed = _DEEDS[name]
    found = services(request)
    count = len(selection.ids)
    if selection.query is not None:
        count = await found.calls.read(found.store.servers.count, selection.matching)
    databases = await found.calls.read(found.store.servers.databases, selection.ids)
    return answer(
        request,
        "selection.html",
        status=200 if refused is None else refused.status,
        name=name,
        deed=deed,
        selection=selection,
        count=count,
        MOST_NAMED=MOST_GOING if name == "forget" else MOST_NAMED,
        names={server_id: name for server_id, name in databases.items() if is_seen(name)},
        refused=refused,
        **await deed.ask(request, selection),
    )


# Forgetting


async def _ask_to_forget(request: Request, selection: Selection) -> dict[str, Any]:
    run = _forgetting(request, selection)
    if run is None:
        return {"going": 0, "goers": (), "has_more": False, "staying": ()}
    await run.look()
    first = [] if selection.query is None else [*run.ids][:MOST_GOING]
    found = services(request)
    databases = await found.calls.read(found.store.servers.databases, first)
    names = {server_id: name for server_id, name in databases.items() if is_seen(name)}
    return {
        "going": len(run.ids),
        "goers": [(server_id, names.get(server_id, server_id)) for server_id in first],
        "has_more": run.is_more,
        "staying": [each for each in selection.ids if each not in run.ids],
    }


async def _forget(request: Request, selection: Selection) -> str:
    run = _forgetting(request, selection)
    if run is None:
        return "No server was forgotten: those that are heard stay."
    await forget_many(request, run, selection.query or ", ".join(selection.ids))
    more = " There are more: choose them again." if run.is_more else ""
    return f"{_servers(len(run.ids))} forgotten.{more}"


def _forgetting(request: Request, selection: Selection) -> Forgetting | None:
    found = services(request)
    asked = selection.forgettable()
    if asked is None:
        return None
    return Forgetting(found.store, found.calls, asked, now=found.clock(), limit=MOST_FORGOTTEN)


# Silencing


async def _ask_to_silence(request: Request, selection: Selection) -> dict[str, Any]:  # noqa: ARG001
    return {"silences": len(_silences(selection))}


async def _silence(request: Request, selection: Selection) -> cookies.Notice:
    minutes = selection.fields.get("minutes", "")
    asked = {
        "reason": selection.fields.get("reason") or "maintenance",
        "duration_seconds": int(minutes) * 60 if minutes.isdecimal() else minutes,
    }
    wanted = _silences(selection)

    async def steps() -> AsyncIterator[Silence]:
        for which in wanted:
            yield await changes.make_silence(request, {**asked, **which})

    made, stopped = await _as_far_as_possible(steps())
    if selection.query is not None:
        return await silence_notice(services(request), made[0])
    if stopped:
        return silences_notice(
            made,
            "The database did not answer after "
            f"{len(made)} of {len(wanted)} silences, whose servers are silenced",
        )
    number = len(selection.ids)
    whom = "1 server is" if number == 1 else f"{number:,} servers are"
    return silences_notice(made, f"{whom} silenced")


def _silences(selection: Selection) -> list[dict[str, str]]:
    """
    Which servers each silence is about, as the API takes it.

    A text of a filter names as many servers as fit into it. It may hold printable characters only,
    so a server with others in its id has a silence of its own.
    """
    if selection.query is not None:
        return [{"query": selection.query}]
    alone = [each for each in selection.ids if not each.isprintable()]
    queries: list[str] = []
    ids: tuple[str, ...] = ()
    for server_id in (each for each in selection.ids if each.isprintable()):
        if ids and len(_by_ids(*ids, server_id)) > MAX_LENGTH:
            queries.append(_by_ids(*ids))
            ids = ()
        ids = (*ids, server_id)
    if ids:
        queries.append(_by_ids(*ids))
    return [*({"query": query} for query in queries), *({"server_id": each} for each in alone)]


def _by_ids(*ids: str) -> str:
    return str(FilterText(server=ids))


# Handing over


async def _ask_for_heir(request: Request, selection: Selection) -> dict[str, Any]:  # noqa: ARG001
    must_hold_a_key(request)
    found = services(request)
    now = found.clock()
    keys = [key for key in found.mirror.keys if key.standing(now) == "active"]
    return {"heirs": [key for key in keys if key.is_admin or key.may(Power.WRITE)]}


async def _hand_over(request: Request, selection: Selection) -> str:
    """Hand over the chosen servers, and the nodes for which they stand in lists."""
    must_hold_a_key(request)
    found = services(request)
    key_id = selection.fields.get("key_id") or None
    key = None if key_id is None else found.mirror.keys.get(key_id)
    if key_id is not None and key is None:
        raise InvalidMessage([Problem("key_id", f"there is no key {key_id!r}")])
    batches = []
    async for ids in selection.batches(request):
        nodes = await found.calls.read(found.store.servers.nodes, ids)
        batches.append([*ids, *(node.server_id for each in nodes.values() for node in each)])
    if key is not None:
        _must_cover(request, key, [each for ids in batches for each in ids])
    to = key_id or "whoever comes next"

    async def steps() -> AsyncIterator[int]:
        for ids in batches:
            with audited(request, f"handed over to {to} the servers", ", ".join(ids)):
                handed = await found.calls.change(found.store.servers.hand_over, ids, key_id)
            yield len(handed)

    counts, stopped = await _as_far_as_possible(steps())
    if sum(counts) == 1:
        whose, verbs = "1 server, with the nodes of its database,", ("is", "it belongs", "belongs")
    else:
        whose = f"{sum(counts):,} servers, with the nodes of their databases,"
        verbs = ("are", "each belongs", "belong")
    whom = f"{verbs[0]} unowned now: {verbs[1]} to the next key that writes it"
    if key is not None:
        whom = f"{verbs[2]} to the key {key.name} now"
    return f"{whose} {whom}.{stopped}"


def _must_cover(request: Request, key: Key, ids: Sequence[str]) -> None:
    """Raise InvalidMessage if a key may not own all of the servers."""
    now = services(request).clock()
    refused = [(each, key.why_not_own(each, now)) for each in ids]
    problems = [Problem("key_id", f"{each}: {why}") for each, why in refused if why is not None]
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        last = [Problem("key_id", f"and {more} more")] if more > 0 else []
        raise InvalidMessage([*problems[:_MOST_PROBLEMS], *last])


_MOST_PROBLEMS = 5


# Labelling


async def _ask_for_labels(request: Request, selection: Selection) -> dict[str, Any]:  # noqa: ARG001
    found = services(request)
    return {"known": await found.calls.read(found.store.labels.all)}


async def _label(request: Request, selection: Selection) -> str:
    asked = Relabelling.of(
        {name: labels_in(selection.fields.get(name, "")) for name in ("add", "remove")}
    )

    async def steps() -> AsyncIterator[int]:
        async for ids in selection.batches(request):
            yield len(await relabel(request, ids, asked, must_exist=False))

    counts, stopped = await _as_far_as_possible(steps())
    whose = "1 server" if sum(counts) == 1 else f"{sum(counts):,} servers"
    return f"The labels of the databases of {whose} were changed.{stopped}"


def _servers(number: int) -> str:
    return f"{number:,} server was" if number == 1 else f"{number:,} servers were"


_DEEDS = {
    "forget": Deed(
        title="Forget these servers?", does="Forget them", ask=_ask_to_forget, change=_forget
    ),
    "silence": Deed(
        title="Silence these servers?", does="Silence them", ask=_ask_to_silence, change=_silence
    ),
    "hand-over": Deed(
        title="Hand these servers over?",
        does="Hand them over",
        ask=_ask_for_heir,
        change=_hand_over,
    ),
    "label": Deed(
        title="Label the databases of these servers?",
        does="Change their labels",
        ask=_ask_for_labels,
        change=_label,
    ),
}
"""What can be done, by the last part of the path of its form."""
