"""Who is who where two persons are asked for, and as what somebody works. Pure."""

from __future__ import annotations

from typing import Final, Literal
from unicodedata import normalize

BY_DAEMON: Final = "daemon"
"""Who does what no person asked for."""
NOBODY: Final = frozenset({"", BY_DAEMON})
"""Names, as they are compared, that are no person's."""


Role = Literal["marketing", "finance", "control", "station", "service", "system"]
"""As what somebody works for a site (R95)."""


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, who is another by no capital, width or blank."""
    return person(one) == person(other)


def person(name: str) -> str:
    """A name as it is compared, and never as it is shown."""
    return " ".join(normalize("NFKC", name).casefold().split())
