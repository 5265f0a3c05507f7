"""Alerts over HTTP: channels, rules, silences, alarms and deliveries; and badges."""
