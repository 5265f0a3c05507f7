"""Test helper: a table that refuses new rows, or other values in those that it has."""

from sqlalchemy import Engine

from timeline import run

__all__ = ["allow_inserts", "refuse_inserts", "refuse_updates"]

_REFUSE = {
    "sqlite": "CREATE TRIGGER no BEFORE {} ON {} BEGIN SELECT RAISE(ABORT, 'no'); END",
    "postgresql": """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER no BEFORE {} ON {} FOR EACH ROW EXECUTE FUNCTION no()
    """,
}
_ALLOW = {"sqlite": "DROP TRIGGER no", "postgresql": "DROP FUNCTION no() CASCADE"}


def refuse_inserts(engine: Engine, table: str) -> None:
    """Let each insert into one table fail."""
    run(engine, _REFUSE[engine.dialect.name].format("INSERT", table))


def refuse_updates(engine: Engine, table: str) -> None:
    """Let each update of a row of one table fail."""
    run(engine, _REFUSE[engine.dialect.name].format("UPDATE", table))


def allow_inserts(engine: Engine) -> None:
    """Undo `refuse_inserts`."""
    run(engine, _ALLOW[engine.dialect.name])
