"""Sends messages through the services that the library Apprise knows: e-mail, chats, telephones."""

import logging
from enum import Enum
from urllib.parse import quote

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType

from receiver.domain.alerts.values import DeliveryKind
from receiver.domain.endpoints import Endpoints
from receiver.service.alerts.delivery.addresses import scheme_of
from receiver.service.alerts.delivery.message import Message, Result

__all__ = ["send"]


def send(url: str, message: Message | None, *, allowed: Endpoints, seconds: float) -> Result:
    """
    Send a message through a service that Apprise knows.

    A message that only some of several recipients have taken counts as sent, with a warning;
    otherwise those would get it again with each attempt. A message of the kind `test` counts as
    failed then. The result may quote secrets of the URL.

    Args:
        url: The URL of the service, as Apprise reads it.
        message: The message; None to find out only whether Apprise can use the URL.
        allowed: The hosts to which messages may be sent.
        seconds: After how many seconds the attempt fails.
    """
    log = _Log()
    logger = logging.getLogger("apprise")
    logger.addHandler(log)
    logger.setLevel(logging.DEBUG)
    try:
        taken = _send(url, message, allowed, seconds)
    finally:
        logger.removeHandler(log)
    if taken is Taken.BY_ALL:
        return Result()
    said = " ".join(log.lines) or "the service has not taken the message"
    is_test = message is not None and message.kind == DeliveryKind.TEST.value
    return Result(warning=said) if taken is Taken.BY_SOME and not is_test else Result(error=said)


class Taken(Enum):
    """By how many of its recipients a message was taken."""

    BY_ALL = 1
    BY_SOME = 2
    BY_NONE = 3


def _send(url: str, message: Message | None, allowed: Endpoints, seconds: float) -> Taken:
    scheme = scheme_of(url, allowed)
    asset = AppriseAsset(
        app_id="Odoo MCP Fleet",
        app_desc="Alerts of Odoo MCP Fleet",
        async_mode=False,
        http_redirects=False,
        image_path_mask=False,
        image_url_logo="",
        image_url_mask="",
        pem_autogen=False,
        pgp_autogen=False,
        secure_logging=True,
        service_timeout=seconds,
        storage_mode="memory",
        timezone="UTC",
    )
    thread = "" if message is None else message.thread
    service = Apprise.instantiate(_in_thread(url, scheme, thread), asset=asset)
    if service is None:
        return Taken.BY_NONE
    return Taken.BY_ALL if message is None else _notify(service, message, asset)


def _notify(service: NotifyBase, message: Message, asset: AppriseAsset) -> Taken:
    # With `optional=yes` in its URL, a service that does not answer would count as told.
    service.optional = False
    recipients: list[object] = []

    def note(recipient: object, per_message: bool = False) -> None:  # noqa: ARG001, FBT001, FBT002
        recipients.append(recipient)

    # Plugins call this for each recipient that has taken the message.
    service.mark_delivered = note  # type: ignore[method-assign, assignment]
    with Apprise(service, asset=asset).notify(
        body=message.text,
        title=message.title,
        notify_type=_TYPES[DeliveryKind(message.kind)],
        body_format=NotifyFormat.TEXT,
    ) as result:
        if result:
            return Taken.BY_ALL
    return Taken.BY_SOME if recipients else Taken.BY_NONE


def _in_thread(url: str, scheme: str, thread: str) -> str:
    """
    The URL for a message that belongs to a thread, if the service has threads.

    A mail program shows the e-mails as one thread that refer to the same message, even if nobody
    has ever sent that.
    """
    root = quote(f"<{thread}@odoo-mcp-fleet.invalid>", safe="")
    more = {
        "mailto": f"+References={root}&+In-Reply-To={root}",
        "mailtos": f"+References={root}&+In-Reply-To={root}",
        "gchat": f"thread={quote(thread, safe='')}",
    }.get(scheme)
    if not thread or more is None:
        return url
    return f"{url}{'&' if '?' in url else '?'}{more}"


class _Log(logging.Handler):
    """
    Collects what Apprise tells of failures.

    Attributes:
        lines: A sentence for each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        # The reason why a connection fails is only in the records for debugging.
        if record.levelno >= logging.WARNING or line.startswith("Socket Exception"):
            self.lines.append(line)


_TYPES = {
    DeliveryKind.ALARM: NotifyType.FAILURE,
    DeliveryKind.REMINDER: NotifyType.WARNING,
    DeliveryKind.END: NotifyType.SUCCESS,
    DeliveryKind.TEST: NotifyType.INFO,
    DeliveryKind.REPORT: NotifyType.INFO,
}
