"""The tools by which an agent learns of this server and its fleet."""

from client import ClientError

from ..services.advice import with_advice
from ..services.clients import client_for
from ..services.phone_home import _build_server_payload
from ..services.settings import receiver_settings
from .registry import mcp_tool


@mcp_tool(
    "server_info",
    description="What this Odoo server tells the fleet about itself: where it is, which "
    "version it runs, which database it serves and which tools it offers.",
)
def server_info(env) -> dict:
    return _build_server_payload(env)


@mcp_tool(
    "fleet_status",
    description="Whether this Odoo server phones home, to which receiver, and how that "
    "receiver is: its own answer, or the reason why there is none.",
)
def fleet_status(env) -> dict:
    """Waits for the receiver, for one timeout at most."""
    settings = receiver_settings(env)
    if not settings.url:
        return _status(reason="Phoning home is off: mcp.phone_home_url is empty.")
    try:
        return _ask(client_for(settings))
    except ClientError as error:
        return _status(reason=with_advice(error))


def _ask(client):
    try:
        return _status(url=client.base_url, receiver=client.health())
    except ClientError as error:
        return _status(url=client.base_url, reason=with_advice(error))


def _status(*, url="", receiver=None, reason=None):
    """`phone_home` says whether there is a receiver to phone, `url` which one."""
    return {"phone_home": bool(url), "url": url, "receiver": receiver, "reason": reason}
