"""
The HTTP client with which an MCP server tells a receiver that it has started and is alive.

`payload` below is a `contract.ServerPayload`, the complete description of the server:

    with PhoneHomeClient("https://fleet.example", token=token) as client:
        client.register(Registration.from_payload(payload, started_at=started_at))
        client.heartbeat(Heartbeat.from_payload(payload, timestamp=now, uptime_seconds=1.5))

`host_facts` finds the names and addresses of this host. `python -m client --help` describes a
command that reports from a machine without Odoo.
"""

try:
    from client.answers import HeartbeatReceipt, RegistrationReceipt, SilenceReceipt
    from client.api import PhoneHomeClient
    from client.certificates import trust_only
    from client.errors import (
        BadAnswer,
        CallFailed,
        ClientError,
        InvalidCertificates,
        InvalidSetting,
        InvalidToken,
        InvalidUrl,
        Refused,
        TimedOut,
        Unreachable,
        Untrusted,
    )
    from client.host import HostFacts, host_facts
except ModuleNotFoundError as error:
    if error.name not in {"httpx", "psutil", "tenacity"}:
        raise
    # `python -m client` prints no traceback of an error that is named after the package.
    raise ImportError(
        f"client needs {error.name}, which comes with: pip install 'odoo-mcp-fleet[client]' "
        "(in a checkout: pip install '.[client]')",
        name=__name__,
    ) from None

__all__ = [
    "BadAnswer",
    "CallFailed",
    "ClientError",
    "HeartbeatReceipt",
    "HostFacts",
    "InvalidCertificates",
    "InvalidSetting",
    "InvalidToken",
    "InvalidUrl",
    "PhoneHomeClient",
    "Refused",
    "RegistrationReceipt",
    "SilenceReceipt",
    "TimedOut",
    "Unreachable",
    "Untrusted",
    "host_facts",
    "trust_only",
]
