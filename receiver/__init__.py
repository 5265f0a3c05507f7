"""Hears the fleet: a Starlette app over a SQL store. Start `receiver.app:app` with uvicorn."""
