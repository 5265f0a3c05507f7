"""No error and no log shows the token or a password; the failures here are real ones."""

import base64
import html
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import trustme

from client import (
    BadAnswer,
    CallFailed,
    ClientError,
    InvalidSetting,
    InvalidToken,
    InvalidUrl,
    PhoneHomeClient,
    Refused,
    TimedOut,
    Unreachable,
    Untrusted,
)
from client.foreign import Mask, one_line
from contract import Heartbeat, Registration
from evil import answer, evil_server, say

BEAT = Heartbeat(server_id="acme_web-1")
TOKEN = "fleetkey_ab12_S3cret/Of+This=Server&Only"
PASSWORD = 'pä55/"wörd+1'
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading all takes 40 ms
HEAD = "HTTP/1.1 401 Unauthorized\r\n"

Spell = Callable[[str], str]


def all_escaped(form: str) -> Spell:
    return lambda text: "".join(form.format(ord(char)) for char in text)


def to_base64(before: str = "", after: str = "") -> Spell:
    return lambda text: base64.b64encode(f"{before}{text}{after}".encode()).decode()


SPELLINGS: dict[str, Spell] = {
    "as it is": str,
    "in capitals": str.upper,
    "for a URL": lambda text: quote(text, safe=""),
    "for a URL twice": lambda text: quote(quote(text, safe="")),
    "as JSON": json.dumps,
    "as JSON twice": lambda text: json.dumps(json.dumps(text)),
    "as JSON for HTML": lambda text: json.dumps(text).replace("/", r"\/"),
    "as HTML": lambda text: text.replace("/", "&#47;").replace("+", "&#x2B;"),
    "as Python": lambda text: ascii(text.encode()),
    "base64": to_base64(),
    "base64 with its kind": to_base64("Bearer "),
    "base64 with a name": to_base64("nora:"),
    "base64 with more": to_base64("{", "}"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 for a URL": lambda text: quote(to_base64(">>")(text), safe=""),
    "all for a URL": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "all as JSON": all_escaped("\\u{:04X}"),
    "all as HTML": all_escaped("&#{:d};"),
    "all as HTML in hex": all_escaped("&#x{:x};"),
}


@pytest.fixture(params=SPELLINGS)
def spell(request: pytest.FixtureRequest) -> Spell:
    return SPELLINGS[request.param]


@pytest.mark.parametrize("secret", [TOKEN, PASSWORD])
def test_quoted_secret_is_masked(spell: Spell, secret: str) -> None:
    text = f"You said {spell(secret)} and that is wrong"
    assert shows(text, secret), "this test cannot fail"

    masked = Mask("", secret)(text)
    assert not shows(masked, secret)
    assert masked.startswith("You said ")
    assert masked.endswith(" and that is wrong")
    assert "***" in masked


def test_text_without_a_secret_is_unchanged() -> None:
    text = r"fleetkey_ab12 \u0041 %41 &#65; " + to_base64()("nothing of the kind")

    assert text == Mask(TOKEN)(text)
    assert text == Mask()(text)
    assert b"\xff\x00" == Mask(TOKEN).data(b"\xff\x00")


def test_base64_of_a_short_secret_is_not_masked() -> None:
    """Few characters of base64 also occur by chance, in words."""
    assert "*** and YWI" == Mask("ab")("ab and YWI")


def test_long_quoted_text_is_cut() -> None:
    assert 1000 == len(one_line("x" * 5000))
    assert one_line("x" * 1001).endswith("x…")
    assert "x" * 1000 == one_line("x" * 1000)


# Secrets that a receiver quotes

QUOTES: dict[str, Callable[[str], bytes]] = {
    "detail": lambda said: problem(detail=said),
    "title": lambda said: problem(title=said),
    "code": lambda said: problem(code=said),
    "errors": lambda said: problem(errors=[{"path": said, "message": said}, said]),
    "body": lambda said: answer("401 No", said.encode()),
    "reason": lambda said: answer(f"401 {said}"),
    "header": lambda said: answer("401 No", b"", f"www-authenticate: Bearer realm={said}"),
    "place": lambda said: answer("307 Go", b"", f"location: https://other.example/{said}"),
    "query": lambda said: answer("301 Go", b"", f"location: /fleet?token={said}"),
    "folder": lambda said: answer("302 Go", b"", f"location: {said}"),
    "no HTTP": lambda said: f"What is {said}?\r\n\r\n".encode("latin-1"),
    "no header": lambda said: f"{HEAD}what is {said}?\r\n\r\n".encode("latin-1"),
    "no length": lambda said: f"{HEAD}content-length: {said}\r\n\r\n".encode("latin-1"),
    "no chunk": lambda said: f"{HEAD}transfer-encoding: chunked\r\n\r\n{said}\r\n".encode(),
}


@pytest.mark.parametrize("quoted_in", QUOTES)
def test_no_failure_shows_a_token_that_a_receiver_quotes(
    quoted_in: str, spell: Spell, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with evil_server(say(QUOTES[quoted_in](spell(TOKEN)))) as evil:
        client = PhoneHomeClient(evil.url, token=TOKEN, attempts=1, verify=NO_AUTHORITIES)
        with client:
            error = failure_of(client)

    assert f"authorization: Bearer {TOKEN}".encode() in evil.heard[0]
    assert not shows(everything(client, error, caplog), TOKEN)


@pytest.mark.parametrize("quoted_in", ["detail", "reason", "folder", "no HTTP"])
@pytest.mark.parametrize("user", ["nora", ""])
def test_no_failure_shows_a_password_that_a_receiver_quotes(
    quoted_in: str, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = to_base64(f"{user}:")(PASSWORD) + " is " + quote(PASSWORD, safe="")
    with evil_server(say(QUOTES[quoted_in](said))) as evil:
        url = evil.url.replace("//", f"//{user}:{quote(PASSWORD, safe='')}@")
        client = PhoneHomeClient(url, attempts=1, verify=NO_AUTHORITIES)
        with client:
            error = failure_of(client)

    assert to_base64(f"{user}:")(PASSWORD).encode() in evil.heard[0]
    assert not shows(everything(client, error, caplog), PASSWORD)


def test_user_without_a_password_is_masked() -> None:
    with evil_server(say(QUOTES["detail"](TOKEN))) as evil:
        url = evil.url.replace("//", f"//{quote(TOKEN, safe='')}@")
        with PhoneHomeClient(url, attempts=1) as client:
            error = failure_of(client)

    assert not shows(str(error), TOKEN)


def test_log_of_a_successful_request_does_not_show_the_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"you": {TOKEN: [f"Bearer {TOKEN}"]}}).encode()
    with (
        evil_server(say(answer(f"200 {TOKEN}", body))) as evil,
        PhoneHomeClient(evil.url, token=TOKEN) as client,
    ):
        health = client.health()

    assert {"you": {"***": ["Bearer ***"]}} == health
    assert not shows(texts_of(caplog), TOKEN)


def test_batch_does_not_show_the_token() -> None:
    refused = {"status": "rejected", "code": TOKEN, "errors": [{"path": TOKEN, "message": TOKEN}]}
    body = json.dumps({"results": [refused]}).encode()
    with (
        evil_server(say(answer("200 OK", body))) as evil,
        PhoneHomeClient(evil.url, token=TOKEN) as client,
    ):
        (result,) = client.heartbeats([BEAT])

    assert isinstance(result, Refused)
    assert not shows(f"{result} {result!r} {vars(result)}", TOKEN)


# Every other kind of failure


def refused_connection(_: Path) -> ClientError:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    return failure_at(url)


def no_such_name(_: Path) -> ClientError:
    return failure_at("http://" + "a" * 64 + ".invalid")


def no_answer_in_time(_: Path) -> ClientError:
    def stay(line: socket.socket) -> None:
        line.recv(1)

    with evil_server(stay) as evil:
        return failure_at(evil.url, timeout=0.2)


def no_answer_at_all(_: Path) -> ClientError:
    with evil_server(say()) as evil:
        return failure_at(evil.url)


def reset_connection(_: Path) -> ClientError:
    def reset(line: socket.socket) -> None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with evil_server(reset) as evil:
        return failure_at(evil.url)


def unknown_certificate(_: Path) -> ClientError:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with evil_server(say(), tls=context) as evil:
        return failure_at(evil.url)


def no_tls(_: Path) -> ClientError:
    with evil_server(say(answer("401 No", TOKEN.encode())), listens=False) as evil:
        return failure_at(evil.url.replace("http:", "https:"))


def token_of_two_lines(_: Path) -> ClientError:
    return failure_to_make("http://host", InvalidToken, token=Hidden(f"{TOKEN}\n"))


def no_url(_: Path) -> ClientError:
    return failure_to_make("ftp://host", InvalidUrl)


def no_timeout(_: Path) -> ClientError:
    return failure_to_make("http://host", InvalidSetting, timeout=0)


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (refused_connection, Unreachable),
        (no_such_name, Unreachable),
        (no_answer_in_time, TimedOut),
        (no_answer_at_all, BadAnswer),
        (reset_connection, Unreachable),
        (unknown_certificate, Untrusted),
        (no_tls, Unreachable),
        (token_of_two_lines, InvalidToken),
        (no_url, InvalidUrl),
        (no_timeout, InvalidSetting),
    ],
)
def test_no_other_failure_shows_the_token(
    fail: Callable[[Path], ClientError],
    kind: type[ClientError],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    error = fail(tmp_path)

    assert type(error) is kind
    assert not shows(everything(None, error, caplog), TOKEN)


def test_error_about_an_unusable_proxy_does_not_show_its_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://nora:s3/cret@proxy")
    error = failure_to_make("http://host", InvalidSetting)

    assert "s3" not in everything(None, error, caplog)


def test_httpx_logs_of_other_requests_are_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    PhoneHomeClient("http://host", token=TOKEN).close()
    logging.getLogger("httpx").info("of %s\n", TOKEN)

    assert f"of {TOKEN}\n" in caplog.messages


def test_command_does_not_show_the_token() -> None:
    said = {"code": f"\x1b[2J{TOKEN}", "detail": f"{TOKEN}\r\n{to_base64('Bearer ')(TOKEN)}"}
    with evil_server(say(answer("401 No", json.dumps(said).encode()))) as evil:
        ended = subprocess.run(
            [sys.executable, "-m", "client", "--url", evil.url, "--beats=1"],
            env={**os.environ, "FLEET_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert 1 == ended.returncode
    assert "refused with 401 ([2J***): *** " in ended.stdout
    assert "" == ended.stderr
    assert not shows(ended.stdout, TOKEN)
    assert "\x1b" not in ended.stdout


class Hidden(str):
    """A text whose repr hides it, so that the test's own variables do not show the secret."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "hidden"


def problem(**said: object) -> bytes:
    return answer("401 Unauthorized", json.dumps(said).encode())


def failure_at(url: str, *, timeout: float = 5.0) -> CallFailed:
    with PhoneHomeClient(url, token=TOKEN, timeout=timeout, sleep=lambda _: None) as client:
        return failure_of(client)


def failure_of(client: PhoneHomeClient) -> CallFailed:
    """The CallFailed of a heartbeat."""
    with pytest.raises(CallFailed) as caught:
        client.register(Registration(server_id="acme_web-1"))
    return caught.value


def failure_to_make(
    url: str, kind: type[InvalidSetting], *, token: str = TOKEN, timeout: float = 5.0
) -> InvalidSetting:
    with pytest.raises(kind) as caught:
        PhoneHomeClient(url, token=token, timeout=timeout)
    # Look only at the frames of the client: the caller's own variables hold the secret.
    assert caught.value.__traceback__ is not None
    return caught.value.with_traceback(caught.value.__traceback__.tb_next)


def everything(
    client: PhoneHomeClient | None, error: ClientError, caplog: pytest.LogCaptureFixture
) -> str:
    """All that a log, a debugger or an error-tracking service may show of an error."""
    logging.getLogger("mine").error("failed", exc_info=error)
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    state = [repr(vars(each)) for each in (client, error) if each is not None]
    return "\n".join([str(error), repr(error), repr(client), *state, *lines, texts_of(caplog)])


def texts_of(caplog: pytest.LogCaptureFixture) -> str:
    written = logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s %(msg)s")
    return "\n".join(map(written.format, caplog.records))


def shows(text: str, secret: str) -> bool:
    """Whether a text holds the secret, plain or escaped or in base64."""
    plain = {text, unquote(text), unquote(unquote(text)), html.unescape(text)}
    plain |= {re.sub(r"\\+u([0-9a-fA-F]{4})", _char, each) for each in plain}
    plain |= {re.sub(r"\\+x([0-9a-fA-F]{2})", _char, each) for each in plain}
    plain |= {re.sub(r"\\+(.)", r"\1", each) for each in plain}
    plain |= {each.encode("latin-1", "replace").decode("utf-8", "replace") for each in plain}
    packed = {run for each in plain for run in re.findall(r"[\w+/-]{8,}", each)}
    plain |= {_unpacked(run[skip:]) for run in packed for skip in range(4)}
    return any(secret[2:-2].lower() in each.lower() for each in plain)


def _char(found: "re.Match[str]") -> str:
    return chr(int(found[1], 16))


def _unpacked(text: str) -> str:
    text = text.replace("-", "+").replace("_", "/")
    whole = text[: len(text) // 4 * 4]
    try:
        return base64.b64decode(whole).decode("utf-8", "replace")
    except ValueError:
        return ""


@pytest.mark.serial
@pytest.mark.parametrize("spelled", ["\\x{:02x}", "\\\\x{:02x}", "\\u{:04x}", "%{:02x}", "&#{};"])
def test_text_that_nearly_quotes_a_secret_is_searched_quickly(spelled: str) -> None:
    """Otherwise a malicious receiver could block an Odoo with one answer."""
    token = "fleetkey_AbCdEfGhIj_" + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"
    nearly = "".join(spelled.format(ord(char)) for char in token[:-1]) + "!"
    mask = Mask(token)

    began = time.process_time()
    masked = mask(nearly * 100)

    assert nearly * 100 == masked
    assert time.process_time() - began < 1
