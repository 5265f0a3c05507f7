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
        Never raises: Odoo switches off a job that fails for a week, and it stays off.

        Nor does it wait for the receiver: as long as a job runs, Odoo refuses to change it,
        and to install or upgrade any module.
        """
        try:
            on_schedule(self.env)
        except Exception:
            _logger.exception("The heartbeat was not sent, and this is a bug of the addon")
