"""What a client may be made with, and what it says of what it may not."""

import math

import pytest

from client import InvalidSetting, InvalidToken, InvalidUrl, PhoneHomeClient


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host", "http://host"),
        ("  https://host/ \n", "https://host"),
        ("HTTP://Host:80/", "http://host"),
        ("http://host:8069", "http://host:8069"),
        ("http://[::1]:8000/register", "http://[::1]:8000"),
        ("https://host/a%20b/c/heartbeat/", "https://host/a%20b/c"),
        ("https://host/heartbeat/register", "https://host/heartbeat"),
        ("https://host/unregister", "https://host/unregister"),
        ("https://bücher.example/", "https://xn--bcher-kva.example"),
        ("https://nora:pass@host/fleet", "https://host/fleet"),
    ],
)
def test_url_is_brought_into_one_form(url: str, expected: str) -> None:
    with PhoneHomeClient(url) as client:
        assert client.base_url == expected


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "begin with http"),
        ("host", "begin with http"),
        ("localhost:8000", "begin with http"),
        ("//host", "begin with http"),
        ("ftp://host", "begin with http"),
        ("http://", "name a host"),
        ("http:///register", "name a host"),
        ("http://a b", "name a host"),
        ("http://host:0", "port 0"),
        ("http://host:70000", "port 70000"),
        ("http://host/?token=s3cret", "without"),
        ("http://host/#s3cret", "without"),
        ("http://nora:s3/cret@host", "cannot be read"),
        ("http://ho\nst", "cannot be read"),
        ("http://[::1", "cannot be read"),
    ],
)
def test_url_that_leads_nowhere_is_told(url: str, why: str) -> None:
    with pytest.raises(InvalidUrl, match=why) as caught:
        PhoneHomeClient(url)

    assert "invalid_url" == caught.value.code
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize("token", ["two words", "line\n", "nötig", "\x00"])
def test_token_that_no_header_can_carry_is_told_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        PhoneHomeClient("http://host", token=token)

    assert "invalid_token" == caught.value.code
    assert token not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan])
def test_timeout_must_be_a_time(timeout: float) -> None:
    with pytest.raises(InvalidSetting, match="timeout"):
        PhoneHomeClient("http://host", timeout=timeout)


@pytest.mark.parametrize("attempts", [0, -1])
def test_there_is_at_least_one_attempt(attempts: int) -> None:
    with pytest.raises(InvalidSetting, match="attempt"):
        PhoneHomeClient("http://host", attempts=attempts)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "gopher://proxy"),
        ("HTTP_PROXY", "http://nora:s3/cret@proxy"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
    ],
)
def test_environment_that_cannot_work_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSetting, match="environment") as caught:
        PhoneHomeClient("http://host")
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    ("token", "shown"), [("s3cret", "'**********'"), ("", "None"), (None, "None")]
)
def test_repr_masks_the_token(token: str | None, shown: str) -> None:
    with PhoneHomeClient("http://nora:pass@host/", token=token) as client:
        assert repr(client) == f"PhoneHomeClient('http://host', token={shown})"
