"""Test helper: SQL that adds events past the store, and the events that an answer lists."""

import httpx
from sqlalchemy import Engine

__all__ = ["add_events", "listed", "run"]


def run(engine: Engine, statement: str) -> None:
    """Run SQL in a transaction of its own."""
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


MANY_EVENTS = """
INSERT INTO events (at, kind, server_id, details)
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
SELECT 1000000 + n, '{kind}', '{server_id}', {details} FROM numbers ORDER BY 1
"""


def add_events(engine: Engine, server_id: str, kind: str, *, count: int) -> None:
    """Add events of one kind and server, each a microsecond after the one before."""
    details = "json '{}'" if engine.dialect.name == "postgresql" else "'{}'"
    known = {"server_id": server_id, "kind": kind, "count": count, "details": details}
    run(engine, MANY_EVENTS.format(**known))


def listed(answer: httpx.Response) -> list[tuple[str, str | None]]:
    """The kind and the server of each event in an answer."""
    return [(each["kind"], each["server_id"]) for each in answer.json()["events"]]
