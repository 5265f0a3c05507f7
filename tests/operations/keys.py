"""Creating keys by the receiver's command line."""

import os
import subprocess
import sys


def new_key(database_url: str, *, scope: str) -> str:
    """Create a key in a receiver's database; returns the token. The receiver need not run."""
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
