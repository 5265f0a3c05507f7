"""Helps AI agents to find tools, and their clients to connect to the MCP servers of a fleet."""
