"""Hostname and addresses of hosts with all kinds of networks."""

import json
import socket
import subprocess
import sys
from typing import NoReturn

import psutil
import pytest

from client import HostFacts, host_facts
from client.host import interface_addresses, source_addresses
from contract import IpAddresses

NO_NETWORK = IpAddresses(primary="127.0.0.1", all=("127.0.0.1",))


def addresses(*, sources: list[str], interfaces: list[str]) -> list[str]:
    facts = host_facts(sources=lambda: sources, interfaces=lambda: interfaces)
    assert facts.ip_addresses.primary == facts.ip_addresses.all[0]
    return list(facts.ip_addresses.all)


def test_facts_of_this_host_are_its_name_and_addresses() -> None:
    facts = host_facts()

    assert facts.hostname == socket.gethostname()
    assert facts.ip_addresses.primary in {*source_addresses(), *interface_addresses(), "127.0.0.1"}


def test_facts_of_this_host_are_reproducible() -> None:
    assert host_facts() == host_facts()


def test_primary_address_is_the_source_of_the_default_route_and_comes_first() -> None:
    found = addresses(
        sources=["10.0.0.5", "fd00::5"],
        interfaces=["192.168.1.9", "fd00::5", "10.0.0.5", "10.0.0.1"],
    )

    assert ["10.0.0.5", "10.0.0.1", "192.168.1.9", "fd00::5"] == found


def test_primary_address_is_ipv6_without_an_ipv4_route() -> None:
    found = addresses(sources=["fd00::5"], interfaces=["10.0.0.5", "fd00::5"])

    assert ["fd00::5", "10.0.0.5"] == found


def test_primary_address_without_a_route_is_the_first_address() -> None:
    assert [
        "10.0.0.5",
        "10.0.0.9",
        "fd00::5",
    ] == addresses(sources=[], interfaces=["fd00::5", "10.0.0.9", "10.0.0.5"])


def test_source_address_of_no_interface_is_included() -> None:
    assert ["10.0.0.5", "fd00::5"] == addresses(sources=["10.0.0.5", "fd00::5"], interfaces=[])


def test_loopback_address_is_left_out_where_there_is_a_network() -> None:
    found = addresses(
        sources=["10.0.0.5"], interfaces=["127.0.0.1", "127.0.1.1", "::1", "10.0.0.5"]
    )

    assert ["10.0.0.5"] == found


def test_link_local_ipv6_is_left_out_and_link_local_ipv4_comes_last() -> None:
    found = addresses(
        sources=["fe80::1%eth0"],
        interfaces=["fe80::1%eth0", "169.254.7.7", "2001:db8::5%eth0", "10.0.0.5"],
    )

    assert ["10.0.0.5", "2001:db8::5", "169.254.7.7"] == found


def test_invalid_address_is_left_out() -> None:
    assert ["10.0.0.5"] == addresses(sources=["", "0.0.0.0"], interfaces=["::", "eth0", "10.0.0.5"])


def test_host_without_a_network_has_loopback() -> None:
    facts = host_facts(sources=list, interfaces=list)

    assert NO_NETWORK == facts.ip_addresses


def test_network_namespace_without_a_network_has_loopback() -> None:
    """Where the system allows no network namespace, a fake host without addresses replaces it."""
    asks = "import json, client; print(json.dumps(client.host_facts().ip_addresses.all))"
    command = [sys.executable, "-c", asks]
    alone = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True)
    if alone.returncode == 0:
        command = ["unshare", "--net", *command]
    else:
        command[-1] = asks.replace("host_facts()", "host_facts(sources=list, interfaces=list)")

    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert ["127.0.0.1"] == json.loads(printed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("web-1", "web-1"), ("", "localhost"), ("w\udcffb", "w?b"), ("büro", "büro")],
)
def test_invalid_unicode_in_a_hostname_is_replaced(name: str, expected: str) -> None:
    assert host_facts(hostname=lambda: name).hostname == expected


@pytest.mark.parametrize("error", [OSError("no netlink"), psutil.AccessDenied()])
def test_failing_interface_look_up_gives_no_addresses(error: Exception) -> None:
    def refuse() -> NoReturn:
        raise error

    assert [] == interface_addresses(refuse)


def test_interface_addresses_are_only_ipv4_and_ipv6() -> None:
    assert all("." in each or each.count(":") >= 2 for each in interface_addresses())


def test_equal_facts_of_a_host_compare_equal() -> None:
    assert host_facts(hostname=lambda: "web-1", sources=list, interfaces=list) == HostFacts(
        hostname="web-1", ip_addresses=NO_NETWORK
    )
