"""
Conflicts with another transaction, after which the same work is done again.

Odoo's SQL layer logs each failed query as an error, also one that is retried and succeeds. Such
a line would tell an administrator of a failure that nobody has noticed.
"""

import logging
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from odoo.exceptions import ConcurrencyError
from odoo.service.model import PG_CONCURRENCY_EXCEPTIONS_TO_RETRY

# Conflicts after which Odoo's HTTP server repeats the whole request.
RETRIED = (ConcurrencyError, *PG_CONCURRENCY_EXCEPTIONS_TO_RETRY)

_SQL_LOGGER = "odoo.sql_db"

_is_retried = ContextVar("mcp_phone_home_is_retried", default=False)


@contextmanager
def conflicts_are_no_errors():
    """In the block, Odoo logs a query that fails by one of `RETRIED` with the level INFO."""
    _filter_once()
    token = _is_retried.set(True)
    try:
        yield
    finally:
        _is_retried.reset(token)


@cache
def _filter_once():
    logging.getLogger(_SQL_LOGGER).addFilter(_lower_level)


def _lower_level(record) -> bool:
    """Whether to log the record, whose level is lowered for a conflict."""
    if record.levelno != logging.ERROR or not _is_retried.get():
        return True
    if not isinstance(sys.exc_info()[1], RETRIED):
        return True
    record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
    return logging.getLogger(_SQL_LOGGER).isEnabledFor(logging.INFO)
