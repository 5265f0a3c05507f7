"""
The entries of the MCP registry, from which clients such as VS Code install the servers of a fleet.

The MCP Registry API, version 0.1, and its format `server.json` say what an entry looks like.

An entry is about an Odoo database, not about one of the servers that send messages for it: its name
stays the same when a rebuild of the database replaces the server. The name contains a digest that
also covers the receiver's key that the server belongs to. So a server that another key reports
cannot get the name, and with it the Odoo API key that somebody has stored under this name.

Servers may report any text. It is written into an entry such that no client takes a part of it for
a reference such as `${HOME}` or `{variable}`.
"""

import base64
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from attrs import field, frozen

from contract import ServerRecord, State
from contract.fields import format_moment
from receiver.domain.agents.client_files import Connection, database_header, slug_of

__all__ = [
    "DEFAULT_NAMESPACE",
    "OFFICIAL",
    "UNKNOWN_VERSION",
    "Claim",
    "Entry",
    "EntryFilter",
    "EntryPlace",
    "ForgottenEntry",
    "FoundServer",
    "Identity",
    "Listing",
    "Tombstone",
    "Whose",
    "document",
    "holders",
    "host_of",
    "is_namespace",
    "local_names",
    "possible_names",
    "reported_version",
    "rivals_for",
    "search_of",
    "version_of",
    "whose",
    "whose_local",
]

DEFAULT_NAMESPACE = "local.fleet"
"""The first part of the names of entries, unless FLEET_REGISTRY_NAMESPACE is set."""

OFFICIAL = "io.modelcontextprotocol.registry/official"
"""The key in `_meta` of an entry whose content the MCP Registry API defines."""


class Identity(NamedTuple):
    """
    The attributes of a server from which its name in the registry is made.

    The name is made from the database if it is known well enough, so that it stays the same after a
    rebuild; otherwise from the id of the server. See `parts`.

    Attributes:
        server_id: The id of the server.
        database: The name of its database; None if it is unknown.
        database_uuid: The UUID of its database; None if it is unknown.
        stage: Its Odoo.sh stage; None or empty if it has none.
        owner: The id of the receiver's key that the server belongs to; None if it belongs to none.
    """

    server_id: str
    database: str | None
    database_uuid: str | None
    stage: str | None
    owner: str | None

    @property
    def parts(self) -> tuple[str, ...]:
        """
        The values of which the name has a digest: servers with the same parts claim the same name.

        If the name and the UUID of the database are known, they describe the database, and stay the
        same when a rebuild replaces the server. Otherwise, or if the name is too long, they
        describe only this server.
        """
        owner = self.owner or ""
        if self.database_uuid and self.database and _spelled(self.database):
            return "database", self.database_uuid, self.database, self.stage or "", owner
        return "server", self.server_id, owner


class Claim(NamedTuple):
    """
    The attributes that decide which one of the servers that claim the same name gets it.

    Attributes:
        identity: From what the name is made; servers whose `parts` are equal claim the same name.
        twin_of: The id of another server, if the database of one of the two is a copy of the
            other's; otherwise None.
        first_seen: When the first message of the server was received.
        is_gone: Whether the server was uninstalled, or replaced by a rebuild of its database.
        is_heard: Whether the server sends its messages in time: its state is new or up.
    """

    identity: Identity
    twin_of: str | None
    first_seen: datetime
    is_gone: bool
    is_heard: bool

    @classmethod
    def of(cls, record: ServerRecord, owner: str | None) -> "Claim":
        """The claim of a server; `owner` is the id of the key that it belongs to, or None."""
        return cls(
            identity=Identity(
                record.server_id,
                record.database,
                record.database_uuid,
                record.odoo_stage,
                owner,
            ),
            twin_of=record.twin_of,
            first_seen=record.first_seen,
            is_gone=record.superseded_by is not None or record.state is State.LEFT,
            is_heard=record.state.is_heard,
        )


class FoundServer(NamedTuple):
    """
    A server that may have an entry in the registry.

    Attributes:
        record: The record of the server.
        owner: The id of the receiver's key that the server belongs to; None if it belongs to none.
        changed_at: When the server first sent a message, when it registered, when its state
            changed or when its last event happened, whichever is latest.
    """

    record: ServerRecord
    owner: str | None
    changed_at: datetime

    @property
    def claim(self) -> Claim:
        return Claim.of(self.record, self.owner)


class Whose(NamedTuple):
    """
    Which servers can have a certain name in the registry, as far as the name itself tells.

    The name contains either the name of a database or the id of a server.

    Attributes:
        database: All servers with a database of this name can have it; None if `server_id` is set.
        server_id: Only the server with this id can have it; None if `database` is set.
    """

    database: str | None
    server_id: str | None


@frozen(kw_only=True)
class EntryFilter:
    """
    A filter for the entries of the registry: they must match every attribute that is not None.

    Attributes:
        text: Text contained in hostname, database or server_id of the server, ignoring case; for a
            server that was deleted, in the title of its entry.
        name: The whole name of the only entry to list.
        version: The version of the entry, as `version_of` returns it.
        updated_since: Only entries that were updated at or after this time.
        with_gone: Whether to list the entries of servers that were uninstalled, replaced by another
            server or deleted ("forgotten"), too.
    """

    text: str | None = None
    name: str | None = None
    version: str | None = None
    updated_since: datetime | None = None
    with_gone: bool = False


class EntryPlace(NamedTuple):
    """
    A place in the list of entries, at which a page begins.

    First come the entries of servers, sorted by `server_id`, then the tombstones, sorted by local
    name. A tombstone is what is kept of an entry whose server was deleted; a local name is the name
    of an entry without the namespace.

    Attributes:
        after: The place is right after the server with this `server_id`, or after the tombstone
            with this local name.
        is_of_tombstones: Whether the place is among the tombstones.
    """

    after: str
    is_of_tombstones: bool = False


@frozen(kw_only=True)
class Listing:
    """
    A request for a part of the servers that match a filter, or for a part of the tombstones.

    A tombstone is what is kept of an entry whose server was deleted. Servers are sorted by
    `server_id`, and tombstones by local name: the name of the entry without the namespace.

    Attributes:
        matching: The filter.
        after: Only servers whose `server_id`, or tombstones whose local name, is after this text;
            None for the first part.
        limit: How many servers, or tombstones, to return at most.
        lapsed: The ids of the keys that were revoked or have expired since the time
            `matching.updated_since`; empty if that is None. The servers of these keys match the
            filter, because their entries have changed with the key.
    """

    matching: EntryFilter
    after: str | None
    limit: int
    lapsed: Collection[str] = ()


@frozen(kw_only=True)
class Entry:
    """
    An entry of the registry.

    Attributes:
        name: The name of the entry, with the namespace.
        record: The record of the server, with its state at the time of the request.
        last_heard: When the latest message of the server, or of another server of the same database
            (a node), was received.
        updated_at: When the entry last changed.
        is_lapsed: Whether the server belongs to a key that was revoked or has expired.
        version: The version of the entry, as `version_of` returns it.
    """

    name: str
    record: ServerRecord
    last_heard: datetime
    updated_at: datetime
    is_lapsed: bool
    version: str = field(init=False)

    @version.default
    def _default_version(self) -> str:
        return version_of(self.record.version)

    @property
    def is_deleted(self) -> bool:
        """
        Whether the server was uninstalled or replaced by another server.

        If so, the status of the entry is `deleted`, and lists leave it out by default.
        """
        return self.record.superseded_by is not None or self.record.state is State.LEFT

    @property
    def _status(self) -> tuple[str, str | None]:
        """The status of the entry, and the reason as a sentence; no reason (None) if active."""
        if self.record.superseded_by is not None:
            return "deleted", "Another server has taken the place of this one."
        if self.record.state is State.LEFT:
            return "deleted", "The addon was uninstalled from the database."
        if self.is_lapsed:
            return "deprecated", "The key that the server belongs to was revoked or has expired."
        if self.record.state is State.DOWN:
            heard = format_moment(self.last_heard)
            return "deprecated", f"Nothing was heard of the server since {heard}; it may be back."
        return "active", None

    def to_json(self) -> dict[str, Any]:
        """The entry as the MCP Registry API defines it (`ServerResponse`)."""
        record = self.record
        status, reason = self._status
        official = {
            "status": status,
            **({} if reason is None else {"statusMessage": reason}),
            "statusChangedAt": format_moment(record.state_since),
            "publishedAt": format_moment(record.first_seen),
            "updatedAt": format_moment(self.updated_at),
            "isLatest": True,
        }
        tools = record.capabilities or ()
        own = {
            "state": record.state.value,
            "lastHeard": format_moment(self.last_heard),
            "stage": record.odoo_stage,
            "odooVersion": record.odoo_version,
            "tools": [*tools[:_MOST_TOOLS]],
            "toolCount": len(tools),
        }
        return {
            "server": self._server(),
            "_meta": {OFFICIAL: official, _own_key(self.name): own},
        }

    def _server(self) -> dict[str, Any]:
        described = _described(self.name, _title(self.record), self.version)
        if self.is_deleted or self.is_lapsed:
            return described  # nobody is to connect there
        return {**described, "remotes": [_remote(self.name, self.record)]}


@frozen(kw_only=True)
class Tombstone:
    """
    What is kept of an entry whose server was deleted, so that clients hear that the entry is gone.

    Attributes:
        local_name: The name of the entry, without the namespace.
        title: The title of the entry.
        version: The version of the entry.
        host: The host in the `endpoint_url` of the server. The tombstone is listed only if
            addresses on this host may be passed on to clients, as the entry was.
        first_seen: When the first message of the server was received.
        forgotten_at: When the server was deleted.
    """

    local_name: str
    title: str
    version: str
    host: str
    first_seen: datetime
    forgotten_at: datetime

    @classmethod
    def of(cls, local_name: str, record: ServerRecord, forgotten_at: datetime) -> "Tombstone":
        """
        The tombstone of a server that is deleted at `forgotten_at`.

        The server must have an `endpoint_url`, and the name `local_name` in the registry.
        """
        return cls(
            local_name=local_name,
            title=_title(record),
            version=version_of(record.version),
            host=host_of(record),
            first_seen=record.first_seen,
            forgotten_at=max(forgotten_at, record.first_seen),
        )


@frozen(kw_only=True)
class ForgottenEntry:
    """
    An entry of the registry whose server was deleted ("forgotten").

    Attributes:
        name: The name of the entry, with the namespace.
        tombstone: What is kept of the entry.
        is_deleted: Always True: the status of the entry is `deleted`.
    """

    name: str
    tombstone: Tombstone
    is_deleted: bool = field(init=False, default=True)

    @property
    def version(self) -> str:
        return self.tombstone.version

    @property
    def updated_at(self) -> datetime:
        return self.tombstone.forgotten_at

    def to_json(self) -> dict[str, Any]:
        """The entry as the MCP Registry API defines it (`ServerResponse`)."""
        at = format_moment(self.tombstone.forgotten_at)
        official = {
            "status": "deleted",
            "statusMessage": "The server was forgotten. If it is heard again, it is back.",
            "statusChangedAt": at,
            "publishedAt": format_moment(self.tombstone.first_seen),
            "updatedAt": at,
            "isLatest": True,
        }
        return {
            "server": _described(self.name, self.tombstone.title, self.version),
            "_meta": {OFFICIAL: official, _own_key(self.name): {"state": "forgotten"}},
        }


def document(
    entries: Sequence[Entry | ForgottenEntry], next_cursor: str | None = None
) -> dict[str, Any]:
    """
    A list of entries as the MCP Registry API defines it (`ServerList`).

    `next_cursor` is the cursor of the next page of the list; None if there is no next page.
    """
    # A client may read `metadata` without looking whether it is there.
    metadata: dict[str, Any] = {"count": len(entries)}
    if next_cursor is not None:
        metadata["nextCursor"] = next_cursor
    return {"servers": [each.to_json() for each in entries], "metadata": metadata}


def is_namespace(text: str) -> bool:
    """
    Whether a text may be the namespace of an entry: the part of its name before the slash.

    It must be a domain in reverse order, such as `com.example.fleet`, of at most 60 characters.
    """
    return len(text) <= _LONGEST_NAMESPACE and _NAMESPACE.fullmatch(text) is not None


def holders(namespace: str, claims: Iterable[Claim]) -> Mapping[str, str]:
    """
    Decide which servers have a name in the registry; returns the names, by `server_id`.

    The names begin with the namespace and a slash. `local_names` explains who gets a name, and
    which claims must be given.
    """
    return {key: f"{namespace}/{name}" for key, name in local_names(claims).items()}


def local_names(claims: Iterable[Claim]) -> Mapping[str, str]:
    """
    Decide which servers have a name in the registry; returns the local names, by `server_id`.

    A local name is a name without the namespace.

    Servers with the same database, stage and owner (key of the receiver) claim the same name, and
    one of them gets it. While a database is being rebuilt, there are two such servers, and the new
    one gets the name when the old one has stopped sending. If both go on sending, they are twins,
    of which one has a copy of the other's database: the older server keeps the name, and the other
    one gets a name of its own.

    `claims` must contain, for each name, the claims of all servers that were not replaced. If one
    of them were missing, a server that was replaced could get the name.
    """
    rivals: defaultdict[tuple[str, ...], dict[str, Claim]] = defaultdict(dict)
    for claim in claims:
        rivals[claim.identity.parts][claim.identity.server_id] = claim
    names: dict[str, str | None] = {}
    for parts, group in rivals.items():
        others = []
        for server_id, claim in group.items():
            if _is_younger_twin(claim, group):
                names[server_id] = _name(claim.identity, (*parts, server_id))
            else:
                others.append(claim)
        holder = min(others, key=_preference).identity  # not empty: the oldest is no younger twin
        names[holder.server_id] = _name(holder, parts)
    return {server_id: name for server_id, name in names.items() if name is not None}


def whose(namespace: str, name: str) -> Whose | None:
    """
    Read from a name, with its namespace, which servers can have it.

    None if no server can: the name has another namespace, or no entry has a name of this form.
    """
    mine, _, local = name.partition("/")
    return whose_local(local) if mine == namespace else None


def whose_local(local_name: str) -> Whose | None:
    """
    Read from a local name (one without the namespace) which servers can have it.

    None if no server can, because no entry has a name of this form.
    """
    spelled, _, digest = local_name.rpartition("-")
    if not _DIGEST.fullmatch(digest):
        return None
    for prefix, is_database in ((_OF_SERVER, False), ("", True)):
        if spelled.startswith(prefix):
            text = _read(spelled.removeprefix(prefix))
            if text is not None:
                return Whose(text, None) if is_database else Whose(None, text)
    return None


def possible_names(identity: Identity) -> set[str]:
    """
    The local names (names without the namespace) that a server can have, two at most.

    One is the name that all servers of its database claim. The other one is its own, which it gets
    if it is the younger of two twins: servers of which one has a copy of the other's database.
    Names that would be too long are left out.
    """
    parts = identity.parts
    found = (_name(identity, parts), _name(identity, (*parts, identity.server_id)))
    return {name for name in found if name is not None}


def rivals_for(name: str, identities: Sequence[Identity]) -> list[str]:
    """
    Find the servers among which it must be decided who has a name; returns their `server_id`s.

    These are the servers that can have the name, and all that claim the same name as one of them.

    Args:
        name: The name; it must be one for which `whose` does not return None.
        identities: All servers that can have the name as far as `whose` tells, such as all with a
            database of a certain name.
    """
    digest = base64.b32decode(name[-_DIGEST_LETTERS:].upper())
    groups: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    found: set[tuple[str, ...]] = set()
    for each in identities:
        parts = each.parts
        groups[parts].append(each.server_id)
        if digest in {_digest(parts), _digest((*parts, each.server_id))}:
            found.add(parts)
    return [server_id for parts in found for server_id in groups[parts]]


def search_of(namespace: str, text: str) -> tuple[str | None, str | None]:
    """
    Translate a search for a text in the names of entries into attributes of `EntryFilter`.

    Returns the attributes `text` and `name`. If the text is the whole name of an entry, `name` is
    set and `text` is None; otherwise `name` is None, and `text` is None, too, if every entry
    matches. The digest in the names is not searched, because no person would mean it.
    """
    mine, slash, local = text.partition("/")
    if not slash:
        return (None if text.lower() in f"{namespace}/".lower() else text), None
    if whose(namespace, text) is not None:
        return None, text
    if not namespace.lower().endswith(mine.lower()):
        return text, None  # finds nothing but a server that is called so
    return local or None, None


def version_of(reported: str | None) -> str:
    """
    Return the version of the entry of a server that reports a certain version.

    It is the reported version, if the registry's rules allow it: they forbid a range of versions
    and the word `latest`. A forbidden version is encoded into an allowed one, which
    `reported_version` decodes; of a version that is empty or very long only a digest is left, which
    cannot be decoded. None, for a server that reports no version, becomes `UNKNOWN_VERSION`.
    """
    if reported is None:
        return UNKNOWN_VERSION
    parts = reported.lower().split(".")
    is_range = parts == ["latest"] or not {"x", "*"}.isdisjoint(parts)
    is_made = reported == UNKNOWN_VERSION or reported.startswith(_MADE)
    if _VERSION.fullmatch(reported) and not is_range and not is_made:
        return reported
    coded = _coded(reported)
    return f"{_MADE}{coded or sha256(reported.encode()).hexdigest()}"


def reported_version(version: str) -> str | None:
    """
    Return the version that a server reports, given the `version` of its entry.

    None if the server reports no version, or one that cannot be decoded because it is empty or very
    long; also None if no entry can have this `version`.
    """
    made = version.startswith(_MADE)
    found = _decoded(version.removeprefix(_MADE)) if made else version
    return found if found is not None and version_of(found) == version else None


def _is_younger_twin(claim: Claim, group: Mapping[str, Claim]) -> bool:
    twin = group.get(claim.twin_of or "")
    return twin is not None and _age(twin) < _age(claim)


def _age(claim: Claim) -> tuple[datetime, str]:
    return claim.first_seen, claim.identity.server_id


def _preference(claim: Claim) -> tuple[bool, bool, float, str]:
    """
    A sort key: of the servers that claim a name, the first one gets it.

    Servers that are gone come last, the newest of them first. Of the other servers, those that send
    in time come first, and the oldest first among equals.
    """
    seen = claim.first_seen.timestamp()
    age = -seen if claim.is_gone else seen
    return claim.is_gone, not claim.is_heard, age, claim.identity.server_id


def _name(identity: Identity, parts: tuple[str, ...]) -> str | None:
    """Make a local name with the digest of `parts`; None if the name would be too long."""
    spelled = identity.database and _spelled(identity.database)
    if not spelled:
        spelled = _spelled(identity.server_id)
        spelled = spelled and f"{_OF_SERVER}{spelled}"
    return f"{spelled}-{_base32(_digest(parts))}" if spelled else None


def _digest(parts: tuple[str, ...]) -> bytes:
    # No part contains a NUL, so that different parts make different texts.
    return sha256("\x00".join(parts).encode()).digest()[:_DIGEST_BYTES]


def _spelled(text: str) -> str | None:
    """Write a text in the letters of names, such that `_read` can read it; None if too long."""
    if _PLAIN.fullmatch(text):
        return text
    coded = _coded(text)
    return coded and f"{_CODED}{coded}"


def _read(spelled: str) -> str | None:
    if spelled.startswith(_CODED):
        return _decoded(spelled.removeprefix(_CODED))
    return spelled if _PLAIN.fullmatch(spelled) else None


def _coded(text: str) -> str | None:
    coded = _base32(text.encode())
    return coded if 0 < len(coded) <= _LONGEST_TEXT else None


def _decoded(coded: str) -> str | None:
    padded = coded.upper() + "=" * (-len(coded) % 8)
    try:
        text = base64.b32decode(padded).decode()
    except ValueError:
        return None
    return None if "\x00" in text else text  # PostgreSQL refuses a NUL in a parameter


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _title(record: ServerRecord) -> str:
    """What people call a server: its database and stage."""
    called = record.database or record.hostname or record.server_id
    return _line(f"{called} ({record.odoo_stage})" if record.odoo_stage else called)


def _line(text: str) -> str:
    """A text in one line, of at most as many characters as titles and descriptions may have."""
    line = "".join(each if each.isprintable() else " " for each in text).strip()
    return (line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…") or "Odoo"


def host_of(record: ServerRecord) -> str:
    """The host in the `endpoint_url` of a server; empty if the server has reported no URL."""
    return urlsplit(record.endpoint_url or "").hostname or ""


def _own_key(name: str) -> str:
    """The key of `_meta` for what the registry's API does not define, of the entry with a name."""
    return f"{name.partition('/')[0]}/fleet"


def _described(name: str, title: str, version: str) -> dict[str, Any]:
    """What an entry says of its server, without the addresses."""
    return {
        "name": name,
        "title": title,
        "description": _line(f"The tools of the Odoo database {title}"),
        "version": version,
    }


def _remote(name: str, record: ServerRecord) -> dict[str, Any]:
    """The part of an entry that says how to connect, and which secret to ask a person for."""
    scheme, _, rest = (record.endpoint_url or "").partition("://")
    connection = Connection(
        # With the digest in it, so that no other server's secret has the same variable.
        name=slug_of(record.database or record.hostname, name.rpartition("-")[2]),
        url=f"{scheme.lower()}://{rest}",
        database=database_header(record.database),
    )
    secret = connection.variable
    headers = connection.headers(f"Bearer {{{secret}}}")
    return {
        "type": "streamable-http",
        "url": connection.url,
        "headers": [
            {
                "name": header,
                "value": value,
                "isRequired": True,
                **(_authorization(secret, record) if header == "Authorization" else {}),
            }
            for header, value in headers.items()
        ],
    }


def _authorization(variable: str, record: ServerRecord) -> dict[str, Any]:
    asked = {
        "description": _line(f"Odoo API key for {_title(record)}"),
        "isRequired": True,
        "isSecret": True,
    }
    return {"isSecret": True, "variables": {variable: asked}}


UNKNOWN_VERSION = "0.0.0-unreported"
"""The version of the entry of a server that reports no version."""
_MADE = "0.0.0-reported."
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,254}")

_LONGEST_NAMESPACE = 60
_LONGEST_TEXT = 100
_LONGEST_LINE = 100
_MOST_TOOLS = 100
"""How many names of tools an entry has at most; `toolCount` in the entry counts all tools."""

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_NAMESPACE = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_PLAIN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST_TEXT - 1}}}")
_CODED = "_"
_OF_SERVER = "_."
_DIGEST_BYTES = 10
"""80 bits: too many for somebody to find another database with the same digest."""
_DIGEST_LETTERS = 16
_DIGEST = re.compile(rf"[a-z2-7]{{{_DIGEST_LETTERS}}}")
