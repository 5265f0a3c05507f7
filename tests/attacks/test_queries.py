"""Every query string is answered or refused with a problem document."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import messages
import strategies
from attacks.law import Target, searched

LISTS = ("/servers", "/events", "/servers/canary/events", "/sd/prometheus", "/", "/timeline")
OTHERS = (
    *("/servers/canary", "/server/canary", "/health", "/metrics", "/openapi.json", "/nowhere"),
    *("/alarms", "/deliveries", "/silences", "/badges/nobody/servers.svg"),
)
EVERY_LIST = pytest.mark.parametrize("path", LISTS)
EVERYWHERE = pytest.mark.parametrize("path", [*LISTS, *OTHERS])

NAMES = [
    *("limit", "cursor", "total", "sort", "state", "stage", "database", "version", "odoo_version"),
    *("capability", "q", "kind", "server_id", "since", "limit[]", "limit%00", "%ff", "", "x"),
    *("query", "open", "ended", "channel_id"),
]
VALUES = [
    *("", "%00", "%ff", "%c0%80", "%ed%a0%80", "%u0041", "%", "%2", "%zz", "+", "%2b", "'", '"'),
    *("0", "1", "-1", "1000", "1e3", "%D9%A1", "true", "late", "server_id", "-last_seen", "%25%27"),
    *("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00", "9999-12-31T23:59:59.9999999-23:59"),
    *("stage:production", "state:down,up", 'database:"', "%22%5C", "server:a", "none:", ":", ",,"),
    *("0001-01-01T00:00:00%2B23:59", "..", "%0d%0aX:y", "%F0%9F%90%8D", "\\", "a=b", "%5B%5D", "_"),
]
names = st.sampled_from(NAMES)
values = st.sampled_from(VALUES)
parts = st.builds("{}={}".format, names, values) | names | values
queries = st.lists(parts, max_size=5).flatmap(
    lambda said: st.sampled_from("&;").map(lambda between: between.join(said))
)
# Without the bytes that end the request target in HTTP.
bytes_in_query = st.binary(max_size=60).map(lambda soup: soup.translate(None, b"\r\n\0 #\t\f\v"))


@EVERYWHERE
@given(query=queries.map(str.encode) | bytes_in_query)
@searched(15)
def test_random_query_is_answered_or_refused(target: Target, path: str, query: bytes) -> None:
    target.ask("GET", path.encode() + b"?" + query)


@EVERY_LIST
@given(data=st.data())
@searched(15)
def test_random_parameter_is_answered_or_refused(
    target: Target, path: str, data: st.DataObject
) -> None:
    name, text = data.draw(names), data.draw(st.text(st.characters(exclude_categories=["Cs"])))

    target.ask("GET", f"{path}?{name}={quote(text, safe='')}")


def cursors(target: Target) -> list[str]:
    """Valid cursors of the receiver, one for each list and order."""
    target.ask(
        *("POST", "/heartbeats"),
        json.dumps([messages.slim(server_id=each) for each in ("one", "two")]).encode(),
    )
    orders = ("server_id", "-server_id", "first_seen", "-last_seen")
    paths = ["/events?limit=1", *(f"/servers?limit=1&sort={order}" for order in orders)]
    return [target.ask("GET", path).json()["next_cursor"] for path in paths]


@pytest.mark.parametrize("path", ["/servers", "/events", "/", "/timeline", "/servers/one/events"])
@given(data=st.data())
@searched(30)
def test_changed_cursor_is_answered_or_refused(
    target: Target, path: str, data: st.DataObject
) -> None:
    cursor = data.draw(st.sampled_from(cursors(target)))
    assert cursor is not None
    if data.draw(st.booleans()):
        letters = [*cursor]
        at = data.draw(st.integers(0, len(letters) - 1))
        letters[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.text("AZaz09-_=+/%", max_size=3)
        )
        said = "".join(letters)
    else:
        inside = json.loads(base64.urlsafe_b64decode(cursor))
        at = data.draw(st.integers(0, len(inside) - 1))
        inside[at] = data.draw(strategies.wire_values() | st.integers() | st.just("\0"))
        said = base64.urlsafe_b64encode(json.dumps(inside).encode()).decode()
    sort = data.draw(st.sampled_from(["", "sort=-last_seen&", "sort=first_seen&"]))

    target.ask("GET", f"{path}?{sort}cursor={quote(said)}")


@EVERYWHERE
def test_ten_thousand_parameters_are_answered_or_refused(target: Target, path: str) -> None:
    for query in ("&" * 10_000, "x&" * 10_000, "x=%00&" * 8000, "kind=late&" * 6000, "q=1&" * 9000):
        answer = target.ask("GET", f"{path}?{query}")

        assert len(answer.body) < 512 * 1024


@EVERYWHERE
def test_query_of_60_kib_is_answered_or_refused(target: Target, path: str) -> None:
    for name in ("q", "stage", "cursor", "limit", "server_id", "kind", "since"):
        for letter in ("a", "%00", "%ff", "%F0%9F%90%8D", "'", "="):
            answer = target.ask("GET", f"{path}?{name}={letter * (60 * 1024 // len(letter))}")

            assert len(answer.body) < 1024 * 1024


EVENT_IDS = [
    *("-1", "1.5", "1e3", "\u0661", "0x1", "9" * 19, "9" * 50_000, "1, 2", "null", "\xff"),
    *("%00", "1;", "'", "\t1 2"),
]


def test_invalid_last_event_id_is_refused(target: Target) -> None:
    for said in EVENT_IDS:
        answer = target.ask("GET", "/events/stream", headers={"Last-Event-ID": said})

        assert (400, "invalid_parameter") == (answer.status, answer.json()["code"])


@given(said=st.binary(max_size=12).map(lambda soup: soup.translate(None, b"\r\n\0")))
@searched(30)
def test_random_last_event_id_is_refused(target: Target, said: bytes) -> None:
    if said.strip(b" \t").isdigit() or not said.strip(b" \t"):
        return  # a valid id, or an empty header, which counts as none

    answer = target.ask("GET", "/events/stream", headers={"Last-Event-ID": said})

    assert 400 == answer.status


@given(query=queries)
@searched(30)
def test_invalid_query_of_the_stream_is_refused(target: Target, query: str) -> None:
    # `limit` makes every query invalid here, because a stream that starts would not end.
    answer = target.ask("GET", f"/events/stream?{query}&limit=1")

    assert 400 == answer.status
