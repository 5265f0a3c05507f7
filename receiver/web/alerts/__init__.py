"""Alerts over HTTP: channels, rules, silences, alarms, deliveries, the report; and badges."""
