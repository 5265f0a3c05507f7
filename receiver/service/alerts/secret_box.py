"""Encrypts the addresses of channels with a key that is not in the database."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from receiver.domain.errors import Refusal

__all__ = ["InvalidKey", "SecretBox", "Undecryptable", "read_key_file"]

_NO_KEY = (
    "The receiver has no key to encrypt the addresses of channels with. Make one by "
    "`odoo-mcp-fleet secret-key`, put it into FLEET_SECRET_KEY, or into a file that "
    "FLEET_SECRET_KEY_FILE names, and start the receiver again."
)


class Undecryptable(Exception):
    """A text was encrypted with a key that the receiver does not have any more, or never had."""


class InvalidKey(ValueError):
    """A text is no key as `SecretBox.new_key` makes them."""


class SecretBox:
    """
    Encrypts texts, and decrypts them again.

    Args:
        keys: Keys as `new_key` makes them. The first one encrypts; all of them decrypt. There may
            be none; then nothing can be encrypted. Raises InvalidKey for another text.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        try:
            self._fernets = [Fernet(key) for key in keys]
        except ValueError:
            raise InvalidKey from None

    @classmethod
    def of(cls, text: str) -> "SecretBox":
        """Read one key, or several that are separated by commas. Raises InvalidKey."""
        return cls([key.strip() for key in text.split(",")])

    @staticmethod
    def new_key() -> str:
        """Make a random key: 44 characters of URL-safe base64."""
        return Fernet.generate_key().decode()

    @property
    def has_key(self) -> bool:
        """Whether there is a key."""
        return bool(self._fernets)

    def seal(self, text: str) -> bytes:
        """Encrypt a text. Raises Refusal when there is no key."""
        if not self._fernets:
            raise Refusal(409, "no_secret_key", _NO_KEY)
        return MultiFernet(self._fernets).encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Decrypt a text. Raises Undecryptable when none of the keys fits."""
        for fernet in self._fernets:
            try:
                return fernet.decrypt(sealed).decode()
            except InvalidToken:
                continue
        raise Undecryptable(
            "the address was encrypted with another key than those in FLEET_SECRET_KEY"
        )

    def is_newest(self, sealed: bytes) -> bool:
        """Whether a text was encrypted with the first of the keys. Raises Undecryptable."""
        self.open(sealed)
        try:
            self._fernets[0].decrypt(sealed)
        except InvalidToken:
            return False
        return True

    def renewed(self, sealed: bytes) -> bytes:
        """
        Encrypt a text with the first of the keys, if it was encrypted with another one of them.

        A text that is encrypted with the first key is returned as it is. Raises Undecryptable when
        none of the keys fits.
        """
        return sealed if self.is_newest(sealed) else self.seal(self.open(sealed))


def read_key_file(path: str) -> str:
    """
    Read a file with keys, which nobody but its owner may read.

    Raises ValueError, whose argument says what is wrong with the file, and OSError.
    """
    file = Path(path)
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no file")
    if os.name == "posix" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(
            f"others than its owner may use {path}; take that right away with: chmod 600 {path}"
        )
    return file.read_text()
