"""Messages and records of earlier versions, and unknown fields of later ones."""

import pytest

from contract import Heartbeat, IpAddresses, Registration, ServerRecord, dumps, loads, structure
from wire import RECORD, SERVER


def test_unknown_fields_are_ignored() -> None:
    assert Heartbeat(**SERVER) == structure(SERVER | {"load": {"1m": 0.5}}, Heartbeat)


def test_unknown_fields_are_ignored_at_depth() -> None:
    addresses = {"primary": "::1", "all": [], "public": "203.0.113.5"}

    assert IpAddresses(primary="::1", all=()) == (
        structure(SERVER | {"ip_addresses": addresses}, Heartbeat).ip_addresses
    )


EARLIER_HEARTBEAT = (
    b'{"server_id":"acme_web-1","hostname":"web-1",'
    b'"ip_addresses":{"primary":"10.0.0.5","all":["10.0.0.5","fd00::5"]},"port":8768,'
    b'"transport":"http/sse","version":"1.0.0","odoo_version":"19.0","database":"acme",'
    b'"capabilities":["create","search"],"odoo_stage":"production","database_uuid":"7b2f",'
    b'"endpoint_url":"https://acme.example/mcp","heartbeat_interval_seconds":300.0,'
    b'"status":"healthy","timestamp":"2026-01-31T12:00:00Z","uptime_seconds":3540.0}'
)
EARLIER_REGISTRATION = EARLIER_HEARTBEAT.partition(b',"status"')[0] + (
    b',"started_at":"2026-01-31T11:01:00Z"}'
)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Heartbeat, EARLIER_HEARTBEAT),
        (Registration, EARLIER_REGISTRATION),
        (Heartbeat, b'{"server_id":"acme_web-1","capabilities":[],"status":"uninstalled"}'),
        (Heartbeat, b'{"server_id":"acme_web-1"}'),
        (Registration, b'{"server_id":"acme_web-1"}'),
    ],
)
def test_a_message_of_an_earlier_sender_is_read_and_written_as_it_was(
    kind: type, body: bytes
) -> None:
    assert body == dumps(loads(body, kind))


def test_a_record_of_an_earlier_receiver_is_read() -> None:
    record = structure(RECORD | {"state": "down", "twin_of": "acme_web-2"}, ServerRecord)

    assert (None, None, 0, None, None, None) == (
        record.sequence,
        record.tools_digest,
        record.node_count,
        record.node_of,
        record.conflict_since,
        record.flapping_since,
    )
