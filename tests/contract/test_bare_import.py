"""Importing the contract pulls in little, and opens nothing."""

import json
import subprocess
import sys
from functools import cache
from typing import Any

ALLOWED = {"attr", "attrs", "cattr", "cattrs", "contract", "orjson", "typing_extensions"}
if sys.version_info < (3, 11):
    ALLOWED |= {"exceptiongroup"}

# Runs in an interpreter of its own, which nothing else has imported anything into.
IMPORT = """
import json
import sys

before = set(sys.modules)
events = set()


def hear(event, args):
    if event == "open" and args[1] in {None, "r", "rb"}:
        event = "read"
    events.add(event)


sys.addaudithook(hear)

import contract

new = set(sys.modules) - before
print(json.dumps({"modules": sorted(new), "events": sorted(events)}))
"""


@cache
def what_happens() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-I", "-B", "-W", "error", "-c", IMPORT],
        env={},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "" == run.stderr
    return dict(json.loads(run.stdout))


def test_only_attrs_cattrs_and_orjson_are_imported() -> None:
    roots = {name.partition(".")[0] for name in what_happens()["modules"]}
    others = roots - sys.stdlib_module_names

    # Python's own, though it does not say so.
    assert {name for name in others if not name.startswith("_sysconfigdata")} <= ALLOWED


def test_the_contract_itself_is_imported() -> None:
    assert "contract" in what_happens()["modules"]


def test_nothing_of_the_network_or_a_database_is_imported() -> None:
    roots = {name.partition(".")[0] for name in what_happens()["modules"]}

    assert set() == roots & {"asyncio", "http", "socket", "sqlite3", "ssl", "urllib3"}


def test_nothing_is_opened_connected_or_started() -> None:
    events = what_happens()["events"]
    roots = {event.partition(".")[0] for event in events}

    assert set() == roots & {"http", "open", "shutil", "socket", "sqlite3", "subprocess", "urllib"}
    assert {"os.listdir"} >= {event for event in events if event.startswith("os.")}
