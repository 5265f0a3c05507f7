"""
The interval of the heartbeats while the receiver asks for a longer one.

An answer to a heartbeat may say after how many seconds the receiver would like the next one. The
next heartbeat declares the longer interval, and once the receiver has accepted that, the addon
skips runs of the scheduled action. The receiver judges by the interval that it has accepted last
whether this server is late, so nothing is skipped before it knows.

The interval becomes at most twice as long each time, and no longer than an administrator allows.
After an answer without a wish the usual interval is back at once.

Several servers (hosts) of one database each declare an interval of their own, and the receiver
judges the database by that of one of them. The scheduled action runs on one or another, so a host
that skips runs would break what another has declared. A host therefore obeys only what it has been
asked for itself, and nobody obeys while more than one host sends.
"""

import logging
import time

from attrs import frozen

from .hosts import GONE_AFTER_INTERVALS, last_sent
from .settings import longest_interval_seconds, receiver_settings, without_password
from .state import stored_pace

_logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Pace:
    """
    What a receiver has asked for in its answer to the last heartbeat that it has accepted.

    Attributes:
        receiver: URL of the receiver, without a password.
        hostname: The host that has sent this heartbeat.
        declared_seconds: The interval that this heartbeat declared.
        wish_seconds: After how many seconds the receiver would like the next one.
        sent_at: When it was sent, in seconds since 1970.
    """

    receiver: str
    hostname: str
    declared_seconds: float
    wish_seconds: float
    sent_at: float

    def interval_seconds(self, *, usual, longest) -> float:
        """
        The interval that the next heartbeat declares.

        `usual` is that of the scheduled action, and `longest` what the administrator allows.
        """
        return max(usual, min(self.wish_seconds, longest, 2 * self.declared_seconds))

    @property
    def is_longer(self) -> bool:
        """Whether the receiver asks for a longer interval than the one that was declared."""
        return self.wish_seconds > self.declared_seconds

    def is_too_early(self, now, *, usual, longest) -> bool:
        """Whether to skip this run of the scheduled action, since the next one is near enough."""
        wait = min(self.declared_seconds, self.interval_seconds(usual=usual, longest=longest))
        # When the clock was set back, nobody knows how long ago it was.
        return 0 <= now - self.sent_at < wait - usual / 2


def current_pace(env, *, usual, hostname) -> Pace | None:
    """
    What the receiver that is set now has asked this host for last.

    None for no wish, and while other hosts of this database send too. `usual` is the interval of
    the scheduled action.
    """
    stored = stored_pace(env.registry)
    if not stored:
        return None
    try:
        pace = Pace(**stored)
    except TypeError:
        # Another version of the addon has stored it.
        return None
    if pace.hostname != hostname or pace.receiver != without_password(receiver_settings(env).url):
        return None
    hosts = last_sent(env.registry, seconds=GONE_AFTER_INTERVALS * usual)
    return pace if hosts is not None and hosts.keys() <= {hostname} else None


def declared_interval_seconds(env, *, usual, hostname):
    """
    The interval that messages of this host declare.

    `usual` is that of the scheduled action, or None.
    """
    pace = None if usual is None else current_pace(env, usual=usual, hostname=hostname)
    if pace is None:
        return usual
    return pace.interval_seconds(usual=usual, longest=longest_interval_seconds(env))


def is_too_early(env, *, usual, hostname) -> bool:
    """Whether the receiver has asked this host for a longer interval, which is not over yet."""
    pace = None if usual is None else current_pace(env, usual=usual, hostname=hostname)
    if pace is None:
        return False
    longest = longest_interval_seconds(env)
    if not pace.is_too_early(time.time(), usual=usual, longest=longest):
        return False
    _logger.debug("No heartbeat is sent this time: the receiver asks for fewer of them")
    return True


def pace_after(outgoing, receipt, *, sent_at) -> Pace | None:
    """What the receiver asks for in its answer to a heartbeat; None for no wish."""
    declared = outgoing.message.heartbeat_interval_seconds
    if receipt.next_heartbeat_seconds is None or declared is None:
        return None
    return Pace(
        receiver=without_password(outgoing.settings.url),
        hostname=outgoing.message.hostname,
        declared_seconds=declared,
        wish_seconds=receipt.next_heartbeat_seconds,
        sent_at=sent_at,
    )
