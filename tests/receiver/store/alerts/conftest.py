"""What a store asks of its database."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from receiver.store import SqlStore


@pytest.fixture
def statements(store: SqlStore) -> Iterator[Callable[[], list[str]]]:
    """A function that returns the SQL that the store has executed since its last call."""
    executed: list[str] = []
    engine = store.transactions._engine  # noqa: SLF001 - to see what it sends

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement)

    event.listen(engine, "before_cursor_execute", note)

    def since() -> list[str]:
        found = executed.copy()
        executed.clear()
        return found

    yield since
    event.remove(engine, "before_cursor_execute", note)
