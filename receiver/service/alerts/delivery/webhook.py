"""Sends HTTP requests without following redirects: signed ones to webhooks, and plain pings."""

import hmac
import ssl
import time
from base64 import b64decode, b64encode
from hashlib import sha256
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
    UnknownHandler,
)

import orjson

from receiver.service.alerts.delivery.message import Message

__all__ = ["ping", "post", "signature"]


def post(url: str, secret: str, message: Message) -> str | None:
    """
    Send the JSON of a message, signed as https://www.standardwebhooks.com asks.

    Returns None if the HTTP status of the answer is from 200 to 299; otherwise the reason why the
    message was not taken, as a text for people.

    Args:
        url: The URL of the webhook.
        secret: `whsec_` and the base64 of the key that signs the message.
        message: The message.
    """
    body = orjson.dumps(message.body)
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message.id, timestamp, body),
    }
    return _send(Request(url, body, headers, method="POST"))  # noqa: S310 - _OPENER knows HTTP only


def ping(url: str) -> str | None:
    """Send a GET request; returns None if it succeeded, or the reason why not, for people."""
    return _send(Request(url))  # noqa: S310 - _OPENER knows HTTP only


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """
    The value of the header `webhook-signature`.

    Args:
        secret: `whsec_` and the base64 of a key.
        message_id: The id of the message.
        timestamp: When it is sent, in seconds since 1970.
        body: The body of the request.
    """
    key = b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, signed, sha256)).decode()


def _send(request: Request) -> str | None:
    request.add_header("User-Agent", "odoo-mcp-fleet")
    try:
        with _opener().open(request, timeout=_TIMEOUT_SECONDS) as answer:
            answer.read(_ENOUGH_BYTES)
    except HTTPError as error:
        error.close()
        more = "; redirects are not followed" if 300 <= error.code < 400 else ""
        return f"the answer was {error.code} {error.reason}{more}"
    except URLError as error:
        return f"there was no answer: {error.reason}"
    except (HTTPException, OSError) as error:
        return f"there was no answer: {error!r}"
    return None


def _opener() -> OpenerDirector:
    """An opener that knows HTTP and nothing else: no redirects, no proxies, and no files."""
    opener = OpenerDirector()
    for handler in (
        HTTPHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


_TIMEOUT_SECONDS = 15
_ENOUGH_BYTES = 64 * 1024
