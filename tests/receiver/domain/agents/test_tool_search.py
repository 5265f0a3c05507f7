"""Searching for tools by words: which words texts have, and which tools a question means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import Tool
from receiver.domain.agents.tool_search import (
    MOST_INDEXED_WORDS,
    MOST_WORDS,
    best,
    words_in,
    words_of,
    words_of_question,
)
from strategies import tools

CONFIRM = Tool(name="sale_order_confirm", description="Turns a quotation into an order.")
CANCEL = Tool(name="sale_order_cancel", title="Cancel a sales order")
READ = Tool(name="record_read", description="Reads an order, a sale or anything else.")


def names(*found: Tool, words: list[str], is_near_enough: bool = False) -> list[str]:
    """The names of the best of some tools, each of a catalogue of its own."""
    catalogues = {str(place): (tool,) for place, tool in enumerate(found)}
    return [each.tool.name for each in best(catalogues, words, is_near_enough=is_near_enough)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sale_order_confirm", ["sale", "order", "confirm"]),
        ("saleOrderConfirm", ["sale", "order", "confirm"]),
        ("Confirms the sales-orders!", ["confirm", "the", "sale", "order"]),
        ("res.partner 2.0", ["res", "partner", "2", "0"]),
        ("Aufträge bestätigen", ["auftrzzxe4g", "bestzzxe4tigen"]),
        ("確認", ["zzu78bazzu8a8d"]),
        ("dying skies", ["die", "sky"]),
        ("a" * 50, ["a" * 40]),
        ("?! _", []),
        ("", []),
    ],
)
def test_search_words_are_stems_in_lower_case(text: str, words: list[str]) -> None:
    assert words == words_of(text)


def test_words_of_tools_are_those_of_all_texts_sorted_and_distinct() -> None:
    assert [
        *("a", "an", "cancel", "confirm", "into", "order", "quotat", "sale", "turn")
    ] == words_in([CONFIRM, CANCEL])


def test_tool_names_are_indexed_before_other_texts_as_far_as_there_is_room() -> None:
    words = [f"w{n}" for n in range(MOST_INDEXED_WORDS)]
    held = [
        Tool(name="first", description=" ".join(words[: MOST_INDEXED_WORDS // 2])),
        Tool(name="second", description=" ".join(words[MOST_INDEXED_WORDS // 2 :])),
    ]

    indexed = words_in(held)

    assert MOST_INDEXED_WORDS == len(indexed)
    assert {"first", "second", *words[:-2]} == {*indexed}


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("which Odoo can confirm a sale order?", ["confirm", "sale", "order"]),
        ("confirm, and confirm again", ["confirm", "again"]),
        ("what is it?", ["what", "is", "it"]),
        ("databases", ["databas"]),
        ("...", []),
    ],
)
def test_question_is_reduced_to_its_significant_words(question: str, words: list[str]) -> None:
    assert words == words_of_question(question)


def test_question_of_many_words_is_reduced_to_the_first_ones() -> None:
    assert [f"w{n}" for n in range(MOST_WORDS)] == words_of_question(
        " ".join(f"w{n}" for n in range(MOST_WORDS + 1))
    )


def test_tool_is_found_that_has_all_words() -> None:
    words = ["confirm", "order"]

    assert ["sale_order_confirm"] == names(CONFIRM, CANCEL, READ, words=words)
    assert [] == names(CANCEL, READ, words=words)


def test_words_in_the_name_count_for_more_than_those_in_other_texts() -> None:
    found = [
        Tool(name="c", description="Prints a label."),
        Tool(name="b", title="Print labels"),
        Tool(name="print_label"),
    ]

    assert ["print_label", "b", "c"] == names(*found, words=["print", "label"])


def test_tools_of_equal_score_are_sorted_by_name() -> None:
    assert ["a_x", "b_x"] == names(Tool(name="b_x"), Tool(name="a_x"), words=["x"])


def test_tools_that_match_nearly_are_found_only_if_near_matches_are_asked_for() -> None:
    words = ["confirm", "purchas", "order"]

    assert [] == names(CONFIRM, CANCEL, READ, words=words)
    assert ["sale_order_confirm"] == names(CONFIRM, CANCEL, READ, words=words, is_near_enough=True)


def test_tool_without_any_word_of_the_question_is_no_near_match() -> None:
    assert [] == names(CONFIRM, READ, words=["xyzzy"], is_near_enough=True)
    assert [] == names(words=["xyzzy"], is_near_enough=True)


def test_equal_tools_of_two_catalogues_are_one() -> None:
    catalogues = {"one": (CONFIRM, READ), "other": (CANCEL, CONFIRM)}

    (found,) = best(catalogues, ["confirm"], is_near_enough=False)

    assert (CONFIRM, ["one", "other"]) == (found.tool, found.catalogues)


@given(st.lists(tools(), max_size=4), st.data())
def test_tool_is_found_by_all_of_its_words(held: list[Tool], data: st.DataObject) -> None:
    for tool in held:
        known = words_in([tool])
        words = data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []
        found = [each.tool for each in best({"": held}, words, is_near_enough=False)]
        assert not words or tool in found
        assert {*words} <= {*words_in(held)}
