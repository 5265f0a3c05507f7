"""Reading the arguments of the commands `python -m client`."""

import argparse
from collections.abc import Sequence

__all__ = ["options_of", "positive"]


def options_of(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """
    Parse the arguments; by default those of the process.

    Raises SystemExit for invalid ones. The complaint about unknown arguments shows the names of
    options and no values: somebody may have passed a token by mistake.
    """
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        names = [each.partition("=")[0] for each in unknown if each.startswith("-")]
        parser.error(f"unrecognized arguments: {' '.join(names) or len(unknown)}")
    return options


def positive(text: str) -> int:
    """Read an argument that is a whole number, 1 or more."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return int(text)
