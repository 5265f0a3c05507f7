"""Hears the fleet: a Starlette app over a SQL store. Start `receiver.app:app` with uvicorn."""

import sys

if sys.version_info < (3, 11):  # pragma: no cover - the tests of older versions try it
    raise ImportError(
        "The receiver needs Python 3.11 or later, and this is "
        f"{sys.version_info[0]}.{sys.version_info[1]}; contract and client run here."
    )
