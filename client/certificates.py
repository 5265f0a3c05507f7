"""Trusting a private certificate authority."""

import ssl
from os import PathLike
from pathlib import Path

from client.errors import InvalidCertificates

__all__ = ["trust_only"]


def trust_only(path: str | PathLike[str]) -> ssl.SSLContext:
    """
    Return TLS settings for `PhoneHomeClient(verify=...)` that trust only the authorities in a file.

    The file at `path` holds the certificates of the authorities in PEM. The host name and the
    validity dates of the receiver's certificate are checked as usual.

    Raises InvalidCertificates, which names the file, when the file cannot be used.
    """
    # `Path("")` is the current folder, which fails below. Without this, ssl would read "" as
    # "no file" and trust the authorities of the system.
    path = Path(path)
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        why = "it holds no certificate in PEM"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    raise InvalidCertificates(str(path), why)
