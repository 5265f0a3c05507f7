"""Forgetting the servers that match, in steps: each a short transaction."""

from datetime import datetime

from receiver.domain.forgetting import Forgettable, Forgotten, Stage
from receiver.service.store_calls import StoreCalls
from receiver.store import BATCH, SqlStore

__all__ = ["Forgetting"]


class Forgetting:
    """
    Forgets servers until none is left, or as many are forgotten as were asked for.

    Args:
        store: The servers.
        calls: How the methods of the store are called.
        asked: Which servers.
        now: The time.
        limit: About how many servers at most: a database goes with all of its servers.

    Attributes:
        ids: The servers that are forgotten so far, or would be, in the order of the steps.
        is_more: Whether there may be more of them.
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
        Forget the servers.

        Raises StoreUnavailable: those in `ids` are forgotten then, and of the others none, unless
        it is an OutcomeUnknown.
        """
        await self._go_on(is_dry_run=False)

    async def look(self) -> None:
        """Find out which servers `forget` would forget. Raises StoreUnavailable."""
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
