"""Keys, made as an administrator makes them."""

import os
import subprocess
import sys


def new_key(database_url: str, *, scope: str) -> str:
    """A key of a receiver, which need not be running."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "receiver", "keys", "create"),
            *("--name", f"the {scope} of the tests", "--scope", scope),
        ],
        env={**os.environ, "FLEET_DATABASE_URL": database_url},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
