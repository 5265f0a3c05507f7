"""How much of a key is right does not show in how long it takes to say that it is wrong."""

import ast
import hmac
import inspect
import textwrap
from collections.abc import Callable
from datetime import datetime, timezone
from hashlib import sha256
from statistics import median
from time import perf_counter_ns

import pytest

from attacks.law import Target
from receiver.domain import keys
from receiver.domain.keys import Key, Keyring, KeyScope, NewKey

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def issued() -> tuple[Key, str]:
    return NewKey(name="right", scope=KeyScope.ADMIN).issue(now=NOW)


def wrong(token: str, at: int) -> str:
    """A key that differs in one letter."""
    letter = "A" if token[at] != "A" else "B"
    return f"{token[:at]}{letter}{token[at + 1 :] if at != -1 else ''}"


def medians(find: Callable[[bytes], object], tokens: list[bytes], *, rounds: int) -> list[float]:
    """How many nanoseconds each takes; one after the other, so that all have the same weather."""
    times: list[list[int]] = [[] for _ in tokens]
    for n in range(rounds):
        # In turn from another one each time: whoever follows whom must not matter.
        for k in range(len(tokens)):
            at = (n + k) % len(tokens)
            began = perf_counter_ns()
            for _ in range(20):
                find(tokens[at])
            times[at].append(perf_counter_ns() - began)
    return [median(each) for each in times]


def test_time_does_not_tell_how_much_is_right() -> None:
    ring = [issued() for _ in range(50)]
    keyring = Keyring(key for key, _ in ring)
    token = ring[20][1]
    secret = token.rindex("_") + 1
    tokens = [wrong(token, at).encode() for at in (secret, secret + (len(token) - secret) // 2, -1)]
    unknown = issued()[1].encode()
    assert [None] * 4 == [keyring.find(each) for each in [*tokens, unknown]]

    # A machine that is busy with something else may be unfair, but not each time.
    for _ in range(5):
        found = medians(keyring.find, [*tokens, unknown], rounds=1000)
        if max(found) / min(found) < 1.25:
            return
    pytest.fail(f"it takes {found} nanoseconds")


def test_it_would_show_if_it_told() -> None:
    """A comparison letter by letter is found out by the same measure."""
    right = issued()[1].encode()

    def find(token: bytes) -> bool:
        return all(mine == theirs for mine, theirs in zip(right, token, strict=True))

    secret = right.decode().rindex("_") + 1
    tokens = [wrong(right.decode(), at).encode() for at in (secret, -1)]
    found = [medians(find, tokens, rounds=300) for _ in range(5)]
    assert any(last / first > 1.25 for first, last in found)


def test_digests_of_one_length_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(mine: bytes, theirs: bytes) -> bool:
        compared.append((mine, theirs))
        return hmac.compare_digest(mine, theirs)

    assert keys.compare_digest is hmac.compare_digest  # type: ignore[attr-defined]  # not its own
    monkeypatch.setattr(keys, "compare_digest", compare)
    key, token = issued()
    keyring = Keyring([key])
    tokens = [token, wrong(token, -1), issued()[1], "", "a", token[:-1], token * 1000, "fleetkey_"]
    found = [keyring.find(each.encode()) for each in tokens]

    assert [key] + [None] * 7 == found
    assert [sha256(each.encode()).digest() for each in tokens] == [mine for mine, _ in compared]
    assert {32} == {len(each) for pair in compared for each in pair}


def test_nothing_else_is_done_with_a_token() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(Keyring.find)))

    # What is compared by == ends at the first difference.
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]


def test_who_guesses_is_told_nothing(target: Target) -> None:
    if target.key is None:
        pytest.skip("it asks for no key")
    said = set()
    guesses = ["", "a", "fleetkey_", target.key[:-1], wrong(target.key, -1), target.key + "a"]
    guesses += [wrong(target.key, 12), issued()[1], "fleetkey_" + "a" * 60_000, "\u00e9", "Bearer"]
    for guess in guesses:
        answer = target.ask("GET", "/servers", headers={"Authorization": f"Bearer {guess}"})
        said.add((answer.status, answer.body))

    assert 1 == len(said)
