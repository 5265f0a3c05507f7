"""Timing attacks: the time to refuse a key does not depend on how much of it is right."""

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
    """The token with another letter at this index."""
    letter = "A" if token[at] != "A" else "B"
    return f"{token[:at]}{letter}{token[at + 1 :] if at != -1 else ''}"


def medians(find: Callable[[bytes], object], tokens: list[bytes], *, rounds: int) -> list[float]:
    """
    The median time for each token, in nanoseconds for 20 calls.

    It alternates between the tokens, so that a drift of the machine affects all alike.
    """
    times: list[list[int]] = [[] for _ in tokens]
    for n in range(rounds):
        # Start each round with another token, so that the order has no influence.
        for k in range(len(tokens)):
            at = (n + k) % len(tokens)
            began = perf_counter_ns()
            for _ in range(20):
                find(tokens[at])
            times[at].append(perf_counter_ns() - began)
    return [median(each) for each in times]


def test_look_up_time_does_not_depend_on_the_matching_prefix() -> None:
    ring = [issued() for _ in range(50)]
    keyring = Keyring(key for key, _ in ring)
    token = ring[20][1]
    secret = token.rindex("_") + 1
    tokens = [wrong(token, at).encode() for at in (secret, secret + (len(token) - secret) // 2, -1)]
    unknown = issued()[1].encode()
    assert [None] * 4 == [keyring.find(each) for each in [*tokens, unknown]]

    # Other load on the machine may distort some rounds, but not all five.
    for _ in range(5):
        found = medians(keyring.find, [*tokens, unknown], rounds=1000)
        if max(found) / min(found) < 1.25:
            return
    pytest.fail(f"it takes {found} nanoseconds")


def test_measurement_detects_a_comparison_letter_by_letter() -> None:
    """The same measurement finds the flaw in a comparison letter by letter."""
    right = issued()[1].encode()

    def find(token: bytes) -> bool:
        return all(mine == theirs for mine, theirs in zip(right, token, strict=True))

    secret = right.decode().rindex("_") + 1
    tokens = [wrong(right.decode(), at).encode() for at in (secret, -1)]
    found = [medians(find, tokens, rounds=300) for _ in range(5)]
    assert any(last / first > 1.25 for first, last in found)


def test_key_look_up_compares_digests_of_equal_length(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_key_look_up_uses_no_comparison_operator() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(Keyring.find)))

    # The operator == stops at the first difference.
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]


def test_every_wrong_key_gets_the_same_answer(target: Target) -> None:
    if target.key is None:
        pytest.skip("it asks for no key")
    said = set()
    guesses = ["", "a", "fleetkey_", target.key[:-1], wrong(target.key, -1), target.key + "a"]
    guesses += [wrong(target.key, 12), issued()[1], "fleetkey_" + "a" * 60_000, "\u00e9", "Bearer"]
    for guess in guesses:
        answer = target.ask("GET", "/servers", headers={"Authorization": f"Bearer {guess}"})
        said.add((answer.status, answer.body))

    assert 1 == len(said)
