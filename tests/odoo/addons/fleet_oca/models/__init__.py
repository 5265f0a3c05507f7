# mypy: ignore-errors

from odoo import fields, models


class McpServer(models.Model):
    _name = "mcp.server"
    _description = "MCP Server"

    name = fields.Char()
    active = fields.Boolean(default=True)
    key = fields.Char()
    tool_ids = fields.Many2many("ai.tool")
