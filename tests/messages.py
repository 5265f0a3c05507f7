"""Test helper: messages in their wire form, written out by hand."""

from typing import Any

Json = dict[str, Any]

PAYLOAD: Json = {
    "server_id": "acme_web-1",
    "hostname": "web-1",
    "ip_addresses": {"primary": "10.0.0.5", "all": ["10.0.0.5", "fd00::5"]},
    "port": 8768,
    "transport": "http/sse",
    "version": "1.0.0",
    "odoo_version": "19.0",
    "database": "acme",
    "capabilities": ["res_partner_search", "sale_order_create"],
    "odoo_stage": "production",
}


def payload(**changed: Any) -> Json:
    return {**PAYLOAD, **changed}


def registration(**changed: Any) -> Json:
    return payload(**{"started_at": "2026-01-31T11:59:00Z", **changed})


def heartbeat(**changed: Any) -> Json:
    """An enriched heartbeat, with all fields of the payload."""
    return payload(
        **{
            "status": "healthy",
            "timestamp": "2026-01-31T12:00:00Z",
            "uptime_seconds": 60.0,
            **changed,
        }
    )


def slim(**changed: Any) -> Json:
    """A slim heartbeat, with `server_id`, `status` and `timestamp` alone."""
    return {
        "server_id": PAYLOAD["server_id"],
        "status": "healthy",
        "timestamp": "2026-01-31T12:01:00Z",
        **changed,
    }
