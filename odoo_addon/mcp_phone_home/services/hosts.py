"""
The hosts (servers) that send messages for this database, and when each has sent last.

A rebuild, or a copy of the database on another machine, is a host of another name.
"""

import logging
import time

import psycopg2

from client import host_facts

_logger = logging.getLogger(__name__)

# How long it is known that a host has sent a message.
HOST_SECONDS = 7 * 86400.0

# After so many of the usual intervals a host that has sent nothing counts as gone. Of two hosts
# on which the scheduled action runs at random, each has sent by then.
GONE_AFTER_INTERVALS = 40


def this_host() -> str:
    """The hostname as `host_facts` finds it, without the system calls that find addresses."""
    return host_facts(sources=tuple, interfaces=tuple).hostname


def last_sent(registry, *, seconds) -> dict | None:
    """
    When each host has sent last, of those that have in the last so many seconds.

    The times are in seconds since 1970.

    Takes no lock and never raises; None when the database cannot be read, or was not upgraded to
    a version of the addon that stores it.
    """
    try:
        with registry.cursor(readonly=True) as cr:
            cr.execute("SELECT hosts FROM mcp_phone_home_state", log_exceptions=False)
            return sent_within((cr.fetchone() or [None])[0], seconds)
    except psycopg2.Error as error:
        text = " ".join(str(error).split())
        _logger.debug("The hosts of this database cannot be read: %s", text)
        return None


def sent_within(hosts, seconds) -> dict:
    """
    When each host has sent last, of those that have in the last so many seconds.

    `hosts` may be None. The clocks of the hosts differ, so a time may be in the future; one that
    is too far ahead is dropped.
    """
    now = time.time()
    return {each: t for each, t in (hosts or {}).items() if abs(now - t) < seconds}
