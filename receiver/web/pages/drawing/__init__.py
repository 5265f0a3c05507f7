"""Pictures as SVG paths, which pages draw without a script: pure functions of numbers."""

from receiver.web.pages.drawing.cells import CELL, cells, columns_for
from receiver.web.pages.drawing.days import Day, Silence, day
from receiver.web.pages.drawing.stacks import Layer, Stack, compact, stack

__all__ = [
    "CELL",
    "Day",
    "Layer",
    "Silence",
    "Stack",
    "cells",
    "columns_for",
    "compact",
    "day",
    "stack",
]
