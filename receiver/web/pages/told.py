"""
Whether people are told what is wrong with servers, for the pages.

Servers with the same trouble are a group if people are told of all of them or, for the same
reason, of none of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from anyio import to_thread
from attrs import frozen

from contract import ServerRecord
from receiver.domain.alerts.reach import Reach, Telling
from receiver.domain.grouping.problems import Trouble, is_production, troubles
from receiver.service.problems.troubles import Found
from receiver.web.context import Services
from receiver.web.pages.silenced import Silenced, silenced_now

__all__ = ["Told", "Untold", "told_of", "untold_now"]


@frozen(kw_only=True)
class Told:
    """
    Servers with the same trouble, of which the same is told.

    Attributes:
        trouble: What is wrong with the servers.
        reach: Whether anybody is told of it, or why not.
        at: When the first of the servers was told, or will be; None if that is not known, or never.
        servers: The servers, those in production first.
    """

    trouble: Trouble
    reach: Reach
    at: datetime | None
    servers: Sequence[ServerRecord]


@frozen(kw_only=True)
class Untold:
    """
    The troubles of the fleet that nobody was told of.

    Attributes:
        groups: The servers that are not silenced, what needs somebody most first.
        silenced: The servers that are silenced.
    """

    groups: Sequence[Told]
    silenced: Sequence[ServerRecord]

    @property
    def is_any(self) -> bool:
        return bool(self.groups or self.silenced)


def told_of(
    records: Iterable[ServerRecord],
    telling: Telling,
    now: datetime,
    *,
    trouble: Trouble | None = None,
) -> list[Told]:
    """
    Say who is told of what is wrong with some servers, what needs somebody most first.

    With `trouble`, only of this trouble.
    """
    found: defaultdict[tuple[Reach, Trouble], list[tuple[datetime | None, ServerRecord]]]
    found = defaultdict(list)
    for record in records:
        for each, since in troubles(record):
            if trouble in (None, each):
                reach, at = telling.of(record, each.value, since=since, now=now)
                found[reach, each].append((at, record))
    return [
        Told(
            trouble=each,
            reach=reach,
            at=min((at for at, _ in servers if at is not None), default=None),
            servers=sorted((record for _, record in servers), key=_not_in_production),
        )
        for (reach, each), servers in sorted(found.items(), key=lambda item: _place(*item[0]))
    ]


async def untold_now(found: Services) -> Untold:
    """Find what is wrong with the fleet that nobody was told of. Raises StoreUnavailable."""
    troubles_now = await found.calls.read(found.troubles.find)
    silenced = await silenced_now(found)
    return await to_thread.run_sync(_untold, troubles_now, silenced, found.clock())


def _untold(found: Found, silenced: Silenced, now: datetime) -> Untold:
    def find() -> Untold:
        in_trouble = [each.record for each in found.servers if any(troubles(each.record))]
        quiet = {each.server_id for each in in_trouble if silenced.of(each)}
        loud = [each for each in in_trouble if each.server_id not in quiet]
        groups = [each for each in told_of(loud, found.telling, now) if each.reach != Reach.TOLD]
        return Untold(
            groups=groups, silenced=[each for each in in_trouble if each.server_id in quiet]
        )

    return found.once(("untold", silenced.windows, silenced.noted.key), find)


def _not_in_production(record: ServerRecord) -> bool:
    return not is_production(record)


def _place(reach: Reach, trouble: Trouble) -> tuple[int, int]:
    return _REACHES.index(reach), _TROUBLES.index(trouble)


_REACHES, _TROUBLES = [*Reach], [*Trouble]
