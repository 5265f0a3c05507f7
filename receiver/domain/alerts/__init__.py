"""Alerts: who is told of which events of the fleet, and when; values and rules without I/O."""
