"""Alerts: looks for alarms that begin or end, and sends messages about them to people."""
