"""Pictures as paths of SVG: numbers over time, and the last day of a server."""

from datetime import datetime, timedelta, timezone

import pytest

from receiver.service.availability import Span
from receiver.web.pages.drawing import cells, columns_for, compact, day, stack

NOON = datetime(2026, 1, 31, 12, 30, tzinfo=timezone.utc)


# Numbers over time


def test_layers_of_a_picture_are_drawn_from_the_back_to_the_front() -> None:
    found = stack(["down", "late", "up"], [[1, 0, 3], [0, 0, 4], None, [2, 0, 2]])

    assert (40, 240) == (found.width, found.height)
    assert ["up", "down"] == [layer.name for layer in found.layers]
    # All four servers are as high as the picture, but for the slot that is not known.
    assert "M0 240V0h20V240M30 240V0h10V240" == found.layers[0].path
    assert "M0 240V180h10V240M30 240V120h10V240" == found.layers[1].path
    assert "M20 240V0h10V240" == found.unknown
    assert ["4", "3", "2", "1", "0"] == found.scale
    assert "M0 0h40M0 60h40M0 120h40M0 180h40" == found.lines


def test_picture_without_unknown_time_has_no_unknown_area() -> None:
    found = stack(["down"], [[0], [0]])

    assert ("", [], ["1", "0"]) == (found.unknown, found.layers, found.scale)
    assert "M10 0v240m10-240" == found.gaps


def test_single_server_of_thousands_is_visible_in_the_picture() -> None:
    (up, down) = stack(["down", "up"], [[1, 99_999]]).layers

    assert "M0 240V235h10V240" == down.path
    assert "M0 240V0h10V240" == up.path


@pytest.mark.parametrize(
    ("most", "scale"),
    [
        (1, ["1", "0"]),
        (11, ["12", "9", "6", "3", "0"]),
        (79, ["80", "60", "40", "20", "0"]),
        (120, ["120", "90", "60", "30", "0"]),
        (5_020, ["6,000", "4,000", "2,000", "0"]),
        (100_000, ["100k", "75k", "50k", "25k", "0"]),
        (1.3e6, ["1.6M", "1.2M", "800k", "400k", "0"]),
        (3.2e9, ["4G", "3G", "2G", "1G", "0"]),
    ],
)
def test_scale_of_a_picture_has_round_numbers(most: float, scale: list[str]) -> None:
    assert scale == stack(["up"], [[most]]).scale


def test_largest_number_fills_most_of_the_picture() -> None:
    for most in (*range(2, 500), *(7919 * n for n in range(1, 500))):
        (layer,) = stack(["up"], [[most]]).layers
        top = int(layer.path.split("V")[1].split("h")[0])
        assert 0 <= top <= 240 * 0.35, most


def test_large_numbers_are_abbreviated() -> None:
    assert ["0", "950", "1,200", "12k", "3.4M"] == [*map(compact, (0, 950, 1200, 12000, 3.4e6))]


def test_slots_of_which_only_a_part_is_known_stand_before_another_ground() -> None:
    found = stack(["up"], [[1], [2], None], partly=[False, True, False])

    assert "M10 240V0h10V240" == found.partly
    assert "" == stack(["up"], [[1], [2]]).partly


# The last day of a server


def spans(*states: tuple[str, float]) -> list[Span]:
    """Spans of these states, which last these minutes and end now."""
    end = NOON - timedelta(minutes=sum(minutes for _, minutes in states))
    found = []
    for state, minutes in states:
        start, end = end, end + timedelta(minutes=minutes)
        found.append(Span(state, start, end))
    return found


def test_server_that_was_heard_all_day_has_one_band() -> None:
    found = day(spans(("up", 1440)), NOON)

    assert [("up", "M0 0h1440v10h-1440z")] == found.bands
    assert [] == found.silences
    assert [(22.9, "18:00"), (47.9, "00:00"), (72.9, "06:00")] == found.hours


def test_short_silence_is_seen_before_the_band_of_the_time_in_which_it_was_heard() -> None:
    found = day(spans(("up", 100), ("late", 1), ("up", 60)), NOON)

    assert ["up", "late"] == [state for state, _ in found.bands]
    assert "M1379 0h4v10h-4z" == dict(found.bands)["late"]


def test_span_of_seconds_at_the_edge_stays_within_the_picture() -> None:
    found = day(spans(("up", 1439.9), ("late", 0.1)), NOON)

    assert "M1436 0h4v10h-4z" == dict(found.bands)["late"]
    assert 1 == len(day(spans(("up", 0.1), ("flapping", 60)), NOON).bands)


def test_late_and_then_down_is_drawn_as_one_silence() -> None:
    found = day(
        spans(("up", 60), ("late", 2), ("down", 10), ("up", 5), ("late", 3), ("up", 1)), NOON
    )

    assert [("late", 180.0), ("down", 720.0)] == [
        (each.state, each.seconds) for each in found.silences
    ]
    assert NOON - timedelta(minutes=1) == found.silences[0].ended
    assert [None, NOON - timedelta(minutes=19)] == [each.down for each in found.silences]


def test_ongoing_silence_is_drawn_without_an_end() -> None:
    """Also when the page is made a moment after its history was read."""
    for now in (NOON, NOON + timedelta(milliseconds=5)):
        (silence,) = day(spans(("down", 20)), now).silences

        assert (NOON - timedelta(minutes=20), None) == (silence.began, silence.ended)


# Cells


def test_neighbouring_cells_of_one_state_are_one_rectangle() -> None:
    found = cells(["up", "up", "down", "down", "down", "up"], columns=4)

    assert {
        "up": "M0 0h20v10h-20zM10 10h10v10h-10z",
        "down": "M20 0h20v10h-20zM0 10h10v10h-10z",
    } == found
    assert {} == cells([], columns=4)


@pytest.mark.parametrize("sizes", [[1], [300], [3000, 1500, 500], [400] * 12])
def test_cells_of_the_wall_fill_a_wide_screen(sizes: list[int]) -> None:
    columns = columns_for(sizes)

    rows = sum(-(-size // columns) + 2.5 for size in sizes)
    assert columns >= 1.65 * rows
    assert columns == 10 or columns <= 1.65 * rows + 12
