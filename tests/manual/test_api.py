"""
Each call has an example in docs/api.md, which works and answers as the page shows.

With MANUAL_WRITE=1 in the environment, the answers of the page are written anew.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from attrs import frozen
from starlette.responses import Response

from alerting import SECRET_KEY
from keyring import keep, made
from manual.terminal import DOCS, Example, Terminal, blocks, examples, terminal
from receiver.app import Tuning, create_app
from receiver.web import api, openapi
from servers import ANY_PAUSE_SECONDS, Clock, serve, wait_until
from two_ways import answering

PAGE = DOCS / "api.md"
MORE = "⋮"
_LINES = 45
_COLUMNS = 200
_STREAM_ENDED = 28
"""The exit status of curl when `--max-time` is over."""

CURL = """#!/bin/sh
exec {curl} --silent --show-error --fail-with-body \\
    --write-out '%{{stderr}}%{{method}} %{{url_effective}}\\n' "$@" 2>> {calls}
"""
"""curl, which notes each call and fails when it is refused."""


@frozen
class Ran:
    """An example, what it answered, and the calls that all of them made."""

    example: Example
    answer: str


def calls() -> list[tuple[str, str]]:
    """The method and path of each call that the receiver describes."""
    paths = openapi.document(api.routes())["paths"]
    return [
        (method.upper(), path)
        for path, item in paths.items()
        for method in item
        if method != "parameters"
    ]


class Session:
    """The examples of the page, run on a new receiver."""

    def __init__(self, ran: list[Ran], asked: list[tuple[str, str]]) -> None:
        self.ran = ran
        self.asked = asked


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("api")
    noted, clock = folder / "calls", Clock()
    curl = folder / "curl"
    curl.write_text(CURL.format(curl=shutil.which("curl"), calls=noted))
    curl.chmod(0o755)
    url = f"sqlite:///{folder}/fleet.db"
    key, token = made("admin")
    keep(url, key)
    environ = {
        "FLEET_DATABASE_URL": url,
        "FLEET_SECRET_KEY": SECRET_KEY,
        "FLEET_ALERT_ADDRESSES": "*,127.0.0.0/8",
        "FLEET_REGISTRY_NAMESPACE": "com.example.fleet",
    }
    tuning = Tuning(absence_seconds=ANY_PAUSE_SECONDS, look_seconds=0.05, alert_seconds=0.05)
    app = create_app(environ=environ, clock=clock, tuning=tuning)
    with serve(app) as client, answering(lambda _: Response(status_code=204)) as hook:
        client.headers["Authorization"] = f"Bearer {token}"
        base = str(client.base_url).rstrip("/")
        variables = {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "FLEET_URL": base,
            "FLEET_KEY": token,
        }
        ran = []
        with terminal(folder, variables) as shell:
            for example in (
                each for block in blocks(PAGE.name, "console") for each in examples(block)
            ):
                if "/alarms?" in example.command:
                    clock.advance(180)
                    wait_until(lambda: bool(client.get("/alarms").json()["alarms"]))
                command = example.command.replace("https://hooks.example.com", hook.rstrip("/"))
                status, said = shell.run(command)
                as_shown = skeleton(shown(said, base)) == skeleton(example.answer)
                if "--max-time" in command and not as_shown:
                    # On a slow machine, more time passes until the stream has said all.
                    status, said = shell.run(command.replace("--max-time 1 ", "--max-time 5 "))
                ends = _STREAM_ENDED if "--max-time" in command else 0
                assert ends == status, f"{example.command}\n{said}\n{noted.read_text()[-600:]}"
                remember(shell, command, said)
                ran.append(Ran(example, shown(said, base)))
    lines = [line.split() for line in noted.read_text().splitlines()]
    asked = [(line[0], urlsplit(line[1]).path) for line in lines if line[0] != "curl:"]
    return Session(ran, asked)


def remember(shell: Terminal, command: str, said: str) -> None:
    """Set the variables that the page explains, to what the answer says."""
    values = {}
    for name, pattern in (("ID", r'"id":\s*"?([^",}]+)'), ("SECRET", r"(fleetkey_\w+)")):
        found = re.search(pattern, said)
        if found is not None:
            values[name] = found[1]
    for path, name in (("/channels", "CHANNEL"), ("/rules", "RULE")):
        if "-X POST" in command and f'$FLEET_URL{path}"' in command:
            values[name] = values["ID"]
    named = re.search(r'"name":\s*"(com\.example\.fleet/[^"]+)"', said)
    if named is not None:
        values["NAME"] = quote(named[1], safe="")
    for name, value in values.items():
        shell.run(f"{name}='{value}'")


def shown(said: str, base: str) -> str:
    """An answer as the page shows it: without secrets, and cut where it is long."""
    said = said.replace(base, "http://127.0.0.1:8000")
    said = said.replace('"service":"127.0.0.1"', '"service":"hooks.example.com"')
    text = re.sub(r"(fleetkey|whsec)_[\w+/=]+", r"\1_…", said)
    try:
        text = pretty(json.loads(text))
    except ValueError:
        text = "\n".join(map(cut, text.strip("\n").splitlines()))
    lines = text.splitlines()
    return "\n".join(lines if len(lines) <= _LINES else [*lines[:_LINES], MORE])


def cut(line: str) -> str:
    return line if len(line) <= _COLUMNS else f"{line[:_COLUMNS]}…"


def pretty(value: Any, indent: str = "") -> str:
    """JSON on one line if it is short, and else a member on each line."""
    flat = json.dumps(cut(value) if isinstance(value, str) else value, ensure_ascii=False)
    if len(flat) + len(indent) <= 110 or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + "  "
    if isinstance(value, list):
        inner = [pretty(each, deeper) for each in value]
        begin, end = "[", "]"
    else:
        inner = [f"{json.dumps(name)}: {pretty(each, deeper)}" for name, each in value.items()]
        begin, end = "{", "}"
    return f"{begin}\n" + ",\n".join(deeper + each for each in inner) + f"\n{indent}{end}"


def skeleton(text: str) -> str:
    """What an answer consists of, whatever its values are."""
    # The names of connections end with a part of the id of a key.
    text = re.sub(r"(?i)(acme[-_]production[-_]|odoo_key_acme_)\w+", r"\1", text)
    text = re.sub(r'("(?:[^"\\]|\\.)*"\s*:)|"(?:[^"\\]|\\.)*"', lambda it: it[1] or '""', text)
    return re.sub(r"\s+|\d+(\.\d+)?", "", text.replace(": null", ': ""'))


def test_every_call_has_an_example(session: Session) -> None:
    def is_of(path: str, template: str) -> bool:
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        return re.fullmatch(pattern, path) is not None

    assert [] == [
        f"{method} {template}"
        for method, template in calls()
        if not any(method == each and is_of(path, template) for each, path in session.asked)
    ]


def test_answers_are_those_of_the_page(session: Session) -> None:
    if os.environ.get("MANUAL_WRITE") == "1":
        write(PAGE, session.ran)
    for ran in session.ran:
        answer = ran.example.answer if os.environ.get("MANUAL_WRITE") != "1" else ran.answer
        told, now = (skeleton(text.removesuffix(MORE)) for text in (answer, ran.answer))
        assert now == told, f"{ran.example.command}\nanswers:\n{ran.answer}"


def write(page: Path, ran: list[Ran]) -> None:
    """Put the answers into the page."""
    rest = iter(ran)

    def block(found: re.Match[str]) -> str:
        parts = [next(rest) for _ in examples(found[1])]
        lines = [
            line for each in parts for line in (f"$ {each.example.command}", each.answer) if line
        ]
        return "```console\n" + "\n".join(lines) + "\n```\n"

    text = page.read_text()
    page.write_text(
        re.sub(r"^```console\n(.+?)^```\n", block, text, flags=re.MULTILINE | re.DOTALL)
    )
