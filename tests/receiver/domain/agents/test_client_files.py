"""The configuration files of MCP clients: what they say, and what hostile servers cannot say."""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import tomllib
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from contract import Heartbeat, ServerRecord, State, merge
from receiver.domain.agents.client_files import (
    Client,
    Connection,
    client_file,
    connections_to,
    install_link,
)
from strategies import records

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
ACME = Connection(name="acme-production", url="https://acme.example/mcp/v1", database="acme")


def record(**said: Any) -> ServerRecord:
    given = {"server_id": "acme_web-1", "database": "acme", "odoo_stage": "production"}
    given |= {"hostname": "web-1", "endpoint_url": "https://acme.example/mcp/v1"}
    return merge(None, Heartbeat(version="1.0", **{**given, **said}), received_at=NOON)


def reached(*records: ServerRecord, owners: Mapping[str, str] = {}) -> list[Connection]:
    found = connections_to(records, owners=owners, lapsed=(), may_be_at=lambda _: True)
    return [*found.values()]


def read(client: Client, *connections: Connection) -> Any:
    text = client_file(client, connections).text
    return tomllib.loads(text) if client is Client.CODEX else json.loads(text)


def test_claude_code_takes_the_key_from_the_environment() -> None:
    assert {
        "mcpServers": {
            "acme-production": {
                "type": "http",
                "url": "https://acme.example/mcp/v1",
                "headers": {
                    "Authorization": "Bearer ${ODOO_KEY_ACME_PRODUCTION}",
                    "X-Odoo-Database": "acme",
                },
            }
        }
    } == read(Client.CLAUDE_CODE, ACME)


def test_vs_code_asks_for_the_key_as_for_a_password() -> None:
    assert {
        "inputs": [
            {
                "type": "promptString",
                "id": "acme-production-key",
                "description": "Odoo API key for acme-production",
                "password": True,
            }
        ],
        "servers": {
            "acme-production": {
                "type": "http",
                "url": "https://acme.example/mcp/v1",
                "headers": {
                    "Authorization": "Bearer ${input:acme-production-key}",
                    "X-Odoo-Database": "acme",
                },
            }
        },
    } == read(Client.VS_CODE, ACME)


def test_cursor_takes_the_key_from_the_environment() -> None:
    assert {
        "mcpServers": {
            "acme-production": {
                "url": "https://acme.example/mcp/v1",
                "headers": {
                    "Authorization": "Bearer ${env:ODOO_KEY_ACME_PRODUCTION}",
                    "X-Odoo-Database": "acme",
                },
            }
        }
    } == read(Client.CURSOR, ACME)


def test_install_link_of_cursor_has_the_name_and_what_the_file_has() -> None:
    link = urlsplit(install_link(ACME))
    query = parse_qs(link.query, strict_parsing=True)

    assert ("cursor", "anysphere.cursor-deeplink", "/mcp/install") == link[:3]
    assert ["acme-production"] == query["name"]
    servers = read(Client.CURSOR, ACME)["mcpServers"]
    assert servers["acme-production"] == json.loads(base64.b64decode(query["config"][0]))


def test_claude_desktop_starts_mcp_remote_with_the_key_of_its_own_file() -> None:
    assert {
        "mcpServers": {
            "acme-production": {
                "command": "npx",
                "args": [
                    *("-y", "mcp-remote", "https://acme.example/mcp/v1"),
                    *("--header", "Authorization:${AUTHORIZATION}"),
                    *("--header", "X-Odoo-Database:acme"),
                ],
                "env": {"AUTHORIZATION": "Bearer <Odoo API key>"},
            }
        }
    } == read(Client.CLAUDE_DESKTOP, ACME)


def test_mcp_remote_is_told_that_an_endpoint_is_not_encrypted() -> None:
    plain = evolve(ACME, url="http://acme.example/mcp/v1")

    (server,) = read(Client.CLAUDE_DESKTOP, plain)["mcpServers"].values()

    assert "--allow-http" == server["args"][-1]


@pytest.mark.parametrize("url", ["https://e/?a=1&calc", "https://e/%PATH%41", "https://e/$(id)"])
def test_url_that_a_shell_might_run_is_in_no_command(url: str) -> None:
    assert {"mcpServers": {}} == read(Client.CLAUDE_DESKTOP, evolve(ACME, url=url))


def test_codex_names_the_variable_of_the_key() -> None:
    assert {
        "mcp_servers": {
            "acme-production": {
                "url": "https://acme.example/mcp/v1",
                "bearer_token_env_var": "ODOO_KEY_ACME_PRODUCTION",
                "http_headers": {"X-Odoo-Database": "acme"},
            }
        }
    } == read(Client.CODEX, ACME)


@pytest.mark.parametrize("client", Client)
def test_client_file_has_each_server_once(client: Client) -> None:
    servers = reached(record(), record(server_id="b", database="b"), record(server_id="c"))

    found = read(client, *servers)

    (tables,) = [found[name] for name in found if name != "inputs"]
    assert [each.name for each in servers] == [*tables]


@pytest.mark.parametrize("client", Client)
def test_no_header_names_a_database_that_is_not_known(client: Client) -> None:
    assert "X-Odoo-Database" not in client_file(client, [evolve(ACME, database=None)]).text


@pytest.mark.parametrize("database", ["${HOME}", "a b", "a\nb", "ä", "-x", "", "a" * 64])
def test_no_header_has_a_database_that_a_client_would_read_otherwise(database: str) -> None:
    (connection,) = reached(record(database=database))

    assert connection.database is None


def test_server_is_named_after_its_database_and_stage() -> None:
    (connection,) = reached(record(database="Acme Corp", odoo_stage="staging"))

    assert ("acme-corp-staging", "ODOO_KEY_ACME_CORP_STAGING") == (
        connection.name,
        connection.variable,
    )


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"odoo_stage": None}, "acme"),
        ({"database": None, "odoo_stage": None}, "web-1"),
        ({"database": "19", "odoo_stage": None}, "odoo-19"),
        ({"database": "ä", "odoo_stage": None, "hostname": None}, "odoo"),
        ({"database": "production"}, "production"),
        ({"database": "acmeproduction"}, "acmeproduction-production"),
        ({"database": "acme-prod", "odoo_stage": None}, "acme-prod"),
    ],
)
def test_connection_name_is_made_of_the_known_fields(said: dict[str, Any], name: str) -> None:
    (connection,) = reached(record(**said))

    assert name == connection.name


@pytest.mark.parametrize(
    ("said", "pattern"),
    [
        ({"database": "acme-Production"}, "acme-production-[a-z2-7]{4}"),
        ({"database": "acme_prod", "odoo_stage": "Prod"}, "acme-prod-[a-z2-7]{4}"),
        ({"database": "acme-production", "odoo_stage": None}, "acme-production-[a-z2-7]{4}"),
        ({"database": "acme-staging", "odoo_stage": ""}, "acme-staging-[a-z2-7]{4}"),
        ({"database": "acme-pre-prod", "odoo_stage": "pre-prod"}, "acme-pre-prod-[a-z2-7]{4}"),
        ({"database": None, "hostname": "web-production"}, "web-production-[a-z2-7]{4}"),
    ],
)
def test_database_named_like_another_in_a_stage_has_a_name_of_its_own(
    said: dict[str, Any], pattern: str
) -> None:
    """The two may be in different files of a user, and the API key of each has its own variable."""
    (connection,) = reached(record(**said))

    assert re.fullmatch(pattern, connection.name)
    assert [connection] == reached(record(**said, server_id="rebuilt"))


def test_equal_connection_names_are_told_apart_by_hostname_then_by_number() -> None:
    alike = [record(server_id=each, hostname=host) for each, host in zip("abc", "xyy", strict=True)]

    assert ["acme-production-x", "acme-production-y", "acme-production-y-2"] == [
        each.name for each in reached(*alike)
    ]


def test_omitted_stage_makes_no_two_connection_names_equal() -> None:
    alike = [
        record(server_id="a"),
        record(server_id="b", database="acme-production"),
        record(server_id="c", database="acme-production", odoo_stage=None),
    ]

    together = [each.name for each in reached(*alike)]

    assert 3 == len({*together})
    assert "acme-production" == together[0]
    assert together == [reached(each)[0].name for each in alike]


@pytest.mark.parametrize(
    ("client", "path", "place"),
    [
        (Client.CLAUDE_CODE, ".mcp.json", "in the folder of your project"),
        (Client.VS_CODE, ".vscode/mcp.json", "in the folder of your project"),
        (Client.CURSOR, ".cursor/mcp.json", "in the folder of your project, or in your home"),
        (Client.CODEX, "~/.codex/config.toml", "in your home folder"),
        (Client.CLAUDE_DESKTOP, "claude_desktop_config.json", "Application Support/Claude on mac"),
    ],
)
def test_client_file_says_in_which_folder_it_belongs(client: Client, path: str, place: str) -> None:
    file = client_file(client, [ACME])

    assert (path, True) == (file.path, place in file.place)


def test_server_without_a_known_or_allowed_address_is_left_out() -> None:
    servers = [
        record(server_id="none", endpoint_url=None),
        record(server_id="secret", endpoint_url="https://secret.example/mcp"),
        record(server_id="revoked"),
        record(server_id="known"),
    ]

    found = connections_to(
        servers,
        owners={"revoked": "k1", "known": "k2"},
        lapsed={"k1"},
        may_be_at=lambda host: host != "secret.example",
    )

    assert ["known"] == [*found]


def test_server_that_was_replaced_or_uninstalled_is_left_out() -> None:
    gone = [
        evolve(record(server_id="old"), superseded_by="new"),
        evolve(record(server_id="left"), state=State.LEFT),
    ]

    assert [] == reached(*gone)


def test_server_of_another_key_cannot_take_the_name_of_a_server() -> None:
    """Nor the variable in which a person keeps an API key for it."""
    real = record(server_id="a", hostname="web-1")
    fakes = [
        record(server_id="b", hostname=None),
        record(server_id="c", database="acme-production", odoo_stage=None),
        record(server_id="d", database="acme-production-fleet", odoo_stage=None),
    ]
    owners = {"a": "fleet12345", **dict.fromkeys("bcd", "other12345")}

    (alone,) = reached(real, owners=owners)
    together = reached(real, *fakes, owners=owners)
    apart = [reached(each, owners=owners)[0] for each in fakes]

    assert "acme-production-fleet" == alone.name
    assert alone == together[0]
    assert alone.variable not in {each.variable for each in [*together[1:], *apart]}


@pytest.mark.parametrize("database", ["aws_secret_access", "anthropic-api", "path"])
def test_key_variable_has_the_prefix_odoo_key(database: str) -> None:
    (connection,) = reached(record(database=database, odoo_stage=None))

    assert connection.variable.startswith("ODOO_KEY_")
    assert f"${{{connection.variable}}}" in client_file(Client.CLAUDE_CODE, [connection]).text


def test_long_connection_names_are_cut() -> None:
    (connection,) = reached(record(database="a!" * 30_000, hostname="b" * 30_000))

    assert len(connection.name) < 150


@pytest.mark.hypothesis
@given(servers=st.lists(records(), max_size=5, unique_by=lambda each: each.server_id))
def test_client_files_are_valid_and_names_distinct_whatever_servers_report(
    servers: list[ServerRecord],
) -> None:
    connections = reached(*servers)
    names = [each.name for each in connections]

    assert len({*names}) == len(names)
    assert all(re.fullmatch("[a-z][a-z0-9-]*", name) for name in names)
    for client in Client:
        found = read(client, *connections)
        (tables,) = [found[name] for name in found if name != "inputs"] or [{}]
        assert {*tables} <= {*names}
        for each in connections:
            text = client_file(client, [each]).text
            references = {*re.findall(r"\$\{.*?\}", text)}
            assert references <= {
                f"${{{each.variable}}}",
                f"${{env:{each.variable}}}",
                f"${{input:{each.name}-key}}",
                "${AUTHORIZATION}",
            }
