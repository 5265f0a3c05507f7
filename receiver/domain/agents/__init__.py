"""Tells AI agents and their clients how to connect to the MCP server of an Odoo."""
