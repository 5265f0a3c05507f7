"""The messages about alarms: their texts for people, and their JSON for webhooks."""
