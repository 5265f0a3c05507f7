"""A smoke test for a Python with the package and no extras: the contract imports and merges."""

import sys
from datetime import datetime, timezone

from contract import Heartbeat, Registration, merge, register

now = datetime.now(timezone.utc)
record = merge(None, Heartbeat(server_id="acme_web-1", hostname="web-1"), received_at=now)
record = merge(record, Heartbeat(server_id="acme_web-1"), received_at=now)

record = register(record, Registration(server_id="acme_web-1"), received_at=now)

assert ("web-1", 2) == (record.hostname, record.heartbeat_count)

others = {"client", "httpx", "psutil", "receiver", "sqlalchemy", "starlette", "tenacity"}
assert not others & set(sys.modules)
if sys.version_info < (3, 11):
    said = ""
    try:
        import receiver  # noqa: F401 - to see what it says
    except ImportError as error:
        said = str(error)
    assert "needs Python 3.11 or later" in said, said
print(f"Python {sys.version.split()[0]}: the bare contract imports and merges.")  # noqa: T201
