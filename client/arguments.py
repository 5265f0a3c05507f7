"""Reading the arguments of the commands `python -m client` and `python -m client silence`."""

import argparse
from collections.abc import Sequence

__all__ = ["options_of", "positive"]


def options_of(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """
    Parse the arguments of a command; those of the process (`sys.argv`) if `arguments` is None.

    For invalid arguments, prints what is wrong and raises SystemExit. Of unknown arguments it
    prints the names of options, but no values: somebody may have passed a token by mistake.
    """
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        names = [each.partition("=")[0] for each in unknown if each.startswith("-")]
        parser.error(f"unrecognized arguments: {' '.join(names) or len(unknown)}")
    return options


def positive(text: str) -> int:
    """Read an argument that is a whole number, 1 or more. Raises ArgumentTypeError for another."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return int(text)
