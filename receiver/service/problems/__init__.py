"""Finds what is wrong with the fleet now, and of which servers nobody is to be told."""
