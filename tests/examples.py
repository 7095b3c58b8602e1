"""How many examples a property is tried with."""

import os

from hypothesis import settings

FEW = 10
MANY = "EXAMPLES"
"""The setting, of the environment, that counts for a property, or a story, and not what its test names."""


def examples(count: int) -> settings:
    """As many as the test names; a tenth, but not below FEW, in the profile `dev`; as many as MANY
    says, and then others each time."""
    if many := os.environ.get(MANY):
        return settings(max_examples=int(many), derandomize=False)
    is_dev = settings.get_current_profile_name() == "dev"
    return settings(max_examples=min(count, max(FEW, count // 10)) if is_dev else count)


def seeds(count: int) -> range:
    """Likewise for a story that is told by its seed: ten times as many in the profile `nightly`."""
    if many := os.environ.get(MANY):
        return range(int(many))
    return range(10 * count if settings.get_current_profile_name() == "nightly" else count)
