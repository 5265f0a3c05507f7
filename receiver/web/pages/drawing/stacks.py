"""
Numbers over time as stacked steps: how many servers were in which state, or had which version.

A picture is divided into slots of time. It is drawn from the back to the front: each layer covers
the area from the lower edge to the sum of its own numbers and of those below it. So a layer is one
path, and a step in it takes a few bytes.
"""

from collections.abc import Sequence
from itertools import accumulate, groupby
from math import ceil

from attrs import frozen

__all__ = ["Layer", "Stack", "compact", "stack"]

_STEP = 10
_HEIGHT = 240
_LOWEST = 5
_MOST_STEPS = 4


@frozen
class Layer:
    """
    A layer of a picture.

    Attributes:
        name: What its numbers count, such as a state; also the CSS class by which it has its
            colour.
        path: The SVG path of the area from the lower edge to the upper end of the layer.
    """

    name: str
    path: str


@frozen(kw_only=True)
class Stack:
    """
    A picture, in SVG units that a page stretches to the size that it has room for.

    Attributes:
        width: How wide the picture is: ten units for each slot.
        height: How high it is.
        layers: Its layers, from the back to the front.
        unknown: The path of the area of the slots of which nothing is known; "" if there is none.
        partly: The path of the area behind the slots of which only a part is known; "" if there is
            none.
        gaps: A path of vertical lines between the slots.
        lines: A path of the horizontal lines at the numbers of `scale`, but for the lower edge.
        scale: Numbers, as texts, at equal distances from the upper edge to the lower one, which is
            "0".
    """

    width: int
    height: int
    layers: Sequence[Layer]
    unknown: str
    partly: str
    gaps: str
    lines: str
    scale: Sequence[str]


def stack(
    names: Sequence[str],
    columns: Sequence[Sequence[float] | None],
    *,
    partly: Sequence[bool] = (),
) -> Stack:
    """
    Draw numbers over time.

    Args:
        names: What is counted, from the lower edge upwards, such as states.
        columns: For each slot of time, oldest first, a number for each of `names`; None for a slot
            of which nothing is known.
        partly: For each slot whether only a part of it is known; empty if all are known as a whole.
    """
    sums = [None if column is None else [*accumulate(column)] for column in columns]
    step, steps = _scale(max((column[-1] for column in sums if column), default=0.0))
    top = step * steps
    width = _STEP * len(columns)
    layers = []
    for n, name in reversed([*enumerate(names)]):
        if any(column[n] for column in columns if column is not None):
            heights = [None if column is None else _height(column[n], top) for column in sums]
            layers.append(Layer(name, _steps(heights)))
    unknown = _steps([_HEIGHT if column is None else None for column in sums])
    return Stack(
        width=width,
        height=_HEIGHT,
        layers=layers,
        unknown=unknown,
        partly=_steps([_HEIGHT if each else None for each in partly]),
        gaps=f"M{_STEP} 0" + f"v{_HEIGHT}m{_STEP}-{_HEIGHT}" * (len(columns) - 1),
        lines="".join(f"M0 {round(_HEIGHT * n / steps)}h{width}" for n in range(steps)),
        scale=[*(compact(step * n) for n in range(steps, 0, -1)), "0"],
    )


def _height(number: float, top: float) -> int:
    """The height of a number; that of one server among thousands can still be seen."""
    return max(_LOWEST, round(number / top * _HEIGHT)) if number else 0


def _steps(heights: Sequence[int | None]) -> str:
    """The path of an area with a height for each slot; None and 0 leave the slot empty."""
    path = ""
    x = before = 0
    for height, run in groupby(height or 0 for height in heights):
        width = _STEP * sum(1 for _ in run)
        if height:
            path += f"V{_HEIGHT - height}" if before else f"M{x} {_HEIGHT}V{_HEIGHT - height}"
            path += f"h{width}"
        elif before:
            path += f"V{_HEIGHT}"
        x += width
        before = height
    return path + f"V{_HEIGHT}" if before else path


def _scale(most: float) -> tuple[float, int]:
    """
    How far apart the numbers of the scale are, and how many there are besides 0.

    The distance is a whole, round number. The largest number in the picture takes at least two
    thirds of its height, unless it is less than 2.
    """
    size = 1.0
    while most > _MOST_STEPS * 10 * size:
        size *= 10
    distances = (size * each for each in (1, 2, 2.5, 3, 4, 5, 10) if (size * each).is_integer())
    step = next(each for each in distances if most <= _MOST_STEPS * each)
    return step, max(1, ceil(most / step))


def compact(number: float) -> str:
    """A number in a few characters, such as 950, 1,200, 12k or 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1000.0 if unit == 'k' else size):.3g}{unit}"
    return f"{number:,.0f}"
