"""
Profiles: what many servers have in common, and what lists are filtered and counted by.

The database has each profile once, and each server the id of its profile. So the servers with a
stage, a version or a tool are those of a few profiles. To count servers for all stages, versions
and tools at once, only one index is read, which has two numbers for each server.
"""

from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import orjson

from contract import ServerRecord
from receiver.domain.agents.toolsets import toolset_id

__all__ = ["Profile", "network_of", "profile_of"]


class Profile(NamedTuple):
    """
    What servers that are alike have in common.

    Attributes:
        stage: The Odoo.sh stage; "" if it is empty or unknown.
        odoo_version: The version of Odoo; None if it is unknown.
        version: The version of the MCP server; None if it is unknown.
        network: The network of the primary IP address, as `network_of` returns it; None if the
            address is unknown.
        owner: The id of the API key that the servers belong to; None when they belong to none.
        toolset: The id of the set of the names of their tools; None when they have no tools.
    """

    stage: str
    odoo_version: str | None
    version: str | None
    network: str | None
    owner: str | None
    toolset: int | None

    @property
    def id(self) -> int:
        """A hash of 63 bits of the profile, which is its primary key in the database."""
        return _id_of(self)


@lru_cache(maxsize=1024)  # a batch of messages has many servers of few profiles
def _id_of(profile: Profile) -> int:
    digest = sha256(orjson.dumps([*profile])).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def profile_of(record: ServerRecord, owner: str | None) -> Profile:
    """The profile of a server; `owner` is the id of the key that it belongs to, or None."""
    addresses = record.ip_addresses
    return Profile(
        stage=record.odoo_stage or "",
        odoo_version=record.odoo_version,
        version=record.version,
        network=None if addresses is None else network_of(addresses.primary),
        owner=owner,
        toolset=toolset_id(record.capabilities),
    )


@lru_cache(maxsize=4096)
def network_of(address: str) -> str | None:
    """
    The network that an IP address is in, such as `10.0.3.0/24` or `fd00:1::/64`.

    It has 24 bits for an IPv4 address, and 64 bits for an IPv6 address. None for a loopback
    address, because each machine has a loopback network of its own.
    """
    plain = address.partition("%")[0]  # without the interface of a link-local address
    found = ip_address(plain)
    if found.is_loopback:
        return None
    return str(ip_network(f"{plain}/{24 if found.version == 4 else 64}", strict=False))
