"""Test helper: keys, and the servers that they write."""

from typing import Any

from contract import EventKind
from keyring import made
from receiver.domain.errors import Refusal
from receiver.domain.keys import Key
from receiver.domain.outcomes import Applied
from receiver.domain.queries import EventFilter
from receiver.store import SqlStore
from servers import Clock
from watched import beats

__all__ = ["NOW", "beat", "code", "new_key", "refusals"]

NOW = Clock().now


def new_key(store: SqlStore, scope: str, *, servers: str = "*", name: str | None = None) -> Key:
    key, _ = made(scope, servers=servers, name=name)
    store.keys.add(key)
    return key


def beat(store: SqlStore, key: Key | None, *ids: str, **said: Any) -> list[str]:
    """Apply one heartbeat for each id; returns `ok` or the code of the refusal for each."""
    return [code(each) for each in store.servers.apply(beats(*ids, at=NOW, key=key, **said))]


def code(outcome: Applied | Refusal) -> str:
    return "ok" if isinstance(outcome, Applied) else outcome.code


def refusals(store: SqlStore) -> list[tuple[str | None, str]]:
    """Server and name of the key of each `refused_write` event."""
    kinds = frozenset({EventKind.REFUSED_WRITE})
    found = store.events.after(0, EventFilter(kinds=kinds), limit=1000)
    return [(each.event.server_id, each.event.details["name"]) for each in found]
