import json

from odoo import SUPERUSER_ID, http, release
from odoo.http import request

from ..services.lifecycle import on_health
from ..services.phone_home import MCP_VERSION
from .absence import why_absent

_NOT_CACHED = ("Cache-Control", "no-store")


class HealthController(http.Controller):
    @http.route(
        ["/mcp/v1/health", "/mcp_phone_home/health"],
        type="http",
        auth="none",
        methods=["GET"],
        readonly=True,
        save_session=False,
    )
    def health(self):
        """Answer a health probe; if the hostname has changed, register in the background."""
        if reason := why_absent():
            return _not_found(reason)
        on_health(request.env(user=SUPERUSER_ID))
        health = {"status": "healthy", "version": MCP_VERSION, "odoo_version": release.version}

        return request.make_json_response(health, headers=[_NOT_CACHED])


def _not_found(reason):
    problem = {"title": "Not Found", "status": 404, "detail": reason}
    headers = [("Content-Type", "application/problem+json"), _NOT_CACHED]
    return request.make_response(json.dumps(problem), headers=headers, status=404)
