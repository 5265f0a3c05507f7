"""Delivers messages, each in a process of its own."""
