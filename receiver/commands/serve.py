"""The command `serve`, which runs a receiver under uvicorn, with limits for slow clients."""

import errno
import os
import socket
import ssl
from typing import Any

import click
import uvicorn

from receiver.commands.arguments import text
from receiver.commands.backends import database_of
from receiver.commands.context import Exit, Surroundings, WrongUse
from receiver.settings import Settings
from receiver.store import SqlStore

__all__ = ["add_to"]

_LEVELS = ("critical", "error", "warning", "info", "debug")
_GRACE_SECONDS = 10
_WORKER_SECONDS = 30
"""After how long a worker that does not answer is replaced; on a busy machine it takes a while."""

_FILE = click.Path(exists=True, dir_okay=False, readable=True)


def add_to(program: click.Group) -> None:
    """Add the command to a program."""
    program.add_command(serve)


@click.command(
    epilog="FLEET_DATABASE_URL and the other FLEET_ variables are its settings. Several workers, "
    "or several receivers, share one PostgreSQL."
)
@click.option("--host", type=text, default="127.0.0.1", show_default=True, help="Listen here.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="And here."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), metavar="N", help="Run so many processes; 1."
)
@click.option(
    "--proxy",
    type=text,
    metavar="ADDRESS",
    help="Believe what this proxy says of its clients; several with commas. By default only one on "
    "this machine is believed.",
)
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="The certificate, in PEM: speak TLS.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its key, in PEM.")
@click.option(
    "--log-level", type=click.Choice(_LEVELS), default="info", show_default=True, help="Log this."
)
@click.pass_obj
def serve(  # noqa: PLR0913 - its options
    surroundings: Surroundings,
    *,
    host: str,
    port: int,
    workers: int | None,
    proxy: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    log_level: str,
) -> int:
    """
    Run a receiver until Ctrl-C.

    It hangs up on clients that are slow, send too much or are idle when there are too many, ends
    within ten seconds when it is asked to, and brings the tables of its database up to date first.
    """
    tls = _tls(tls_cert, tls_key)
    _check_address(host, port)
    settings = database_of(surroundings, makes_database=True)
    _look_at_database(surroundings, settings)
    (surroundings.run_server or uvicorn.run)(
        "receiver.app:app",
        host=host,
        port=port,
        http="receiver.connections:Careful",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=_WORKER_SECONDS,
        workers=workers,
        forwarded_allow_ips=proxy,
        log_level=log_level,
        **tls,
    )
    return Exit.OK


def _tls(certificate: str | None, key: str | None) -> dict[str, Any]:
    """The options of uvicorn for TLS. Raises WrongUse for files that cannot be used together."""
    if certificate is None and key is None:
        return {}
    if certificate is None or key is None:
        raise WrongUse("--tls-cert and --tls-key belong together")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        why = (error.reason or "they hold no PEM").replace("_", " ").lower()
        raise WrongUse(f"{certificate!r} and {key!r} cannot be used for TLS: {why}") from None
    return {"ssl_certfile": certificate, "ssl_keyfile": key}


def _check_address(host: str, port: int) -> None:
    """Raise WrongUse if this machine cannot listen at a host and port; otherwise do nothing."""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise WrongUse(f"--host {host!r} is neither an address nor a name with one") from None
    refusals = []
    for family, kind, protocol, _, address in found:
        try:
            # As asyncio does it: on Linux it takes a port that was free a moment ago.
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(address)
        except OSError as error:
            refusals.append(error)
    if len(refusals) == len(found):
        why = refusals[0]
        where, says = host or "any address", os.strerror(why.errno or 0)
        if why.errno == errno.EADDRINUSE:
            says += ": end the program that does, or choose another --port"
        raise WrongUse(f"Nothing can listen at {where} and port {port}: {says}")


def _look_at_database(surroundings: Surroundings, settings: Settings) -> None:
    """
    Bring the tables up to date before there are processes, each of which would tell what is wrong.

    At a terminal it also tells where the fleet is kept, and that there is no key yet.
    """
    store = SqlStore(settings.database_url)
    try:
        has_keys = bool(store.keys.all())
    finally:
        store.close()
    if surroundings.columns() is None:
        return
    surroundings.explain(f"The fleet is kept in {settings.database_url}.")
    if not has_keys and not settings.open:
        surroundings.explain(
            "There is no key yet, so only this machine is served. Make one: "
            f"{surroundings.program} keys create --name you --scope admin"
        )
