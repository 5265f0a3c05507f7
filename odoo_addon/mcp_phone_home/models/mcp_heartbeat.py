import logging

from odoo import api, models

from ..services.lifecycle import on_schedule

_logger = logging.getLogger(__name__)


class McpHeartbeat(models.AbstractModel):
    _name = "mcp.heartbeat"
    _description = "MCP Heartbeat"

    @api.model
    def _cron_send_heartbeat(self):
        """
        Send a heartbeat in the background; called by the scheduled action.

        It never raises, because Odoo deactivates a job that keeps failing for a week. It does
        not wait for the receiver, because while a job runs Odoo refuses to edit it and to
        install or upgrade modules.
        """
        try:
            on_schedule(self.env)
        except Exception:
            _logger.exception("The heartbeat was not sent, and this is a bug of the addon")
