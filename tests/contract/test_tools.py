"""Descriptions of tools: their digest, what has changed in them, and how they are shortened."""

import random
import string
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from attrs import evolve, fields, frozen
from attrs.exceptions import FrozenInstanceError
from hypothesis import given
from hypothesis import strategies as st

from contract import (
    InvalidMessage,
    Registration,
    Tool,
    ToolAnnotations,
    changed_tools,
    shortened,
    tools_digest,
)
from contract.tools import MOST_DESCRIPTION_CHARACTERS
from strategies import tools

HINTS = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"]
CONFIRM = Tool(
    name="confirm_order",
    title="Confirm",
    description="Confirms the order of a café.",
    annotations=ToolAnnotations(readOnlyHint=False, destructiveHint=True),
    input_schema_digest="sha256:0a",
    provider="sale",
    endpoint_path="/mcp?db=acme",
)
SEARCH = Tool(name="search")

# For each field: another value than that of `CONFIRM`.
OTHER: dict[str, Any] = {
    "name": "cancel_order",
    "title": "confirm",
    "description": "Confirms the order of a café",
    "annotations": ToolAnnotations(readOnlyHint=True, destructiveHint=True),
    "input_schema_digest": "sha256:0b",
    "provider": "sale_stock",
    "endpoint_path": "/mcp",
}
COMPARED = [name for name in OTHER if name not in {"name", "endpoint_path"}]

hints = dict.fromkeys(HINTS, st.sampled_from([None, True, False]))
lists_of_tools = st.lists(tools(), max_size=5)
# Descriptions of very few names, so that the same ones are described again and again.
alike = st.builds(
    Tool,
    name=st.sampled_from(["create", "search"]),
    endpoint_path=st.sampled_from([None, "/", "/mcp"]),
    title=st.sampled_from([None, "", "Search"]),
    description=st.sampled_from([None, "Finds.", "Finds records."]),
    annotations=st.none() | st.builds(ToolAnnotations, **hints),
)
lists_alike = st.lists(alike, max_size=4)


def having(tool: Tool, name: str, value: Any) -> Tool:
    """The tool with another value of one of its fields."""
    return evolve(tool, **{name: value})


# The classes


def test_a_tool_has_exactly_the_listed_fields() -> None:
    assert [*OTHER] == [field.name for field in fields(Tool)]


def test_the_hints_of_a_tool_are_those_of_mcp() -> None:
    assert HINTS == [field.name for field in fields(ToolAnnotations)]


def test_a_tool_needs_only_a_name() -> None:
    assert dict.fromkeys(OTHER) | {"name": "search"} == {
        name: getattr(SEARCH, name) for name in OTHER
    }


def test_a_tool_without_a_name_raises() -> None:
    with pytest.raises(TypeError, match="name"):
        Tool(title="Search")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [Tool, ToolAnnotations])
def test_the_fields_of_a_tool_are_keyword_arguments(kind: Any) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        kind("search")


@pytest.mark.parametrize("name", OTHER)
def test_a_tool_is_immutable(name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(CONFIRM, name, OTHER[name])


@pytest.mark.parametrize("hints", [{"readOnlyHint": True}, {}, [], True])
def test_a_tool_refuses_other_values_for_its_annotations(hints: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"^annotations: expected ToolAnnotations, got "):
        Tool(name="search", annotations=hints)


@pytest.mark.parametrize("wrong", [{"name": "create"}, "create", None, ToolAnnotations(), [SEARCH]])
def test_a_message_refuses_other_items_than_tools(wrong: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"^tools\[1\]: expected Tool, got "):
        Registration(server_id="prod_web-1", tools=[SEARCH, wrong, wrong])  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["search", SEARCH, {"search": SEARCH}, {SEARCH}, iter([SEARCH])])
def test_a_message_refuses_other_values_for_a_list_of_tools(wrong: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"^tools: expected a list, got "):
        Registration(server_id="prod_web-1", tools=wrong)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_message_keeps_each_tool_once_in_the_order_of_the_first(kind: Any) -> None:
    told = kind([CONFIRM, SEARCH, evolve(CONFIRM), SEARCH])

    assert (CONFIRM, SEARCH) == Registration(server_id="prod_web-1", tools=told).tools


def test_a_message_keeps_a_thousand_different_tools_and_no_more() -> None:
    told = tuple(evolve(SEARCH, title=f"{n}") for n in range(1001))

    kept = Registration(server_id="prod_web-1", tools=told[:-1] * 2).tools

    assert told[:-1] == kept
    with pytest.raises(
        InvalidMessage, match=r"^tools: expected at most 1000 different items, got 1001$"
    ):
        Registration(server_id="prod_web-1", tools=told)


# The digest


def test_the_digest_is_the_same_in_every_release() -> None:
    """A receiver would ask every server for its tools again after another digest."""
    assert "4e91597eaa24538b9360ccd24e69ed3fa3af1f28d70bdba603f8e8ec15625818" == (
        tools_digest([SEARCH, CONFIRM])
    )


def test_the_digest_of_no_tools_is_that_of_no_bytes() -> None:
    assert "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" == tools_digest([])


@given(lists_of_tools)
def test_a_digest_is_64_hexadecimal_digits(drawn: list[Tool]) -> None:
    digest = tools_digest(drawn)

    assert 64 == len(digest)
    assert {*digest} <= {*string.hexdigits.lower()}


@given(lists_of_tools, st.randoms())
def test_the_order_and_repetitions_make_no_difference_to_the_digest(
    drawn: list[Tool], chance: random.Random
) -> None:
    shuffled = [*drawn, *drawn[:2]]
    chance.shuffle(shuffled)

    assert tools_digest(drawn) == tools_digest(iter(shuffled))


@given(lists_alike, lists_alike)
def test_digests_are_equal_only_if_the_tools_are(one: list[Tool], other: list[Tool]) -> None:
    assert ({*one} == {*other}) == (tools_digest(one) == tools_digest(other))


@pytest.mark.parametrize("name", OTHER)
def test_another_value_of_a_field_makes_another_digest(name: str) -> None:
    other = having(CONFIRM, name, OTHER[name])

    assert tools_digest([SEARCH, CONFIRM]) != tools_digest([SEARCH, other])


@pytest.mark.parametrize("name", [name for name in OTHER if name != "name"])
def test_a_field_that_is_absent_makes_another_digest(name: str) -> None:
    assert tools_digest([CONFIRM]) != tools_digest([having(CONFIRM, name, None)])


@pytest.mark.parametrize("name", HINTS)
def test_every_hint_makes_another_digest(name: str) -> None:
    digests = {
        tools_digest([Tool(name="search", annotations=ToolAnnotations(**{name: hint}))])
        for hint in (True, False, None)
    }

    assert 3 == len(digests)


def test_the_digest_of_a_value_depends_on_its_field() -> None:
    digests = {
        tools_digest([having(SEARCH, name, "/mcp")]) for name in OTHER if name != "annotations"
    }

    assert 6 == len(digests)


def test_a_field_that_a_later_version_adds_changes_no_digest_where_it_is_absent() -> None:
    @frozen(kw_only=True)
    class LaterAnnotations(ToolAnnotations):
        slowHint: bool | None = None  # noqa: N815 - as in MCP

    @frozen(kw_only=True)
    class LaterTool(Tool):
        icon: str | None = None

    hinted = evolve(SEARCH, annotations=ToolAnnotations(openWorldHint=False))
    later = LaterTool(name="search", annotations=LaterAnnotations(openWorldHint=False))

    assert tools_digest([SEARCH]) == tools_digest([LaterTool(name="search")])
    assert tools_digest([hinted]) == tools_digest([later])
    assert tools_digest([hinted]) != tools_digest([evolve(later, icon="")])


def test_a_field_and_a_hint_that_a_later_version_adds_have_not_changed_by_that() -> None:
    before = evolve(CONFIRM, title=None, annotations=ToolAnnotations(readOnlyHint=False))

    assert {} == changed_tools([before], [CONFIRM]) == changed_tools([CONFIRM], [before])


# What has changed


@pytest.mark.parametrize("name", COMPARED)
def test_a_changed_field_is_told_by_the_name_of_its_tool(name: str) -> None:
    after = having(CONFIRM, name, OTHER[name])

    assert {"confirm_order": [name]} == changed_tools([SEARCH, CONFIRM], [SEARCH, after])


def test_changed_fields_are_told_in_the_order_of_the_class_and_tools_by_name() -> None:
    after = evolve(CONFIRM, **{name: OTHER[name] for name in reversed(COMPARED)})
    found = changed_tools([evolve(SEARCH, title="a"), CONFIRM], [evolve(SEARCH, title="b"), after])

    assert [("confirm_order", COMPARED), ("search", ["title"])] == [*found.items()]


@pytest.mark.parametrize("name", COMPARED)
def test_a_field_that_only_one_of_the_two_knows_has_not_changed(name: str) -> None:
    without = having(CONFIRM, name, None)

    assert {} == changed_tools([CONFIRM], [without]) == changed_tools([without], [CONFIRM])


@pytest.mark.parametrize("name", ["title", "description", "provider"])
def test_an_empty_text_of_a_tool_is_compared_like_any_text(name: str) -> None:
    empty = having(CONFIRM, name, "")

    assert {"confirm_order": [name]} == changed_tools([CONFIRM], [empty])
    assert {"confirm_order": [name]} == changed_tools([empty], [CONFIRM])


@pytest.mark.parametrize("name", HINTS)
@pytest.mark.parametrize(
    ("before", "after", "is_changed"),
    [
        (True, False, True),
        (False, True, True),
        (True, True, False),
        (False, False, False),
        (None, True, False),
        (False, None, False),
        (None, None, False),
    ],
)
def test_a_hint_has_changed_if_both_know_it_and_differ(
    *, name: str, before: bool | None, after: bool | None, is_changed: bool
) -> None:
    old, new = (
        Tool(name="search", annotations=ToolAnnotations(**{name: hint})) for hint in (before, after)
    )

    assert ({"search": ["annotations"]} if is_changed else {}) == changed_tools([old], [new])


def test_a_hint_is_not_compared_with_another_one() -> None:
    old = evolve(SEARCH, annotations=ToolAnnotations(readOnlyHint=True))
    new = evolve(SEARCH, annotations=ToolAnnotations(openWorldHint=False))

    assert {} == changed_tools([old], [new])


@pytest.mark.parametrize(
    "after",
    [
        [],
        [SEARCH],
        [evolve(CONFIRM, name="cancel_order", title="Cancel")],
        [evolve(CONFIRM, endpoint_path=None, title="Cancel")],
        [evolve(CONFIRM, endpoint_path="/mcp", title="Cancel")],
    ],
)
def test_a_tool_that_is_new_or_gone_has_not_changed(after: list[Tool]) -> None:
    assert {} == changed_tools([CONFIRM], after) == changed_tools(after, [CONFIRM])


def test_tools_of_one_name_at_several_paths_are_told_together() -> None:
    before = [evolve(CONFIRM, endpoint_path=path) for path in (None, "/a", "/b")]
    after = [
        before[0],
        evolve(before[1], provider="sale_stock"),
        evolve(before[2], title="", provider="sale_stock"),
    ]

    for told in (after, after[::-1]):
        assert {"confirm_order": ["title", "provider"]} == changed_tools(before, told)


def test_the_paths_of_tools_are_compared_apart() -> None:
    before = [evolve(SEARCH, title="a", endpoint_path=path) for path in ("/a", "/b")]
    after = [evolve(SEARCH, title="a", endpoint_path="/a"), evolve(before[1], title="b")]

    assert {"search": ["title"]} == changed_tools(iter(before), iter(after))


@given(lists_of_tools | lists_alike, st.randoms())
def test_the_same_tools_in_another_order_have_not_changed(
    drawn: list[Tool], chance: random.Random
) -> None:
    shuffled = [*drawn, *drawn[:2]]
    chance.shuffle(shuffled)

    assert {} == changed_tools(drawn, shuffled)


@given(lists_alike, lists_alike)
def test_changed_tools_are_the_same_in_both_directions(one: list[Tool], other: list[Tool]) -> None:
    assert changed_tools(one, other) == changed_tools(other, one)


@given(lists_alike, lists_alike)
def test_changed_tools_agree_with_a_field_by_field_model(
    one: list[Tool], other: list[Tool]
) -> None:
    """Compares `changed_tools` with a model that looks at one field after the other."""
    changed = changed_tools(one, other)

    names = sorted({tool.name for tool in one})
    told = [(name, [f for f in COMPARED if is_changed(f, name, one, other)]) for name in names]
    assert [(name, fields) for name, fields in told if fields] == [*changed.items()]


def is_changed(field: str, name: str, one: Iterable[Tool], other: Iterable[Tool]) -> bool:
    """Whether at some path both lists tell something of a field, or of a hint, and not the same."""
    for path in (None, "/", "/mcp"):
        for hint in HINTS if field == "annotations" else [None]:
            old, new = (
                {
                    value if hint is None else getattr(value, hint)
                    for tool in tools
                    if (tool.name, tool.endpoint_path) == (name, path)
                    and (value := getattr(tool, field)) is not None
                }
                - {None}
                for tools in (one, other)
            )
            if old and new and old != new:
                return True
    return False


@given(lists_of_tools, lists_of_tools)
def test_changed_tools_have_other_digests(one: list[Tool], other: list[Tool]) -> None:
    if changed_tools(one, other):
        assert tools_digest(one) != tools_digest(other)


# Shortening


def described(*lengths: int) -> list[Tool]:
    """Tools with descriptions of these lengths, each of another letter than those next to it."""
    letters = string.ascii_letters
    return [
        Tool(name=f"tool_{n}", title="x", description=letters[n % len(letters)] * length)
        for n, length in enumerate(lengths)
    ]


def lengths_of(tools: Iterable[Tool]) -> list[int]:
    return [len(tool.description or "") for tool in tools]


# The lengths of many descriptions, often so long that they do not fit.
many_lengths = st.lists(st.integers(0, 4000) | st.integers(3900, 4000), max_size=80) | st.builds(
    lambda count, lengths: [lengths[n % len(lengths)] for n in range(count)],
    st.integers(22, 1000),
    st.lists(st.integers(0, 4000), min_size=1, max_size=5),
)


def test_all_descriptions_together_may_have_100_000_characters() -> None:
    assert 100_000 == MOST_DESCRIPTION_CHARACTERS


@pytest.mark.parametrize(
    "lengths", [[], [0], [4000], [4000] * 25, [100] * 1000, [3999, *[4000] * 24, 1], [0] * 1000]
)
def test_descriptions_that_fit_are_kept(lengths: list[int]) -> None:
    told = described(*lengths)

    assert tuple(told) == shortened(told)


def test_tools_without_a_description_are_kept() -> None:
    told = [Tool(name="search"), *described(*[4000] * 25), Tool(name="create", description="")]

    assert tuple(told) == shortened(told)


@pytest.mark.parametrize(
    ("lengths", "left"),
    [
        ([4000] * 1000, [100] * 1000),
        ([4000] * 26, [3846] * 26),
        ([1, *[4000] * 25], [1, *[3999] * 25]),
        ([4000] * 25 + [1], [3999] * 25 + [1]),
        ([101] * 1000, [100] * 1000),
        ([101, *[100] * 999], [100] * 1000),
        # What short ones leave is shared by the others.
        ([0] * 500 + [4000] * 500, [0] * 500 + [200] * 500),
        # Exactly as long as may be, and one that is longer by a character.
        ([3846, *[4000] * 25], [3846] * 26),
        ([3847, *[4000] * 25], [3846] * 26),
        # Many that are a little shorter than may be leave a character more to the others.
        ([3846] * 22 + [4000] * 4, [3846] * 22 + [3847] * 4),
    ],
)
def test_the_longest_descriptions_are_cut_first_and_to_the_same_length(
    lengths: list[int], left: list[int]
) -> None:
    told = described(*lengths)
    found = shortened(told)

    assert left == lengths_of(found)
    for before, after in zip(told, found, strict=True):
        is_cut = len(before.description or "") > len(after.description or "")
        assert is_cut == (before != after)


def test_a_cut_description_is_the_beginning_and_an_ellipsis() -> None:
    text = "".join(chr(ord("a") + n % 26) for n in range(4000))
    told = [evolve(CONFIRM, description=text), *described(*[4000] * 999)]

    cut = shortened(told)

    assert evolve(CONFIRM, description=f"{text[:99]}…") == cut[0]
    assert "a" * 99 + "…" == cut[1].description


@given(many_lengths)
def test_shortened_descriptions_fit_and_use_what_there_is(lengths: list[int]) -> None:
    told = described(*lengths)
    left = shortened(told)

    cut = [after for before, after in zip(told, left, strict=True) if before != after]
    total = sum(lengths_of(left))
    assert total <= MOST_DESCRIPTION_CHARACTERS
    # Each of those that were cut could not have one character more.
    assert not cut or total + len(cut) > MOST_DESCRIPTION_CHARACTERS
    assert bool(cut) == (sum(lengths) > MOST_DESCRIPTION_CHARACTERS)


@given(many_lengths)
def test_no_description_is_cut_that_is_shorter_than_a_cut_one(lengths: list[int]) -> None:
    told = described(*lengths)
    pairs = [*zip(told, shortened(told), strict=True)]

    cut = {len(after.description or "") for before, after in pairs if before != after}
    whole = [len(after.description or "") for before, after in pairs if before == after]
    assert len(cut) <= 1
    assert all(length <= longest for length in whole for longest in cut)


@given(many_lengths)
def test_shortening_changes_only_descriptions_and_only_their_ends(lengths: list[int]) -> None:
    told = described(*lengths)

    for before, after in zip(told, shortened(told), strict=True):
        assert before == evolve(after, description=before.description)
        if before != after:
            text = after.description or ""
            assert "…" == text[-1]
            assert (before.description or "").startswith(text[:-1])
            assert len(text) < len(before.description or "")


@given(many_lengths)
def test_shortening_descriptions_twice_equals_shortening_once(lengths: list[int]) -> None:
    once = shortened(described(*lengths))

    assert once == shortened(once)


@given(lists_of_tools)
def test_few_tools_are_never_shortened(drawn: list[Tool]) -> None:
    assert tuple(drawn) == shortened(drawn)


@pytest.mark.parametrize("sort", [list, tuple])
def test_shortened_tools_are_a_tuple_that_a_registration_takes(sort: Any) -> None:
    told: Sequence[Tool] = sort(described(*[4000] * 1000))

    left = shortened(told)

    assert left == Registration(server_id="prod_web-1", tools=left).tools
    assert [tool.name for tool in told] == [tool.name for tool in left]
