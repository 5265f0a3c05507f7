"""The command `python -m client silence`, and the call behind it."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme

from client import PhoneHomeClient, Refused, SilenceReceipt, host_facts
from client.__main__ import main
from evil import answer, evil_server, say

UNTIL = datetime(2026, 1, 31, 12, 30, tzinfo=timezone.utc)


def run(*arguments: str, token: str = "s3cret") -> tuple[int, list[str]]:
    """Run the command; returns the exit status and the printed lines."""
    said: list[str] = []
    status = main(["silence", *arguments], environ={"FLEET_TOKEN": token}, say=said.append)
    return status, said


def test_silence_arrives_whole(receiver: str, heard: list[dict[str, Any]]) -> None:
    with PhoneHomeClient(f"{receiver}/fleet/", token="s3cret") as client:
        receipt = client.silence("a/.. & ü", minutes=30, reason="upgrade")

    (request,) = heard
    assert SilenceReceipt(server_id="acme_web-1", until=UNTIL) == receipt
    assert "POST" == request["method"]
    assert "/fleet/by-id/servers/silence?id=a%2F..+%26+%C3%BC" == request["path"]
    assert {"minutes": 30, "reason": "upgrade"} == request["body"]
    assert "Bearer s3cret" == request["headers"]["authorization"]


@pytest.mark.parametrize("body", [b"[]", b"?", b'{"server_id": 1, "ends_at": "soon"}'])
def test_successful_silence_returns_whatever_the_answer_holds(body: bytes) -> None:
    with evil_server(say(answer("200 OK", body))) as evil, PhoneHomeClient(evil.url) as client:
        receipt = client.silence("acme_web-1", minutes=30)

    assert SilenceReceipt(server_id="acme_web-1", until=None) == receipt


def test_refused_silence_raises_the_reason() -> None:
    body = b'{"code": "server_of_another_key", "detail": "It is not yours."}'
    with (
        evil_server(say(answer("403 Forbidden", body))) as evil,
        PhoneHomeClient(evil.url) as client,
        pytest.raises(Refused, match="It is not yours") as refused,
    ):
        client.silence("acme_web-1", minutes=30)

    assert "server_of_another_key" == refused.value.code


def test_command_silences_the_odoo_on_this_machine(
    receiver: str, heard: list[dict[str, Any]]
) -> None:
    status, said = run("--url", receiver, "--database", "acme", "--minutes", "30")

    (request,) = heard
    assert 0 == status
    assert ["No alarm is told about acme_web-1 until 2026-01-31 12:30 UTC."] == said
    assert request["path"].endswith(f"?id=acme_{host_facts().hostname}")
    assert {"minutes": 30, "reason": "maintenance"} == request["body"]
    assert "Bearer s3cret" == request["headers"]["authorization"]


def test_command_silences_another_server_for_a_reason(
    receiver: str, heard: list[dict[str, Any]]
) -> None:
    run("--url", receiver, "--server-id", "b_2", "--minutes", "5", "--reason", "upgrade")

    (request,) = heard
    assert request["path"].endswith("?id=b_2")
    assert {"minutes": 5, "reason": "upgrade"} == request["body"]


def test_silence_command_says_why_it_has_failed() -> None:
    with evil_server(say(answer("404 Not Found", b'{"detail": "There is no server."}'))) as evil:
        status, said = run("--url", evil.url, "--server-id", "b_2", "--minutes", "5")

    assert 1 == status
    assert "There is no server" in said[0]


def test_silence_command_trusts_the_named_authorities(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))

    status, said = run("--url=http://127.0.0.1:9", f"--ca={file}", "--server-id=a", "--minutes=1")
    assert 1 == status
    assert "cannot be reached" in said[0]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "--url"),
        (["--url=http://host", "--minutes=5"], "--database --server-id is required"),
        (["--url=http://host", "--server-id=a"], "--minutes"),
        (["--url=http://host", "--server-id=a", "--minutes=0"], "a whole number, 1 or more"),
        (["--url=host", "--server-id=a", "--minutes=1"], "must begin with http"),
        (["--url=http://h", "--server-id=a", "--minutes=1", "--token=s3cret"], "--token\n"),
    ],
)
def test_invalid_argument_of_the_silence_command_is_reported(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)

    complaint = capsys.readouterr().err
    assert 2 == caught.value.code
    assert why in complaint
    assert "s3cret" not in complaint
