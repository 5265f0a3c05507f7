"""Links from other sites, with which browsers send no strict cookie."""

import httpx
import pytest

from form_filling import KeyOfEachScope, cookies, new_browser, posts, signed_in, title

CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


def test_cross_site_link_reloads_to_get_the_session_cookie(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    signed_in(receiver, held.tokens["viewer"])
    mailed = new_browser(receiver)

    first = mailed.get("/timeline?kind=late", headers=CROSS_SITE)

    assert 401 == first.status_code
    assert '<meta http-equiv="refresh" content="0">' in first.text
    for text_of_page in ("<form", "<script", "fleet_form"):
        assert text_of_page not in f"{first.text}{first.headers}"
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=10"} == cookies(first)["fleet_again"][1]
    mailed.cookies.set("fleet_session", receiver.cookies["fleet_session"])
    assert 200 == mailed.get("/timeline?kind=late", headers=CROSS_SITE).status_code


def test_cross_site_link_without_a_session_reloads_only_once(receiver: httpx.Client) -> None:
    first, second = (receiver.get("/", headers=CROSS_SITE) for _ in range(2))

    assert "refresh" in first.text
    assert "Sign in" == title(second)


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_same_site_link_without_a_session_shows_the_form_at_once(
    receiver: httpx.Client, site: str
) -> None:
    assert "Sign in" == title(receiver.get("/", headers={"Sec-Fetch-Site": site}))


def test_cross_site_link_with_an_invalid_session_shows_the_form(receiver: httpx.Client) -> None:
    answer = receiver.get("/", headers={**CROSS_SITE, "Cookie": "fleet_session=a.b"})

    assert "Sign in" == title(answer)


def test_cross_site_form_is_not_reloaded(receiver: httpx.Client) -> None:
    assert "Sign in" == title(posts(receiver, "/keyring", {}, **CROSS_SITE))
