"""Filters of servers as one text: what it means, how it is written, and what is refused."""

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import IpAddresses, ServerRecord, State
from receiver.domain.filter_text import MAX_LENGTH, MOST_WORDS, FilterText
from receiver.domain.queries import ALL_SERVERS, Filter
from server_records import server_record

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
NAMES = ["server", "database", "stage", "version", "odoo", "tool", "state"]


def record(**said: Any) -> ServerRecord:
    return server_record(at=NOON, **{"server_id": "acme_web-1", "state": State.UP, **said})


KNOWN = record(
    database="acme",
    hostname="web-1",
    odoo_stage="production",
    version="1.2",
    odoo_version="19.0",
    capabilities=("confirm_order", "search"),
    ip_addresses=IpAddresses(primary="10.0.0.5", all=("10.0.0.5",)),
)


# Reading and writing


@pytest.mark.parametrize(
    ("text", "expected", "canonical"),
    [
        ("", FilterText(), ""),
        ("  \t\n ", FilterText(), ""),
        ("stage:production", FilterText(stage=("production",)), "stage:production"),
        (
            "stage:production,none",
            FilterText(stage=("", "production")),
            "stage:none,production",
        ),
        ('stage:"none"', FilterText(stage=("none",)), 'stage:"none"'),
        ("database:none", FilterText(database=("none",)), "database:none"),
        (
            'tool:b,"a, b" odoo:19.0,19.0',
            FilterText(tool=("a, b", "b"), odoo=("19.0",)),
            'odoo:19.0 tool:"a, b",b',
        ),
        (
            r'database:"a \"b\" \\c"',
            FilterText(database=(r'a "b" \c',)),
            r'database:"a \"b\" \\c"',
        ),
        (r"database:a\b", FilterText(database=(r"a\b",)), r"database:a\b"),
        ("server:acme:8069", FilterText(server=("acme:8069",)), "server:acme:8069"),
        ("state:superseded,node,down", FilterText(state=("down", "node", "superseded")), None),
        ("web acme", FilterText(words=("acme", "web")), "acme web"),
        ('web,1 "a b"', FilterText(words=("a b", "web,1")), '"a b" web,1'),
        ('"version:2"', FilterText(words=("version:2",)), '"version:2"'),
        (
            "-tool:b,a stage:dev -state:up -1",
            FilterText(
                stage=("dev",), without=(("tool", ("a", "b")), ("state", ("up",))), words=("-1",)
            ),
            "stage:dev -tool:a,b -state:up -1",
        ),
        (
            "https://acme.example:8069/mcp",
            FilterText(words=("https://acme.example:8069/mcp",)),
            '"https://acme.example:8069/mcp"',
        ),
        ("fd00::5", FilterText(words=("fd00::5",)), '"fd00::5"'),
        ("web.eu:8069 web:80", FilterText(words=("web.eu:8069", "web:80")), None),
        (
            "network:10.0.0.7/24,fd00:1::/64 key:none,acme",
            FilterText(network=("10.0.0.0/24", "fd00:1::/64"), key=("", "acme")),
            "network:10.0.0.0/24,fd00:1::/64 key:none,acme",
        ),
        ('key:"none"', FilterText(key=("none",)), 'key:"none"'),
    ],
)
def test_filter_text_is_parsed_and_written_back(
    text: str, expected: FilterText, canonical: str | None
) -> None:
    found = FilterText.parse(text)

    assert expected == found
    assert canonical is None or canonical == str(found)
    assert found == FilterText.parse(str(found))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stag:production", "'stag' is no name that a filter knows; these are: server, database"),
        (":production", "'' is no name that a filter knows"),
        ("acme web:x", "'web' is no name .* stands in double quotes"),
        ("acme -web:x", "'-web' is no name"),
        ("network:10.0.0.0/8", "network: '10.0.0.0/8' is no network of 24 bits, such as"),
        ("network:web", "network: 'web' is no network of 24 bits"),
        ("key:", "key: has an empty value; write none for servers without a key"),
        ("-stage:", "stage: has an empty value; write none"),
        ("-tool:a -tool:b", "-tool: is there twice; several values stand after one -tool:"),
        ("stage:", "stage: has an empty value; write none for servers without a stage"),
        ('stage:""', "stage: has an empty value; write none"),
        ("database:a,,b", r"^database: has an empty value\.$"),
        ("database:a,", r"^database: has an empty value\.$"),
        ('""', r"^A text has an empty value\.$"),
        ("state:dwn", "state: 'dwn' is no state; these are: new, up, late, down, left, superseded"),
        ("tool:a tool:b", "tool: is there twice; several values stand after one tool:"),
        ('"acme', "A double quote is not closed"),
        ('acme "b\\a"', r"a backslash between two of them .*: '\"b"),
        ('ac"me"', r"^Double quotes stand around a whole text: 'ac\"me\"'\.$"),
        ('"ac"me', "^Double quotes stand around a whole text"),
        ('tool:a"b"', "^tool: double quotes stand around a whole value"),
        ('tool:"a"b', "^tool: double quotes stand around a whole value"),
        ('tool:"a\x00b"', r"^tool: has a control character in it: 'a\\x00b'\.$"),
        ('"a\nb"', r"^A text has a control character in it"),
        ("\ud800", "^A text has a control character in it"),
        ("a" * (MAX_LENGTH + 1), f"^A filter has {MAX_LENGTH} characters at most"),
        (" ".join(f"h{n}:1" for n in range(150)), "at most, with the double quotes that it needs"),
        (f"x{'y' * 500}:z", "^'xy{59}…' is no name"),
    ],
)
def test_invalid_filter_text_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FilterText.parse(text)


def test_filter_of_a_request_has_fewer_words_than_one_that_is_stored() -> None:
    words = [f"w{n}" for n in range(MOST_WORDS + 1)]

    with pytest.raises(ValueError, match="A filter has 50 words without"):
        FilterText.asked(" ".join(words))
    assert {*words} == {*FilterText.parse(" ".join(words)).words}
    assert FilterText.parse(" ".join(words[1:])) == FilterText.asked(" ".join(words[1:]))


def values(**options: Any) -> st.SearchStrategy[tuple[str, ...]]:
    characters = st.characters(exclude_categories=["Cc", "Cs"])
    text = st.sampled_from(["none", 'a "b', "a\\", "a,b", ":"]) | st.text(
        characters, min_size=1, max_size=6
    )
    return st.lists(text, max_size=2).map(tuple)


@given(
    said=st.fixed_dictionaries(dict.fromkeys([*NAMES[:6], "words"], values())),
    has_none=st.booleans(),
    excluded=values(),
)
def test_text_of_any_filter_is_parsed_as_the_same_filter(
    said: dict[str, tuple[str, ...]], excluded: tuple[str, ...], *, has_none: bool
) -> None:
    stages = (*said.pop("stage"), *([""] if has_none else []))
    without = (("tool", tuple(sorted({*excluded}))),) if excluded else ()
    wanted = FilterText(stage=stages, state=("down",), without=without, **said)

    assert wanted == FilterText.parse(str(wanted))
    assert wanted == FilterText.of(wanted.to_filter())


@given(st.text() | st.text('":,\\ abnoe', max_size=12) | st.text("stage:tol\"',", max_size=12))
def test_any_filter_text_is_parsed_or_refused_with_a_sentence(text: str) -> None:
    try:
        found = FilterText.parse(text)
    except ValueError as error:
        said = str(error)
    else:
        said = "It was read."
        assert found == FilterText.parse(str(found))
    assert said.endswith(".")
    assert said.isprintable()


# Matching


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("server:acme_web-1", True),
        ("server:acme_web", False),
        ("database:acme", True),
        ("database:blue,acme", True),
        ("database:Acme", False),
        ("stage:production,none", True),
        ("stage:none", False),
        ("version:1.2", True),
        ("version:1", False),
        ("odoo:19.0", True),
        ("odoo:18.0", False),
        ("tool:search,missing", True),
        ("tool:missing", False),
        ("state:up", True),
        ("state:late,down", False),
        ("-tool:missing -state:down", True),
        ("-tool:search", False),
        ("stage:production -stage:production", False),
        ("network:10.0.0.0/24", True),
        ("network:10.0.1.0/24", False),
        ("10.0.0. conf 19", True),
        ("key:acme", False),
        ("ACME", True),
        ("WEB-1 cm", True),
        ("web-1 blue", False),
        ("database:acme stage:staging", False),
    ],
)
def test_server_matches_all_words_of_the_text(text: str, *, matches: bool) -> None:
    assert matches is FilterText.parse(text).matches(KNOWN)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("stage:none", True),
        ("acme_web", True),
        *((f"{name}:x", False) for name in NAMES if name != "state"),
        ("network:10.0.0.0/24", False),
    ],
)
def test_server_of_which_only_the_id_is_known_has_no_other_value(
    text: str, *, matches: bool
) -> None:
    assert matches is FilterText.parse(text).matches(record())


def test_empty_stage_of_a_server_matches_as_no_stage() -> None:
    assert FilterText.parse("stage:none").matches(record(odoo_stage=""))


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"state": State.LEFT}, "left"),
        ({"state": State.DOWN}, "down"),
        ({"state": State.DOWN, "node_of": "acme_web-2"}, "node"),
        ({"state": State.DOWN, "superseded_by": "acme_web-2"}, "superseded"),
        ({"superseded_by": "acme_web-2", "node_of": "acme_web-3"}, "superseded"),
    ],
)
def test_state_filter_matches_the_state_shown_in_lists(said: dict[str, Any], state: str) -> None:
    server = record(**said)
    states = ["new", "up", "late", "down", "left", "superseded", "node"]

    assert [state] == [each for each in states if FilterText.parse(f"state:{each}").matches(server)]
    assert FilterText.parse("").matches(server)
    assert FilterText.parse("acme state:new -state:up").in_any_state() == FilterText(
        words=("acme",)
    )


# Lists


def test_filter_of_a_list_has_the_same_values() -> None:
    text = (
        "server:a,b database:acme stage:none version:1.2 odoo:19.0 tool:read,search "
        "state:down,late -tool:missing web"
    )

    assert ALL_SERVERS == FilterText.parse("").to_filter()
    assert (
        Filter(
            state=("down", "late"),
            stage="",
            database="acme",
            version="1.2",
            odoo_version="19.0",
            capability={"search", "read"},
            server_id=["b", "a", "b"],
            words=("web",),
            without=(("capability", ("missing",)),),
        )
        == FilterText.parse(text).to_filter()
    )
    assert text == str(FilterText.of(FilterText.parse(text).to_filter()))


# Choosing


@pytest.mark.parametrize(
    ("text", "toggled", "excluding"),
    [
        ("", "tool:a", "-tool:a"),
        ("tool:a", "", "-tool:a"),
        ("tool:a,b odoo:19.0", "odoo:19.0 tool:b", "odoo:19.0 tool:b -tool:a"),
        ("-tool:a", "", "-tool:a"),
        ("-tool:a,b web", "-tool:b web", "-tool:a,b web"),
    ],
)
def test_value_of_a_filter_is_added_removed_and_excluded(
    text: str, toggled: str, excluding: str
) -> None:
    before = FilterText.parse(text)

    assert toggled == str(before.toggled("tool", "a"))
    assert excluding == str(before.excluding("tool", "a"))
    assert ("dev", "x") == before.changed("stage", ["x", "dev", "x"]).stage


def test_names_of_the_words_of_a_filter_are_known() -> None:
    assert {"tool", "stage"} == FilterText.parse("tool:a -stage:b web").names()
