from odoo import fields, models

from ..services.state import create_sequence
from ..services.token_origin import remember_token_origin


class McpPhoneHomeState(models.Model):
    """
    The addon's state, in one row that `services.state` writes by SQL.

    The state is not in system parameters, because writing one clears the caches of all workers.
    """

    _name = "mcp.phone.home.state"
    _description = "MCP Phone Home State"
    _log_access = False

    last_success_at = fields.Datetime(readonly=True)
    last_failure_at = fields.Datetime(readonly=True)
    last_failure_reason = fields.Text(readonly=True)
    claims = fields.Json(readonly=True)
    recent_calls = fields.Json(readonly=True)

    def init(self):
        """
        Create the sequence that numbers messages, and record which receiver the token is for.

        Odoo calls this at install and at each upgrade.
        """
        create_sequence(self.env.cr)
        remember_token_origin(self.env)
