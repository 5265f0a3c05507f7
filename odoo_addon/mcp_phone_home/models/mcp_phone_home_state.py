from odoo import api, fields, models

from ..services.lifecycle import on_schedule_safely
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
    pace = fields.Json(readonly=True)
    hosts = fields.Json(readonly=True)

    def init(self):
        """
        Create the sequence that numbers messages, and record which receiver the token is for.

        Odoo calls this at install and at each upgrade.
        """
        create_sequence(self.env.cr)
        remember_token_origin(self.env)

    @api.model
    def _cron_send_heartbeat(self):
        """
        Send a heartbeat in the background; called by the scheduled action.

        It never raises, because Odoo deactivates a job that keeps failing for a week. It does
        not wait for the receiver, because while a job runs Odoo refuses to edit it and to
        install or upgrade modules.
        """
        on_schedule_safely(self.env)
