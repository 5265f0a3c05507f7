"""
Profiles: what many servers have in common, and what lists are filtered and counted by.

The database has each profile once, and each server the id of its profile. So the servers with a
stage, a version or a tool are those of a few profiles, and to count them for all stages, versions
and tools at once takes one look at an index of two numbers for each server.
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
        odoo_version: The version of Odoo.
        version: The version of the MCP server.
        network: The network of the primary IP address, as `network_of` returns it.
        owner: The id of the API key that the servers belong to; None when they belong to none.
        toolset: The id of the set of the names of their tools; None when there are none.
    """

    stage: str
    odoo_version: str | None
    version: str | None
    network: str | None
    owner: str | None
    toolset: int | None

    @property
    def id(self) -> int:
        """A hash of 63 bits, under which the database has the profile."""
        return _id_of(self)


@lru_cache(maxsize=1024)  # a batch of messages has many servers of few profiles
def _id_of(profile: Profile) -> int:
    digest = sha256(orjson.dumps([*profile])).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def profile_of(record: ServerRecord, owner: str | None) -> Profile:
    """The profile of a server that belongs to the key with the id `owner`."""
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
    The network that an IP address is in: the first 24 bits of an IPv4 address, 64 of another one.

    None for a loopback address, because each machine has a network of its own there.
    """
    plain = address.partition("%")[0]  # without the interface of a link-local address
    found = ip_address(plain)
    if found.is_loopback:
        return None
    return str(ip_network(f"{plain}/{24 if found.version == 4 else 64}", strict=False))
