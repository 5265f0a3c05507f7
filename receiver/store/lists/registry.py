"""The SQL of the MCP registry: reads servers that may have an entry, and their claims to names."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, false, or_, select

from contract import ServerRecord, State
from receiver.domain.agents.registry import (
    UNKNOWN_VERSION,
    Claim,
    FoundServer,
    Identity,
    Listing,
    Whose,
    reported_version,
    rivals_for,
)
from receiver.domain.queries import LISTED, Filter, Rank, index_text
from receiver.store.indexes.conditions import apply_filter
from receiver.store.rows import RowCache, records_of
from receiver.store.tables import (
    among,
    among_these,
    columns_of,
    events,
    facets,
    liveness,
    servers,
    whole_servers,
)

__all__ = ["claims_like", "claims_of", "identities_of", "registered"]


def registered(
    connection: Connection, asked: Listing | str, cache: RowCache
) -> Sequence[FoundServer]:
    """
    Read servers that may have an entry in the registry, sorted by `server_id`.

    These are servers that report an address. Of several servers that share a database, only the
    one that lists show can have an entry.

    Args:
        connection: A connection to read with.
        asked: Which of these servers match, after which id to begin and how many to return at most;
            or the `server_id` of a single server. The result is empty if there is none.
        cache: The cached rows.
    """
    if isinstance(asked, str):
        query = _FOUND.where(_may_be_entry, servers.c.server_id == asked)
    else:
        query = _matching(connection, asked)
    rows = {row.server_id: row for row in connection.execute(query)}
    known = [(row.server_id, row.revision) for row in rows.values()]
    return [_found(each, rows[each.server_id]) for each in records_of(connection, known, cache)]


def claims_like(connection: Connection, records: Sequence[ServerRecord]) -> Sequence[Claim]:
    """
    The claims to names of all servers whose database has the name and the UUID of one of `records`.

    A claim is what decides which of several servers has a name in the registry. The servers of
    `records` are usually found, too. Superseded servers (replaced in a rebuild of their database)
    are left out, and so are nodes and servers that report no address, which can have no entry. If
    more than 2,000 servers have one of the UUIDs, those beyond 2,000 are left out. A record without
    a name or UUID finds nothing.
    """
    known = [each for each in records if each.database is not None and each.database_uuid]
    if not known:
        return []
    databases = sorted({each.database or "" for each in known})
    uuids = sorted({index_text(each.database_uuid or "") for each in known})
    found = connection.execute(_LIKE, {"databases": databases, "uuids": uuids}).all()
    if len(found) == _MOST_CLAIMS:
        # Many servers have one of the UUIDs: these must not displace the claims on others.
        found = [
            row
            for uuid in uuids
            for row in connection.execute(_LIKE, {"databases": databases, "uuids": [uuid]})
        ]
    return [_claim(row) for row in found]


def claims_of(connection: Connection, whose: Whose, name: str) -> Sequence[Claim]:
    """
    The claims of all servers that could have a name in the registry, in no particular order.

    Superseded servers and servers that have left are among them. Of more than 2,000 servers, the
    first 2,000 in the order of their ids are read. Many servers may have databases with the same
    name, so of these at first only the columns are read from which a name is made.

    Args:
        connection: A connection to read with.
        whose: What `receiver.domain.agents.registry.whose` has read from the name.
        name: The name, with or without the namespace.
    """
    identities = identities_of(connection, [whose])
    ids = sorted(rivals_for(name, identities))[:_MOST_CLAIMS]
    found = connection.execute(_BY_IDS, {"ids": ids}) if ids else ()
    return [_claim(row) for row in found]


def identities_of(connection: Connection, whose: Iterable[Whose]) -> Sequence[Identity]:
    """The identities, from which names are made, of all servers that one of `whose` describes."""
    whose = [*whose]
    databases = {index_text(each.database) for each in whose if each.database is not None}
    ids = {each.server_id for each in whose if each.server_id is not None}
    found = [
        *(connection.execute(_OF_DATABASES, {"databases": [*databases]}) if databases else ()),
        *(connection.execute(_OF_SERVERS, {"ids": [*ids]}) if ids else ()),
    ]
    return [Identity._make(row) for row in found]


def _matching(connection: Connection, asked: Listing) -> Select[Any]:
    matching = asked.matching
    version = matching.version
    reported = None if version is None else reported_version(version)
    is_unknown = version == UNKNOWN_VERSION
    query = apply_filter(
        _FOUND.where(_may_be_entry),
        Filter(version=None if is_unknown else reported),
        connection=connection,
        listed=frozenset(Rank) - {Rank.NODE} if matching.with_gone else LISTED,
    )
    key = servers.c.server_id
    if matching.text is not None:
        named = (servers.c.hostname, servers.c.database, servers.c.server_id)
        query = query.where(
            or_(*(each.icontains(matching.text, autoescape=True) for each in named))
        )
    if is_unknown:
        query = query.where(servers.c.version.is_(None))
    elif version is not None and reported is None:
        query = query.where(false())
    if matching.updated_since is not None:
        since = matching.updated_since
        query = query.where(
            or_(
                servers.c.first_seen >= since,
                servers.c.registered_at >= since,
                servers.c.state_since >= since,
                among_these(servers.c.owner, asked.lapsed),
                _LAST_EVENT >= since,
            )
        )
    if asked.after is not None:
        query = query.where(key > asked.after)
    return query.order_by(key).limit(asked.limit)


def _found(record: ServerRecord, row: Any) -> FoundServer:
    times = [record.first_seen, record.registered_at, record.state_since, row.last_event]
    return FoundServer(record, row.owner, max(each for each in times if each is not None))


def _claim(row: Any) -> Claim:
    return Claim(
        identity=Identity(
            server_id=row.server_id,
            database=row.database,
            database_uuid=row.database_uuid,
            stage=row.stage,
            owner=row.owner,
        ),
        twin_of=row.twin_of,
        first_seen=row.first_seen,
        is_gone=row.superseded_by is not None or row.state is State.LEFT,
        is_heard=row.state.is_heard,
    )


# Each probes an index of the table of events once for a server.
_LAST_EVENT = (
    select(events.c.at)
    .where(events.c.server_id == servers.c.server_id)
    .order_by(events.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_FOUND = select(
    servers.c.server_id, liveness.c.revision, servers.c.owner, _LAST_EVENT.label("last_event")
).select_from(whole_servers)
_may_be_entry = and_(servers.c.endpoint_url.is_not(None), servers.c.node_of.is_(None))
_of_identity = columns_of(Identity._fields, servers, stage=servers.c.odoo_stage)
_CLAIM = select(
    *_of_identity,
    servers.c.twin_of,
    servers.c.first_seen,
    servers.c.superseded_by,
    servers.c.state,
).where(_may_be_entry)
_BY_IDS = _CLAIM.where(among(servers.c.server_id, "ids"))
_IDENTITY = select(*_of_identity).where(_may_be_entry)
_OF_SERVERS = _IDENTITY.where(among(servers.c.server_id, "ids"))
_OF_DATABASES = _IDENTITY.join(facets, facets.c.server_id == servers.c.server_id).where(
    facets.c.name == "database", among(facets.c.value, "databases")
)
_MOST_CLAIMS = 2000
"""
How many claims are read at most. More servers with one database are no rebuilds of each other: then
its UUID was copied again and again, and one of the first has its name.
"""
_LIKE = (
    _CLAIM.where(
        among(servers.c.family, "uuids"),
        servers.c.family.is_not(None),
        servers.c.superseded_by.is_(None),
        among(servers.c.database, "databases"),
    )
    # As the index has them.
    .order_by(servers.c.family, servers.c.superseded_by, servers.c.server_id)
    .limit(_MOST_CLAIMS)
)
