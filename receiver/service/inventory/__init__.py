"""Reads which tools the servers of the fleet offer."""
