"""
What a database remembers from one message to the next.

Each is written in a short transaction of its own that waits for nobody: no caller's
transaction holds a row while a receiver is waited for.
"""

import logging
import math
import time
from contextlib import contextmanager

import psycopg2
from psycopg2 import errors
from psycopg2.extras import Json

from odoo import SUPERUSER_ID, api, fields
from odoo.tools import SQL

_logger = logging.getLogger(__name__)

# Within that, nobody else tries to register a hostname ...
CLAIM_SECONDS = 60.0
# ... or does it again, so that the nodes of one database do not take turns all the time.
SETTLED_SECONDS = 300.0

# Somebody else has just written the same.
_OVERTAKEN = (errors.LockNotAvailable, errors.SerializationFailure)

# Odoo asks for a transaction that writes, and a standby has none.
_READ_ONLY = (errors.FeatureNotSupported, errors.ReadOnlySqlTransaction)


class ReadOnlyDatabase(Exception):
    """Nothing can be remembered in this database."""


@contextmanager
def own_transaction(registry):
    """
    The superuser's environment in a new transaction, committed in the end.

    It waits a second for what others have locked, and no longer.
    Raises ReadOnlyDatabase, or psycopg2.Error.
    """
    try:
        with registry.cursor() as cr:
            _refuse_read_only(cr)
            cr.execute("SET LOCAL lock_timeout = '1s'")
            yield api.Environment(cr, SUPERUSER_ID, {})
    except BaseException:
        registry.reset_changes()
        raise
    registry.signal_changes()


def _refuse_read_only(cr):
    """Raise ReadOnlyDatabase, also where PostgreSQL follows another and nothing may be written."""
    try:
        cr.execute("SELECT current_setting('transaction_read_only')", log_exceptions=False)
    except _READ_ONLY as error:
        raise ReadOnlyDatabase(f"The database {cr.dbname} is read-only.") from error
    if cr.fetchone() == ("on",):
        raise ReadOnlyDatabase(f"The database {cr.dbname} is read-only.")


def remember(registry, outcome):
    """Write down what came of a message. Never raises for a database that takes nothing in."""
    _try(registry, lambda env: _update(env, **_seen(outcome)))
    if outcome.hostname:
        _try(registry, lambda env: _settle(env, outcome.hostname))


def claim_registration(registry, hostname) -> bool:
    """
    Whether it falls to the caller to register this hostname.

    Of all processes that ask, one is told so within a minute, and none within five when it
    was registered. False in a read-only database too, where nobody could be told apart.
    """
    return bool(_try(registry, lambda env: _claim(env, hostname)))


def release_registration(registry, hostname):
    """
    Give back what `claim_registration` has just given, since the caller does not register.

    So the next that asks may do so at once. A hostname that was registered meanwhile stays
    settled.
    """
    _try(registry, lambda env: _release(env, hostname))


def wait_for_turn(env):
    """
    Let one after the other change what belongs together; `env` is that of `own_transaction`.

    What others have just written is a SerializationFailure, which nobody logs.
    """
    query = "SELECT FROM mcp_phone_home_state FOR NO KEY UPDATE"
    env.cr.execute(query, log_exceptions=False)


def forget_claims(env):
    """Let any hostname be registered at once."""
    _update(env, claims=None)


def seconds_until_next_call(env, *, most, period_seconds) -> float:
    """
    Take note of a call, if it is one of `most` in a period; 0.0 then.

    Else how long to wait until the next would be. `env` is that of `own_transaction`; what
    others have just written is a SerializationFailure.
    """
    query = "SELECT recent_calls FROM mcp_phone_home_state FOR NO KEY UPDATE"
    env.cr.execute(query, log_exceptions=False)
    calls = _only_value(env)
    now = time.time()
    # Of a clock that was set back nothing is left that would keep callers waiting.
    recent = sorted(t for t in calls or [] if now - period_seconds < t <= now)
    if len(recent) >= most:
        return recent[-most] + period_seconds - now
    _update(env, recent_calls=Json([*recent, now]))
    return 0.0


def _seen(outcome) -> dict:
    now = fields.Datetime.now()
    if outcome.taken_in:
        return {"last_success_at": now}
    return {"last_failure_at": now, "last_failure_reason": outcome.reason}


def _settle(env, hostname):
    _update(env, claims={**_claims(env), hostname: time.time() + SETTLED_SECONDS})
    env["ir.config_parameter"].set_param("mcp.last_hostname", hostname)


def _claim(env, hostname) -> bool:
    claims = _claims(env)
    if hostname in claims:
        return False
    _update(env, claims={**claims, hostname: time.time() + CLAIM_SECONDS})
    return True


def _release(env, hostname):
    claims = _claims(env)
    if claims.get(hostname, math.inf) - time.time() <= CLAIM_SECONDS:
        del claims[hostname]
        _update(env, claims=claims)


def _claims(env) -> dict:
    """Those that hold, by hostname. Raises LockNotAvailable while somebody else has them."""
    query = "SELECT claims FROM mcp_phone_home_state FOR NO KEY UPDATE NOWAIT"
    env.cr.execute(query, log_exceptions=False)
    claims = _only_value(env)
    now = time.time()
    # The clock of whoever claimed may have been ahead.
    return {host: t for host, t in (claims or {}).items() if now < t <= now + SETTLED_SECONDS}


def _only_value(env):
    """What was asked of the row, which is made anew where somebody has deleted it."""
    found = env.cr.fetchone()
    if found is None:
        env.cr.execute("INSERT INTO mcp_phone_home_state DEFAULT VALUES")
        return None
    return found[0]


def _update(env, **values):
    """Not by the ORM, which logs as an error that somebody else was faster."""
    assignments = SQL(", ").join(
        SQL("%s = %s", SQL.identifier(name), Json(value) if isinstance(value, dict) else value)
        for name, value in values.items()
    )
    env.cr.execute(SQL("UPDATE mcp_phone_home_state SET %s", assignments), log_exceptions=False)


def _try(registry, work, *, attempts=2):
    """
    What `work(env)` returns in a transaction of its own; None when that is not possible.

    It is tried again, since others write here too, and Odoo closes the connections to a
    database when it is done with its scheduled actions.
    """
    try:
        with own_transaction(registry) as env:
            return work(env)
    except ReadOnlyDatabase as error:
        _logger.debug("Nothing is remembered of a message: %s", error)
    except psycopg2.Error as error:
        if attempts > 1:
            return _try(registry, work, attempts=attempts - 1)
        is_harmless = isinstance(error, _OVERTAKEN) or _is_gone(registry, error)
        level = logging.DEBUG if is_harmless else logging.WARNING
        _logger.log(level, "What came of a message cannot be written down: %s", _one_line(error))
    return None


def _is_gone(registry, error) -> bool:
    """Whether the table is missing because another process has uninstalled the addon."""
    if not isinstance(error, errors.UndefinedTable):
        return False
    with registry.cursor() as cr:
        cr.execute("SELECT state FROM ir_module_module WHERE name = 'mcp_phone_home'")
        return cr.fetchone() == ("uninstalled",)


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
