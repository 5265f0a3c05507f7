"""Which words find a server, and what servers have in common."""

from datetime import datetime, timezone
from typing import Any

import pytest

from contract import IpAddresses, ServerRecord, State
from receiver.domain.lists.profiles import Profile, network_of, profile_of
from receiver.domain.lists.search_texts import SearchText, Sought, search_text_of
from server_records import server_record

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def record(**said: Any) -> ServerRecord:
    return server_record("acme_Web-1", at=NOON, state=State.UP, **said)


KNOWN = record(
    hostname="wEb-1.Eu",
    database="Straße",
    endpoint_url="https://Acme.example:8443/mcp",
    ip_addresses=IpAddresses(primary="10.19.0.5", all=("10.19.0.5", "fd00::5")),
    odoo_version="19.0+e",
    version="2.1",
    capabilities=("sale_order_confirm", "Stock.Read"),
    labels=("gold", "größe"),
)


@pytest.mark.parametrize(
    ("word", "finds"),
    [
        ("ACME", True),
        ("web-1.eu", True),
        ("STRASSE", True),
        ("acme.example:8443", True),
        ("https://acme.example:8443/other", True),
        ("https://other.example", False),
        ("https://[", False),
        ("mcp", False),
        ("10.19", True),
        ("0.5", False),
        ("fd00:", True),
        ("19", True),
        ("19.0+E", True),
        ("9.0", False),
        ("2.1", True),
        ("order_conf", True),
        ("stock.READ", True),
        (".", True),
        ("_", True),
        (",", False),
        ("10", False),
        ("nobody", False),
        ("GOLD", True),
        ("grösse", True),
    ],
)
def test_search_word_finds_names_addresses_versions_tools_and_labels(
    word: str, *, finds: bool
) -> None:
    assert finds is Sought.of(word).is_in(KNOWN)


def test_server_of_which_only_the_id_is_known_is_found_by_its_id() -> None:
    assert SearchText("acme_web-1", "") == search_text_of(record())
    assert [True, False, False] == [Sought.of(each).is_in(record()) for each in ("web", "1.", "x")]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.19.0.5", "10.19.0.0/24"),
        ("fd00:1:2:3:4::5", "fd00:1:2:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.1", None),
        ("::1", None),
    ],
)
def test_network_of_an_address_has_its_first_bits(address: str, network: str | None) -> None:
    assert network == network_of(address)


def test_servers_that_are_alike_have_the_same_profile() -> None:
    alike = record(
        hostname="other",
        ip_addresses=IpAddresses(primary="10.19.0.6", all=()),
        odoo_version="19.0+e",
        version="2.1",
        capabilities=("Stock.Read", "sale_order_confirm"),
        odoo_stage="",
    )
    mine = profile_of(KNOWN, "key")

    assert mine == profile_of(alike, "key")
    assert mine.id == profile_of(alike, "key").id != profile_of(alike, None).id
    assert Profile("", None, None, None, None, None) == profile_of(record(), None)
