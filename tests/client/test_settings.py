"""The arguments of a client, and the errors for invalid ones."""

import logging
import math

import httpx
import pytest

from client import InvalidSetting, InvalidToken, InvalidUrl, PhoneHomeClient
from client.receiver_url import is_exposed


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
def test_url_is_normalised(url: str, expected: str) -> None:
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
def test_invalid_url_raises(url: str, why: str) -> None:
    with pytest.raises(InvalidUrl, match=why) as caught:
        PhoneHomeClient(url)

    assert "invalid_url" == caught.value.code
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://fleet.example", True),
        ("http://10.0.0.1", True),
        ("http://[2001:db8::1]", True),
        ("http://[::ffff:10.0.0.1]", True),
        ("http://localhost.example", True),
        ("http://notlocalhost", True),
        ("https://fleet.example", False),
        ("http://localhost:8000", False),
        ("http://LOCALHOST.", False),
        ("http://fleet.localhost", False),
        ("http://127.0.0.1", False),
        ("http://127.9.9.9", False),
        ("http://[::1]", False),
        ("http://[::ffff:127.0.0.1]", False),
    ],
)
def test_plain_http_to_another_machine_is_exposed(url: str, expected: bool) -> None:  # noqa: FBT001 - a case of the table
    assert expected == is_exposed(httpx.URL(url))


def test_token_over_plain_http_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        PhoneHomeClient("http://once.example/fleet", token="s3cret").close()

    (record,) = caplog.records
    assert ("client.api", logging.WARNING) == (record.name, record.levelno)
    assert record.getMessage() == (
        "The token or the password for the receiver at http://once.example/fleet goes over plain"
        " http, where others can read it on the way. Use https."
    )


def test_warning_about_a_password_over_plain_http_does_not_show_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    PhoneHomeClient("http://nora:pass@basic.example").close()

    (message,) = caplog.messages
    assert "http://basic.example goes over plain http" in message
    assert not any(secret in message for secret in ["nora", ":pass"])


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://open.example", ""),
        ("https://safe.example", "s3cret"),
        ("https://nora:pass@safe.example", None),
        ("http://127.0.0.1:8000", "s3cret"),
    ],
)
def test_client_logs_nothing_when_no_secret_is_exposed(
    url: str, token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    PhoneHomeClient(url, token=token).close()

    assert [] == caplog.messages


@pytest.mark.parametrize("token", ["two words", "line\n", "nötig", "\x00"])
def test_token_that_no_header_can_carry_raises_without_showing_it(token: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        PhoneHomeClient("http://host", token=token)

    assert "invalid_token" == caught.value.code
    assert token not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, math.inf, math.nan])
def test_invalid_timeout_raises(timeout: float) -> None:
    with pytest.raises(InvalidSetting, match="timeout"):
        PhoneHomeClient("http://host", timeout=timeout)


@pytest.mark.parametrize("attempts", [0, -1])
def test_less_than_one_registration_attempt_raises(attempts: int) -> None:
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
def test_unusable_environment_raises(
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
