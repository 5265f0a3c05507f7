"""The history of the fleet as JSON."""
