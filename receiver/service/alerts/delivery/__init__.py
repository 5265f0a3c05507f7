"""Delivers a message, each in a process of its own."""
