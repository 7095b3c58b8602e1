"""Who is who where two persons are asked for. Pure."""

from __future__ import annotations

from typing import Final
from unicodedata import normalize

BY_DAEMON: Final = "daemon"
"""Who does what no person asked for."""
NOBODY: Final = frozenset({"", BY_DAEMON})
"""Names, as they are compared, that are no person's."""


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, who is another by no capital, width or blank."""
    return person(one) == person(other)


def person(name: str) -> str:
    """A name as it is compared, and never as it is shown."""
    return " ".join(normalize("NFKC", name).casefold().split())
