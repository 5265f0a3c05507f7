"""What AI agents and their clients ask: how to connect to an Odoo."""
