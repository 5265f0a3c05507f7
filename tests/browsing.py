"""Test helper: pages in a real Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import httpx
from attrs import field, frozen
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    expect,
    sync_playwright,
)

__all__ = ["NAME", "TOLD_MS", "Reader", "Tabs", "chromium"]

NAME = "fleet.test"
"""A host name that the browser resolves to this machine, and does not treat as localhost."""

TOLD_MS = 35_000
"""
How long an open page may take, in milliseconds, to show what it was told of.

It asks for several changes at once, and then the more rarely the slower the answers are, but twice
a minute at least. A page that was told of nothing asks after 40 seconds.
"""

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
        expect.set_options(timeout=28_000)  # less than the interval at which a page polls anyway
        yield browser
        browser.close()


@frozen
class Tabs:
    """
    Pages of a browser, which are used one after the other.

    The process of a new page takes a second of the processor, and that of one that was there
    before almost nothing. So a page is cleaned of all that its last user left, and used again.
    """

    _chromium: Browser
    _free: dict[tuple[Any, ...], list[Page]] = field(factory=dict)

    @contextmanager
    def one(self, **options: Any) -> Iterator[Page]:
        """Lend a page that shares a browser context with no other, made with these options."""
        free = self._free.setdefault(tuple(options.items()), [])
        page = free.pop() if free else self._chromium.new_context(**options).new_page()
        yield page
        self._clean(page)
        free.append(page)

    @contextmanager
    def context(self, **options: Any) -> Iterator[BrowserContext]:
        """A browser context that nobody uses afterwards."""
        context = self._chromium.new_context(**options)
        yield context
        context.close()

    def _clean(self, page: Page) -> None:
        address = httpx.URL(page.url)
        page.evaluate("location.replace('about:blank')")  # `goto` would begin a new process
        page.wait_for_url("about:blank")
        page.mouse.move(0, 0)
        devtools = page.context.new_cdp_session(page)
        storage = {"origin": f"{address.scheme}://{address.netloc.decode()}", "storageTypes": "all"}
        devtools.send("Storage.clearDataForOrigin", storage)
        devtools.detach()
        page.context.clear_cookies()
        page.context.clear_permissions()
        page.context.set_offline(False)


@frozen
class Reader:
    """
    Opens the receiver's pages.

    Attributes:
        url: Base URL of the receiver.
        complaints: Console messages and errors, also violations of the CSP.
        hosts: Hosts of all requests.
    """

    _tabs: Tabs
    _opened: ExitStack
    url: str
    complaints: list[str] = field(factory=list)
    hosts: set[str] = field(factory=set)

    def open(
        self,
        path: str = "/",
        *,
        width: int = 1440,
        height: int = 900,
        color_scheme: Literal["light", "dark"] = "light",
        reduced_motion: Literal["reduce", "no-preference"] = "reduce",
        **options: Any,
    ) -> Page:
        """
        Open a path in a page without cookies of other pages.

        The page asks for no motion, unless told otherwise: without a graphics card, the processor
        draws each frame of an animation, and that of a live page never ends.

        Args:
            options: What browser contexts are made with, such as `java_script_enabled`.
        """
        page = self._opened.enter_context(self._tabs.one(**options))
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=color_scheme, reduced_motion=reduced_motion)
        return self._go(page, path)

    def context(self) -> BrowserContext:
        """A new browser context, for many windows, or for what cannot be undone in one."""
        options = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}
        return self._opened.enter_context(self._tabs.context(**options))

    def beside(self, context: BrowserContext, path: str = "/") -> Page:
        """Open a path in another window of the same browser context."""
        return self._go(context.new_page(), path)

    def _go(self, page: Page, path: str) -> Page:
        def complain(said: ConsoleMessage) -> None:
            self.complaints.append(f"{said.type}: {said.text}")

        def fail(error: Error) -> None:
            self.complaints.append(str(error))

        def ask(request: Request) -> None:
            self.hosts.add(httpx.URL(request.url).host)

        heard: dict[Any, Any] = {"console": complain, "pageerror": fail, "request": ask}
        for event, listener in heard.items():
            page.on(event, listener)
            self._opened.callback(page.remove_listener, event, listener)
        page.set_default_timeout(60_000)
        page.goto(f"{self.url}{path}")
        return page

    def expect_complaint(self, part: str) -> None:
        """Assert that there are complaints with this text, and remove them."""
        assert any(part in each for each in self.complaints)
        self.complaints[:] = [each for each in self.complaints if part not in each]
