"""Messages are sent by processes of their own, to hosts that are allowed."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from apprise.manager_plugins import NotificationManager
from attrs import evolve

from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.service.alerts.delivery.addresses import LOCAL_SCHEMES
from receiver.service.alerts.delivery.message import Message
from receiver.service.alerts.delivery.sending import Sender
from servers import wait_until
from sinks import HttpSink, SmtpSink, closed_port, http_sink, smtp_sink
from telling import HERE, SECRET

pytestmark = pytest.mark.one_database

MESSAGE = Message(
    id="msg_2Hn5vXb8Qm4Kc7Rt1Wz9Yp3Df6G",
    kind="alarm",
    thread="al_1",
    title="Down: <b>acme</b> & Söhne",
    text="acme & Söhne <production>\n\nSince 12:00.",
    body={"type": "fleet.alarm", "data": {"name": "acme & Söhne"}},
)


def sent(send: Callable[[Sender], Awaitable[str | None]], allowed: str = HERE) -> str | None:
    async def scenario() -> str | None:
        return await send(Sender(Endpoints.of(allowed)))

    return asyncio.run(scenario())


def posted(url: str, allowed: str = HERE) -> str | None:
    return sent(lambda sender: sender.post(url, SECRET, MESSAGE), allowed)


def notified(url: str, message: Message = MESSAGE, allowed: str = HERE) -> str | None:
    return sent(lambda sender: sender.notify(url, message), allowed)


def mail_url(mailbox: SmtpSink, more: str = "") -> str:
    return (
        f"mailto://127.0.0.1:{mailbox.port}?mode=insecure"
        f"&from=fleet@example.com&to=ops@example.com{more}"
    )


def test_webhook_is_signed_as_standard_webhooks_asks(sink: HttpSink) -> None:
    error = posted(f"{sink.url}/hook?a=b")

    (request,) = sink.received
    assert error is None
    assert ("POST", "/hook?a=b") == (request.method, request.path)
    assert MESSAGE.body == request.verified(SECRET)
    assert MESSAGE.id == request.headers["webhook-id"]
    assert "application/json" == request.headers["content-type"]


def test_webhook_that_is_not_taken_fails_with_its_status(sink: HttpSink) -> None:
    sink.answer = lambda _: (500, {})

    assert "the answer was 500 Internal Server Error" == posted(sink.url)


def test_redirect_is_not_followed(sink: HttpSink) -> None:
    with http_sink() as other:
        sink.answer = lambda _: (307, {"Location": other.url})

        error = posted(sink.url)

        assert (
            "the answer was 307 Temporary Redirect; redirects are not followed",
            [],
        ) == (error, other.received)


def test_redirect_of_a_chat_to_this_machine_is_refused() -> None:
    """Apprise follows redirects when the address says so; where to, only the hook can tell."""
    with http_sink() as chat, http_sink() as other:
        # The name of the chat's host is allowed, and the name in the redirect is not.
        chat.answer = lambda _: (307, {"Location": f"http://127.0.0.2:{other.port}/"})
        url = f"json://127.0.0.1:{chat.port}/?redirect=yes"

        error = notified(url, allowed=f"{DEFAULT_ENDPOINTS},127.0.0.1/32")

        assert 1 == len(chat.received)
        assert (
            "connections to 127.0.0.2 are not allowed: see FLEET_ALERT_ADDRESSES",
            [],
        ) == (error, other.received)


def test_server_that_answers_nonsense_fails() -> None:
    with smtp_sink() as mailbox:
        error = posted(f"http://127.0.0.1:{mailbox.port}/")

    assert error is not None
    assert error.startswith("there was no answer: BadStatusLine")


def test_nobody_who_listens_fails() -> None:
    error = posted(f"http://127.0.0.1:{closed_port()}/token-of-the-hook")

    assert "there was no answer: [Errno 111] Connection refused" == error


def test_email_is_sent_and_its_messages_are_one_thread(mailbox: SmtpSink) -> None:
    errors = [
        notified(mail_url(mailbox)),
        notified(mail_url(mailbox), evolve(MESSAGE, kind="end", title="Up: acme")),
        notified(mail_url(mailbox, "&+X-Team=ops"), evolve(MESSAGE, thread="al_2")),
    ]

    first, _, third = mailbox.received
    assert [None] * 3 == errors
    assert MESSAGE.title == first["Subject"]
    assert "fleet@example.com" in first["From"]
    assert MESSAGE.text == first.get_content().replace("\r\n", "\n").strip()
    roots = [each["References"] for each in mailbox.received]
    assert ["<al_1@odoo-mcp-fleet.invalid>"] * 2 + ["<al_2@odoo-mcp-fleet.invalid>"] == roots
    assert roots == [each["In-Reply-To"] for each in mailbox.received]
    assert len({each["Message-ID"] for each in mailbox.received}) == 3
    assert "ops" == third["X-Team"]


def test_email_that_one_of_two_recipients_takes_is_sent(
    mailbox: SmtpSink, caplog: pytest.LogCaptureFixture
) -> None:
    """The one who has it would get it again with each attempt."""
    mailbox.refused = {"gone@example.com"}
    url = mail_url(mailbox).replace("ops@example.com", "ops@example.com,gone@example.com")

    error = notified(url)

    assert error is None
    assert ["ops@example.com"] == [each["To"] for each in mailbox.received]
    assert f"Not everybody has got the message {MESSAGE.id}: " in caplog.text
    assert "gone" not in caplog.text


def test_test_that_one_of_two_recipients_takes_fails(mailbox: SmtpSink) -> None:
    mailbox.refused = {"gone@example.com"}
    url = mail_url(mailbox).replace("ops@example.com", "ops@example.com,gone@example.com")

    error = notified(url, evolve(MESSAGE, kind="test"))

    assert error is not None
    assert 'Sending email to "***" failed.' in error


def test_email_that_nobody_takes_is_not_sent(mailbox: SmtpSink) -> None:
    mailbox.refused = {"ops@example.com"}

    error = notified(mail_url(mailbox))

    assert error is not None
    assert "failed" in error


def test_chat_gets_what_its_protocol_says(sink: HttpSink) -> None:
    """Mattermost's incoming webhook: JSON with a text, to a path with a token."""
    error = notified(f"mmost://127.0.0.1:{sink.port}/3ccdd113474722377935511fc85d3dd4")

    (request,) = sink.received
    assert error is None
    assert "/hooks/3ccdd113474722377935511fc85d3dd4" == request.path
    assert MESSAGE.text in request.json["text"] + "".join(
        each.get("text", "") for each in request.json.get("attachments", [])
    )


def test_chat_that_refuses_fails_without_its_token(sink: HttpSink) -> None:
    sink.answer = lambda _: (403, {})
    token = "3ccdd113474722377935511fc85d3dd4"

    error = notified(f"mmost://127.0.0.1:{sink.port}/{token}")

    assert error is not None
    assert "403" in error
    assert token not in error


def test_service_that_is_optional_for_apprise_fails_nevertheless() -> None:
    error = notified(f"json://127.0.0.1:{closed_port()}/?optional=yes")

    assert error is not None
    assert "Connection refused" in error


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1:{port}/",
        "json://localhost:{port}/",
        "json://[::ffff:127.0.0.1]:{port}/",
        "json://2130706433:{port}/",
        "json://169.254.169.254/latest/meta-data",
        "mailto://127.0.0.1:{port}?mode=insecure&from=a@example.com&to=b@example.com",
        "mailto://example.com?smtp=127.0.0.1&mode=insecure&from=a@example.com",
        "mqtt://127.0.0.1:{port}/topic",
        "rsyslog://127.0.0.1:{port}/",
        "irc://127.0.0.1:{port}/%23ops",
    ],
)
def test_chats_of_this_machine_are_refused(url: str, sink: HttpSink) -> None:
    error = notified(url.format(port=sink.port), allowed=DEFAULT_ENDPOINTS)

    assert "not allowed: see FLEET_ALERT_ADDRESSES" in (error or "")
    assert sink.received == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        *(
            (url, "not allowed: see FLEET_ALERT_ADDRESSES")
            for url in (
                "http://127.0.0.1:{port}/",
                "http://localhost:{port}/",
                "http://[::ffff:127.0.0.1]:{port}/",
                "http://169.254.169.254/latest/meta-data",
            )
        ),
        ("file:///etc/passwd", "unknown url type: file"),
        ("ftp://127.0.0.1:{port}/", "unknown url type: ftp"),
    ],
)
def test_webhooks_of_this_machine_are_refused(url: str, reason: str, sink: HttpSink) -> None:
    error = posted(url.format(port=sink.port), allowed=DEFAULT_ENDPOINTS)

    assert (error or "").endswith(reason)
    assert sink.received == []


def test_name_that_resolves_to_this_machine_is_refused(sink: HttpSink) -> None:
    """The name is on the list, as any name is; what it resolves to is not."""
    allowed = f"{DEFAULT_ENDPOINTS},localhost"

    errors = [
        notified(f"json://localhost:{sink.port}/", allowed=allowed),
        posted(f"http://localhost:{sink.port}/", allowed=allowed),
    ]

    assert sink.received == []
    for error in errors:
        assert error in {
            f"connections to {address} are not allowed: see FLEET_ALERT_ADDRESSES"
            for address in ("127.0.0.1", "::1")
        }


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        *(
            (f"{each}://", "is a service of the receiver's own machine")
            for each in ("gnome", "dbus", "syslog")
        ),
        ("file:///etc/passwd", "Unparseable URL"),
        ("exec:///bin/true", "Unparseable URL"),
        ("https://example.com/", "Unparseable URL"),
        ("nonsense://example.com", "Unparseable URL"),
        ("slack://too/few", "An invalid Slack"),
        (
            "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?template=file:///etc/passwd",
            "template *** could not be read",
        ),
    ],
)
def test_addresses_that_are_none_are_not_used(url: str, reason: str) -> None:
    error = notified(url, allowed=DEFAULT_ENDPOINTS)

    assert reason in (error or "")
    assert "root:" not in (error or "")


def test_address_is_checked_without_sending(sink: HttpSink) -> None:
    good = sent(lambda sender: sender.check(f"json://127.0.0.1:{sink.port}/"))
    bad = sent(lambda sender: sender.check("slack://too/few"))

    assert good is None
    assert bad is not None
    assert "Slack" in bad
    assert sink.received == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_service_of_this_machine_is_on_the_list_of_those() -> None:
    """What imports none of these speaks over the network, which the hook watches."""
    local = ("dbus", "gi", "hid", "subprocess", "syslog", "win32api")
    plugins: Any = NotificationManager()  # type: ignore[no-untyped-call]
    found = set()
    for plugin in plugins.plugins(include_disabled=True):
        source = sys.modules[plugin.__module__].__file__
        assert source is not None
        lines = [line.split() for line in Path(source).read_text().splitlines()]
        imported = {line[1].split(".")[0] for line in lines if line[:1] in (["import"], ["from"])}
        if imported & {*local}:
            found |= plugins_schemes(plugin)

    assert LOCAL_SCHEMES == found


def plugins_schemes(plugin: type) -> set[str]:
    schemes = plugin.schemas(plugin)  # type: ignore[attr-defined] # it is a NotifyBase
    return {str(each) for each in schemes}


def test_service_that_hangs_ends_with_its_process(sink: HttpSink) -> None:
    is_over = sink.hang()

    async def scenario() -> str | None:
        return await Sender(Endpoints.of(HERE), seconds=2).post(sink.url, SECRET, MESSAGE)

    began = time.monotonic()
    error = asyncio.run(scenario())
    took = time.monotonic() - began
    is_over.set()

    assert "it took longer than 2 seconds" == error
    assert 2 <= took < 12


def test_cancelled_sending_leaves_no_process(sink: HttpSink) -> None:
    is_over = sink.hang()

    async def scenario() -> None:
        sender = Sender(Endpoints.of(HERE))
        task = asyncio.create_task(sender.post(sink.url, SECRET, MESSAGE))
        await asyncio.to_thread(wait_until, lambda: bool(sink.received))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(scenario())
    is_over.set()

    assert [] == children()


def children() -> list[int]:
    """The processes that this one has started and that have not been waited for."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return []
    return [pid]


def test_process_that_crashes_fails(monkeypatch: pytest.MonkeyPatch, sink: HttpSink) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    assert "the process that sends messages has crashed" == posted(sink.url)


def test_process_that_cannot_be_started_fails(
    monkeypatch: pytest.MonkeyPatch, sink: HttpSink
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    error = posted(sink.url)

    assert error is not None
    assert error.startswith("the process that sends messages could not be started: [Errno 2]")


def test_process_knows_no_secret_and_no_proxy_of_the_receiver(
    monkeypatch: pytest.MonkeyPatch, sink: HttpSink
) -> None:
    """A proxy would connect to any host."""
    with http_sink() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)

        errors = [posted(sink.url), notified(f"json://127.0.0.1:{sink.port}/")]

        assert [None, None] == errors
        assert [] == proxy.received


def test_ping_is_a_request_to_any_host(sink: HttpSink) -> None:
    error = sent(lambda sender: sender.ping(f"{sink.url}/ping/{quote('ü')}"), DEFAULT_ENDPOINTS)

    (request,) = sink.received
    assert error is None
    assert ("GET", "/ping/%C3%BC") == (request.method, request.path)


def test_receiver_itself_does_not_load_the_library_of_services() -> None:
    code = "import sys, receiver.app; print('apprise' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout
