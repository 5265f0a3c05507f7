"""Another spelling or another order of the same is no change."""

import pytest
from attrs import evolve

from changed import WEB, details_by_kind, heard
from contract import IpAddresses


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://e", "https://e:443"),
        ("https://e", "HTTPS://E:443/"),
        ("http://e:80/x?y#z", "http://e/x?y#z"),
        ("http://[FE80::1]", "http://[fe80:0::1]:80/"),
    ],
)
def test_another_spelling_of_a_url_is_no_move(one: str, other: str) -> None:
    before = evolve(WEB, endpoint_url=one)

    assert {} == details_by_kind(before, heard(before, endpoint_url=other))


@pytest.mark.parametrize(
    "other",
    [
        "http://e:443",
        "https://e:444",
        "https://f",
        "https://e/x",
        "https://e?x",
        "https://e#x",
        "https://[::1]",
    ],
)
def test_another_url_is_a_move(other: str) -> None:
    before = evolve(WEB, endpoint_url="https://e")

    assert ["moved"] == [*details_by_kind(before, heard(before, endpoint_url=other))]


def test_another_spelling_of_an_address_is_no_move() -> None:
    one = IpAddresses(primary="FE80::1", all=("FE80::1", "10.0.0.5", "::FFFF:1"))
    other = IpAddresses(primary="fe80:0::1", all=("::ffff:1", "fe80::1", "10.0.0.5"))
    before = evolve(WEB, ip_addresses=one)

    assert {} == details_by_kind(before, heard(before, ip_addresses=other))


@pytest.mark.parametrize("name", ["10.0.0.6", "10.0.0.7"])
def test_reordered_addresses_cause_no_event(name: str) -> None:
    addresses = ("10.0.0.5", "10.0.0.6", "10.0.0.7")
    before = evolve(WEB, ip_addresses=IpAddresses(primary="10.0.0.5", all=addresses))
    reordered = IpAddresses(primary="10.0.0.5", all=addresses[::-1])
    another = IpAddresses(primary=name, all=addresses)

    assert {} == details_by_kind(before, heard(before, ip_addresses=reordered))
    assert ["moved"] == [*details_by_kind(before, heard(before, ip_addresses=another))]


@pytest.mark.parametrize("tools", [("search", "create"), ("create", "search", "search")])
def test_reordered_tools_cause_no_event(tools: tuple[str, ...]) -> None:
    assert {} == details_by_kind(WEB, heard(WEB, capabilities=tools))
