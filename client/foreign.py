"""Text that others wrote, made fit to be passed on."""

import re
from base64 import b64encode

__all__ = ["Mask", "one_line"]

_LONGEST = 1000
_SHORTEST_BASE64 = 5


def one_line(text: str) -> str:
    """The text on one line of a log: nothing but what can be printed, 1,000 characters of it."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * _LONGEST])
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


class Mask:
    """
    Writes *** where a text quotes a secret.

    A secret is found in large or small letters, with any of its characters written as
    URLs, JSON and HTML may write them, and in base64, also as a part of something longer.
    It is not found in spellings that nobody uses to quote: whoever knows a secret can
    always hide it.

    Args:
        secrets: What nobody may read; an empty one is none.
    """

    def __init__(self, *secrets: str) -> None:
        spellings = [each for secret in secrets if secret for each in _spellings(secret)]
        first = "".join({each[0] for each in spellings})
        # Most places of a text are given up at their first character.
        start = rf"(?=[\\%&{re.escape(first + first.swapcase())}])"
        found = "|".join("".join(map(_spelled, each)) for each in spellings)
        self._found = re.compile(f"{start}(?:{found})", re.IGNORECASE) if spellings else None

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        return text if self._found is None else self._found.sub("***", text)

    def data(self, data: bytes) -> bytes:
        """The same for bytes, which may be no text at all."""
        return self(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _spellings(secret: str) -> list[str]:
    """The secret, and what is in every base64 of something that holds it."""
    return [secret, *(each for each in _base64(secret) if len(each) >= _SHORTEST_BASE64)]


def _base64(secret: str) -> list[str]:
    raw = secret.encode()
    # Each character of base64 stands for 6 bits; at the ends these are not all the secret's.
    return [
        b64encode(bytes(before) + raw).decode()[first : 8 * (before + len(raw)) // 6]
        for before, first in ((0, 0), (1, 2), (2, 3))
    ]


def _spelled(char: str) -> str:
    """A pattern for a character, also escaped, also twice."""
    code = ord(char)
    percent = "".join(f"%(?:25){{0,2}}{byte:02x}" for byte in char.encode())
    # Each way of writing matches one alternative only, or a text could keep the search busy
    # for ever: with two ways for each character there are more than 10^18 for a key.
    slash_x = "".join(rf"\\{{1,4}}x{byte:02x}" for byte in char.encode())
    other = "" if char.isascii() else f"|{slash_x}"
    same = {"+": r"[+\-]", "/": r"[/_]"}.get(char, re.escape(char))  # base64 for URLs
    return (
        rf"(?:\\{{0,4}}(?:{same}|u{code:04x}|x{code:02x}){other}|{percent}"
        rf"|&#0{{0,4}}{code};|&#x0{{0,4}}{code:x};)"
    )
