"""What agents are told: entries of the MCP registry, and tools that a question means."""
