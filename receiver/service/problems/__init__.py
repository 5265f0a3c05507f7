"""Finds what is wrong with the fleet now."""
