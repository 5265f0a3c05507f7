"""The messages and the output of a simulated fleet."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from client import HostFacts, PhoneHomeClient
from client.fleet import Fleet, Member, Round, demo_fleet, this_host
from client.made_up import made_up_fleet, rebuilt
from contract import IpAddresses

START = 1_769_860_800.0  # 2026-01-31T12:00:00Z

Reaction = Callable[[str, Any], httpx.Response]


class Receiver(httpx.BaseTransport):
    """A fake transport that records the messages, and answers as a test chooses."""

    def __init__(self, react: Reaction | None = None) -> None:
        self.heard: list[tuple[str, Any]] = []
        self._react = react or content

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        self.heard.append((request.url.path, body))
        return self._react(request.url.path, body)

    def registered(self) -> list[str]:
        return [body["server_id"] for path, body in self.heard if path == "/register"]

    def beats(self) -> list[Any]:
        """Every heartbeat so far, alone or in a batch."""
        beats: list[Any] = []
        for path, body in self.heard:
            beats += {"/register": [], "/heartbeat": [body]}.get(path, body)
        return beats


class Time:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def content(path: str, body: Any) -> httpx.Response:
    if path == "/register":
        return httpx.Response(201)
    results = [{"status": "ok"} for _ in body]
    return httpx.Response(200, json={"results": results})


def run(
    receiver: Receiver,
    members: list[Member],
    *,
    beats: int = 1,
    interval_seconds: float = 5.0,
    longest_interval_seconds: float | None = None,
    time: Time | None = None,
) -> tuple[int, list[str]]:
    """Run a fleet; returns the number of accepted heartbeats and the printed lines."""
    time = time or Time()
    said: list[str] = []
    with PhoneHomeClient("http://receiver", transport=receiver, attempts=1) as client:
        fleet = Fleet(client, members, clock=time.clock, say=said.append)
        accepted = fleet.run(
            interval_seconds=interval_seconds,
            longest_interval_seconds=longest_interval_seconds,
            beats=beats,
            sleep=time.sleep,
        )
    return accepted, said


def members(count: int) -> list[Member]:
    return [Member(payload=payload) for payload in made_up_fleet(count)]


def test_payload_of_this_host_has_no_tools() -> None:
    here = IpAddresses(primary="10.0.0.5", all=("10.0.0.5",))
    payload = this_host(HostFacts(hostname="web-1", ip_addresses=here), interval_seconds=30)

    assert "no-odoo_web-1" == payload.server_id
    assert (payload.hostname, payload.ip_addresses) == ("web-1", here)
    assert () == payload.capabilities
    assert 30 == payload.heartbeat_interval_seconds


def test_each_server_registers_once_and_sends_a_heartbeat_each_round() -> None:
    receiver = Receiver()
    accepted, said = run(receiver, members(3), beats=4)

    ids = [each.server_id for each in made_up_fleet(3)]
    assert receiver.registered() == ids
    assert Counter(beat["server_id"] for beat in receiver.beats()) == dict.fromkeys(ids, 4)
    assert 12 == accepted
    assert said == [
        *(f"{each} is registered as a new server" for each in ids),
        *["3 of 3 heartbeats accepted"] * 4,
    ]


def test_known_server_is_reported_as_registered_again() -> None:
    _, said = run(Receiver(lambda *_: httpx.Response(200)), members(1))

    assert said[0].endswith("is registered again")


def test_one_server_sends_no_batch() -> None:
    receiver = Receiver()
    run(receiver, members(1))

    assert ["/register", "/heartbeat"] == [path for path, _ in receiver.heard]


def test_heartbeat_has_timestamp_uptime_and_start() -> None:
    receiver = Receiver()
    run(receiver, members(1), beats=3, interval_seconds=5)

    (_, registration), *_ = receiver.heard
    assert "2026-01-31T12:00:00Z" == registration["started_at"]
    assert [
        ("2026-01-31T12:00:00Z", 0),
        ("2026-01-31T12:00:05Z", 5),
        ("2026-01-31T12:00:10Z", 10),
    ] == [(beat["timestamp"], beat["uptime_seconds"]) for beat in receiver.beats()]
    assert {"2026-01-31T12:00:00Z"} == {beat["started_at"] for beat in receiver.beats()}


def test_rounds_keep_their_interval_when_a_receiver_is_slow() -> None:
    time = Time()

    def slow(path: str, body: Any) -> httpx.Response:
        time.now += 1
        return content(path, body)

    run(Receiver(slow), members(1), beats=3, interval_seconds=5, time=time)

    # The first round also sends a registration.
    assert [3, 4] == time.slept


def test_next_round_starts_at_once_after_a_long_one() -> None:
    time = Time()

    def slow(path: str, body: Any) -> httpx.Response:
        time.now += 6 if path == "/register" else 1
        return content(path, body)

    run(Receiver(slow), members(1), beats=3, interval_seconds=5, time=time)

    assert [0, 4] == time.slept


def answering(**more: Any) -> Reaction:
    """A receiver that says more in its answers to heartbeats."""

    def react(path: str, body: Any) -> httpx.Response:
        if path == "/register":
            return httpx.Response(200)
        if path == "/heartbeat":
            return httpx.Response(200, json={"status": "ok", **more})
        return httpx.Response(200, json={"results": [{"status": "ok", **more} for _ in body]})

    return react


def test_server_registers_again_when_the_receiver_wants_it() -> None:
    receiver = Receiver(answering(wants=["registration", "what is not known"]))

    run(receiver, members(2), beats=121)

    ids = [each.server_id for each in made_up_fleet(2)]
    # At the start, after the first heartbeats, and ten minutes later.
    assert [*ids, *ids, *ids] == receiver.registered()


def test_registration_that_is_refused_is_not_sent_with_each_heartbeat() -> None:
    def react(path: str, body: Any) -> httpx.Response:
        if path == "/register":
            return httpx.Response(413)
        return httpx.Response(200, json={"status": "ok", "wants": ["registration"]})

    receiver = Receiver(react)

    run(receiver, members(1), beats=10)

    assert 2 == len(receiver.registered())


def test_server_registers_when_it_is_asked_after_its_clock_was_set_back() -> None:
    receiver, time = Receiver(answering(wants=["registration"])), Time()

    def set_back(seconds: float) -> None:
        time.sleep(seconds - 1000)

    with PhoneHomeClient("http://receiver", transport=receiver, attempts=1) as client:
        fleet = Fleet(client, members(1), clock=time.clock, say=lambda _: None)
        fleet.run(interval_seconds=5, beats=2, sleep=set_back)

    assert 3 == len(receiver.registered())


def test_server_does_not_register_again_for_an_unknown_wish() -> None:
    for wants in (["tea"], "registration", None, {"registration": True}):
        receiver = Receiver(answering(wants=wants))

        run(receiver, members(1), beats=2)

        assert 1 == len(receiver.registered())


def test_registration_describes_the_tools_and_heartbeats_name_the_description() -> None:
    receiver = Receiver()
    run(receiver, members(1))

    (_, registration), (_, beat) = receiver.heard
    assert registration["capabilities"] == [tool["name"] for tool in registration["tools"]]
    assert "tools" not in beat
    assert registration["tools_digest"] == beat["tools_digest"]


def test_interval_is_doubled_at_most_and_declared_while_the_receiver_asks_for_more() -> None:
    receiver, time = Receiver(answering(next_heartbeat_seconds=100)), Time()

    fleet = [Member(payload=payload) for payload in made_up_fleet(1, interval_seconds=5)]
    run(receiver, fleet, beats=6, interval_seconds=5, longest_interval_seconds=60, time=time)

    assert [10, 20, 40, 60, 60] == time.slept
    declared = [beat["heartbeat_interval_seconds"] for beat in receiver.beats()]
    assert [5, 10, 20, 40, 60, 60] == declared


def test_server_never_declares_less_than_it_promises() -> None:
    receiver = Receiver(answering(next_heartbeat_seconds=100))

    run(receiver, members(1), beats=6, interval_seconds=5, longest_interval_seconds=600)

    declared = [beat["heartbeat_interval_seconds"] for beat in receiver.beats()]
    assert [60, 60, 60, 60, 80, 100] == declared


def test_interval_is_the_usual_one_when_the_receiver_asks_for_nothing_more() -> None:
    asked = iter([20, None, 1, 0, -3, True, "9", 10**400])
    time = Time()

    def react(path: str, body: Any) -> httpx.Response:
        answer = {} if path == "/register" else {"next_heartbeat_seconds": next(asked)}
        return httpx.Response(200, json={"status": "ok", **answer})

    run(Receiver(react), members(1), beats=8, longest_interval_seconds=600, time=time)

    assert [10, *[5] * 6] == time.slept


def test_interval_is_not_prolonged_without_a_limit() -> None:
    time = Time()

    run(Receiver(answering(next_heartbeat_seconds=100)), members(1), beats=3, time=time)

    assert [5, 5] == time.slept


def test_clock_that_is_set_back_delays_no_round() -> None:
    time = Time()

    def set_back(path: str, body: Any) -> httpx.Response:
        time.now -= 3600
        return content(path, body)

    receiver = Receiver(set_back)
    run(receiver, members(1), beats=3, interval_seconds=5, time=time)

    assert [5, 5] == time.slept
    assert [0, 0, 0] == [beat["uptime_seconds"] for beat in receiver.beats()]


def test_unavailable_receiver_is_reported_and_retried_in_the_next_round() -> None:
    time = Time()

    def away_at_first(path: str, body: Any) -> httpx.Response:
        if time.now == START:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        return content(path, body)

    receiver = Receiver(away_at_first)
    accepted, said = run(receiver, members(3), beats=2, time=time)

    first, second, third = (each.server_id for each in made_up_fleet(3))
    why = "The receiver at http://receiver cannot be reached: [Errno 111] Connection refused."
    assert said[:3] == [f"{first} is not registered: {why}", why, "0 of 3 heartbeats accepted"]
    assert receiver.registered() == [first, first, second, third]
    assert 3 == accepted


def test_permanently_refused_registration_is_not_repeated() -> None:
    def strict(path: str, body: Any) -> httpx.Response:
        if path == "/register":
            return httpx.Response(422, json={"code": "invalid_message"})
        return content(path, body)

    receiver = Receiver(strict)
    accepted, said = run(receiver, members(2), beats=2)

    assert receiver.registered() == [each.server_id for each in made_up_fleet(2)]
    assert 2 == sum("is not registered" in line for line in said)
    assert 4 == accepted


def test_refused_heartbeat_is_reported() -> None:
    def strict(path: str, body: Any) -> httpx.Response:
        if path == "/register":
            return httpx.Response(201)
        results = [{"status": "ok"}, {"status": "rejected", "code": "invalid_message"}]
        return httpx.Response(200, json={"results": results})

    accepted, said = run(Receiver(strict), members(2))

    second = made_up_fleet(2)[1].server_id
    why = "The receiver at http://receiver refused with 422 (invalid_message)."
    assert said[-2:] == [f"{second} is not heard: {why}", "1 of 2 heartbeats accepted"]
    assert 1 == accepted


def test_demo_has_a_rebuild_a_silence_and_a_recovery() -> None:
    receiver = Receiver()
    _, said = run(receiver, demo_fleet(4, interval_seconds=5), beats=16, interval_seconds=5)

    first, second, third, fourth = (each.server_id for each in made_up_fleet(4))
    again = rebuilt(made_up_fleet(1)[0]).server_id
    assert receiver.registered() == [first, second, third, fourth, again]
    assert Counter(beat["server_id"] for beat in receiver.beats()) == {
        first: 4,
        again: 12,
        second: 6,
        third: 6 + 3,
        fourth: 16,
    }
    assert [line for line in said if "heartbeats" not in line][4:] == [
        f"{first} is rebuilt as {again}",
        f"{again} is registered as a new server",
        f"{second} falls silent",
        f"{third} falls silent",
        f"{third} is heard again",
    ]
    assert "3 of 3 heartbeats accepted, 1 silent" == said[-1]


def test_rebuilt_server_starts_at_the_rebuild() -> None:
    receiver = Receiver()
    run(receiver, demo_fleet(3, interval_seconds=5), beats=6, interval_seconds=5)

    again = rebuilt(made_up_fleet(1)[0]).server_id
    beats = [beat for beat in receiver.beats() if beat["server_id"] == again]
    assert [0, 5] == [beat["uptime_seconds"] for beat in beats]


def test_round_without_heartbeats_sends_nothing() -> None:
    (payload,) = made_up_fleet(1)
    receiver = Receiver()
    accepted, said = run(receiver, [Member(payload=payload, silent_after_seconds=0)])

    assert (0, []) == (accepted, receiver.heard)
    assert said == [f"{payload.server_id} falls silent", "0 of 0 heartbeats accepted, 1 silent"]


def test_round_has_its_outcome_as_text() -> None:
    said: list[str] = []
    with PhoneHomeClient("http://receiver", transport=Receiver()) as client:
        outcome = Fleet(client, members(2), say=said.append).round()

    assert outcome == Round(accepted=2, sent=2, silent=0)
