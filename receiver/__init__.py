"""
The receiver: a Starlette app that merges servers' messages into records in a SQL database.

`uvicorn receiver.app:app` starts it.
"""

import sys

if sys.version_info < (3, 11):  # pragma: no cover - the tests of older versions try it
    raise ImportError(
        "The receiver needs Python 3.11 or later, and this is "
        f"{sys.version_info[0]}.{sys.version_info[1]}; contract and client run here."
    )
