"""Which addresses of servers are handed on to programs that connect to them."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints

DEFAULT = Endpoints.of(DEFAULT_ENDPOINTS)


def wide(text: str) -> str:
    """A text in full-width characters, which many clients take for those of ASCII."""
    return "".join(chr(ord(each) + 0xFEE0) for each in text)


ORDINARY = [
    "acme.example",
    "ACME.example.",
    "web-1",
    "odoo_1.internal",
    "metadata.example.com",
    "localhost.example.com",
    "192.0.2.7",
    "10.0.0.5",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.201",
    "2001:db8::1",
    "fd00::5",
    "::ffff:10.0.0.5",
    "64:ff9b::192.0.2.7",
    "bücher.example",
    "beef.cafe",
]
NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "[fd00:ec2::254]",
    "FD00:0EC2:0:0::0254",
    "fe80::1",
    "febf::1",
    "fe80::a9fe:a9fe",
    "metadata",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
    "metadata.goog",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
    "0.0.0.0",
    "0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2852039166",
    "0xa9fea9fe",
    "0XA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "0169.0254.0169.0254",
    "169.254.169.254.",
    "①⑥⑨.254.169.254",
    wide("169.254.169.254"),
    wide("169.254.169.254").replace("\uff0e", "\u3002"),
]
LOOPBACK = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "[::1]",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "acme.localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    wide("localhost"),
]


@pytest.mark.parametrize("host", ORDINARY)
@pytest.mark.parametrize("with_loopback", [False, True])
def test_ordinary_hosts_are_included_by_default(host: str, *, with_loopback: bool) -> None:
    assert DEFAULT.include(host, with_loopback=with_loopback)


@pytest.mark.parametrize("host", NEVER)
@pytest.mark.parametrize("with_loopback", [False, True])
def test_link_local_and_cloud_metadata_hosts_are_excluded(
    host: str, *, with_loopback: bool
) -> None:
    assert not DEFAULT.include(host, with_loopback=with_loopback)


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_hosts_are_included_only_where_they_are_allowed(host: str) -> None:
    assert DEFAULT.include(host, with_loopback=True)
    assert not DEFAULT.include(host, with_loopback=False)


@st.composite
def spelled(draw: st.DrawFn, address: IPv4Address) -> str:
    """An address as some client of the C library understands it."""
    parts = [*address.packed]
    count = draw(st.integers(1, 4))
    *first, last = [*parts[: count - 1], int.from_bytes(parts[count - 1 :], "big")]
    formats = st.sampled_from(["{:d}", "0{:o}", "0x{:x}", "0X{:08X}"])
    return ".".join(draw(formats).format(each) for each in [*first, last])


@given(st.data(), st.ip_addresses(v=4))
def test_any_spelling_of_an_address_is_taken_as_the_address(
    data: st.DataObject, address: IPv4Address
) -> None:
    host = data.draw(spelled(address))
    assert str(address) == socket.inet_ntoa(socket.inet_aton(host))

    if not DEFAULT.include(str(address), with_loopback=False):
        assert not DEFAULT.include(host, with_loopback=False)


@given(st.data(), st.sampled_from(["169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.1"]))
def test_no_spelling_of_an_excluded_address_is_included(data: st.DataObject, said: str) -> None:
    assert not DEFAULT.include(data.draw(spelled(IPv4Address(said))), with_loopback=False)


@given(st.ip_addresses())
def test_default_endpoints_exclude_addresses_that_python_calls_special(
    address: IPv4Address | IPv6Address,
) -> None:
    unwrapped = getattr(address, "ipv4_mapped", None) or address
    is_special = (
        unwrapped.is_loopback
        or unwrapped.is_link_local
        or unwrapped.is_multicast
        or unwrapped.is_unspecified
    )

    assert not (is_special and DEFAULT.include(str(address), with_loopback=False))


@pytest.mark.parametrize(
    ("text", "included", "excluded"),
    [
        ("*", ["acme.example", "web-1"], ["10.0.0.5", "localhost", "metadata"]),
        ("*.example.com", ["a.example.com", "A.B.EXAMPLE.com."], ["example.com", "evil.com"]),
        ("WEB-?.Example.com.", ["web-1.example.com"], ["web-12.example.com"]),
        (" 10.0.0.0/8 , fd00::/8", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"], ["11.0.0.1", "a"]),
        ("10.0.0.5", ["10.0.0.5"], ["10.0.0.6"]),
        ("0.0.0.0/0,::/0", ["192.0.2.7"], ["127.0.0.1", "169.254.169.254", "fe80::1", "a"]),
        ("127.0.0.0/8", ["127.0.0.1", "0x7f.1"], ["::1", "localhost", "192.0.2.7"]),
        ("::1,localhost", ["::1", "localhost"], ["127.0.0.1", "a.localhost"]),
        ("*.localhost", ["a.localhost"], ["localhost"]),
        ("169.254.169.254/32", ["169.254.169.254"], ["169.254.169.253"]),
        ("168.0.0.0/5,metadata.google.internal", ["metadata.google.internal"], ["169.254.1.1"]),
        ("64:ff9b::/96,169.254.0.0/16", ["64:ff9b::169.254.1.1"], ["64:ff9b::10.0.0.1"]),
    ],
)
def test_special_hosts_are_included_if_they_are_listed_expressly(
    text: str, included: list[str], excluded: list[str]
) -> None:
    listed = Endpoints.of(text)
    found = {host: listed.include(host, with_loopback=False) for host in [*included, *excluded]}

    assert {**dict.fromkeys(included, True), **dict.fromkeys(excluded, False)} == found


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "010.0.0.0/8",
        "10.*",
        "*.*",
        "0x7f.1",
        "fe80:*",
        "[::1]",
        "https://acme.example",
        "acme.example:8069",
        "acme.example/24",
        "a b",
        "[ab].example",
        "user@acme.example",
        "bad.cafe\n*",
    ],
)
def test_endpoint_entry_that_is_no_name_and_no_network_is_quoted(entry: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its argument is compared
        Endpoints.of(f"*.example.com,{entry},10.0.0.0/8")

    assert (entry,) == refused.value.args


def test_address_that_is_listed_explicitly_is_included() -> None:
    for host in ("203.0.113.9", "2001:db8::9"):
        assert Endpoints.of(host).include(str(ip_address(host)), with_loopback=False)
