"""
Test helper: what the MCP Registry API, version 0.1, demands of the answers of a registry.

The demands are those of its OpenAPI document and of the JSON schema of `server.json`, in words of
our own, as far as they are about what a receiver answers.
"""

import re
from datetime import datetime
from typing import Any

import httpx

__all__ = ["OFFICIAL", "entries_of", "expect_entry"]

Json = dict[str, Any]

OFFICIAL = "io.modelcontextprotocol.registry/official"


def entries_of(answer: httpx.Response) -> list[Json]:
    """The entries in the answer to a request for a list, which is checked."""
    assert 200 == answer.status_code, answer.text
    assert "application/json" == answer.headers["content-type"]
    content = answer.json()
    assert {"servers", "metadata"} == content.keys()
    entries: list[Json] = content["servers"]
    for entry in entries:
        expect_entry(entry)
    pairs = [(each["server"]["name"], each["server"]["version"]) for each in entries]
    assert len(pairs) == len({*pairs}), "a version of a server is there twice"
    metadata = content["metadata"]
    assert len(entries) == metadata["count"]
    assert metadata.keys() <= {"count", "nextCursor"}
    if "nextCursor" in metadata:  # clients put it into a URL as it is
        assert re.fullmatch("[A-Za-z0-9_-]+", metadata["nextCursor"])
    return entries


def expect_entry(entry: Json) -> None:
    """Check an entry of the registry."""
    assert {"server", "_meta"} == entry.keys()
    expect_server(entry["server"])
    expect_official(entry["_meta"][OFFICIAL])
    for key in entry["_meta"]:
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+/[a-z-]+", key), key


def expect_server(server: Json) -> None:
    """Check what an entry says of the server itself."""
    assert {"name", "title", "description", "version"} <= server.keys()
    assert server.keys() <= {"name", "title", "description", "version", "remotes"}
    assert 3 <= len(server["name"]) <= 200
    assert 1 == server["name"].count("/")
    assert re.fullmatch(r"[A-Za-z0-9.-]+/[A-Za-z0-9._-]+", server["name"]), server["name"]
    for name in ("title", "description"):
        assert 1 <= len(server[name]) <= 100
    expect_version(server["version"])
    variables: list[str] = []
    for remote in server.get("remotes", ()):
        variables += expect_remote(remote)
    assert len(variables) == len({*variables})


def expect_version(version: str) -> None:
    """A version is a single one: neither a range, nor the word that stands for the latest."""
    assert 1 <= len(version) <= 255
    assert "latest" != version.lower()
    assert not re.search(r"[\^~<>=|*\s]", version)
    assert not {"x", "X"}.intersection(version.split("."))


def expect_remote(remote: Json) -> list[str]:
    """Check an address of a server; returns the names of the variables in its headers."""
    assert {"type", "url", "headers"} == remote.keys()
    assert "streamable-http" == remote["type"]
    # Without braces: in a URL they would be a variable.
    assert re.fullmatch(r"https?://[^\s{}]+", remote["url"]), remote["url"]
    found: list[str] = []
    for header in remote["headers"]:
        assert header.keys() <= {"name", "value", "isRequired", "isSecret", "variables"}
        variables = header.get("variables", {})
        assert sorted(variables) == sorted(re.findall(r"\{(.*?)\}", header["value"]))
        for name, asked in variables.items():
            assert re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)
            assert {"description": str, "isRequired": bool, "isSecret": bool} == {
                key: type(value) for key, value in asked.items()
            }
        found += variables
    return found


def expect_official(official: Json) -> None:
    """Check what the registry says of an entry; no other members are allowed there."""
    required = {"status", "statusChangedAt", "publishedAt", "updatedAt", "isLatest"}
    assert required <= official.keys() <= required | {"statusMessage"}
    assert official["status"] in {"active", "deprecated", "deleted"}
    assert ("active" == official["status"]) == ("statusMessage" not in official)
    assert len(official.get("statusMessage", "")) <= 500
    assert official["isLatest"] is True
    times = [
        datetime.fromisoformat(official[name])
        for name in ("publishedAt", "statusChangedAt", "updatedAt")
    ]
    assert all(each.tzinfo is not None for each in times)
    assert times[2] == max(times)
