"""Many things in a few states as a grid of cells, which is small, however many there are."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil

__all__ = ["CELL", "cells", "columns_for"]

CELL = 10
"""How wide and how high a cell is, in SVG units."""


def cells(states: Sequence[str], columns: int) -> Mapping[str, str]:
    """
    Draw a grid, row by row from the left to the right.

    Cells of one state that stand side by side are one rectangle, which a page fills with a pattern
    of the size of a cell.

    Args:
        states: The state of each cell.
        columns: How many cells are in a row.

    Returns:
        For each state the SVG path of its cells.
    """
    paths: dict[str, str] = {}
    for row in range(ceil(len(states) / columns)):
        x, y = 0, CELL * row
        for state, run in groupby(states[row * columns : (row + 1) * columns]):
            width = CELL * sum(1 for _ in run)
            paths[state] = paths.get(state, "") + f"M{x} {y}h{width}v{CELL}h-{width}z"
            x += width
    return paths


def columns_for(sizes: Sequence[int]) -> int:
    """
    How many cells a row has, if several grids, one below the other, are to fill a wide screen.

    Each grid has a title, which is as high as some cells.

    Args:
        sizes: How many cells each grid has.
    """
    columns = 10
    while _ASPECT * sum(ceil(size / columns) + _TITLE_ROWS for size in sizes) > columns:
        columns += 2
    return columns


_ASPECT = 1.65  # width to height of the part of a screen that is left for them
_TITLE_ROWS = 2.5
