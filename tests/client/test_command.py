"""The command `python -m client`."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from signal import SIGINT
from typing import Any

import pytest

from client import host_facts
from client.__main__ import main
from client.made_up import made_up_fleet

# A background job of a shell ignores SIGINT, and its child processes inherit that.
RUN_WITH_CTRL_C = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("client", run_name="__main__", alter_sys=True)
"""


def run(
    *arguments: str, environ: dict[str, str] | None = None, slept: list[float] | None = None
) -> tuple[int, list[str]]:
    """Run `main`; returns the exit status and the printed lines."""
    said: list[str] = []
    sleep = [] if slept is None else slept
    status = main(arguments, environ=environ or {}, sleep=sleep.append, say=said.append)
    return status, said


def ids(heard: Sequence[dict[str, Any]], path: str) -> list[str]:
    return [each["body"]["server_id"] for each in heard if each["path"] == path]


def test_command_reports_this_machine(receiver: str, heard: list[dict[str, Any]]) -> None:
    status, said = run("--url", receiver, "--beats", "2")

    here = f"no-odoo_{host_facts().hostname}"
    assert 0 == status
    assert ids(heard, "/register") == [here]
    assert ids(heard, "/heartbeat") == [here, here]
    assert "1 of 1 heartbeats accepted" == said[-1]


def test_command_reports_made_up_servers(receiver: str, heard: list[dict[str, Any]]) -> None:
    run("--url", receiver, "--count", "4", "--seed", "7", "--beats", "1", "--interval", "9")

    expected = made_up_fleet(4, seed=7, interval_seconds=9)
    assert ids(heard, "/register") == [each.server_id for each in expected]
    assert 9 == heard[0]["body"]["heartbeat_interval_seconds"]


@pytest.mark.parametrize(
    ("arguments", "size", "interval"),
    [(["--demo"], 12, 5), (["--demo", "--count=3", "--interval=2"], 3, 2), (["--count=2"], 2, 60)],
)
def test_demo_reports_a_dozen_servers_every_five_seconds(
    receiver: str, heard: list[dict[str, Any]], arguments: list[str], size: int, interval: float
) -> None:
    slept: list[float] = []
    run("--url", receiver, "--beats", "2", *arguments, slept=slept)

    assert len(ids(heard, "/register")) == size
    assert 0 <= slept[0] <= interval
    assert heard[0]["body"]["heartbeat_interval_seconds"] == interval


def test_command_reads_the_token_from_the_environment(
    receiver: str, heard: list[dict[str, Any]]
) -> None:
    run("--url", receiver, "--beats", "1", environ={"FLEET_TOKEN": "s3cret"})

    assert {"Bearer s3cret"} == {each["headers"]["authorization"] for each in heard}


def test_command_without_a_receiver_fails_with_sentences() -> None:
    status, said = run("--url", unused_url(), "--beats", "2", "--count", "2")

    assert 1 == status
    assert "0 of 2 heartbeats accepted" == said[-1]
    assert all("cannot be reached" in line for line in said[:2])


def test_ctrl_c_ends_the_command_with_status_zero(receiver: str) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    assert 0 == main(["--url", receiver], environ={}, sleep=interrupt, say=lambda _: None)


def test_ctrl_c_ends_the_process_with_status_zero(receiver: str) -> None:
    command = [sys.executable, "-c", RUN_WITH_CTRL_C, "--url", receiver, "--count", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)

    assert "2 of 2 heartbeats accepted\n" == lines[-1]
    assert (0, "") == (process.returncode, complaints)


def test_command_sleeps_between_heartbeats(receiver: str, heard: list[dict[str, Any]]) -> None:
    begun = time.monotonic()
    main(["--url", receiver, "--beats", "2", "--interval", "0.2"], environ={}, say=lambda _: None)

    assert 2 == len(ids(heard, "/heartbeat"))
    assert time.monotonic() - begun >= 0.1, "the first interval is shortened by chance"


def test_ctrl_c_that_does_not_end_the_sleep_ends_the_command_soon(receiver: str) -> None:
    """One that comes right before a sleep does as little as one that another thread gets."""

    def say(line: str) -> None:
        if "accepted" in line:
            threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), SIGINT)).start()

    handler = signal.signal(SIGINT, signal.default_int_handler)
    begun = time.monotonic()
    try:
        assert 0 == main(["--url", receiver], environ={}, say=say)
    finally:
        signal.signal(SIGINT, handler)

    assert time.monotonic() - begun < 30, "the next heartbeat is due after 60 seconds"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "--url"),
        (["--url=localhost"], "must begin with http"),
        (["--url=http://host", "--count=0"], "a whole number, 1 or more"),
        (["--url=http://host", "--beats=x"], "--beats"),
        (["--url=http://host", "--interval=0"], "a number of seconds above 0"),
        (["--url=http://host", "--interval=nan"], "a number of seconds above 0"),
        (["--url=http://host", "--demo", "--count=2"], "3 or more"),
        (["--url=http://host", "--token=s3cret"], "unrecognized arguments: --token\n"),
        (["--url=http://host", "--token", "s3cret"], "unrecognized arguments: --token\n"),
        (["--url=http://host", "s3cret"], "unrecognized arguments: 1\n"),
    ],
)
def test_invalid_argument_of_the_client_command_is_reported(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)

    assert 2 == caught.value.code
    complaint = capsys.readouterr().err
    assert why in complaint
    assert "s3cret" not in complaint


def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return f"http://127.0.0.1:{gone.getsockname()[1]}"
