"""The screenshots of the documentation; `SCREENSHOTS=docs/images` writes them there."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from browsing import Reader

SIZES = {1440: 760, 390: 844}
MAX_BYTES = 250_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
@pytest.mark.usefixtures("past")
def test_screenshots_of_the_pages(
    reader: Reader, receiver: httpx.Client, tmp_path: Path, width: int, scheme: Any
) -> None:
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    found = receiver.get("/servers?q=blue-harbor-staging").json()["servers"]
    server = f"/server/{found[0]['server_id']}"
    pages = {"fleet": "/", "server": server, "timeline": "/timeline"}
    size = "" if width == max(SIZES) else f"-{width}"
    ending = "" if scheme == "light" else f"-{scheme}"

    for name, path in pages.items():
        page = reader.open(path, width=width, height=SIZES[width], color_scheme=scheme)
        expect(page.locator("#connection")).to_have_text("Live")
        picture = folder / f"{name}{size}{ending}.png"
        page.screenshot(path=picture)
        assert MAX_BYTES > picture.stat().st_size
