# mypy: ignore-errors

from odoo import api, fields, models


class McpHeartbeat(models.Model):
    _name = "mcp.heartbeat"
    _description = "Heartbeats of the Rival"

    note = fields.Char()

    @api.model
    def _cron_send_heartbeat(self):
        self.create({"note": self.env["ir.config_parameter"].get_param("mcp.server_port")})


class IrActionsServer(models.Model):
    _inherit = "ir.actions.server"

    use_in_mcp = fields.Boolean()
    ai_tool_name = fields.Char()
