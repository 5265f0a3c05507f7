"""Test helper: pages in a real Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from attrs import field, frozen
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

__all__ = ["NAME", "Reader", "chromium"]

NAME = "fleet.test"
"""A host name that the browser resolves to this machine, and does not treat as localhost."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-lcd-text",
    f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the machine's Chromium. Fails where it is missing, because no test may be skipped."""
    path = shutil.which("chromium")
    assert path is not None, "there is no chromium on this machine"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        expect.set_options(timeout=8_000)  # less than the interval at which a page polls anyway
        yield browser
        browser.close()


@frozen
class Reader:
    """
    Opens the receiver's pages.

    Attributes:
        url: Base URL of the receiver.
        complaints: Console messages and errors, also violations of the CSP.
        hosts: Hosts of all requests.
    """

    _chromium: Browser
    _contexts: ExitStack
    url: str
    complaints: list[str] = field(factory=list)
    hosts: set[str] = field(factory=set)

    def open(self, path: str = "/", *, width: int = 1440, height: int = 900, **how: Any) -> Page:
        """
        Open a path in a new browser context, without cookies of other pages.

        The page asks for no motion, unless `how` says otherwise: without a graphics card, the
        processor draws each frame of an animation, and that of a live page never ends.
        """
        how.setdefault("reduced_motion", "reduce")
        context = self._chromium.new_context(viewport={"width": width, "height": height}, **how)
        self._contexts.callback(context.close)
        return self.beside(context, path)

    def beside(self, context: BrowserContext, path: str = "/") -> Page:
        """Open a path in another window of the same browser context."""
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(httpx.URL(request.url).host))
        page.goto(f"{self.url}{path}")
        return page

    def expect_complaint(self, part: str) -> None:
        """Assert that there are complaints with this text, and remove them."""
        assert any(part in each for each in self.complaints)
        self.complaints[:] = [each for each in self.complaints if part not in each]
