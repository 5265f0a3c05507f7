"""Random ids of channels, rules, silences and messages."""

import secrets
import string

__all__ = ["new_id", "new_message_id"]


def new_id() -> str:
    """The id of a new channel, rule or silence: 10 random letters and digits."""
    return _random(10)


def new_message_id() -> str:
    """The id of a new message: `msg_` and 27 random letters and digits."""
    return f"msg_{_random(27)}"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


_ALPHABET = string.ascii_letters + string.digits
