# mypy: ignore-errors

import json

from odoo import http
from odoo.http import request

TOOLS = ("close_books", "rival_tool")


class RivalController(http.Controller):
    @http.route("/mcp/v1", type="http", auth="none", methods=["POST"], csrf=False)
    def mcp(self, **_params):
        message = request.get_json_data()
        name = (message.get("params") or {}).get("name")
        if message["method"] == "tools/list":
            answer = {"result": {"tools": [{"name": each} for each in TOOLS]}}
        elif name in TOOLS:
            answer = {"result": {"content": [{"type": "text", "text": f"rival: {name}"}]}}
        else:
            answer = {"error": {"code": -32602, "message": "unknown tool"}}
        return request.make_response(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}))

    @http.route("/mcp/v1/health", type="http", auth="none", methods=["GET"])
    def health(self):
        return request.make_response(json.dumps({"rival": True}))
