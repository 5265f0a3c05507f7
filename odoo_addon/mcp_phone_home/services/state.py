"""
The addon's state in the database: outcomes, registration claims, recent tool calls, the number
of messages sent, the interval that the receiver has asked for, and which hosts have sent.

Each change is committed in a short transaction of its own, so the caller's transaction holds no
lock on the row while it waits for the receiver.

A process that wants to register a hostname first claims it, which keeps other processes from
registering it too. A claim is a time of expiry in the JSON column `claims`, by hostname. A
registered server has a second, longer claim there, by its hostname and start. A process that
registers a server once more, since the receiver lacks the description of its tools, claims that
by its hostname and the digest. A description that was too large for the receiver is there by its
digest.
"""

import logging
import math
import random
import time
from contextlib import contextmanager

import psycopg2
from psycopg2 import errors
from psycopg2.extras import Json

from odoo import SUPERUSER_ID, api, fields
from odoo.tools import SQL

from .conflicts import conflicts_are_no_errors
from .endpoint import remember_endpoint
from .hosts import HOST_SECONDS, sent_within
from .token_origin import remember_token_origin

_logger = logging.getLogger(__name__)

# How long a claim on a registration lasts after a process got it ...
CLAIM_SECONDS = 60.0
# ... after the hostname was registered, so that not even a server that restarts again and again
# registers more often ...
SETTLED_SECONDS = 300.0
# ... and for a server that was registered and has not been restarted since. Without it, the nodes
# of one database, which share `mcp.last_hostname`, would register in turns all the time.
REGISTERED_SECONDS = 86400.0
# How long a server does not register again with a description of its tools that the receiver has
# asked for, whether it has accepted it or not.
DESCRIBED_SECONDS = 300.0
# Likewise after the receiver has refused a registration with this description for its size ...
REFUSED_SECONDS = 3600.0
# ... and how long a registration that the receiver has not asked for goes without it then.
TOO_LARGE_SECONDS = 86400.0

# How long a change is tried again that meets those of other processes: ten servers which write the
# same row at once have all had their turn by then.
_CONFLICT_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 0.1

_SEQUENCE = "mcp_phone_home_state_sequence"

# Stands between the hostname and the start in a key of `claims`; no hostname has a space.
_STARTED = " started "
# Likewise between the hostname and the digest of the tools.
_TOOLS = " tools "
# Stands before the digest of tools whose description was too large.
_TOO_LARGE = " too large "

# Another transaction has just written the same row.
CONFLICTS = (errors.LockNotAvailable, errors.SerializationFailure, errors.UniqueViolation)

# ... or the database was not upgraded to this version of the addon yet.
_HARMLESS = (*CONFLICTS, errors.UndefinedColumn)

# A PostgreSQL standby raises these when Odoo opens a read-write transaction.
_READ_ONLY = (errors.FeatureNotSupported, errors.ReadOnlySqlTransaction)


class ReadOnlyDatabase(Exception):
    """The database is read-only, so no state can be stored."""


@contextmanager
def own_transaction(registry):
    """
    A new transaction with the superuser's environment; commits when the block ends.

    It waits at most a second for a lock. Raises ReadOnlyDatabase or psycopg2.Error.
    """
    try:
        with conflicts_are_no_errors(), registry.cursor() as cr:
            _refuse_read_only(cr)
            cr.execute("SET LOCAL lock_timeout = '1s'")
            yield api.Environment(cr, SUPERUSER_ID, {})
    except BaseException:
        registry.reset_changes()
        raise
    _tell_other_processes(registry)


def _tell_other_processes(registry):
    """Let the other processes of this server drop what they have cached; never raises."""
    # Odoo closes connections now and then. The work itself is done, and must not be done again.
    for _ in range(2):
        try:
            registry.signal_changes()
        except psycopg2.Error as error:
            failure = error
        else:
            return
    _logger.warning("Other processes do not know of a change: %s", _one_line(failure))


def committed(registry, work):
    """
    Run `work(env)` in a transaction of its own, and return its result.

    It is run again for up to `_CONFLICT_SECONDS` while other processes write the same rows; and
    once after another error, as Odoo closes all connections to a database after its scheduled
    actions. Raises ReadOnlyDatabase or psycopg2.Error.
    """
    deadline = time.monotonic() + _CONFLICT_SECONDS
    failed = False
    while True:
        try:
            with own_transaction(registry) as env:
                return work(env)
        except CONFLICTS:
            if time.monotonic() > deadline:
                raise
            # At random, so that two processes do not meet again.
            time.sleep(random.uniform(0.0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 - not a secret
        except psycopg2.Error:
            if failed:
                raise
            failed = True


def _refuse_read_only(cr):
    """Raise ReadOnlyDatabase for a read-only transaction, and on a PostgreSQL standby."""
    try:
        cr.execute("SELECT current_setting('transaction_read_only')", log_exceptions=False)
    except _READ_ONLY as error:
        raise ReadOnlyDatabase(f"The database {cr.dbname} is read-only.") from error
    if cr.fetchone() == ("on",):
        raise ReadOnlyDatabase(f"The database {cr.dbname} is read-only.")


def create_sequence(cr):
    """
    Create the PostgreSQL sequence that numbers the messages, unless it exists.

    The table of the state owns the sequence, so PostgreSQL drops and dumps both together.
    """
    cr.execute(
        SQL(
            "CREATE SEQUENCE IF NOT EXISTS %s OWNED BY mcp_phone_home_state.id",
            SQL.identifier(_SEQUENCE),
        )
    )


def next_sequence(registry) -> int | None:
    """
    The number of the next message of this database: 1 for the first.

    A database gives no number twice, even if the message is never sent. None when the database
    is read-only, or was not upgraded to a version of the addon that numbers messages; the
    message is then sent without a number.
    """
    try:
        with registry.cursor() as cr:
            _refuse_read_only(cr)
            cr.execute("SET LOCAL lock_timeout = '1s'")
            cr.execute("SELECT nextval(%s)", [_SEQUENCE], log_exceptions=False)
            return cr.fetchone()[0]
    except (ReadOnlyDatabase, psycopg2.Error) as error:
        _logger.debug("A message goes without its number: %s", _one_line(error))
        return None


def remember(registry, outcome):
    """Store the outcome of a message. Logs a database error instead of raising it."""
    _try_to_store(registry, lambda env: _store(env, outcome))
    if outcome.changes_pace:
        _try_to_store(registry, lambda env: _update(env, pace=outcome.pace))
    if outcome.sender:
        _try_to_store(registry, lambda env: _remember_host(env, outcome.sender))
    if outcome.too_large is not None:
        _try_to_store(registry, lambda env: _remember_too_large(env, outcome.too_large))
    if outcome.hostname:
        _try_to_store(registry, lambda env: _settle(env, outcome))


def stored_pace(registry) -> dict | None:
    """
    The wish of the receiver that was stored last, see `services.pace`; None for no wish.

    Takes no lock and never raises; None when the database cannot be read, or was not upgraded to
    a version of the addon that stores it.
    """
    try:
        with registry.cursor(readonly=True) as cr:
            cr.execute("SELECT pace FROM mcp_phone_home_state", log_exceptions=False)
            return (cr.fetchone() or [None])[0]
    except psycopg2.Error as error:
        _logger.debug("The wish of the receiver cannot be read: %s", _one_line(error))
        return None


def is_claimed(registry, hostname, *, started_at) -> bool:
    """
    Whether the registration of a hostname is claimed: `claim_registration` would return False.

    Takes no lock and never raises; False when the database cannot be read.
    """
    return _is_among(_claims_without_lock(registry), hostname, started_at)


def is_too_large(registry, digest) -> bool:
    """
    Whether the receiver has refused a description of tools for its size a while ago.

    Takes no lock and never raises; False when the database cannot be read.
    """
    return f"{_TOO_LARGE}{digest}" in _claims_without_lock(registry)


def claim_registration(registry, hostname, *, started_at) -> bool:
    """
    Claim the registration of a hostname, so that no other process sends it.

    Returns whether the caller got the claim.

    `started_at` is the start of the server, as its registration tells it. False while another
    claim lasts: for `CLAIM_SECONDS` after a process got one, for `SETTLED_SECONDS` after the
    hostname was registered, and for `REGISTERED_SECONDS` after it was registered with this
    start. False also in a read-only database, which cannot store a claim.
    """
    return bool(_try_to_store(registry, lambda env: _claim(env, hostname, started_at)))


def claim_description(registry, hostname, digest) -> bool:
    """
    Claim to register a server once more, with the description of its tools that has this digest.

    Returns whether the caller got the claim. False for `DESCRIBED_SECONDS` after a process got
    one, so that a receiver which asks again and again costs nothing more, and for
    `REFUSED_SECONDS` when the receiver had refused the description for its size before; also in
    a read-only database, while another process sends the first registration of the hostname,
    which holds the description too, and for `CLAIM_SECONDS` after a registration with it.
    """
    return bool(_try_to_store(registry, lambda env: _claim_description(env, hostname, digest)))


def release_registration(registry, hostname):
    """
    Release a claim that the caller has just got, since it cannot send the registration.

    Another process can then claim the hostname at once. A hostname that was registered
    meanwhile keeps the longer claim of its registration.
    """
    _try_to_store(registry, lambda env: _release(env, hostname))


def wait_for_turn(env):
    """
    Lock the state row, so that transactions which change several parameters do not overlap.

    `env` is that of `own_transaction`. Raises SerializationFailure, which is not logged, when
    another transaction has just changed the row.
    """
    query = "SELECT FROM mcp_phone_home_state FOR NO KEY UPDATE"
    env.cr.execute(query, log_exceptions=False)


def forget_claims(env):
    """Delete all claims, so that any hostname can be registered at once."""
    _update(env, claims=None)


def seconds_until_next_call(env, *, most, period_seconds) -> float:
    """
    The rate limit of a tool: at most `most` calls in any `period_seconds`.

    Counts this call and returns 0.0 when it is within the limit; else returns how many seconds
    to wait, and counts nothing. `env` is that of `own_transaction`. Raises
    SerializationFailure when another transaction has just changed the row.
    """
    query = "SELECT recent_calls FROM mcp_phone_home_state FOR NO KEY UPDATE"
    env.cr.execute(query, log_exceptions=False)
    calls = _only_value(env)
    now = time.time()
    # Times in the future are dropped: a clock that was set back must not block callers.
    recent = sorted(t for t in calls or [] if now - period_seconds < t <= now)
    if len(recent) >= most:
        return recent[-most] + period_seconds - now
    _update(env, recent_calls=Json([*recent, now]))
    return 0.0


def _store(env, outcome):
    _update(env, **_columns_of(outcome))
    remember_endpoint(env, outcome.endpoint_url)
    remember_token_origin(env)


def _columns_of(outcome) -> dict:
    now = fields.Datetime.now()
    if outcome.taken_in:
        return {"last_success_at": now}
    return {"last_failure_at": now, "last_failure_reason": outcome.reason}


def _settle(env, outcome):
    now, claims = time.time(), _claims(env)
    settled = {
        outcome.hostname: now + SETTLED_SECONDS,
        _server(outcome.hostname, outcome.started_at): now + REGISTERED_SECONDS,
    }
    if outcome.described is not None:
        # A heartbeat that the receiver has answered before may still ask for the description.
        told = f"{outcome.hostname}{_TOOLS}{outcome.described}"
        settled[told] = max(now + CLAIM_SECONDS, claims.get(told, now))
    _update(env, claims={**claims, **settled})
    env["ir.config_parameter"].set_param("mcp.last_hostname", outcome.hostname)


def _remember_host(env, hostname):
    env.cr.execute("SELECT hosts FROM mcp_phone_home_state FOR NO KEY UPDATE", log_exceptions=False)
    known = sent_within(_only_value(env), HOST_SECONDS)
    _update(env, hosts={**known, hostname: time.time()})


def _claim(env, hostname, started_at) -> bool:
    claims = _claims(env)
    if _is_among(claims, hostname, started_at):
        return False
    _update(env, claims={**claims, hostname: time.time() + CLAIM_SECONDS})
    return True


def _claim_description(env, hostname, digest) -> bool:
    claims = _claims(env)
    claimed = f"{hostname}{_TOOLS}{digest}"
    was_registered = any(each.startswith(f"{hostname}{_STARTED}") for each in claims)
    is_under_way = hostname in claims and not was_registered
    if claimed in claims or is_under_way:
        return False
    was_refused = f"{_TOO_LARGE}{digest}" in claims
    seconds = REFUSED_SECONDS if was_refused else DESCRIBED_SECONDS
    _update(env, claims={**claims, claimed: time.time() + seconds})
    return True


def _remember_too_large(env, digest):
    claimed = {f"{_TOO_LARGE}{digest}": time.time() + TOO_LARGE_SECONDS}
    _update(env, claims={**_claims(env), **claimed})


def _release(env, hostname):
    claims = _claims(env)
    if claims.get(hostname, math.inf) - time.time() <= CLAIM_SECONDS:
        del claims[hostname]
        _update(env, claims=claims)


def _claims(env) -> dict:
    """Lock the state row and return the claims that last."""
    query = "SELECT claims FROM mcp_phone_home_state FOR NO KEY UPDATE"
    env.cr.execute(query, log_exceptions=False)
    return _lasting(_only_value(env))


def _claims_without_lock(registry) -> dict:
    """The claims that last; empty when the database cannot be read."""
    try:
        with registry.cursor(readonly=True) as cr:
            cr.execute("SELECT claims FROM mcp_phone_home_state", log_exceptions=False)
            return _lasting((cr.fetchone() or [None])[0])
    except psycopg2.Error as error:
        _logger.debug("The claims cannot be read: %s", _one_line(error))
        return {}


def _lasting(claims) -> dict:
    """The claims that have not expired; `claims` may be None."""
    now = time.time()
    # A time too far ahead is dropped: the clock of the process that wrote it was wrong.
    return {each: t for each, t in (claims or {}).items() if now < t <= now + _longest(each)}


def _longest(claimed) -> float:
    if claimed.startswith(_TOO_LARGE):
        return TOO_LARGE_SECONDS
    if _TOOLS in claimed:
        return REFUSED_SECONDS
    return REGISTERED_SECONDS if _STARTED in claimed else SETTLED_SECONDS


def _is_among(claims, hostname, started_at) -> bool:
    return hostname in claims or _server(hostname, started_at) in claims


def _server(hostname, started_at) -> str:
    """The key in `claims` for a server with this hostname that was started at this time."""
    return f"{hostname}{_STARTED}{started_at}"


def _only_value(env):
    """The one column of the selected row; None, after inserting the row, if it was deleted."""
    found = env.cr.fetchone()
    if found is None:
        env.cr.execute("INSERT INTO mcp_phone_home_state DEFAULT VALUES")
        return None
    return found[0]


def _update(env, **values):
    """Update columns of the state row by SQL, because the ORM logs a conflict as an error."""
    assignments = SQL(", ").join(
        SQL("%s = %s", SQL.identifier(name), Json(value) if isinstance(value, dict) else value)
        for name, value in values.items()
    )
    env.cr.execute(SQL("UPDATE mcp_phone_home_state SET %s", assignments), log_exceptions=False)


def _try_to_store(registry, work):
    """Run `work(env)` as `committed` does; returns its result, or None when that fails."""
    try:
        return committed(registry, work)
    except ReadOnlyDatabase as error:
        _logger.debug("The outcome of a message is not written down: %s", error)
    except psycopg2.Error as error:
        is_harmless = isinstance(error, _HARMLESS) or _is_uninstalled(registry, error)
        level = logging.DEBUG if is_harmless else logging.WARNING
        _logger.log(level, "The outcome of a message cannot be written down: %s", _one_line(error))
    return None


def _is_uninstalled(registry, error) -> bool:
    """Whether the table is missing because another process has uninstalled the addon."""
    if not isinstance(error, errors.UndefinedTable):
        return False
    with registry.cursor() as cr:
        cr.execute("SELECT state FROM ir_module_module WHERE name = 'mcp_phone_home'")
        return cr.fetchone() == ("uninstalled",)


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
