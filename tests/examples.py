"""How many examples a property is tried with."""

import os

from hypothesis import settings

FEW = 10
MANY = "EXAMPLES"
"""The setting, of the environment, that counts for a property, or a story, and not what its test names."""


def examples(count: int) -> settings:
    """As many as the test names; half of them in the profile `ci`, a tenth in `dev`, but not below
    FEW; as many as MANY says, and then others each time."""
    if many := os.environ.get(MANY):
        return settings(max_examples=int(many), derandomize=False)
    part = {"ci": 2, "dev": 10}.get(settings.get_current_profile_name(), 1)
    return settings(max_examples=min(count, max(FEW, count // part)))


def seeds(count: int) -> range:
    """Likewise for a story that is told by its seed: ten times as many in the profile `nightly`."""
    if many := os.environ.get(MANY):
        return range(int(many))
    return range(10 * count if settings.get_current_profile_name() == "nightly" else count)
