"""Forms of other sites, of other browsers and without a valid CSRF token are refused."""

import socket

import httpx
import pytest

from form_filling import FORM, KeyOfEachScope, cookies, fault, form_of, new_browser, posts
from keyring import keep, made
from receiver.app import Tuning, create_app
from servers import Clock, serve


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://[::1"},
        {"Origin": "http://"},
    ],
    ids=str,
)
def test_cross_site_form_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope, headers: dict[str, str]
) -> None:
    form = {**form_of(receiver.get("/timeline")), "key": held.tokens["viewer"]}

    answer = posts(receiver, "/sign-in", form, **headers)

    assert 403 == answer.status_code
    assert "This form was open for too long" in fault(answer)
    assert "/timeline" == form_of(answer)["to"]
    assert held.tokens["viewer"] not in answer.text
    assert "fleet_session" not in cookies(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # some proxies leave out the port
        {},
    ],
    ids=str,
)
def test_same_site_form_is_accepted(
    receiver: httpx.Client, held: KeyOfEachScope, headers: dict[str, str]
) -> None:
    form = {**form_of(receiver.get("/")), "key": held.tokens["viewer"]}

    assert 303 == posts(receiver, "/sign-in", form, **headers).status_code


@pytest.mark.parametrize("csrf_token", [None, "", "x", "ü"])
def test_form_without_a_valid_csrf_token_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope, csrf_token: str | None
) -> None:
    form = {**form_of(receiver.get("/")), "key": held.tokens["viewer"]}
    changed = {**form, "form": csrf_token} if csrf_token is not None else {"key": form["key"]}

    assert 403 == posts(receiver, "/sign-in", changed).status_code


def test_csrf_token_of_another_browser_is_refused(
    receiver: httpx.Client, held: KeyOfEachScope
) -> None:
    form = form_of(receiver.get("/"))
    without, with_another = new_browser(receiver), new_browser(receiver)
    with_another.get("/")

    answers = [
        posts(client, "/sign-in", {**form, "key": held.tokens["viewer"]})
        for client in (without, with_another)
    ]

    assert [403, 403] == [answer.status_code for answer in answers]


def test_invented_csrf_cookie_is_replaced(receiver: httpx.Client) -> None:
    receiver.cookies.set("fleet_form", "chosen by an attacker", path="/")

    asked = receiver.get("/")

    assert 43 == len(cookies(asked)["fleet_form"][0])
    assert "fleet_form" not in cookies(
        receiver.get(
            "/",
            headers={
                "Cookie": "; ".join(
                    f"{name}={value}" for name, (value, _) in cookies(asked).items()
                )
            },
        )
    )


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"a=b&a=c", FORM, 400),
        (b"a", FORM, 400),
        (b"a=%ff", FORM, 400),
        (b"a=\xff", FORM, 400),
        ("&".join(f"a{n}=b" for n in range(101)).encode(), FORM, 400),
        (b"a=" + b"b" * 16_384, FORM, 413),
        (b'{"key": "a"}', {"Content-Type": "application/json"}, 415),
        (b"a=b", {}, 415),
        (b"a=b", {**FORM, "Content-Encoding": "gzip"}, 415),
        (b"", FORM, 403),
        (b"", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, 403),
    ],
)
def test_malformed_form_is_refused_with_a_page(
    receiver: httpx.Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = receiver.post("/sign-in", content=content, headers=headers)

    assert (status, "text/html; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )


def test_form_that_does_not_arrive_times_out_with_408(sqlite_url: str, clock: Clock) -> None:
    keep(sqlite_url, made("viewer")[0])
    app = create_app(
        environ={"FLEET_DATABASE_URL": sqlite_url}, clock=clock, tuning=Tuning(body_seconds=0.1)
    )
    with serve(app) as receiver:
        url = receiver.base_url
        head = f"POST /sign-in HTTP/1.1\r\nHost: {url.host}\r\nContent-Length: 9\r\n"
        head += f"Content-Type: {FORM['Content-Type']}\r\n\r\n"
        with socket.create_connection((url.host, url.port or 0)) as slow:
            slow.sendall(head.encode() + b"a=")
            assert slow.makefile("rb").readline().startswith(b"HTTP/1.1 408 ")
        with socket.create_connection((url.host, url.port or 0)) as gone:
            gone.sendall(head.encode() + b"a=")
        assert 200 == receiver.get("/health").status_code
