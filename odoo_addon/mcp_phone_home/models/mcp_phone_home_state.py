from odoo import fields, models


class McpPhoneHomeState(models.Model):
    """
    The addon's state, in one row that `services.state` writes by SQL.

    It is no system parameter, because writing one clears the caches of all workers.
    """

    _name = "mcp.phone.home.state"
    _description = "MCP Phone Home State"
    _log_access = False

    last_success_at = fields.Datetime(readonly=True)
    last_failure_at = fields.Datetime(readonly=True)
    last_failure_reason = fields.Text(readonly=True)
    claims = fields.Json(readonly=True)
    recent_calls = fields.Json(readonly=True)
