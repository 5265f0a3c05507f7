"""The rules of the field types, and parsing and formatting of times."""

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Annotated, Any
from urllib.parse import urljoin, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import (
    Heartbeat,
    InvalidMessage,
    IpAddresses,
    Problem,
    Registration,
    Tool,
    ToolAnnotations,
)
from contract.fields import (
    BROKEN,
    LONGEST_DESCRIPTION,
    Digest,
    Flag,
    HttpUrl,
    LongText,
    Moment,
    Port,
    Rule,
    ShortText,
    Text,
    Unexpected,
    UrlPath,
    format_moment,
    parse_moment,
    rule_of,
    to_utc,
)
from strategies import moments

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def heartbeat(**fields: Any) -> Heartbeat:
    return Heartbeat(server_id="prod_web-1", **fields)


# Rules


def test_a_kind_of_field_carries_its_rule() -> None:
    rule = rule_of(Port)

    assert rule is not None
    assert "a port from 1 to 65535" == rule.expected


@pytest.mark.parametrize("kind", [int, str, Text | None, tuple[Text, ...], Annotated[int, "no"]])
def test_a_plain_type_carries_no_rule(kind: object) -> None:
    assert rule_of(kind) is None


@pytest.mark.parametrize("error", [ValueError, TypeError, OverflowError])
def test_an_error_of_a_conversion_becomes_unexpected(error: type[Exception]) -> None:
    def refuse(_: object) -> object:
        raise error

    with pytest.raises(Unexpected, match=r"^expected a miracle, got 5$"):
        Rule("a miracle", {}, refuse).read(5)


def test_a_bug_in_a_conversion_is_not_hidden() -> None:
    def stumble(_: object) -> object:
        raise LookupError

    with pytest.raises(LookupError):
        Rule("a miracle", {}, stumble).read(5)


def test_a_rule_may_convert_json_by_another_function() -> None:
    rule = Rule("a number", {}, int, lambda text: int(text, 16))

    assert (10, 16) == (rule.from_python("10"), rule.read("10"))


# What an error shows


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        (1.5, "1.5"),
        ("", '""'),
        ("5", '"5"'),
        ("ü", '"ü"'),
        ('"', '"\\""'),
        ("a\nb", '"a\\nb"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\x9b31m", '"\\u009b31m"'),
        ("\u2028", '"\\u2028"'),
        ("\u202egnirts", '"\\u202egnirts"'),
        ("\ud800", '"\\ud800"'),
        ([], "a list"),
        ((), "a list"),
        ({}, "an object"),
        (NOON, '"datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.time…'),
        (b"5", "\"b'5'\""),
        ("a" * 58, f'"{"a" * 58}"'),
        ("a" * 59, f'"{"a" * 58}…'),
        (10**29, str(10**29)),
    ],
)
def test_an_error_shows_a_value_shortened_on_one_line(value: object, shown: str) -> None:
    assert f"expected rain, got {shown}" == str(Unexpected("rain", value))


@pytest.mark.parametrize("sign", [1, -1])
def test_an_error_does_not_show_a_huge_number(sign: int) -> None:
    assert "expected rain, got a number too long to show" == str(
        Unexpected("rain", sign * 10**5000)
    )


@given(st.text(st.characters()))
def test_an_error_shows_only_printable_characters(text: str) -> None:
    assert str(Unexpected("rain", text)).isprintable()


# Constructors


def test_a_constructor_raises_the_problem_of_a_field() -> None:
    with pytest.raises(
        InvalidMessage, match=r'^port: expected a port from 1 to 65535, got "8768"$'
    ):
        heartbeat(port="8768")


@pytest.mark.parametrize("kind", [Heartbeat, Registration])
def test_the_constructor_of_every_message_validates(kind: type[Heartbeat | Registration]) -> None:
    with pytest.raises(InvalidMessage, match=r"^server_id: expected 1 to 255 characters"):
        kind(server_id="")


def test_a_constructor_raises_the_index_of_an_invalid_item() -> None:
    with pytest.raises(InvalidMessage, match=r"^capabilities\[1\]: expected text of 1"):
        heartbeat(capabilities=["search", 5])


@pytest.mark.parametrize("capabilities", ["abc", 5, {"search": 1}, {"search"}, iter(["search"])])
def test_a_constructor_refuses_other_values_for_a_list(capabilities: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^capabilities: expected a list, got "):
        heartbeat(capabilities=capabilities)


@pytest.mark.parametrize("capabilities", [["search"], ("search",)])
def test_a_constructor_keeps_a_list_as_a_tuple(capabilities: Any) -> None:
    assert ("search",) == heartbeat(capabilities=capabilities).capabilities


def test_a_constructor_keeps_each_tool_once_in_the_order_of_the_first() -> None:
    assert ("search", "create") == heartbeat(
        capabilities=["search", "create", "search"]
    ).capabilities


def test_a_constructor_refuses_too_many_tools() -> None:
    with pytest.raises(InvalidMessage, match=r"^capabilities: expected at most 1000 different"):
        heartbeat(capabilities=[f"tool_{n}" for n in range(1001)])


@pytest.mark.parametrize("addresses", [5, "10.0.0.5", ["10.0.0.5"], {"primary": "10.0.0.5"}])
def test_a_constructor_refuses_other_values_for_an_object(addresses: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^ip_addresses: expected IpAddresses, got "):
        heartbeat(ip_addresses=addresses)


def test_the_constructor_of_addresses_validates() -> None:
    with pytest.raises(InvalidMessage, match=r'^all\[0\]: expected an IP address, got "10.0.0"$'):
        IpAddresses(primary="10.0.0.5", all=("10.0.0",))


@pytest.mark.parametrize("moment", ["2026-01-31T12:00:00Z", 1769860800, date(2026, 1, 31)])
def test_a_constructor_refuses_other_values_for_a_time(moment: object) -> None:
    with pytest.raises(
        InvalidMessage, match=r"^timestamp: expected an ISO 8601 time with an offset"
    ):
        heartbeat(timestamp=moment)


def test_a_constructor_refuses_a_time_without_an_offset() -> None:
    with pytest.raises(
        InvalidMessage, match=r"^timestamp: expected an ISO 8601 time with an offset"
    ):
        heartbeat(timestamp=NOON.replace(tzinfo=None))


def test_a_constructor_accepts_none_for_an_optional_field() -> None:
    assert heartbeat() == heartbeat(hostname=None, port=None, ip_addresses=None, timestamp=None)


@given(moments())
def test_a_constructor_keeps_times_in_utc(moment: datetime) -> None:
    kept = heartbeat(timestamp=moment).timestamp

    assert kept is not None
    assert timezone.utc is kept.tzinfo
    assert moment.astimezone(timezone.utc) == kept


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "http://odoo",
        "https://odoo.example",
        "HTTPS://Odoo.Example",
        "http://10.0.0.5",
        "http://[::1]",
        "http://[::ffff:10.0.0.5]:8768",
        "http://odoo.example:1",
        "http://odoo.example:65535",
        "http://xn--od-lka.example/",
        "http://odoo_1.internal./mcp/sse",
        "https://odoo.example?db=prod&x=%C3%BC",
        "https://odoo.example/mcp#tools",
    ],
)
def test_http_urls_are_accepted(url: str) -> None:
    rule = rule_of(HttpUrl)

    assert rule is not None
    assert url == rule.from_python(url)


# Times


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31T12:00:00+00:00", NOON),
        ("2026-01-31T12:00:00-00:00", NOON),
        ("2026-01-31T17:45:00+05:45", NOON),
        ("2026-01-31T08:30:00-03:30", NOON),
        ("2026-02-01T11:59:00+23:59", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-01-31T12:00:00.000001Z", NOON + timedelta(microseconds=1)),
        ("2026-01-31T12:00:00.0000014999Z", NOON + timedelta(microseconds=1)),
        ("2026-01-31T12:00:00.0000015Z", NOON + timedelta(microseconds=2)),
        ("2026-01-31T11:59:59.9999995Z", NOON),
        ("2026-01-31 12:00:00Z", NOON),
        ("2026-01-31T17:45:00+0545", NOON),
        ("2026-01-31T12:00:00-0000", NOON),
        ("2026-01-31T12:00:00." + "0" * 50 + "Z", NOON),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=timezone.utc)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=timezone.utc)),
        (
            "9999-12-31T23:59:59.999999Z",
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
        ),
        ("0001-01-01T01:00:00+01:00", datetime(1, 1, 1, tzinfo=timezone.utc)),
    ],
)
def test_a_time_is_parsed_to_utc(text: str, moment: datetime) -> None:
    assert moment == parse_moment(text)
    assert timezone.utc is parse_moment(text).tzinfo


@given(st.text(st.sampled_from("0123456789-:.+TtZz W"), max_size=40))
def test_text_that_is_no_time_is_refused(text: str) -> None:
    try:
        assert parse_moment(text).tzinfo is timezone.utc
    except ValueError:
        pass
    else:
        assert text[10] in "Tt "


@given(moments())
def test_a_formatted_time_is_parsed_to_the_same_time(moment: datetime) -> None:
    assert moment.astimezone(timezone.utc) == parse_moment(format_moment(moment))


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),  # noqa: DTZ001
    st.sampled_from("+-"),
    st.integers(0, 23),
    st.integers(0, 59),
)
def test_a_time_with_any_offset_is_parsed(
    naive: datetime, sign: str, hours: int, minutes: int
) -> None:
    offset = timedelta(hours=hours, minutes=minutes) * (1 if sign == "+" else -1)
    text = f"{naive.isoformat()}{sign}{hours:02}:{minutes:02}"

    assert naive.replace(tzinfo=timezone.utc) - offset == parse_moment(text)


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (NOON, "2026-01-31T12:00:00Z"),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=45))), "2026-01-31T12:00:00Z"),
        (NOON.astimezone(ZoneInfo("America/New_York")), "2026-01-31T12:00:00Z"),
        (NOON.replace(microsecond=50), "2026-01-31T12:00:00.000050Z"),
        (NOON.replace(year=7), "0007-01-31T12:00:00Z"),
    ],
)
def test_a_time_is_formatted_in_utc_with_z(moment: datetime, written: str) -> None:
    assert written == format_moment(moment)


@pytest.mark.parametrize(
    ("fold", "utc"),
    [(0, "2026-10-25T00:30:00Z"), (1, "2026-10-25T01:30:00Z")],
)
def test_the_two_hours_at_the_end_of_summer_time_differ_in_utc(fold: int, utc: str) -> None:
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)

    assert utc == format_moment(moment)


@pytest.mark.parametrize("value", [None, 5, "2026-01-31T12:00:00Z", date(2026, 1, 31)])
def test_to_utc_refuses_other_values(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a time with an offset"):
        to_utc(value)


class Nowhere(tzinfo):
    """A time zone whose `utcoffset` returns None."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


def test_to_utc_refuses_a_zone_without_an_offset() -> None:
    with pytest.raises(ValueError, match="expected a time with an offset"):
        to_utc(NOON.replace(tzinfo=Nowhere()))


# The edges of what is allowed


def allowed(name: str, value: object) -> bool:
    try:
        Heartbeat(**{"server_id": "prod_web-1", name: value})  # type: ignore[arg-type]
    except InvalidMessage:
        return False
    return True


def allowed_as(kind: Any, value: object) -> bool:
    """Whether the rule of a type takes a value, both from JSON and from Python."""
    rule = rule_of(kind)
    assert rule is not None
    try:
        assert value == rule.from_python(value) == rule.read(value)
    except BROKEN:
        with pytest.raises(Unexpected, match=re.escape(f"expected {rule.expected}, got ")):
            rule.read(value)
        return False
    return True


@pytest.mark.parametrize(("kind", "longest"), [(ShortText, 200), (LongText, 4000)])
def test_a_text_with_a_limit_has_up_to_so_many_characters(kind: Any, longest: int) -> None:
    assert [True, True, True, False] == [
        allowed_as(kind, "é" * length) for length in (0, 1, longest, longest + 1)
    ]


def test_a_description_has_up_to_4_000_characters() -> None:
    assert 4000 == LONGEST_DESCRIPTION


@pytest.mark.parametrize("kind", [ShortText, LongText])
@pytest.mark.parametrize("value", ["a\0b", "\ud800", 5, True, None, b"text", ["text"], {}])
def test_a_text_with_a_limit_is_text(kind: Any, value: object) -> None:
    assert not allowed_as(kind, value)


def test_a_text_with_a_limit_may_have_several_lines() -> None:
    assert allowed_as(LongText, "Confirms an order.\n\n\tAt once. \x7f\u2028\U0001f40d")


@pytest.mark.parametrize("length", [1, 64, 100])
def test_a_digest_has_up_to_100_characters(length: int) -> None:
    assert allowed_as(Digest, "d" * length)


@pytest.mark.parametrize("digest", ["azAZ09", "sha256:0a/+==", "W/0-a_b.c", "=", ":"])
def test_a_digest_has_letters_digits_and_some_other_characters(digest: str) -> None:
    assert allowed_as(Digest, digest)


@pytest.mark.parametrize(
    "digest",
    [
        *("", "d" * 101, "0 a", "0a\n", "\n", "0a\0", '"0a"', "0a,0b", "0a;", "é", "\u0660", "0a*"),
        *(5, True, None, b"0a", ["0a"], {}),
    ],
)
def test_an_invalid_digest_is_refused(digest: object) -> None:
    assert not allowed_as(Digest, digest)


@pytest.mark.parametrize("flag", [True, False])
def test_a_flag_is_true_or_false(*, flag: bool) -> None:
    assert allowed_as(Flag, flag)


@pytest.mark.parametrize("flag", [0, 1, 0.0, 1.0, "", "true", "True", None, [], [True], {}])
def test_a_flag_other_than_true_or_false_is_refused(flag: object) -> None:
    assert not allowed_as(Flag, flag)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/mcp", "/mcp/", "/a//b", "/%7Emcp", "/-._~!$&'()*+,;=:@", "/:80", "/@host", "/.."),
        *("/?", "/mcp?db=acme", "/mcp?a=/b?c", "/mcp?url=http://host", "/mcp?db=%C3%BC"),
    ],
)
def test_a_path_begins_with_a_single_slash_and_may_have_a_query(path: str) -> None:
    assert allowed_as(UrlPath, path)


@pytest.mark.parametrize(
    "path",
    [
        *("", "mcp", "mcp/", "?db=acme", "//host", "//", "///", "/\\host", "\\/host", "\\\\host"),
        *("http://host/mcp", "javascript:alert(1)", " /mcp", "/mcp ", "/m cp", "/mcp\n", "\n/mcp"),
        *(
            "/\t/host",
            "/\n/host",
            "/\0",
            "/\x7f",
            "/\x9f",
            "/mcp#tools",
            "/mcp?a#b",
            "/é",
            "/\u2028",
        ),
        *("/%", "/%7", "/%7g", "/mcp?%", '/"onclick="alert(1)', "/<script>", "/[a]", "/a|b"),
        *(5, True, None, b"/mcp", ["/mcp"], {}),
    ],
)
def test_a_path_that_leaves_the_host_is_refused(path: object) -> None:
    assert not allowed_as(UrlPath, path)


@pytest.mark.parametrize("path", ["/mcp", "/", "/a//b?db=c", "/@host", "/:80", "/.."])
def test_an_unusual_path_is_accepted_and_never_leaves_the_host(path: str) -> None:
    base = urlsplit("https://odoo.example:8069/sse")
    joined = urlsplit(urljoin(base.geturl(), path))

    assert allowed_as(UrlPath, path)
    assert (base.scheme, base.netloc) == (joined.scheme, joined.netloc)


@given(st.text("/\\?#@:.a%7 \n", max_size=12))
def test_an_accepted_path_never_leaves_the_host(path: str) -> None:
    base = urlsplit("https://odoo.example:8069/sse")

    if allowed_as(UrlPath, path):
        joined = urlsplit(urljoin(base.geturl(), path))
        assert (base.scheme, base.netloc) == (joined.scheme, joined.netloc)


def test_a_constructor_raises_the_problem_of_a_field_of_a_tool() -> None:
    with pytest.raises(InvalidMessage, match=r"^readOnlyHint: expected true or false, got 1$"):
        ToolAnnotations(readOnlyHint=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match=r"^endpoint_path: expected the path of a URL, "):
        Tool(name="search", endpoint_path="//host")


@pytest.mark.parametrize("number", [10**30 - 1, 1 - 10**30])
def test_a_number_of_thirty_digits_is_shown(number: int) -> None:
    assert f"expected rain, got {number}" == str(Unexpected("rain", number))


@pytest.mark.parametrize("number", [10**30, -(10**30)])
def test_a_number_of_more_than_thirty_digits_is_not_shown(number: int) -> None:
    assert "expected rain, got a number too long to show" == str(Unexpected("rain", number))


@pytest.mark.parametrize("character", ["\x00", "\x1f", "\x7f", "\x80", "\x9f"])
def test_the_name_of_a_server_holds_no_control_character(character: str) -> None:
    assert not allowed("server_id", f"prod{character}web")


@pytest.mark.parametrize("character", [" ", "~", "\xa0", "\u2028", "\U000e0001"])
def test_the_name_of_a_server_may_hold_any_other_character(character: str) -> None:
    assert allowed("server_id", f"prod{character}web")


@pytest.mark.parametrize(("length", "expected"), [(0, False), (1, True), (255, True), (256, False)])
def test_the_name_of_a_server_has_up_to_255_characters(length: int, *, expected: bool) -> None:
    assert expected is allowed("server_id", "a" * length)


@pytest.mark.parametrize("code", [0, 0xD800, 0xDBFF, 0xDC00, 0xDFFF])
def test_text_with_characters_that_cannot_be_stored_is_refused(code: int) -> None:
    assert not allowed("hostname", f"web{chr(code)}1")


@pytest.mark.parametrize("character", ["\x01", "\n", "\x7f", "\ud7ff", "\ue000"])
def test_text_with_any_storable_character_is_accepted(character: str) -> None:
    assert allowed("hostname", f"web{character}1")


@pytest.mark.parametrize(
    "byte", ["0", "9", "10", "19", "20", "99", "100", "199", "200", "249", "250", "255"]
)
def test_a_byte_of_an_address_goes_up_to_255(byte: str) -> None:
    address = ".".join([byte] * 4)

    assert IpAddresses(primary=address, all=()).primary == address


@pytest.mark.parametrize(
    "address",
    [
        *("256.0.0.1", "0.260.0.1", "0.0.300.1", "0.0.0.1000", "0.0.0.01", "00.0.0.0"),
        *("10.0.0", "10.0.0.5.6", "10.0.0.", "10a0.0.5", "fe80::5%eth0", "::g", ""),
    ],
)
def test_an_invalid_ip_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidMessage, match=r"^primary: expected an IP address, got "):
        IpAddresses(primary=address, all=())


@pytest.mark.parametrize(
    ("port", "expected"), [(0, False), (1, True), (65535, True), (65536, False), (True, False)]
)
def test_a_port_is_a_whole_number_from_1_to_65535(port: object, *, expected: bool) -> None:
    assert expected is allowed("port", port)


@pytest.mark.parametrize("name", ["uptime_seconds", "heartbeat_interval_seconds"])
@pytest.mark.parametrize(
    "seconds", [True, "5", float("nan"), float("inf"), -float("inf"), -5e-324, -1]
)
def test_seconds_are_a_finite_number_that_is_not_below_0(name: str, seconds: object) -> None:
    assert not allowed(name, seconds)


def test_an_uptime_may_be_0_and_an_interval_may_not() -> None:
    assert allowed("uptime_seconds", 0)
    assert not allowed("heartbeat_interval_seconds", 0)
    assert allowed("heartbeat_interval_seconds", 5e-324)


@pytest.mark.parametrize(
    "url",
    [
        *("http://odoo/?a?b", "http://odoo?a?b", "http://odoo#a?b", "http://odoo/?a#b?c"),
        *("http://odoo/a//b/%7Emcp/-._~!$&'()*+,;=:@", "http://odoo/?a/b#c/d", "http://odoo/?#"),
        *("http://A-Z.a-z_0~9", "http://[2001:db8::a:5]:80/", "hTtPs://odoo"),
    ],
)
def test_a_url_may_have_a_path_a_query_and_a_fragment(url: str) -> None:
    assert allowed("endpoint_url", url)


@pytest.mark.parametrize(
    "url",
    [
        *("http:/odoo", "http://", "http://:80", "httpss://odoo", "ftp://odoo", "//odoo", "odoo"),
        *("http://odoo:", "http://odoo:0", "http://odoo:65536", "http://odoo:000080", 5),
        *("http://[::g]", "http://[]", "http://[10.0.0]", "http://od oo", "http://odoo/ü"),
        *("http://odoo/%7", "http://odoo/#a#b", "http://odoo/\n", " http://odoo", "http://a[::1]"),
    ],
)
def test_a_url_that_is_not_http_is_refused(url: object) -> None:
    assert not allowed("endpoint_url", url)


@pytest.mark.parametrize(
    "text",
    [
        *("2026-01-31T12:00:00", "2026-01-31", "2026-01-31T12:00Z", "2026-01-31_12:00:00Z"),
        *("2026-01-31T12:00:00.Z", "2026-01-31T12:00:00,5Z", "2026-01-31T12:00:00+01"),
        *("2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+00:60", "2026-01-31T24:00:01Z"),
        *("2026-02-29T12:00:00Z", "2026-01-31T12:00:00Z\n", "٢٠٢٦-01-31T12:00:00Z", ""),
    ],
)
def test_a_time_without_an_offset_or_no_time_is_refused(text: str) -> None:
    rule = rule_of(Moment)

    assert rule is not None
    with pytest.raises(Unexpected, match=r"^expected an ISO 8601 time with an offset, got "):
        rule.read(text)


def test_a_time_that_utc_cannot_tell_is_refused_by_its_name() -> None:
    first = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))

    with pytest.raises(ValueError, match=r"^UTC cannot tell 0001-01-01T00:00:00\+01:00$"):
        to_utc(first)


@pytest.mark.parametrize("code", [0xD800, 0xDFFF])
def test_a_server_id_with_characters_that_cannot_be_stored_is_refused(code: int) -> None:
    assert not allowed("server_id", f"prod{chr(code)}web")


def test_a_value_that_describes_itself_in_odd_characters_is_shown_without_them() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd\x9b31m>"

    assert r'expected rain, got "<odd\u009b31m>"' == str(Unexpected("rain", Odd()))


def test_a_whole_number_of_seconds_is_kept_as_a_fraction() -> None:
    kept = heartbeat(uptime_seconds=300, heartbeat_interval_seconds=60)

    assert "300.0 60.0" == f"{kept.uptime_seconds} {kept.heartbeat_interval_seconds}"


def test_a_constructor_tells_its_problem_as_a_path_and_a_message() -> None:
    with pytest.raises(InvalidMessage) as caught:
        heartbeat(port=0)

    assert (Problem("port", "expected a port from 1 to 65535, got 0"),) == caught.value.problems
