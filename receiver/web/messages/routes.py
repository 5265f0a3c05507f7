"""The routes of registrations and heartbeats."""

from receiver.domain.keys import Power
from receiver.domain.outcomes import BodyKind
from receiver.service.decoding import MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, MAX_REGISTRATION_BYTES
from receiver.web.messages.answers import (
    HEARTBEAT,
    HEARTBEATS,
    REGISTER,
    heartbeat,
    heartbeats,
    register,
)
from receiver.web.messages.posted import Posted
from receiver.web.openapi import Json
from receiver.web.routing import Guarded

__all__ = ["routes"]


def routes() -> list[Guarded]:
    """The routes, each with its description for the OpenAPI document."""
    return [
        _post("/register", Posted(BodyKind.REGISTER, register, MAX_REGISTRATION_BYTES), REGISTER),
        _post("/heartbeat", Posted(BodyKind.HEARTBEAT, heartbeat, MAX_MESSAGE_BYTES), HEARTBEAT),
        _post("/heartbeats", Posted(BodyKind.HEARTBEATS, heartbeats, MAX_BATCH_BYTES), HEARTBEATS),
    ]


def _post(path: str, endpoint: Posted, describes: Json) -> Guarded:
    return Guarded(path, endpoint, methods=["POST"], needs=Power.WRITE, describes=describes)
