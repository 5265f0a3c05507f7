"""The rules of the field types, and parsing and formatting of times."""

from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import Heartbeat, InvalidMessage, IpAddresses, Registration
from contract.fields import (
    HttpUrl,
    Port,
    Rule,
    Text,
    Unexpected,
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
def test_other_types_carry_no_rule(kind: object) -> None:
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
    with pytest.raises(InvalidMessage, match=r"^capabilities\[1\]: expected text, got 5$"):
        heartbeat(capabilities=["search", 5])


@pytest.mark.parametrize("capabilities", ["abc", 5, {"search": 1}, {"search"}, iter(["search"])])
def test_a_constructor_refuses_other_values_for_a_list(capabilities: object) -> None:
    with pytest.raises(InvalidMessage, match=r"^capabilities: expected a list, got "):
        heartbeat(capabilities=capabilities)


@pytest.mark.parametrize("capabilities", [["search"], ("search",)])
def test_a_constructor_keeps_a_list_as_a_tuple(capabilities: Any) -> None:
    assert ("search",) == heartbeat(capabilities=capabilities).capabilities


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
def test_other_text_is_refused_as_a_time(text: str) -> None:
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
