"""VS Code, as code-server in a browser, finds the servers of a receiver in its MCP registry."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page
from sqlalchemy import make_url

import messages
from agents.programs import Programs
from browsing import chromium
from keyring import bearer, keep, made
from ports import free_port
from receiver.store import SqlStore
from servers import receiver_process, wait_until

PATIENCE_SECONDS = 120
"""VS Code has some 20 MB of scripts, which a busy machine takes a while to compile."""


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry with sixty servers, for clients that send no key."""
    folder = tmp_path_factory.mktemp("receiver")
    url = f"sqlite:///{folder}/fleet.db"
    SqlStore(make_url(url)).close()
    (reader, path), (agent, token) = made("registry"), made("agent")
    keep(url, reader, agent)
    beats = [
        messages.slim(
            server_id=f"acme{number:02}_web",
            database=f"acme{number:02}",
            database_uuid=f"uuid {number}",
            odoo_stage="production",
            endpoint_url=f"https://acme{number:02}.example/mcp/v1",
        )
        for number in range(60)
    ]
    with receiver_process(folder, FLEET_DATABASE_URL=url) as receiver:
        sent = httpx.post(
            f"{receiver.url}/heartbeats", json=beats, headers=bearer(token), trust_env=False
        )
        sent.raise_for_status()
        yield f"{receiver.url}/registry/{path}"


@contextmanager
def code_server(programs: Programs, folder: Path, gallery: str) -> Iterator[str]:
    """Run VS Code with a registry in its settings; yields its address."""
    settings = folder / "data/User/settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"chat.mcp.gallery.serviceUrl": gallery}))
    port = free_port()
    options = ("--auth=none", f"--bind-addr=127.0.0.1:{port}", f"--user-data-dir={folder}/data")
    quiet = ("--disable-telemetry", "--disable-update-check", "--disable-workspace-trust")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            programs.command("code-server", *options, *quiet),
            env=programs.environment(folder),
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(f"{url}/healthz"))
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_up(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def open_gallery(page: Page, url: str) -> None:
    """Open VS Code, and the list of MCP servers in it, as the text `@mcp` in a search does."""
    page.goto(url)
    page.locator(".monaco-workbench .activitybar").wait_for()
    page.keyboard.press("Control+Shift+X")
    page.locator(".extensions-viewlet [role=textbox]").first.wait_for(state="attached")
    page.locator(".extensions-viewlet .monaco-editor.focused").wait_for()
    page.keyboard.type("@mcp ")
    page.get_by_text("acme00 (production)").first.wait_for()
    page.keyboard.press("Escape")  # closes the list of other words with @


def scroll_to(page: Page, text: str) -> None:
    """Turn the wheel until a text is there; a list has only the rows that are near."""
    for _ in range(200):
        if page.get_by_text(text).first.is_visible():
            return
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(300)
    raise AssertionError(f"{text!r} is not in the list")


def test_vscode_lists_and_searches_the_registry(
    programs: Programs, gallery: str, tmp_path: Path
) -> None:
    asked: list[dict[str, list[str]]] = []

    def note(url: str) -> None:
        if url.startswith(f"{gallery}/v0.1/servers?"):
            asked.append(parse_qs(urlsplit(url).query))

    with (
        code_server(programs, tmp_path, gallery) as url,
        chromium() as browser,
        # The page of VS Code may ask https alone, and this registry has no certificate.
        browser.new_context(bypass_csp=True) as context,
    ):
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        page = context.new_page()
        page.on("requestfinished", lambda request: note(request.url))
        open_gallery(page, url)
        rows = page.locator(".extensions-viewlet .monaco-list-row")
        rows.last.hover()
        scroll_to(page, "acme59 (production)")
        page.keyboard.type("acme07")
        page.wait_for_function(
            "document.querySelectorAll('.extensions-viewlet .monaco-list-row').length === 1"
        )
        found = rows.first.inner_text()

    assert "acme07 (production)" in found
    (cursor,) = {each["cursor"][0] for each in asked if "cursor" in each}
    first, second = {"limit": ["50"], "version": ["latest"]}, {"cursor": [cursor]}
    expected = [{"limit": ["1"]}, first, {**first, **second}, {**first, "search": ["acme07"]}]
    assert expected == [each for i, each in enumerate(asked) if each not in asked[:i]]
