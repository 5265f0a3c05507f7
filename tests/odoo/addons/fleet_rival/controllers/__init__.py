# mypy: ignore-errors

import json

from odoo import http
from odoo.http import request


class RivalController(http.Controller):
    @http.route("/mcp/v1", type="http", auth="none", methods=["POST"], csrf=False)
    def mcp(self, **_params):
        return request.make_response(json.dumps({"rival": True}))

    @http.route("/mcp/v1/health", type="http", auth="none", methods=["GET"])
    def health(self):
        return request.make_response(json.dumps({"rival": True}))
