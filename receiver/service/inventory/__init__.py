"""Reads what the fleet offers and runs."""
