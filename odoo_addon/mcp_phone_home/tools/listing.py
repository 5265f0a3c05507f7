"""
What one source of foreign tools lists, in a transaction of its own that writes nothing.

The code of a source belongs to another addon, and may raise, hang or write. It therefore runs in
a thread that is given up after some seconds, and that owns its database cursor from then on. Its
transaction is read-only, and is always rolled back.

A source that raised or was too slow is left alone for `REST_SECONDS`. What is announced of it in
that time does not change: the last listing that succeeded, else its names without descriptions,
else nothing.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import psycopg2
from attrs import define, field, frozen
from psycopg2.errors import QueryCanceled

from odoo import SUPERUSER_ID, api, models

from .descriptions import Description, description_of
from .warnings import warn_once_of

REST_SECONDS = 600.0
"""How long a source that raised, or did not list its tools in time, is left alone."""

FRESH_SECONDS = 60.0
"""How old a listing may be that a user gets."""

# After how long the database ends a transaction in which a thread that hangs does nothing. Until
# then it keeps a connection, and rows that others have deleted.
IDLE_SECONDS = 60.0

_TOO_SLOW = "it does not list them in time"


@frozen(kw_only=True)
class Source:
    """
    Where tools are listed.

    Attributes:
        where: Its name in the log.
        module: The addon whose tools they are.
        list_tools: Called with an environment; returns pairs of a name and the tool itself, in
            whatever form the source has it.
        is_secret: Whether the path of the MCP server must not be told.
    """

    where: str
    module: str
    list_tools: Callable[[api.Environment], Iterable[tuple[Any, Any]]]
    is_secret: bool = field(default=False)


@frozen(kw_only=True)
class Listing:
    """
    The tools of a source.

    Attributes:
        names: Their names; None where they could not be listed.
        descriptions: What the tools tell of themselves, by name. It is empty unless the source
            has described all of them, or raised for some.
        error: What ended the source before it had listed and described its tools.
        failed: Whether it raised for the descriptions of some tools.
    """

    names: tuple | None = None
    descriptions: Mapping[str, Description] = field(factory=dict)
    error: BaseException | None = None
    failed: bool = False


@define
class _Known:
    """
    What this process knows of a source.

    Attributes:
        registry: A weak reference to Odoo's registry of models. Odoo makes a new one when an
            addon is installed or upgraded, and everything may be different then.
        good: The last listing that succeeded; None for none, and after a failure.
        listed_at: When that ended, in seconds of `time.monotonic`.
        at_rest: What is announced while the source is left alone.
        rests_until: Until when it is left alone, in seconds of `time.monotonic`.
        hanging: A thread of it that was given up.
        hasty: A thread of it that was given up early, for a user.
    """

    registry: weakref.ref
    good: Listing | None = None
    listed_at: float = 0.0
    at_rest: Listing = Listing()
    rests_until: float = 0.0
    hanging: threading.Thread | None = None
    hasty: threading.Thread | None = None


# By the name of the database and of the source.
_known: dict[tuple[str, str], _Known] = {}


def listing_of(registry, source, seconds, *, for_user=False) -> Listing:
    """
    What a source lists within so many seconds; logs a warning once if it fails.

    `for_user` is whether a user waits for it. Then a listing of the last minute
    is as good as a new one, and a source that is too slow is not left alone for that, since it
    is given less time.
    """
    known = _known_of(registry, source)
    if _is_resting(known):
        return known.at_rest
    if for_user and _is_fresh(known):
        return known.good
    if seconds <= 0 or (for_user and _is_alive(known.hasty)):
        return known.good or Listing(error=TimeoutError(_TOO_SLOW))
    listing, thread = _listed(registry, source, seconds)
    if for_user and isinstance(listing.error, TimeoutError):
        known.hasty = thread
        return known.good or listing
    return _learnt(known, source, listing, thread)


def _known_of(registry, source) -> _Known:
    key = (registry.db_name, source.where)
    known = _known.get(key)
    if known is None or known.registry() is not registry:
        known = _known[key] = _Known(registry=weakref.ref(registry))
    return known


def _is_resting(known) -> bool:
    return time.monotonic() < known.rests_until or _is_alive(known.hanging)


def _is_fresh(known) -> bool:
    return known.good is not None and time.monotonic() < known.listed_at + FRESH_SECONDS


def _is_alive(thread) -> bool:
    return thread is not None and thread.is_alive()


def _learnt(known, source, listing, thread) -> Listing:
    """What is announced of a source after this listing, which is kept."""
    now = time.monotonic()
    if listing.error is None:
        known.good, known.listed_at, known.hanging = listing, now, None
        # A description whose SQL fails costs an error in Odoo's log each time.
        known.at_rest, known.rests_until = listing, now + REST_SECONDS if listing.failed else 0.0
        return listing
    _warn(source, listing, is_kept=known.good is not None)
    known.at_rest = known.good or listing
    # One that fails again after its rest is not announced as it was any longer.
    known.good, known.hanging, known.rests_until = None, thread, now + REST_SECONDS
    return known.at_rest


def _warn(source, listing, *, is_kept):
    what = "MCP tools" if listing.names is None else "descriptions of the MCP tools"
    how = "announced as they were before" if is_kept else "not announced"
    kind = type(listing.error).__name__
    reason = " ".join(f"{kind}: {listing.error}".split())
    warn_once_of(
        source.where, kind, sentence=f"The {what} of {source.where} are {how}: {reason:.300}"
    )


@define
class _Work:
    """
    What a thread has found until now, and who closes its cursor.

    Attributes:
        names: The names of the tools; None while they are not listed.
        descriptions: What the tools tell of themselves, by name.
        error: What ended the thread early.
        failed: Whether a description raised.
        lock: Held to change the next two.
        is_complete: Whether the thread has ended, with or without an error; it does not use the
            cursor any more.
        is_given_up: Whether nobody waits for the thread, which therefore closes the cursor.
    """

    names: tuple | None = None
    descriptions: dict[str, Description] = field(factory=dict)
    error: BaseException | None = None
    failed: bool = False
    lock: threading.Lock = field(factory=threading.Lock)
    is_complete: bool = False
    is_given_up: bool = False


def _listed(registry, source, seconds) -> tuple[Listing, threading.Thread | None]:
    """
    What a source lists, and the thread that still hangs.

    The error is a TimeoutError when it was too slow, and no description is kept then: how many
    there are would differ each time.
    """
    work = _Work()
    try:
        cr = registry.cursor(readonly=True)
    except psycopg2.Error as error:
        return Listing(error=error), None
    thread = threading.Thread(
        target=_run, args=(work, source, cr, seconds), name="mcp_phone_home", daemon=True
    )
    thread.dbname = registry.db_name  # for Odoo's log
    try:
        thread.start()
    except RuntimeError as error:
        _close(cr)
        return Listing(error=error), None
    thread.join(seconds)
    with work.lock:
        work.is_given_up = not work.is_complete
    if work.is_given_up:
        return Listing(names=work.names, error=TimeoutError(_TOO_SLOW)), thread
    _close(cr)
    if isinstance(work.error, QueryCanceled):
        return Listing(names=work.names, error=TimeoutError(_TOO_SLOW)), None
    if work.error is not None:
        return Listing(names=work.names, error=work.error), None
    return Listing(names=work.names, descriptions=work.descriptions, failed=work.failed), None


def _close(cr):
    """Close a cursor, which rolls its transaction back and flushes nothing."""
    with suppress(psycopg2.Error):
        cr.close()


def _run(work, source, cr, seconds):
    """The thread: list the tools of a source, and close the cursor if nobody else does."""
    try:
        _restrict(cr, seconds)
        env = api.Environment(cr, SUPERUSER_ID, {})
        pairs = list(source.list_tools(env))
        work.names = tuple(name for name, _ in pairs)
        if not work.is_given_up:
            _describe(work, source, env, pairs)
    except BaseException as error:  # noqa: BLE001 - the thread that waits logs it
        work.error = error
    with work.lock:
        work.is_complete = True
        is_mine = work.is_given_up
    if is_mine:
        _close(cr)


def _restrict(cr, seconds):
    """
    Make the transaction read-only, and let it end when the thread hangs.

    A query that hangs ends before the thread is given up. Odoo's own read-only cursors are so
    only where there is a replica. A commit would begin a transaction without these limits.
    """
    cr.execute("SET TRANSACTION READ ONLY")
    cr.execute(
        "SELECT set_config('statement_timeout', %s, true),"
        " set_config('idle_in_transaction_session_timeout', %s, true)",
        [f"{max(1, seconds * 800):.0f}ms", f"{IDLE_SECONDS * 1000:.0f}ms"],
    )
    cr.commit = _refuse_commit


def _refuse_commit():
    raise PermissionError("what lists tools must not commit")


def _describe(work, source, env, pairs):
    """Add what each tool tells of itself. A tool that fails costs its own description only."""
    try:
        # One savepoint for all: a source may have a thousand tools.
        with env.cr.savepoint(flush=False):
            work.descriptions.update({name: description_of(tool) for name, tool in pairs})
    except Exception:
        if work.is_given_up:
            raise
        for name, tool in pairs:
            _describe_alone(work, source, env, name, tool)


def _describe_alone(work, source, env, name, tool):
    try:
        with env.cr.savepoint(flush=False):
            # Odoo would compute a field for all records that were read together.
            alone = tool.with_prefetch() if isinstance(tool, models.BaseModel) else tool
            work.descriptions[name] = description_of(alone)
    except QueryCanceled:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        work.failed = True
        kind = type(error).__name__
        reason = " ".join(f"{kind}: {error}".split())
        warn_once_of(
            source.where,
            "description",
            kind,
            sentence=f"The description of the MCP tool {name!a:.100} is not announced, nor are "
            f"others of {source.where} that fail likewise: {reason:.300}",
        )
