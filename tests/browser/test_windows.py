"""Many windows of one browser, to which it opens six connections in all."""

from collections.abc import Iterator, Sequence

import httpx
import pytest
from attrs import evolve
from playwright.sync_api import Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

import messages
from browsing import NAME, TOLD_MS, Reader
from keyring import bearer
from looking import listed
from receiver.app import Tuning, create_app
from servers import ANY_PAUSE_SECONDS, Clock, serve, wait_until

WINDOWS = 9  # more than there are connections, also when two are closed

# Only the first is what browsers call a secure context.
EACH_HOST = pytest.mark.parametrize("host", ["127.0.0.1", NAME])


class Counted:
    """
    An app of which a test can see how many streams of news are open.

    Attributes:
        streams: How many there are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_stream = scope.get("path") == "/events/news"
        self.streams += is_stream
        try:
            await self._app(scope, receive, send)
        finally:
            self.streams -= is_stream


@pytest.fixture
def app(database_url: str, clock: Clock) -> Counted:
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS)
    environ = {"FLEET_DATABASE_URL": database_url}
    return Counted(create_app(environ=environ, clock=clock, tuning=tuning))


@pytest.fixture
def receiver(app: Counted) -> Iterator[httpx.Client]:
    with serve(app) as client:
        yield client


@pytest.fixture
def fleet(held: dict[str, str], receiver: httpx.Client) -> httpx.Client:
    """A client of a receiver with keys: without one, it would not serve another host name."""
    receiver.headers.update(bearer(held["admin"]))
    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    return receiver


def windows(reader: Reader, host: str, token: str) -> list[Page]:
    """Sign in, and open the front page in many windows."""
    there = evolve(reader, url=reader.url.replace("127.0.0.1", host))
    first = there.beside(reader.context())
    first.get_by_label("Your key").fill(token)
    first.get_by_role("button", name="Sign in").click()
    expect(listed(first)).to_have_text(["acme"])
    reader.expect_complaint("401")
    pages = [first, *(there.beside(first.context) for _ in range(WINDOWS - 1))]
    expect_no_isolation(reader, host)
    return pages


def expect_no_isolation(reader: Reader, host: str) -> None:
    """Where the context is not secure, Chromium complains of a header of each page."""
    if host == NAME:
        reader.expect_complaint("The Cross-Origin-Opener-Policy header has been ignored")


def assert_live(fleet: httpx.Client, pages: Sequence[Page], name: str) -> None:
    """A new server is on each page sooner than a page asks without being told."""
    for page in pages:
        expect(page.locator("#connection")).to_have_text("Live")
    known = messages.heartbeat(server_id=name, database=name)
    fleet.post("/heartbeat", json=known).raise_for_status()
    for page in pages:
        expect(page.get_by_role("rowheader", name=name)).to_be_visible(timeout=TOLD_MS)


@EACH_HOST
def test_many_windows_are_live_over_one_stream_and_over_another_when_it_dies(
    fleet: httpx.Client, app: Counted, reader: Reader, held: dict[str, str], host: str
) -> None:
    pages = windows(reader, host, held["viewer"])

    assert (host == "127.0.0.1") is pages[0].evaluate("isSecureContext")
    assert_live(fleet, pages, "beta")
    wait_until(lambda: app.streams == 1)
    for n in range(2):  # a page asks four times at once, the first when its stream is open
        pages.pop(0).close()
        assert_live(fleet, pages, f"gamma{n}")
    wait_until(lambda: app.streams == 1)

    kill_worker(pages[0])
    wait_until(lambda: app.streams == 0)
    wait_until(lambda: app.streams == 1)
    assert_live(fleet, pages, "delta")

    while pages:
        pages.pop().close()
    wait_until(lambda: app.streams == 0)


def kill_worker(page: Page) -> None:
    """End the shared worker of a page, as the crash of its process would."""
    browser = page.context.browser
    assert browser is not None
    devtools = browser.new_browser_cdp_session()
    found = devtools.send("Target.getTargets")["targetInfos"]
    (worker,) = [each["targetId"] for each in found if each["type"] == "shared_worker"]
    devtools.send("Target.closeTarget", {"targetId": worker})
    devtools.detach()


@EACH_HOST
def test_signing_out_in_one_window_signs_out_all(
    fleet: httpx.Client, app: Counted, reader: Reader, held: dict[str, str], host: str
) -> None:
    pages = windows(reader, host, held["viewer"])
    assert_live(fleet, pages, "beta")

    pages[0].get_by_role("button", name="Sign out").click()

    for page in pages:
        expect(page.get_by_label("Your key")).to_be_visible()
    wait_until(lambda: app.streams == 0)
    # Chromium says so whenever a script is answered with this status.
    reader.expect_complaint("responded with a status of 401")
    expect_no_isolation(reader, host)


@pytest.mark.parametrize(
    "missing",
    ["delete window.SharedWorker", "window.SharedWorker = class { constructor() { throw 1; } }"],
)
def test_window_is_live_without_shared_workers(
    reader: Reader, receiver: httpx.Client, missing: str
) -> None:
    context = reader.context()
    context.add_init_script(missing)
    page = reader.beside(context)

    receiver.post("/heartbeat", json=messages.heartbeat()).raise_for_status()
    assert_live(receiver, [page], "beta")
