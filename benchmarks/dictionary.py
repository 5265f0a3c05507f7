"""The first sketch of a receiver: a Flask handler that keeps the last message in a dict."""

from typing import Any

from flask import Flask, Response, jsonify, request

__all__ = ["app"]

app = Flask(__name__)
_records: dict[str, dict[str, Any]] = {}


@app.post("/heartbeat")
def heartbeat() -> Response:
    body = request.get_json()
    known = _records.setdefault(body["server_id"], {"heartbeat_count": 0})
    known.update(body, heartbeat_count=known["heartbeat_count"] + 1)
    return jsonify(status="ok", server_id=body["server_id"])
