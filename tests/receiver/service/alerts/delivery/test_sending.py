"""Messages are sent by processes of their own, to hosts that are allowed."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from apprise.manager_plugins import NotificationManager

from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.service.alerts.delivery.addresses import LOCAL_SCHEMES
from receiver.service.alerts.delivery.message import Message
from receiver.service.alerts.delivery.sending import Sender
from servers import wait_until
from sinks import HttpSink, SmtpSink, http_sink
from telling import HERE, MESSAGE, SECRET, SIGNED, mail_url, signed_request

pytestmark = pytest.mark.one_database


def sent(send: Callable[[Sender], Awaitable[str | None]], allowed: str = HERE) -> str | None:
    async def scenario() -> str | None:
        return await send(Sender(Endpoints.of(allowed)))

    return asyncio.run(scenario())


def posted(url: str, allowed: str = HERE) -> str | None:
    return sent(lambda sender: sender.post(url, SECRET, MESSAGE), allowed)


def notified(url: str, message: Message = MESSAGE, allowed: str = HERE) -> str | None:
    return sent(lambda sender: sender.notify(url, message), allowed)


def test_webhook_is_signed_as_standard_webhooks_asks(sink: HttpSink) -> None:
    assert (None, SIGNED) == (posted(f"{sink.url}/hook?a=b"), signed_request(sink))


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


def test_template_of_a_message_may_be_no_file_of_this_machine() -> None:
    url = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?template=file:///etc/passwd"

    assert "template *** could not be read" in (notified(url) or "")


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_local_schemes_list_every_notification_service_of_this_machine() -> None:
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


def test_hanging_notification_service_ends_with_its_process(sink: HttpSink) -> None:
    is_over = sink.hang()

    async def scenario() -> str | None:
        return await Sender(Endpoints.of(HERE), seconds=2).post(sink.url, SECRET, MESSAGE)

    began = time.monotonic()
    error = asyncio.run(scenario())
    took = time.monotonic() - began
    is_over.set()

    assert "it took longer than 2 seconds" == error
    assert took >= 2


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


def test_message_fails_when_its_process_crashes(
    monkeypatch: pytest.MonkeyPatch, sink: HttpSink
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    assert "the process that sends messages has crashed" == posted(sink.url)


def test_message_fails_when_its_process_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, sink: HttpSink
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    error = posted(sink.url)

    assert error is not None
    assert error.startswith("the process that sends messages could not be started: [Errno 2]")


def test_environment_of_the_sending_process_has_no_secret_and_no_proxy(
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
