"""The endpoints for AI agents and MCP clients, which find Odoo servers here and connect to them."""
