"""Hypothesis profiles: random examples on a developer's machine, the same ones in CI."""

import os

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "fleet",
    max_examples=60,
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# For the other Python versions few examples suffice: the session `tests` uses the full number.
settings.register_profile("portable", settings.get_profile("fleet"), max_examples=12)
# A mutant of the contract is killed by the same examples each time, or by none: never by luck.
settings.register_profile(
    "mutants",
    settings.get_profile("fleet"),
    max_examples=10,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("fleet")
