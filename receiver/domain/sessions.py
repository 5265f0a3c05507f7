"""A browser session, as the store keeps it."""

from datetime import datetime

from attrs import field, frozen

__all__ = ["Session"]


@frozen(kw_only=True)
class Session:
    """
    The session of a browser in which somebody has signed in with an API key.

    Attributes:
        digest: SHA-256 of the token in the browser's cookie, 32 bytes.
        key_id: The id of the key that the person signed in with.
        key_digest: The digest of that key at the time of signing in. The session is not valid when
            the key has another digest now, so rotating the key ends its sessions.
        expires_at: When the session ends.
    """

    digest: bytes = field(repr=False)
    key_id: str
    key_digest: bytes = field(repr=False)
    expires_at: datetime
