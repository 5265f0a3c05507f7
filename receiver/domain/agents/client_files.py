"""
Configuration files of MCP clients: which file a client reads, and how it names an MCP server there.

A file never contains a key. In the place of a person's Odoo API key it has a reference that the
client resolves: an environment variable, or a question that the client asks.

The addresses and names in a file were reported by the servers themselves. So they are written such
that no client takes a part of them for a reference such as `${HOME}`, and no shell for a command.

Sources: the documentation of the clients ("Connect Claude Code to tools via MCP", "MCP servers in
VS Code", "Cursor: Model Context Protocol", "Codex: config.toml"), and the README of `mcp-remote`.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from attrs import frozen

from contract import ServerRecord, State

__all__ = [
    "API_KEY_STEPS",
    "Client",
    "ClientFile",
    "Connection",
    "client_file",
    "connections_to",
    "database_header",
    "install_link",
    "is_connectable",
    "slug_of",
]

API_KEY_STEPS = (
    "Sign in to the Odoo as the user for whom the agent is to act, usually an administrator.",
    "Choose My Preferences in the menu of the user, then Security, then Add API Key.",
    "Give the key a name and a duration, and copy it: Odoo shows it only once.",
)
"""The steps in which a person makes an API key in Odoo 19."""


class Client(str, Enum):
    """An MCP client, such as an editor, which connects agents to MCP servers."""

    CLAUDE_CODE = "claude-code"
    CLAUDE_DESKTOP = "claude-desktop"
    CODEX = "codex"
    CURSOR = "cursor"
    VS_CODE = "vscode"


@frozen(kw_only=True)
class Connection:
    """
    How to connect to the MCP server of an Odoo.

    Attributes:
        name: The name of the MCP server in a file, such as `acme-production`. No two servers in a
            file have the same name.
        url: The URL of the MCP server's endpoint.
        database: The value of the header `X-Odoo-Database`, which selects the database if the
            hostname in the URL does not; None if the name of the database is unknown, or not safe
            in a header (`database_header`).
    """

    name: str
    url: str
    database: str | None

    @property
    def variable(self) -> str:
        """
        The name of the environment variable for the API key, such as `ODOO_KEY_ACME_PRODUCTION`.

        It always begins with `ODOO_KEY_`. Otherwise an Odoo server could choose its name such that
        the client sends it another environment variable, with another secret of the user.
        """
        return f"ODOO_KEY_{self.name.upper().replace('-', '_')}"

    def headers(self, authorization: str) -> dict[str, str]:
        """
        The HTTP headers that the client must send with each request to the endpoint.

        `authorization` is the value of the header `Authorization`, with a reference to the API key.
        """
        headers = {"Authorization": authorization}
        return headers if self.database is None else {**headers, "X-Odoo-Database": self.database}


@frozen(kw_only=True)
class ClientFile:
    """
    A configuration file of an MCP client.

    Attributes:
        title: What people call the client.
        path: Where the client looks for the file, such as `~/.codex/config.toml`, or in the folder
            of a project `.mcp.json`.
        place: In which folder that is, in words that follow `path` in a sentence.
        media_type: The media type of the file.
        text: The text of the file.
        key_step: What a person must do so that the client knows the API key of a server, as a
            sentence.
    """

    title: str
    path: str
    place: str
    media_type: str
    text: str
    key_step: str


def connections_to(
    records: Sequence[ServerRecord],
    *,
    owners: Mapping[str, str],
    lapsed: Collection[str],
    may_be_at: Callable[[str], bool],
) -> Mapping[str, Connection]:
    """
    Return how to connect to servers, by `server_id`, in the order of `records`.

    A server is left out if it was uninstalled or replaced, if it belongs to a key of the receiver
    that was revoked or has expired, if it reports no `endpoint_url`, or if `may_be_at` is False for
    the host of this URL.

    The name of a connection consists of the name of the database, its stage, and a part of the id
    of the receiver's key that the server belongs to. If the name of the database ends in the stage,
    as `acme-staging` does, a digest stands in the place of the stage, because the database `acme`
    in this stage has the same name, and the Odoo API key of one must not be sent to the other.
    Because of the key, a server that another key reports cannot get the same name, and with it the
    Odoo API key that somebody has stored under this name. If several servers would have the same
    name, their hostnames are added, and if the names are still the same, numbers.

    Args:
        records: The servers.
        owners: The ids of the keys that servers belong to, by `server_id`.
        lapsed: The ids of the keys that were revoked or have expired.
        may_be_at: Tells whether a host, given as a name or an IP address, may be passed on to
            clients.
    """
    reached = [
        record
        for record in records
        if owners.get(record.server_id) not in lapsed and _is_reached(record, may_be_at)
    ]
    names = _names(reached, owners)
    return {
        record.server_id: Connection(
            name=name,
            url=record.endpoint_url or "",
            database=database_header(record.database),
        )
        for record, name in zip(reached, names, strict=True)
    }


def is_connectable(client: Client, connection: Connection) -> bool:
    """
    Whether a client can connect to a server.

    Every client can, but Claude Desktop, which puts the URL into a command, only if the URL
    consists of characters that mean nothing to a shell.
    """
    return client is not Client.CLAUDE_DESKTOP or _COMMAND.fullmatch(connection.url) is not None


def client_file(client: Client, connections: Sequence[Connection]) -> ClientFile:
    """
    Make the configuration file with which a client connects to some servers.

    Servers to which this client cannot connect (`is_connectable`) are left out.
    """
    kind = _KINDS[client]
    connections = [each for each in connections if is_connectable(client, each)]
    return ClientFile(
        title=kind.title,
        path=kind.path,
        place=kind.place,
        media_type=kind.media_type,
        text=kind.write(connections),
        key_step=kind.key_step,
    )


def install_link(connection: Connection) -> str:
    """
    Make a link with which the editor Cursor adds a server to its configuration.

    When the user opens the link, Cursor asks for a confirmation. The link contains no API key, but
    the name of an environment variable for it.
    """
    config = base64.b64encode(json.dumps(_for_cursor(connection)).encode()).decode()
    name = quote(connection.name, safe="")
    query = f"name={name}&config={quote(config, safe='')}"
    return f"cursor://anysphere.cursor-deeplink/mcp/install?{query}"


class _Kind(NamedTuple):
    title: str
    path: str
    place: str
    media_type: str
    write: Callable[[Sequence[Connection]], str]
    key_step: str


def _is_reached(record: ServerRecord, may_be_at: Callable[[str], bool]) -> bool:
    if record.superseded_by is not None or record.state is State.LEFT:
        return False
    if record.endpoint_url is None:
        return False
    return may_be_at(urlsplit(record.endpoint_url).hostname or "")


def _names(records: Sequence[ServerRecord], owners: Mapping[str, str]) -> list[str]:
    """Make distinct names for servers; returns them in the order of `records`."""
    names = [_name(record, owners.get(record.server_id, "")) for record in records]
    times = Counter(names)
    longer = [
        slug_of(name, record.hostname) if times[name] > 1 else name
        for name, record in zip(names, records, strict=True)
    ]
    taken: Counter[str] = Counter()
    distinct: dict[str, None] = {}
    for name in longer:
        free = name
        while free in distinct:
            taken[name] += 1
            free = f"{name}-{taken[name] + 1}"
        distinct[free] = None
    return [*distinct]


def _name(record: ServerRecord, owner: str) -> str:
    """Make a name for a server, without looking whether another server has the same."""
    called, stage = record.database or record.hostname, record.odoo_stage or None
    slug, told = slug_of(called), [slug_of(stage)] if stage else _STAGES
    if slug.endswith(tuple(f"-{each}" for each in told)):
        # The database acme in this stage has that name, perhaps in another file of the user.
        return slug_of(called, _digest(called, stage), owner[:_KEY_LETTERS])
    return slug_of(called, None if slug in told else stage, owner[:_KEY_LETTERS])


def _digest(*parts: str | None) -> str:
    """Four letters and digits that differ, most likely, for other texts."""
    return base64.b32encode(sha256(json.dumps(parts).encode()).digest())[:4].decode().lower()


def slug_of(*parts: str | None) -> str:
    """
    Make a name of lower-case ASCII letters, digits and hyphens, which starts with a letter.

    It consists of the parts with hyphens between them, each cut to 60 characters; other characters
    become hyphens. Parts that are None or empty are left out. `odoo-` is added before a name that
    would not start with a letter; a name of nothing at all is `odoo`.
    """
    slugs = [re.sub("[^a-z0-9]+", "-", part[:_LONGEST_PART].lower()) for part in parts if part]
    slug = re.sub("-+", "-", "-".join(slugs)).strip("-")
    return slug if slug[:1].isalpha() else f"odoo-{slug}".strip("-")


_LONGEST_PART = 60  # characters; a server may report much longer names
_STAGES = ("production", "staging", "dev")  # those of Odoo.sh
_KEY_LETTERS = 5
"""How many letters of the id of a server's key are part of its name."""


def database_header(database: str | None) -> str | None:
    """
    The value of the header `X-Odoo-Database` for a database, which is the name of the database.

    None if the name is unknown (None), and for a name that is not safe in every configuration file:
    it may have 1 to 63 letters, digits and characters of `_.-`, the first of them no dot and no
    hyphen.
    """
    return database if database is not None and _DATABASE.fullmatch(database) else None


_DATABASE = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _claude_code(connections: Sequence[Connection]) -> str:
    servers = {
        each.name: {"type": "http", **_http(each, f"Bearer ${{{each.variable}}}")}
        for each in connections
    }
    return _json({"mcpServers": servers})


def _http(connection: Connection, authorization: str) -> dict[str, Any]:
    return {"url": connection.url, "headers": connection.headers(authorization)}


def _for_cursor(connection: Connection) -> dict[str, Any]:
    return _http(connection, f"Bearer ${{env:{connection.variable}}}")


def _cursor(connections: Sequence[Connection]) -> str:
    return _json({"mcpServers": {each.name: _for_cursor(each) for each in connections}})


def _vs_code(connections: Sequence[Connection]) -> str:
    inputs = [
        {
            "type": "promptString",
            "id": f"{each.name}-key",
            "description": f"Odoo API key for {each.name}",
            "password": True,
        }
        for each in connections
    ]
    servers = {
        each.name: {"type": "http", **_http(each, f"Bearer ${{input:{each.name}-key}}")}
        for each in connections
    }
    return _json({"inputs": inputs, "servers": servers})


def _claude_desktop(connections: Sequence[Connection]) -> str:
    return _json({"mcpServers": {each.name: _remote(each) for each in connections}})


def _remote(connection: Connection) -> dict[str, Any]:
    """The command that connects Claude Desktop to an endpoint: it can only start programs."""
    arguments = ["-y", "mcp-remote", connection.url]
    # Without a space: on Windows an argument with one does not arrive whole.
    for name, value in connection.headers(f"${{{_AUTHORIZATION}}}").items():
        arguments += ["--header", f"{name}:{value}"]
    if connection.url.lower().startswith("http:"):
        arguments.append("--allow-http")
    return {
        "command": "npx",
        "args": arguments,
        "env": {_AUTHORIZATION: "Bearer <Odoo API key>"},
    }


_AUTHORIZATION = "AUTHORIZATION"
_COMMAND = re.compile(r"[A-Za-z0-9:/.\[\]_~-]+")
"""Matches a URL that is a single word in a shell, in which Claude Desktop may run its commands."""


def _codex(connections: Sequence[Connection]) -> str:
    return "\n".join(map(_codex_table, connections))


def _codex_table(connection: Connection) -> str:
    lines = [
        f"[mcp_servers.{connection.name}]",
        f"url = {json.dumps(connection.url)}",
        f"bearer_token_env_var = {json.dumps(connection.variable)}",
    ]
    if connection.database is not None:
        lines.append(f'http_headers = {{ "X-Odoo-Database" = {json.dumps(connection.database)} }}')
    return "\n".join([*lines, ""])


_FROM_ENVIRONMENT = "Put the key into the environment variable that the file names."
_IN_PROJECT = "in the folder of your project"
_KINDS: Mapping[Client, _Kind] = {
    Client.CLAUDE_CODE: _Kind(
        "Claude Code",
        ".mcp.json",
        _IN_PROJECT,
        "application/json",
        _claude_code,
        _FROM_ENVIRONMENT,
    ),
    Client.CLAUDE_DESKTOP: _Kind(
        "Claude Desktop",
        "claude_desktop_config.json",
        "in ~/Library/Application Support/Claude on macOS, in %APPDATA%\\Claude on Windows",
        "application/json",
        _claude_desktop,
        "Put the key in place of <Odoo API key>, in this file on your own machine only.",
    ),
    Client.CODEX: _Kind(
        "Codex",
        "~/.codex/config.toml",
        "in your home folder",
        "application/toml",
        _codex,
        _FROM_ENVIRONMENT,
    ),
    Client.CURSOR: _Kind(
        "Cursor",
        ".cursor/mcp.json",
        f"{_IN_PROJECT}, or in your home folder for all projects",
        "application/json",
        _cursor,
        _FROM_ENVIRONMENT,
    ),
    Client.VS_CODE: _Kind(
        "VS Code",
        ".vscode/mcp.json",
        _IN_PROJECT,
        "application/json",
        _vs_code,
        "VS Code asks for the key when it first connects, and keeps it safely.",
    ),
}
