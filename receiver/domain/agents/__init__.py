"""What AI agents and their clients are told: how to connect to the MCP server of an Odoo."""
