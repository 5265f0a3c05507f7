"""
What the process does that sends a message: here within the process of the tests.

So nothing is refused but what the library and the handlers refuse; what the hook of a process of
its own refuses is in `test_sending.py` and `test_guard.py`.
"""

from contextlib import suppress

import orjson
import pytest
from attrs import asdict, evolve

from receiver.domain.endpoints import DEFAULT_ENDPOINTS
from receiver.service.alerts.delivery.child import Task, main
from receiver.service.alerts.delivery.guard import Guard, Refused
from receiver.service.alerts.delivery.message import Message, Result
from sinks import HttpSink, SmtpSink, closed_port, http_sink, smtp_sink
from telling import HERE, MESSAGE, SECRET, SIGNED, mail_url, signed_request

# A process of its own shows no warnings of the library.
pytestmark = pytest.mark.filterwarnings("ignore")


def never(status: int) -> None:
    pytest.fail(f"the process would end with {status}")


def carried_out(task: Task) -> Result:
    """The result of a task, without a hook."""
    hooks: list[Guard] = []
    answer = main(orjson.dumps(asdict(task)), add_hook=hooks.append, end=never)
    assert len(hooks) == 1
    return Result(**orjson.loads(answer))


def posted(url: str, message: Message | None = MESSAGE) -> str | None:
    task = Task(do="webhook", url=url, secret=SECRET, allowed=HERE, seconds=30, message=message)
    return carried_out(task).error


def notify(url: str, message: Message | None = MESSAGE, allowed: str = HERE) -> Result:
    return carried_out(Task(do="apprise", url=url, allowed=allowed, seconds=30, message=message))


def notified(url: str, message: Message | None = MESSAGE, allowed: str = HERE) -> str | None:
    return notify(url, message, allowed).error


def test_webhook_is_signed_as_standard_webhooks_asks(sink: HttpSink) -> None:
    assert (None, SIGNED) == (posted(f"{sink.url}/hook?a=b"), signed_request(sink))


def test_ping_is_a_get_request(sink: HttpSink) -> None:
    error = posted(f"{sink.url}/ping", message=None)

    (request,) = sink.received
    assert error is None
    assert ("GET", "/ping") == (request.method, request.path)


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


def test_webhook_answered_with_invalid_http_fails() -> None:
    with smtp_sink() as mailbox:
        error = posted(f"http://127.0.0.1:{mailbox.port}/")

    assert error is not None
    assert error.startswith("there was no answer: BadStatusLine")


def test_webhook_to_a_closed_port_fails() -> None:
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


def test_email_test_fails_when_one_of_two_recipients_is_refused(mailbox: SmtpSink) -> None:
    mailbox.refused = {"gone@example.com"}
    url = mail_url(mailbox).replace("ops@example.com", "ops@example.com,gone@example.com")

    error = notified(url, evolve(MESSAGE, kind="test"))

    assert error is not None
    assert 'Sending email to "***" failed.' in error


def test_email_fails_when_no_recipient_is_accepted(mailbox: SmtpSink) -> None:
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
    ],
)
def test_invalid_notification_addresses_are_refused(url: str, reason: str) -> None:
    error = notified(url, allowed=DEFAULT_ENDPOINTS)

    assert reason in (error or "")


def test_address_is_checked_without_sending(sink: HttpSink) -> None:
    good = notified(f"json://127.0.0.1:{sink.port}/", message=None)
    bad = notified("slack://too/few", message=None)

    assert good is None
    assert bad is not None
    assert "Slack" in bad
    assert sink.received == []


def test_email_that_one_of_two_recipients_takes_is_sent_with_a_warning(mailbox: SmtpSink) -> None:
    mailbox.refused = {"gone@example.com"}

    result = notify(mail_url(mailbox).replace("ops@", "gone@example.com,ops@"))

    assert result.error is None
    assert 'Sending email to "***" failed.' in (result.warning or "")
    assert ["ops@example.com"] == [each["To"] for each in mailbox.received]


def test_refusal_of_the_audit_hook_is_the_error_whatever_the_library_says() -> None:
    def refuse(guard: Guard) -> None:
        with suppress(Refused):
            guard("socket.getaddrinfo", ("127.0.0.1", 80, 0, 0, 0))

    task = Task(
        do="webhook",
        url=f"http://127.0.0.1:{closed_port()}/",
        allowed=DEFAULT_ENDPOINTS,
        seconds=30,
        message=None,
    )
    answer = main(orjson.dumps(asdict(task)), add_hook=refuse, end=never)

    refused = "connections to 127.0.0.1 are not allowed: see FLEET_ALERT_ADDRESSES"
    assert refused == orjson.loads(answer)["error"]


def test_task_that_takes_too_long_ends_the_process(sink: HttpSink) -> None:
    is_over = sink.hang()
    ended: list[int] = []

    def end(status: int) -> None:
        ended.append(status)
        is_over.set()

    task = Task(do="webhook", url=sink.url, allowed=HERE, seconds=0.1, message=None)
    main(orjson.dumps(asdict(task)), add_hook=lambda _: None, end=end)

    assert [1] == ended
