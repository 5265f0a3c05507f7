"""The endpoints for AI agents and their clients, which tell how to connect to an Odoo."""
