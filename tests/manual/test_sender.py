"""The sender in docs/senders.md is short, and a receiver takes what the page sends."""

import json
import os
import subprocess
from pathlib import Path

from attrs import fields

from contract import Heartbeat, loads, unstructure
from keyring import bearer, keep, made
from manual.terminal import blocks
from receiver.app import create_app
from servers import serve, wait_until


def test_whole_heartbeat_of_the_page_has_every_field() -> None:
    (text,) = blocks("senders.md", "json")
    shown = unstructure(loads(text.encode(), Heartbeat))

    assert {name for name, value in shown.items() if value is not None} == json.loads(text).keys()
    assert {each.name for each in fields(Heartbeat)} == json.loads(text).keys()


def test_sender_in_shell_is_in_the_list_and_goes_on(tmp_path: Path) -> None:
    (script,) = blocks("senders.md", "sh")
    assert len(script.splitlines()) <= 20
    url = f"sqlite:///{tmp_path}/fleet.db"
    (admin, token), (agent, secret) = made("admin"), made("agent")
    keep(url, admin, agent)
    with serve(create_app(environ={"FLEET_DATABASE_URL": url})) as client:
        client.headers.update(bearer(token))
        variables = {"FLEET_URL": str(client.base_url), "FLEET_TOKEN": secret, "PAUSE": "1"}
        variables["SERVER_ID"] = "shell_web-1"
        sending = subprocess.Popen(
            ["sh", "-c", script], env={**os.environ, **variables}, stdout=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: client.get("/servers/shell_web-1").status_code == 200)
            wait_until(lambda: client.get("/servers/shell_web-1").json()["heartbeat_count"] >= 2)
            wait_until(lambda: client.get("/servers/shell_web-1").json()["state"] == "up")
        finally:
            sending.kill()
            sending.wait()
        record = client.get("/servers/shell_web-1").json()

    assert ["uptime"] == record["capabilities"]
    assert 1 == record["heartbeat_interval_seconds"]
