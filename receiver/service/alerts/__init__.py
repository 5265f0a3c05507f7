"""Sends the messages of alerts, and decides when there are some; apart from HTTP and SQL."""
