"""The table of the servers, and its indexes."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Double,
    Index,
    Integer,
    Table,
    Text,
    and_,
    text,
)

from contract import IpAddresses, State
from receiver.domain.queries import ranks_of
from receiver.store.tables.columns import Json, Key, Member, Moment, constant, metadata

__all__ = ["is_in_state", "is_listed", "servers"]

servers = Table(
    "servers",
    metadata,
    Column("server_id", Key, primary_key=True),
    Column("hostname", Text),
    Column("ip_addresses", Json(IpAddresses)),
    Column("port", Integer),
    Column("transport", Text),
    Column("version", Text),
    Column("odoo_version", Text),
    Column("database", Text),
    Column("capabilities", Json(tuple[str, ...])),
    Column("odoo_stage", Text),
    Column("database_uuid", Text),
    Column("endpoint_url", Text),
    Column("heartbeat_interval_seconds", Double),
    Column("tools_digest", Text),
    Column("started_at", Moment),
    Column("status", Text),
    Column("first_seen", Moment, nullable=False),
    Column("registered_at", Moment),
    Column("state", Member(State), nullable=False),
    Column("state_since", Moment, nullable=False),
    Column("superseded_by", Key),
    Column("twin_of", Key),
    Column("node_count", BigInteger, nullable=False, server_default="0"),
    Column("node_of", Key),
    Column("conflict_since", Moment),
    Column("flapping_since", Moment),
    Column("labels", Json(tuple[str, ...])),
    Column("owner", Text),
    Column("repeats", Integer, nullable=False, server_default="0"),
    Column("turns", JSON(none_as_null=True)),
    Column("catalogue", Text),
    Column("toolset", BigInteger),
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("profile", BigInteger, nullable=False, server_default="0"),
    Column("family", Text),
    Index("ix_servers_first_seen_server_id", "first_seen", "server_id"),
    # Each has all that lists are filtered by, so that no row is read but those of the page.
    Index("ix_servers_server_id_rank_profile", "server_id", "rank", "profile"),
    Index("ix_servers_rank_server_id_profile", "rank", "server_id", "profile"),
    Index("ix_servers_profile_rank_server_id", "profile", "rank", "server_id"),
    # All servers of a host restart at once: each new version needs room beside the old one, or it
    # goes to another page, and with that into all indexes.
    postgresql_with={"fillfactor": 50},
)
"""
One row per server: most fields of `contract.ServerRecord`, and of `receiver.domain.rows.Row`.

The others, which are written again and again while a server just goes on, are in the table
`liveness`. So a heartbeat does not write these rows, which have some 500 bytes and many indexes.

`labels`: The labels that people gave to the server's database, a copy of those in the table
`annotations`; NULL if it has no labels.

`family`: What stands for the `database_uuid` in indexes (`receiver.domain.databases.family_of`);
NULL if the server has told no UUID.

`owner`: The id of the API key that the server belongs to; NULL when no key ever wrote the server.

`repeats`: The score `Row.repeats` for the suspicion that two machines send under one `server_id`.

`turns`: The attribute `Row.turns` as a list: first the total, then the times. NULL when the total
is 0 and there are no times.

`catalogue`: The `id` in the table `catalogues` of the description of the server's tools; NULL when
the server has sent none.

`toolset`: The `id` in the table `toolsets` of the set of the names in `capabilities`; NULL when
there are none.

`rank`: The place of the server in a list that begins with the servers that somebody should
look at (`receiver.domain.queries.Rank`).

`profile`: The `id` in the table `profiles` of what the server has in common with others.
"""

is_listed = text("superseded_by IS NULL AND node_of IS NULL AND state <> 'left'")
"""
The condition that a list of servers shows a server if it is not filtered by state.

Such a list leaves out superseded servers (another server took over their database), nodes (the
list shows another server of the same database in their place), and servers that have left (their
addon was uninstalled).
"""


def is_in_state(*states: State) -> ColumnElement[bool]:
    """
    The condition that a server is in one of some states, and neither superseded nor a node.

    An index finds the servers by their rank, which follows from that.
    """
    ranks = ranks_of(state.value for state in states)
    return servers.c.rank.in_([*map(constant, sorted(ranks))])


Index(
    "ix_servers_node_of",
    servers.c.node_of,
    sqlite_where=servers.c.node_of.is_not(None),
    postgresql_where=servers.c.node_of.is_not(None),
)
Index(
    "ix_servers_superseded_by",
    servers.c.superseded_by,
    sqlite_where=servers.c.superseded_by.is_not(None),
    postgresql_where=servers.c.superseded_by.is_not(None),
)

Index(
    "ix_servers_flapping_since",
    servers.c.flapping_since,
    sqlite_where=servers.c.flapping_since.is_not(None),
    postgresql_where=servers.c.flapping_since.is_not(None),
)

# Few of the servers of a database are not superseded, and these are looked for.
Index(
    "ix_servers_family",
    servers.c.family,
    servers.c.superseded_by,
    servers.c.server_id,
    sqlite_where=servers.c.family.is_not(None),
    postgresql_where=servers.c.family.is_not(None),
)
Index(
    "ix_servers_twin_of",
    servers.c.twin_of,
    sqlite_where=servers.c.twin_of.is_not(None),
    postgresql_where=servers.c.twin_of.is_not(None),
)
Index(
    "ix_servers_conflict_since",
    servers.c.conflict_since,
    sqlite_where=servers.c.conflict_since.is_not(None),
    postgresql_where=servers.c.conflict_since.is_not(None),
)

Index(
    "ix_servers_owner",
    servers.c.owner,
    sqlite_where=servers.c.owner.is_not(None),
    postgresql_where=servers.c.owner.is_not(None),
)

Index(
    "ix_servers_catalogue",
    servers.c.catalogue,
    sqlite_where=servers.c.catalogue.is_not(None),
    postgresql_where=servers.c.catalogue.is_not(None),
)

_is_described = and_(servers.c.catalogue.is_not(None), is_listed)

# For the servers in lists by catalogue. Those that changed only their state stay where they are.
Index(
    "ix_servers_described",
    servers.c.catalogue,
    servers.c.server_id,
    sqlite_where=_is_described,
    postgresql_where=_is_described,
)

# With what `is_listed` needs, so that a list of servers with a tool is read from the index alone.
Index(
    "ix_servers_toolset",
    servers.c.toolset,
    servers.c.server_id,
    servers.c.superseded_by,
    servers.c.node_of,
    servers.c.state,
    sqlite_where=servers.c.toolset.is_not(None),
    postgresql_where=servers.c.toolset.is_not(None),
)
