"""Test helper: what a page in a browser shows, and which rules of accessibility it breaks."""

from collections.abc import Sequence
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]  # it has none
from playwright.sync_api import Locator, Page

__all__ = ["faults", "fits", "listed", "serious"]

Fault = tuple[str, list[str]]
"""The id of a rule that axe reports as violated, and the HTML of the elements."""

Theme = Literal["light", "dark"]
Options = dict[str, Any]

SERIOUS = {"serious", "critical"}
COLOURS = ("color-contrast", "link-in-text-block")
"""The rules of axe that compare colours."""


def listed(page: Page) -> Locator:
    """The links of the listed databases; just after a click, perhaps those of the old page."""
    return page.get_by_role("rowheader").get_by_role("link")


def fits(page: Page) -> bool:
    """Whether the page has no horizontal overflow."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def serious(page: Page, *, themes: Sequence[Theme] = ("light", "dark")) -> Sequence[Fault]:
    """
    The accessibility violations of impact serious or critical, by axe, in both themes or one.

    A dark page differs from a light one by the values of `light-dark()` alone, which are colours;
    so the rules on colours are all that is asked of it, and the others are asked of the light one.
    """
    every = []
    for theme in themes:
        page.emulate_media(color_scheme=theme)
        rules = only(*COLOURS) if theme == "dark" else {}
        every += [each for each in found(page, rules) if each["impact"] in SERIOUS]
    page.emulate_media(color_scheme="light")
    return shown(every)


def faults(page: Page, *rules: str) -> Sequence[Fault]:
    """The violations of these rules of axe."""
    return shown(found(page, only(*rules)))


def only(*rules: str) -> Options:
    return {"runOnly": {"type": "rule", "values": [*rules]}}


def found(page: Page, options: Options) -> list[Any]:
    """What axe reports; a document keeps the script, which is long, until another is loaded."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    run = "options => axe.run(document, options).then(({ violations }) => violations)"
    violations: list[Any] = page.evaluate(run, {"resultTypes": ["violations"], **options})
    return violations


def shown(violations: list[Any]) -> Sequence[Fault]:
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations]
