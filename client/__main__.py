"""
The command `python -m client`: report this machine, or made-up servers, to a receiver.

`python -m client silence` does something else: it asks a receiver to tell no alarms about a server
during a maintenance (`client.silencing`).

Both read the token from the environment variable FLEET_TOKEN, because `ps` shows the arguments of
commands to other users.
"""

import argparse
import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from client.api import PhoneHomeClient
from client.arguments import options_of, positive
from client.certificates import trust_only
from client.errors import InvalidSetting
from client.fleet import Fleet, Member, demo_fleet, this_host
from client.host import host_facts
from client.made_up import made_up_fleet
from client.silencing import silence

__all__ = ["main"]

_LONGEST_INTERVAL_SECONDS = 86_400
_print = functools.partial(print, flush=True)


def _pause(seconds: float) -> None:
    """
    Sleep for a number of seconds, a second at a time at most.

    Ctrl-C does not end a sleep that is just about to begin: Python would notice it only after that.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 1.0))


def main(
    arguments: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = _pause,
    say: Callable[[str], None] = _print,
) -> int:
    """
    Report this host, or made-up servers, to a receiver until Ctrl-C or for `--beats` rounds.

    Args:
        arguments: Command-line arguments without the program's name; by default those in
            `sys.argv`. If the first one is `silence`, that command runs instead.
        environ: Environment variables, of which `FLEET_TOKEN` is read; without it, no token is
            sent.
        clock: Returns seconds since 1970.
        sleep: Waits for a number of seconds.
        say: Prints one line.

    Returns the exit status: 1 if the receiver accepted no heartbeat in `--beats` rounds,
    otherwise 0; or the exit status of the command `silence`. Raises SystemExit for invalid
    arguments.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] and given[0] == "silence":
        return silence(given[1:], environ=environ, say=say)
    parser = _parser()
    options = _options(parser, given)
    try:
        client = PhoneHomeClient(
            options.url,
            token=environ.get("FLEET_TOKEN"),
            attempts=1,
            verify=None if options.ca is None else trust_only(options.ca),
        )
    except InvalidSetting as error:
        parser.error(str(error))
    with client, contextlib.suppress(KeyboardInterrupt):
        fleet = Fleet(client, _members(options), clock=clock, say=say)
        accepted = fleet.run(
            interval_seconds=options.interval,
            longest_interval_seconds=options.longest_interval,
            beats=options.beats,
            sleep=sleep,
        )
        return 0 if accepted else 1
    return 0


def _members(options: argparse.Namespace) -> list[Member]:
    interval = options.interval
    if options.demo:
        return demo_fleet(options.count, seed=options.seed, interval_seconds=interval)
    if options.count:
        payloads = made_up_fleet(options.count, seed=options.seed, interval_seconds=interval)
    else:
        payloads = [this_host(host_facts(), interval_seconds=interval)]
    return [Member(payload=payload) for payload in payloads]


def _options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    options = options_of(parser, arguments)
    if options.demo:
        options.count = options.count or 12
        if options.count < 3:
            parser.error("--demo needs a --count of 3 or more.")
    options.interval = options.interval or (5.0 if options.demo else 60.0)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m client",
        description="Phone home from this machine, as itself or as made-up servers.",
        epilog="A token is read from the environment variable FLEET_TOKEN. "
        "Of a maintenance tells: python -m client silence --help",
    )
    add = parser.add_argument
    add("--url", required=True, help="where the receiver is, such as http://127.0.0.1:8000")
    add("--ca", metavar="FILE", help="trust the authorities in this PEM file, and no others")
    add("--count", type=positive, metavar="N", help="be N made-up servers, not this machine")
    add(
        "--interval",
        type=_seconds,
        metavar="S",
        help="seconds between heartbeats; 60, or 5 in a demo",
    )
    add(
        "--longest-interval",
        type=_seconds,
        metavar="S",
        default=600.0,
        help="to how many seconds a busy receiver may prolong the interval; 600",
    )
    add("--beats", type=positive, metavar="K", help="end after K rounds of heartbeats")
    add("--seed", type=int, default=0, help="another number makes up other servers")
    add("--demo", action="store_true", help="12 made-up servers, and something happens to three")
    return parser


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= _LONGEST_INTERVAL_SECONDS:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"expected a number of seconds above 0, a day at most, got {text!r}"
    )


if __name__ == "__main__":
    sys.exit(main())
