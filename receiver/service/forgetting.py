"""Deletes the servers that match a filter ("forgets" them), in several short transactions."""

from datetime import datetime

from receiver.domain.forgetting import Forgettable, Forgotten, Stage
from receiver.service.store_calls import StoreCalls
from receiver.store import BATCH, SqlStore

__all__ = ["Forgetting"]


class Forgetting:
    """
    Deletes servers that match a filter and are down, have left or are superseded.

    An object is for a single call of `forget` or `look`. The call ends when no further server
    matches, or `limit` servers were found.

    Args:
        store: Where the servers are stored.
        calls: Calls the store's blocking methods in threads.
        asked: The filter.
        now: The current time, which is the time of the deletion.
        limit: How many servers to delete at most. A few more may be deleted, because all servers of
            a database are deleted together.

    Attributes:
        ids: The ids of the servers that `forget` has deleted or `look` has found so far, the first
            one first, as the keys of a dictionary.
        is_more: Whether servers match that are not in `ids`; always true before the call ends.
    """

    def __init__(
        self, store: SqlStore, calls: StoreCalls, asked: Forgettable, *, now: datetime, limit: int
    ) -> None:
        self._forget = store.servers.forget
        self._calls = calls
        self._asked = asked
        self._now = now
        self._limit = limit
        self.ids: dict[str, None] = {}
        self.is_more = True

    async def forget(self) -> None:
        """
        Delete the servers, in several transactions.

        When this raises StoreUnavailable, the servers in `ids` are deleted, and no others. When
        that error is an OutcomeUnknown, the servers of the last transaction may be deleted, too.
        """
        await self._go_on(is_dry_run=False)

    async def look(self) -> None:
        """Find the servers that `forget` would delete; delete none. Raises StoreUnavailable."""
        await self._go_on(is_dry_run=True)

    async def _go_on(self, *, is_dry_run: bool) -> None:
        stage: Stage | None = Stage(self._asked.states[0])
        while stage is not None and len(self.ids) < self._limit:
            limit = min(BATCH, self._limit - len(self.ids))
            step = await self._step(stage, limit, is_dry_run=is_dry_run)
            self.ids |= dict.fromkeys(step.ids)
            stage = step.next_stage
        self.is_more = await self._is_more(stage)

    async def _is_more(self, stage: Stage | None) -> bool:
        while stage is not None:
            step = await self._step(stage, BATCH, is_dry_run=True)
            if not self.ids.keys() >= {*step.ids}:
                return True
            stage = step.next_stage
        return False

    async def _step(self, stage: Stage, limit: int, *, is_dry_run: bool) -> Forgotten:
        call = self._calls.read if is_dry_run else self._calls.change
        return await call(
            self._forget,
            self._asked,
            self._now,
            stage=stage,
            limit=limit,
            is_dry_run=is_dry_run,
        )
