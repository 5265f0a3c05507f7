from odoo import SUPERUSER_ID, http, release
from odoo.http import request

from ..services.lifecycle import on_health
from ..services.phone_home import MCP_VERSION


class HealthController(http.Controller):
    @http.route(
        "/mcp/v1/health",
        type="http",
        auth="none",
        methods=["GET"],
        readonly=True,
        save_session=False,
    )
    def health(self):
        """Answer a health probe; registers the server after a rebuild, in the background."""
        on_health(request.env(user=SUPERUSER_ID))
        health = {"status": "healthy", "version": MCP_VERSION, "odoo_version": release.version}

        return request.make_json_response(health, headers=[("Cache-Control", "no-store")])
