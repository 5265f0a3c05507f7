"""
Middleware that compresses answers with gzip, but none whose length could tell a secret.

An attacker who can make a browser request a page with texts of the attacker's choice, and who sees
how long the encrypted answers are, can guess a secret that is in all of these answers: an answer in
which the chosen text repeats a part of the secret compresses better. The attack is called BREACH.
So

- the CSRF token of a form is another text in each answer (`BrowserSessions.csrf_token`);
- answers that show a secret are not compressed: those to POST, which are the only ones that hold
  a new key or the like, and pages that show what a cookie brings along once.

What else is in answers is the fleet. An attacker learns from their length no more of it than from
the length of answers that are not compressed, as each search makes a list longer or shorter.
"""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Compressed"]

_LEAST_BYTES = 500
_LEVEL = 5
"""A page takes a third of the time that it takes at level 9, and is a twentieth longer."""

_LEAST_BYTES_IN_THREAD = 16 * 1024
"""Longer answers are compressed in a thread, because all other requests would wait for them."""


class Compressed:
    """
    Compresses answers to GET of 500 bytes or more with gzip, but no event streams and no secrets.

    Answers that may be compressed have weak tags (`ETag`): a strong one would say that they are the
    same bytes for clients that accept gzip and for others.

    Args:
        app: The ASGI app whose answers are compressed.
        shows_secret: Returns whether the answer to a request, given its scope, may hold a secret.
    """

    def __init__(self, app: ASGIApp, *, shows_secret: Callable[[Scope], bool]) -> None:
        self._app = app
        self._shows_secret = shows_secret
        self._compressing = GZipMiddleware(
            app,
            minimum_size=_LEAST_BYTES,
            compresslevel=_LEVEL,
            thread_minimum_size=_LEAST_BYTES_IN_THREAD,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_compressible(scope):
            await self._compressing(scope, receive, _with_weak_tags(send))
        else:
            await self._app(scope, receive, send)

    def _is_compressible(self, scope: Scope) -> bool:
        return (
            scope["type"] == "http"
            and scope["method"] in {"GET", "HEAD"}
            and any(
                name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"]
            )
            and not self._shows_secret(scope)
        )


def _with_weak_tags(send: Send) -> Send:
    """Wrap `send`, so that the tag of an answer says that the answer means the same, not more."""

    async def weaken(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            tag = headers.get("etag", "W/")
            if not tag.startswith("W/"):
                headers["etag"] = f"W/{tag}"
        await send(message)

    return weaken
