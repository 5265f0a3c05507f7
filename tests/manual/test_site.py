"""The manual as a site, which `nox -s docs` builds, asks nothing of other hosts."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from manual.terminal import DOCS

SITE = DOCS.parent / "build/manual"
_LOADED = {
    "audio": "src",
    "embed": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "object": "data",
    "script": "src",
    "source": "srcset",
    "video": "src",
}
"""What a browser loads by itself, by which attribute."""


class Loaded(HTMLParser):
    """Collects the addresses that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name == _LOADED.get(tag)]


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    found = sorted(SITE.glob("**/*.html"))
    assert found, "run: nox -s docs"
    return found


def test_page_of_the_site_is_there_for_each_page_of_the_manual(pages: list[Path]) -> None:
    assert {file.stem for file in DOCS.glob("*.md")} <= {page.stem for page in pages}


def test_pages_load_nothing_from_other_hosts(pages: list[Path]) -> None:
    for page in pages:
        parser = Loaded()
        parser.feed(page.read_text())
        assert parser.found
        assert [] == [each for each in parser.found if re.match(r"[a-z]+:|//", each)], page


def test_styles_load_nothing_from_other_hosts() -> None:
    styles = [*SITE.glob("_static/**/*.css")]
    assert styles
    for file in styles:
        found = re.findall(r"(?:url\(\s*['\"]?|@import\s+['\"])(https?:|//)", file.read_text())
        assert [] == found, file
