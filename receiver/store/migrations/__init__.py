"""Alembic migrations. Each start of a receiver upgrades the database to the newest one."""
