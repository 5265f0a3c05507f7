"""Taking in registrations and heartbeats."""

from receiver.web.messages.posted import Exchange, Posted
from receiver.web.messages.routes import routes

__all__ = ["Exchange", "Posted", "routes"]
