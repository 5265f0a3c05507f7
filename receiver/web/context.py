"""What an app was wired with, for whoever answers a request."""

from starlette.requests import HTTPConnection

from receiver.access.browser_sessions import Signing
from receiver.access.gate import Door
from receiver.service.fleet import Fleet

__all__ = ["door_of", "fleet_of", "signing_of"]


def fleet_of(request: HTTPConnection) -> Fleet:
    fleet: Fleet = request.app.state.fleet
    return fleet


def door_of(request: HTTPConnection) -> Door:
    door: Door = request.app.state.door
    return door


def signing_of(request: HTTPConnection) -> Signing:
    signing: Signing = request.app.state.signing
    return signing
