"""
How a server phones home: a client for a receiver, and the facts about this host.

    with PhoneHomeClient("https://fleet.example", token=token) as client:
        client.register(Registration.from_payload(payload, started_at=started_at))
        client.heartbeat(Heartbeat.from_payload(payload, timestamp=now, uptime_seconds=1.5))

`python -m client --help` does so without any Odoo.
"""

from client.answers import HeartbeatReceipt, RegistrationReceipt
from client.api import PhoneHomeClient
from client.errors import (
    BadAnswer,
    CallFailed,
    ClientError,
    InvalidSetting,
    InvalidToken,
    InvalidUrl,
    Refused,
    TimedOut,
    Unreachable,
)
from client.host import HostFacts, host_facts

__all__ = [
    "BadAnswer",
    "CallFailed",
    "ClientError",
    "HeartbeatReceipt",
    "HostFacts",
    "InvalidSetting",
    "InvalidToken",
    "InvalidUrl",
    "PhoneHomeClient",
    "Refused",
    "RegistrationReceipt",
    "TimedOut",
    "Unreachable",
    "host_facts",
]
