"""Test helper: a table that refuses new rows."""

from sqlalchemy import Engine

from timeline import run

__all__ = ["allow_inserts", "refuse_inserts"]

_REFUSE = {
    "sqlite": "CREATE TRIGGER no BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'no'); END",
    "postgresql": """
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER no BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION no()
    """,
}
_ALLOW = {"sqlite": "DROP TRIGGER no", "postgresql": "DROP FUNCTION no() CASCADE"}


def refuse_inserts(engine: Engine, table: str) -> None:
    """Let each insert into one table fail."""
    run(engine, _REFUSE[engine.dialect.name].format(table))


def allow_inserts(engine: Engine) -> None:
    """Undo `refuse_inserts`."""
    run(engine, _ALLOW[engine.dialect.name])
