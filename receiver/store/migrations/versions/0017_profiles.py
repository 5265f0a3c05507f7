"""Give servers a rank and a profile, by which lists find them, and texts that are searched."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import orjson
import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("servers", sa.Column("rank", sa.Integer, nullable=False, server_default="0"))
    op.add_column(
        "servers", sa.Column("profile", sa.BigInteger, nullable=False, server_default="0")
    )
    profiles = op.create_table(
        "profiles",
        sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("odoo_version", sa.Text),
        sa.Column("version", sa.Text),
        sa.Column("network", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("toolset", sa.BigInteger),
    )
    search_texts = op.create_table(
        "search_texts",
        sa.Column("server_id", KEY, primary_key=True),
        sa.Column("names", sa.Text, nullable=False),
        sa.Column("addresses", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "saved_views",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("sort", sa.Text),
        sa.Column("key_id", sa.Text),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    _fill(profiles, search_texts)
    op.drop_index("ix_servers_listed", "servers")
    for columns in (
        ["server_id", "rank", "profile"],
        ["rank", "server_id", "profile"],
        ["profile", "rank", "server_id"],
    ):
        op.create_index(f"ix_servers_{'_'.join(columns)}", "servers", columns)
    op.execute("DELETE FROM facets WHERE name IN ('stage', 'version', 'odoo_version')")


def _fill(profiles: sa.Table, search_texts: sa.Table) -> None:
    """Write what is new of all servers, a thousand servers at a time."""
    connection = op.get_bind()
    written: set[int] = set()
    after = ""
    while rows := connection.execute(_NEXT, {"after": after}).mappings().all():
        after = rows[-1]["server_id"]
        given, new, texts = [], [], []
        for row in map(dict, rows):
            profile = _profile(row)
            number = _hash(orjson.dumps([*profile.values()]))
            given.append({"key": row["server_id"], "rank": _rank(row), "profile": number})
            texts.append(_search_text(row))
            if number not in written:
                written.add(number)
                new.append({"id": number, **profile})
        connection.execute(_GIVE, given)
        connection.execute(sa.insert(search_texts), texts)
        if new:
            connection.execute(sa.insert(profiles), new)


def _profile(row: Mapping[str, Any]) -> dict[str, Any]:
    addresses = row["ip_addresses"]
    return {
        "stage": row["odoo_stage"] or "",
        "odoo_version": row["odoo_version"],
        "version": row["version"],
        "network": addresses and _network(addresses["primary"]),
        "owner": row["owner"],
        "toolset": row["toolset"],
    }


def _network(address: str) -> str | None:
    plain = address.partition("%")[0]
    found = ip_address(plain)
    if found.is_loopback:
        return None
    return str(ip_network(f"{plain}/{24 if found.version == 4 else 64}", strict=False))


def _rank(row: Mapping[str, Any]) -> int:
    if row["superseded_by"] is not None:
        return 8
    if row["node_of"] is not None:
        return 7
    strange = (row["flapping_since"], row["twin_of"], row["conflict_since"])
    ranks = {"down": 0, "late": 1, "new": 4, "up": 5, "left": 6}
    if strange != (None, None, None):
        ranks |= {"new": 2, "up": 3}
    return ranks[row["state"]]


def _search_text(row: Mapping[str, Any]) -> dict[str, str]:
    endpoint = row["endpoint_url"] and _host(row["endpoint_url"])
    names: Iterable[str | None] = (row["server_id"], row["hostname"], row["database"], endpoint)
    addresses = row["ip_addresses"] or {"all": []}
    every = dict.fromkeys([*filter(None, [addresses.get("primary")]), *addresses["all"]])
    return {
        "server_id": row["server_id"],
        "names": "\n".join(name for name in names if name).casefold(),
        "addresses": "".join(f"\n{each}" for each in every).casefold(),
    }


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc if "://" in url else ""
    except ValueError:
        return ""


def _hash(data: bytes) -> int:
    return int.from_bytes(sha256(data).digest()[:8], "big") >> 1


_servers = sa.table(
    "servers",
    *map(
        sa.column,
        (
            *("server_id", "hostname", "database", "endpoint_url", "odoo_stage", "odoo_version"),
            *("version", "owner", "toolset", "state", "superseded_by", "node_of"),
            *("flapping_since", "twin_of", "conflict_since"),
        ),
    ),
    sa.column("ip_addresses", sa.JSON),
)
_NEXT = (
    sa.select(_servers)
    .where(_servers.c.server_id > sa.bindparam("after"))
    .order_by(_servers.c.server_id)
    .limit(1_000)
)
_GIVE = sa.text("UPDATE servers SET rank = :rank, profile = :profile WHERE server_id = :key")
