"""What somebody finds on a page, for the tests."""

from collections.abc import Callable, Sequence
from typing import Any

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has none
from playwright.sync_api import Locator, Page

__all__ = ["faults", "fits", "listed", "serious"]

Fault = tuple[str, list[str]]
"""A rule that axe finds broken, and where."""


def listed(page: Page) -> Locator:
    """The databases in their order, which may be those of the page before for a moment."""
    return page.get_by_role("rowheader").get_by_role("link")


def fits(page: Page) -> bool:
    """Whether nothing is cut off on the right."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def serious(page: Page) -> Sequence[Fault]:
    """What axe finds that stands in somebody's way."""
    return found(page, lambda fault: fault["impact"] in {"serious", "critical"})


def faults(page: Page, *rules: str) -> Sequence[Fault]:
    """What axe finds by some of its rules."""
    return found(page, lambda fault: fault["id"] in rules)


def found(page: Page, are_meant: Callable[[Any], bool]) -> Sequence[Fault]:
    violations = filter(are_meant, Axe().run(page).response["violations"])
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations]
