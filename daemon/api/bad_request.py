"""What every request of another program must be: JSON of the right kinds."""

from __future__ import annotations

from protocols.errors import MeterdError


class BadRequest(MeterdError):
    """A request that is not what it must be. The author of the program that asks acts."""


def is_number(value: object) -> bool:
    """True for a number of JSON; true and false, which are integers in Python, are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
