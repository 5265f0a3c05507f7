"""Answers for AI agents: the entries of the MCP registry, and the tools that match a question."""
