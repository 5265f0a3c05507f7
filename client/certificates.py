"""Whose word on a certificate is taken."""

import ssl
from os import PathLike
from pathlib import Path

from client.errors import InvalidCertificates

__all__ = ["trust_only"]


def trust_only(path: str | PathLike[str]) -> ssl.SSLContext:
    """
    Trust the authorities in a PEM file, and no others: for `PhoneHomeClient(verify=...)`.

    A receiver must still have the right name, and a certificate that is valid today.

    Raises InvalidCertificates, which names the file.
    """
    # An empty path becomes a folder here: ssl takes it for none, and trusts everybody's own.
    path = Path(path)
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        why = "it holds no certificate in PEM"
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    raise InvalidCertificates(str(path), why)
