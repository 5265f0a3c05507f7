"""Hypothesis profiles, and reports that can cross processes."""

import gc
import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

# Few examples in each of many runs; each run without the variable CI draws other ones.
settings.register_profile(
    "fleet",
    max_examples=25,
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# For `nox -s thorough`, which a developer runs after a change to what examples are drawn for.
settings.register_profile("thorough", settings.get_profile("fleet"), max_examples=500)
# For the other Python versions few examples suffice: the session `tests` uses the full number.
settings.register_profile("portable", settings.get_profile("fleet"), max_examples=12)
# For `nox -s mutants`, which runs the tests against small mistakes (mutants) in the contract: the
# examples are the same each time, so that no test notices a mistake by luck.
settings.register_profile(
    "mutants",
    settings.get_profile("fleet"),
    max_examples=10,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("fleet")


def pytest_configure() -> None:
    """Make garbage collections rare, which took a third of the time of finding all tests."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """
    Escape what UTF-8 cannot encode in a test's report, which a worker sends to pytest-xdist.

    Half a surrogate pair in a log, which many tests are about, would end the worker instead.
    """
    return encodable((yield))


def encodable(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {encodable(key): encodable(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return type(thing)(map(encodable, thing))
    if isinstance(thing, str):
        return thing.encode("utf-8", "backslashreplace").decode()
    return thing
