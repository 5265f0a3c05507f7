"""Test helper: what a page in a browser shows, and which rules of accessibility it breaks."""

from collections.abc import Callable, Sequence
from typing import Any

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has none
from playwright.sync_api import Locator, Page

__all__ = ["faults", "fits", "listed", "serious"]

Fault = tuple[str, list[str]]
"""The id of a rule that axe reports as violated, and the HTML of the elements."""


def listed(page: Page) -> Locator:
    """The links of the listed databases; just after a click, perhaps those of the old page."""
    return page.get_by_role("rowheader").get_by_role("link")


def fits(page: Page) -> bool:
    """Whether the page has no horizontal overflow."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def serious(page: Page) -> Sequence[Fault]:
    """The accessibility violations of impact serious or critical, by axe."""
    return found(page, lambda fault: fault["impact"] in {"serious", "critical"})


def faults(page: Page, *rules: str) -> Sequence[Fault]:
    """The violations of these rules of axe."""
    return found(page, lambda fault: fault["id"] in rules)


def found(page: Page, are_meant: Callable[[Any], bool]) -> Sequence[Fault]:
    violations = filter(are_meant, Axe().run(page).response["violations"])
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations]
