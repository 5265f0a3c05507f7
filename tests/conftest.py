"""How Hypothesis searches: anew on every machine, the same every time in CI."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fleet",
    max_examples=60,
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# The laws are proven where the coverage is measured; here it matters that all of it runs.
settings.register_profile("portable", settings.get_profile("fleet"), max_examples=12)
settings.load_profile("fleet")
