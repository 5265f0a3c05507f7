"""The program `odoo-mcp-fleet`: its commands, and what they share."""

import gc
import sys
from importlib import import_module

__all__ = ["main"]


def main() -> int:
    """
    Run the program `odoo-mcp-fleet`, and return its exit status.

    The package is also installed without what the program needs; then a sentence says what to do.
    """
    # Imports make many objects that stay: looking for garbage among them takes a tenth of a second.
    gc.set_threshold(50_000, 10, 10)
    try:
        program = import_module("receiver.commands.program")
    except ModuleNotFoundError as error:
        if error.name not in {"click", "httpx", "rich"}:
            raise
        sys.stderr.write(
            f"odoo-mcp-fleet needs {error.name}, which comes with: pip install "
            "'odoo-mcp-fleet[receiver]' (in a checkout: pip install '.[receiver]')\n"
        )
        return 1
    return int(program.main())
