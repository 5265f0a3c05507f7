"""
Texts that servers are searched for: which words find a server by its names and addresses.

All texts are casefolded, so that a search ignores the case of letters of all scripts.
"""

from typing import NamedTuple
from urllib.parse import urlsplit

from contract import ServerRecord

__all__ = ["SearchText", "Sought", "search_text_of"]


class SearchText(NamedTuple):
    """
    The texts of a server that are searched, casefolded.

    Attributes:
        names: The `server_id`, the hostname, the database, and host and port of the endpoint, with
            line breaks between them; without those that are unknown.
        addresses: The IP addresses, with a line break before each; empty if none is known.
    """

    names: str
    addresses: str


class Sought(NamedTuple):
    """
    A word that servers are searched for, casefolded. A server needs to match one attribute only.

    Attributes:
        name: What one of the names of the server must contain.
        tool: What the name of one of its tools must contain; None for a word without letters and
            digits, which no tool matches.
        address: What one of its IP addresses must begin with; None for a word that no address
            matches.
        version: What its version of Odoo or of the MCP server must begin with.
        label: What one of the labels of its database, or the note, must contain.
    """

    name: str
    tool: str | None
    address: str | None
    version: str
    label: str

    @classmethod
    def of(cls, word: str) -> "Sought":
        """
        Read a word that a person has written.

        A URL searches for its host and port. Only a word with a dot or a colon searches for an IP
        address, because very many addresses begin with the same digits.
        """
        text = word.casefold()
        name = _host_of(text) or text
        return cls(
            name=name,
            tool=name if any(map(str.isalnum, name)) else None,
            address=name if "." in name or ":" in name else None,
            version=text,
            label=text,
        )

    def is_in(self, record: ServerRecord) -> bool:
        """
        Whether a server is found by a name, an address, a version, a tool or a label in its record.

        No record has the note of its database: which notes contain a word, `Labels.noted` of the
        store finds out.
        """
        found = search_text_of(record)
        if self.name in found.names:
            return True
        if self.address is not None and f"\n{self.address}" in found.addresses:
            return True
        versions = filter(None, (record.odoo_version, record.version))
        if any(each.casefold().startswith(self.version) for each in versions):
            return True
        if any(self.label in each.casefold() for each in record.labels or ()):
            return True
        tools = record.capabilities or ()
        return self.tool is not None and any(self.tool in each.casefold() for each in tools)


def search_text_of(record: ServerRecord) -> SearchText:
    """The texts of a server that are searched, from its record."""
    endpoint = record.endpoint_url and _host_of(record.endpoint_url)
    names = (record.server_id, record.hostname, record.database, endpoint)
    found = record.ip_addresses
    addresses = () if found is None else dict.fromkeys((found.primary, *found.all))
    return SearchText(
        "\n".join([name for name in names if name]).casefold(),
        "".join([f"\n{each}" for each in addresses]).casefold(),
    )


def _host_of(url: str) -> str:
    """Host and port of a URL; an empty text for any other text."""
    try:
        return urlsplit(url).netloc if "://" in url else ""
    except ValueError:  # such as https://[
        return ""
