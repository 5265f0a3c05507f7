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
settings.load_profile("fleet")
