"""Makes text from a receiver safe to log: on one line, bounded, and with secrets masked."""

import re
from base64 import b64encode

__all__ = ["Mask", "one_line"]

_LONGEST = 1000
_SHORTEST_BASE64 = 5


def one_line(text: str) -> str:
    """
    The text on one line, cut off after 1,000 characters.

    A space stands for each sequence of spaces, line breaks and unprintable characters.
    """
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * _LONGEST])
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


class Mask:
    """
    Replaces secrets in a text by ***.

    It finds a secret in upper and lower case, with any of its characters escaped as in URLs,
    JSON and HTML, and in base64, even within a longer encoded text.
    It does not find other encodings, so a receiver that knows a secret can still hide it in a text.

    Args:
        secrets: The secrets; an empty one is ignored.
    """

    def __init__(self, *secrets: str) -> None:
        spellings = [each for secret in secrets if secret for each in _spellings(secret)]
        first = "".join({each[0] for each in spellings})
        # A look-ahead on the first character rejects most positions of a text at once.
        start = rf"(?=[\\%&{re.escape(first + first.swapcase())}])"
        found = "|".join("".join(map(_pattern, each)) for each in spellings)
        self._found = re.compile(f"{start}(?:{found})", re.IGNORECASE) if spellings else None

    def __call__(self, text: str) -> str:
        """The text with *** in place of each secret."""
        return text if self._found is None else self._found.sub("***", text)

    def data(self, data: bytes) -> bytes:
        """The bytes with *** in place of each secret; they need not be valid UTF-8."""
        return self(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _spellings(secret: str) -> list[str]:
    """The secret, and texts of which one occurs in any base64 text that encodes the secret."""
    return [secret, *(each for each in _base64(secret) if len(each) >= _SHORTEST_BASE64)]


def _base64(secret: str) -> list[str]:
    raw = secret.encode()
    # A base64 character encodes 6 bits. Drop those at both ends that also encode neighbours,
    # for each of the three offsets that the secret may have within the encoded bytes.
    return [
        b64encode(bytes(before) + raw).decode()[first : 8 * (before + len(raw)) // 6]
        for before, first in ((0, 0), (1, 2), (2, 3))
    ]


def _pattern(char: str) -> str:
    """A regular expression for a character, plain or escaped once or twice."""
    code = ord(char)
    percent = "".join(f"%(?:25){{0,2}}{byte:02x}" for byte in char.encode())
    # Each spelling must match one alternative only, or the search would backtrack
    # exponentially: two ways for each character are more than 10^18 for a key.
    slash_x = "".join(rf"\\{{1,4}}x{byte:02x}" for byte in char.encode())
    other = "" if char.isascii() else f"|{slash_x}"
    same = {"+": r"[+\-]", "/": r"[/_]"}.get(char, re.escape(char))  # URL-safe base64
    return (
        rf"(?:\\{{0,4}}(?:{same}|u{code:04x}|x{code:02x}){other}|{percent}"
        rf"|&#0{{0,4}}{code};|&#x0{{0,4}}{code:x};)"
    )
