"""Importing the contract imports few packages, and opens no file, socket or process."""

import json
import subprocess
import sys
from functools import cache
from typing import Any

ALLOWED = {"attr", "attrs", "cattr", "cattrs", "contract", "orjson", "typing_extensions"}
if sys.version_info < (3, 11):
    ALLOWED |= {"exceptiongroup"}

# Runs in a new interpreter, in which nothing else has been imported.
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
def import_effects() -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-I", "-B", "-W", "error", "-c", IMPORT],
        env={},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "" == run.stderr
    return dict(json.loads(run.stdout))


def test_contract_imports_only_attrs_cattrs_and_orjson() -> None:
    roots = {name.partition(".")[0] for name in import_effects()["modules"]}
    others = roots - sys.stdlib_module_names

    # `sys.stdlib_module_names` lacks this module of the standard library.
    assert {name for name in others if not name.startswith("_sysconfigdata")} <= ALLOWED


def test_import_of_the_contract_is_observed() -> None:
    assert "contract" in import_effects()["modules"]


def test_contract_imports_no_network_and_no_database_module() -> None:
    roots = {name.partition(".")[0] for name in import_effects()["modules"]}

    assert set() == roots & {"asyncio", "http", "socket", "sqlite3", "ssl", "urllib3"}


def test_import_opens_no_file_socket_or_process() -> None:
    events = import_effects()["events"]
    roots = {event.partition(".")[0] for event in events}

    assert set() == roots & {"http", "open", "shutil", "socket", "sqlite3", "subprocess", "urllib"}
    assert {"os.listdir"} >= {event for event in events if event.startswith("os.")}
