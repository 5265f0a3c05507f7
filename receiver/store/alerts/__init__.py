"""Alerts, by which people hear what happened to servers: their tables, and the SQL of these."""

from receiver.store.alerts.alerts import Alerts
from receiver.store.alerts.upkeep import leave_no_future

__all__ = ["Alerts", "leave_no_future"]
