"""Test helper: what pages show."""

import html
import re
from urllib.parse import urljoin

import httpx

__all__ = ["MAX_PAGE_BYTES", "address", "facet", "link", "listed", "said", "says"]

MAX_PAGE_BYTES = 120_000


def says(page: str) -> list[str]:
    """The texts of the events on a page."""
    return re.findall(r'<span class="says">([^<]+)<', page)


def listed(receiver: httpx.Client, path: str) -> list[str]:
    """The ids of the servers on a page, in order."""
    return re.findall(r'<tr data-key="server-([^"]+)"', receiver.get(path).text)


def facet(page: str, name: str) -> dict[str, str]:
    """The values of a name beside the list, and their numbers."""
    value = (
        rf'<li data-key="{name}-[^>]*>\s*<(?:a|span)[^>]*>(?:<span>not </span>)?'
        r'<bdi>([^<]+)</bdi></(?:a|span)> <span class="n">([^<]+)<'
    )
    return dict(re.findall(value, page))


def link(receiver: httpx.Client, path: str, *, rel: str) -> str:
    """The target of the link of a page with this `rel`."""
    (address,) = re.findall(rf'href="([^"]+)" rel="{rel}"', receiver.get(path).text)
    return urljoin(path, html.unescape(address))


def address(page: str, *, of: str) -> str:
    """The first link of a page whose address contains `of`."""
    return html.unescape(re.findall(rf'href="([^"]*{of}[^"]*)"', page)[0])


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["content-type"]
