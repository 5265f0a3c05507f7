"""
The command `python -m client silence`: no alarms about a server during a maintenance.

    python -m client silence --url https://fleet.example.com --database acme --minutes 30

It is for scripts of deployment, on the machine of the Odoo that is upgraded. Like the heartbeats of
that Odoo, it needs the key that the server belongs to, in the environment variable FLEET_TOKEN.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence

from client.api import PhoneHomeClient
from client.arguments import options_of, positive
from client.certificates import trust_only
from client.errors import CallFailed, InvalidSetting
from client.host import host_facts

__all__ = ["silence"]


def silence(
    arguments: Sequence[str], *, environ: Mapping[str, str], say: Callable[[str], None]
) -> int:
    """
    Run the command: ask a receiver to tell no alarms about a server for some minutes.

    Returns the exit status: 0 if the receiver has agreed, otherwise 1. Raises SystemExit for
    invalid arguments.

    Args:
        arguments: The arguments after the word `silence`.
        environ: Environment variables, of which `FLEET_TOKEN` is read; without it, no token is
            sent.
        say: Prints one line.
    """
    parser = _parser()
    options = options_of(parser, arguments)
    server_id = options.server_id or f"{options.database}_{host_facts().hostname}"
    try:
        client = PhoneHomeClient(
            options.url,
            token=environ.get("FLEET_TOKEN"),
            verify=None if options.ca is None else trust_only(options.ca),
        )
    except InvalidSetting as error:
        parser.error(str(error))
    with client:
        try:
            receipt = client.silence(server_id, minutes=options.minutes, reason=options.reason)
        except CallFailed as error:
            say(str(error))
            return 1
    until = f" until {receipt.until:%Y-%m-%d %H:%M} UTC" if receipt.until else ""
    say(f"No alarm is told about {receipt.server_id}{until}.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m client silence",
        description="Tell a receiver that a server is maintained, so that nobody is alarmed.",
        epilog="A token is read from the environment variable FLEET_TOKEN.",
    )
    add = parser.add_argument
    add("--url", required=True, help="where the receiver is, such as http://127.0.0.1:8000")
    add("--ca", metavar="FILE", help="trust the authorities in this PEM file, and no others")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--database", metavar="NAME", help="the Odoo on this machine that has this database"
    )
    which.add_argument("--server-id", metavar="ID", help="the server with this id")
    add(
        "--minutes",
        type=positive,
        required=True,
        metavar="N",
        help="for how long from now, at most 1440; again, it counts from then",
    )
    add("--reason", default="maintenance", metavar="TEXT", help="why, for people")
    return parser
