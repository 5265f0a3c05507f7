"""
The key mirror: a copy of all API keys of the database in memory, and counts of their use.

Requests are checked against the copy, so that none has to wait for a query. A background task
reads the keys that changed in the database, and writes to the database which keys were used.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable
from datetime import datetime
from threading import Lock

from anyio import move_on_after, to_thread

from receiver.domain.errors import StoreUnavailable
from receiver.domain.keys import Key, Keyring
from receiver.domain.rate_limits import RateLimits
from receiver.store import SqlStore

__all__ = ["KeyMirror"]

_WRITE_EVERY = 5
"""Every fifth time, the background task also writes the use of the keys to the database."""

_READ_ALL_EVERY = 30
"""
Every 30th read of the keys reads all keys.

The other reads fetch only keys with a higher revision number than before. So they miss changes by
an older version of the receiver, or by an administrator with SQL, which do not raise the number.
"""

_REFRESH_SECONDS = 4

_log = logging.getLogger(__name__)


class KeyMirror:
    """
    The API keys of a store, in memory. The constructor reads all keys.

    Args:
        store: Where the keys are stored.
        limits: Counts the messages of each key in this process. The mirror adds to it the messages
            that other receivers of the same database have counted.
        clock: Returns the current time, which is written as the last use of a key.
        read_seconds: How many seconds pass between two reads of the keys that changed.
    """

    def __init__(
        self,
        store: SqlStore,
        limits: RateLimits,
        *,
        clock: Callable[[], datetime],
        read_seconds: float = 2.0,
    ) -> None:
        self._store = store.keys
        self._limits = limits
        self._clock = clock
        self._read_seconds = read_seconds
        self._turn = Lock()
        self._reads = 0
        self._revision = -1
        self._database: Hashable = None
        self._by_id: dict[str, Key] = {}
        self._keys = Keyring(())
        self._used: set[str] = set()
        self._unwritten: Counter[str] = Counter()
        self._messages: dict[str, int] = {}
        self._is_behind = False
        self._had_keys = False
        self.read()

    @property
    def keys(self) -> Keyring:
        """All keys, as of the last read."""
        return self._keys

    def lapsed(self, now: datetime) -> frozenset[str]:
        """The ids of the keys revoked, or expired at the time `now`, as of the last read."""
        return self._keys.lapsed(now)

    def expired(self, now: datetime) -> frozenset[str]:
        """The ids of the keys expired at the time `now` and not revoked, as of the last read."""
        return self._keys.expired(now)

    @property
    def had_keys(self) -> bool:
        """Whether any read so far found a key, even if all keys are deleted by now."""
        return self._had_keys

    def note_use(self, key: Key) -> None:
        """Note in memory that a key was used; the next `write_uses` writes it to the database."""
        self._used.add(key.id)

    def read(self) -> None:
        """
        Read from the database the keys that changed since the last read.

        Also counts for the rate limits of this process the messages with these keys that other
        receivers of the same database have accepted. Blocks. Raises StoreUnavailable.
        """
        with self._turn:
            self._read()

    def write_uses(self) -> None:
        """
        Write to the database which keys were used, and how many messages came with them.

        Then does what `read` does. Blocks. Raises StoreUnavailable; the next call then writes what
        this one did not write.
        """
        with self._turn:
            used, self._used = self._used, set()
            self._unwritten.update(self._limits.take_spent())
            uses = {key_id: self._unwritten[key_id] for key_id in {*used, *self._unwritten}}
            try:
                if uses:
                    self._store.add_uses(uses, self._clock())
            except BaseException:
                self._used.update(used)  # the next call writes them
                raise
            self._unwritten.clear()
            for key_id, messages in uses.items():
                self._messages[key_id] = self._messages.get(key_id, 0) + messages
            self._read()

    async def run(self) -> None:
        """
        Call `read` in a thread every `read_seconds`, until cancelled; log errors.

        Every fifth time this calls `write_uses` in place of `read`, and also when more than a tenth
        of the messages that a key may send in a minute came with it since the last such call.
        """
        reads = 0
        while True:
            await asyncio.sleep(self._read_seconds)
            reads += 1
            is_time = reads % _WRITE_EVERY == 0 or self._limits.is_much_spent()
            await self._attempt(self.write_uses if is_time else self.read)

    async def refresh(self) -> None:
        """
        Call `read` now, in a thread, and wait for it 4 seconds at most.

        Errors are logged and not raised.
        """
        with move_on_after(_REFRESH_SECONDS):
            await self._attempt(self.read)

    def close(self) -> None:
        """Call `write_uses` for the last time. Blocks. Errors are logged and not raised."""
        try:
            self.write_uses()
        except Exception as error:  # noqa: BLE001 - the receiver ends all the same
            self._log_failure(error)

    async def _attempt(self, method: Callable[[], None]) -> None:
        try:
            await to_thread.run_sync(method, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001 - without further reads no key could be revoked
            self._log_failure(error)
        else:
            self._is_behind = False

    def _read(self) -> None:
        is_time_for_all = self._reads % _READ_ALL_EVERY == 0
        changed = self._store.changed(since=-1 if is_time_for_all else self._revision)
        self._reads += 1
        if self._database not in {None, changed.database}:
            # The revision and the counts are those of another database.
            is_time_for_all = True
            changed = self._store.changed(since=-1)
            self._messages.clear()
        self._database = changed.database
        self._revision = changed.revision
        if not changed.keys and len(self._by_id) == changed.total:
            return
        known = {} if is_time_for_all else self._by_id
        by_id = {**known, **{key.id: key for key in changed.keys}}
        if len(by_id) != changed.total:  # keys were deleted
            changed = self._store.changed(since=-1)
            by_id = {key.id: key for key in changed.keys}
        for key in changed.keys:
            elsewhere = key.messages - self._messages.get(key.id, key.messages)
            if elsewhere > 0:
                self._limits.spent_elsewhere(key.id, elsewhere)
            self._messages[key.id] = key.messages
        if by_id == self._by_id:
            return
        if not by_id:
            _log.error("There were keys, and now there are none: nobody is let in")
        self._by_id = by_id
        self._keys = Keyring(sorted(by_id.values(), key=_oldest_first))
        # Deleting all keys must not open the receiver to everybody. This comes last, or a request
        # at the same time would need the first key, and its key would not be known yet.
        self._had_keys = True

    def _log_failure(self, error: Exception) -> None:
        if not self._is_behind:
            known = isinstance(error, StoreUnavailable)
            _log.warning(
                "The keys are those of some time ago: %s", error, exc_info=None if known else error
            )
        self._is_behind = True


def _oldest_first(key: Key) -> tuple[datetime, str]:
    return key.created_at, key.id
