"""What may be shown of the address of a channel, and which addresses are refused."""

import pytest

from receiver.domain.endpoints import DEFAULT_ENDPOINTS, Endpoints
from receiver.service.alerts.delivery.addresses import host_of_webhook, redacted, scheme_of

pytestmark = pytest.mark.one_database

ALLOWED = Endpoints.of(DEFAULT_ENDPOINTS)


def test_scheme_of_a_notification_service_is_shown() -> None:
    assert "mailtos" == scheme_of("MailTos://user:password@example.com", ALLOWED)


@pytest.mark.parametrize("url", ["gnome://", "DBus://x", "syslog://", "macosx://_/?sound=x"])
def test_notification_services_of_this_machine_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="service of the receiver's own machine"):
        scheme_of(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1/secret",
        "json://user:secret@localhost:8080/secret",
        "ntfy://[::ffff:127.0.0.1]/secret",
        "mailto://secret@169.254.169.254",
        "json://0x7f.1/secret",
    ],
)
def test_notification_hosts_that_are_not_allowed_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="are not allowed: see FLEET_ALERT_ADDRESSES") as refused:
        scheme_of(url, ALLOWED)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdn",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "tgram://123456789:abcdefg_hijklmnop/-1001",
        "mailto://user:password@mail.example.net",
        "nonsense://[",
        "gchat://",
    ],
)
def test_token_in_the_place_of_a_host_is_not_refused_as_a_host(url: str) -> None:
    """Many services have a token in its place, which no list of hosts has."""
    assert url.partition(":")[0] == scheme_of(url, Endpoints.of("*.example.com"))


def test_host_of_a_webhook_is_shown() -> None:
    assert "hooks.example.com" == host_of_webhook("https://Hooks.example.com:8443/a?b=c", ALLOWED)
    assert "2001:db8::1" == host_of_webhook("http://[2001:db8::1]/", ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/secret",
        "https://127.0.0.1/secret",
        "https://127.1/secret",
        "https://[::1]/secret",
        "https://[::ffff:127.0.0.1]/secret",
        "http://169.254.169.254/secret",
        "http://metadata.google.internal/secret",
        "https:///secret",
        "https://example.com:0/secret",
        "https://example.com:99999/secret",
        "https://[::1/secret",
        "https://example.com/ü/secret",
        "https://user:secret@example.com/",
        "https://secret@example.com/",
        "ftp://example.com/secret",
        "file:///secret",
    ],
)
def test_webhooks_that_cannot_or_may_not_be_sent_to_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        host_of_webhook(url, ALLOWED)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdn", ["T1JJ3T3L2", "A1BRTD4JD", "TIiajkdn"]),
        ("mailto://user:p%40ssword@example.com/?to=ops@example.net", ["p@ssword", "p%40ssword"]),
        ("json://example.com/hook?token=abcdef#frag", ["hook", "abcdef"]),
        ("tgram://123456:ABC-def/@channel", ["123456", "ABC-def", "channel"]),
        ("https://example.com/T000/xoxb#sharp", ["T000", "xoxb", "sharp"]),
    ],
)
def test_possible_secret_in_an_error_is_replaced(url: str, secrets: list[str]) -> None:
    text = " ".join(["cannot reach example.com:", *secrets])

    shown = redacted(text, url)

    assert shown.startswith("cannot reach example.com: ***")
    assert [] == [secret for secret in secrets if secret in shown]


def test_error_without_secrets_is_unchanged() -> None:
    assert "no answer from example.com" == redacted("no answer from example.com", "json://a.b/c")
