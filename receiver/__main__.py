"""
The command line `python -m receiver`: the commands of `odoo-mcp-fleet` that manage API keys, give
servers to another key, show how to connect to servers, forget (delete) servers and manage alerts.

    python -m receiver keys create --name acme --scope agent --database acme --expires 90d
    python -m receiver servers connection --client vscode --stage production > .vscode/mcp.json
    python -m receiver servers forget --state down --silent-for-days 30 --dry-run

The commands need no key, because they open the database that FLEET_DATABASE_URL names. They may run
on any machine that reaches the database, even while receivers run.
"""

import sys
from collections.abc import Sequence

from receiver.commands.context import Surroundings
from receiver.commands.program import OLDER, run

__all__ = ["main"]


_OUTSIDE = Surroundings(program="python -m receiver", is_on_database=True)


def main(arguments: Sequence[str] | None = None, *, surroundings: Surroundings = _OUTSIDE) -> int:
    """
    Run a command, and return its exit status, one of `receiver.commands.context.Exit`.

    Args:
        arguments: The arguments of the command; those of the process by default.
        surroundings: What the command gets from outside, such as the environment variables and the
            clock.
    """
    return run(OLDER, sys.argv[1:] if arguments is None else arguments, surroundings)


if __name__ == "__main__":
    sys.exit(main())
