"""Pictures as paths of SVG, which pages draw without a script: pure functions of numbers."""

from receiver.web.pages.drawing.days import Day, Silence, day
from receiver.web.pages.drawing.stacks import Layer, Stack, compact, stack

__all__ = ["Day", "Layer", "Silence", "Stack", "compact", "day", "stack"]
