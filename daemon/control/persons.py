"""Who is who where two persons are asked for. Pure."""

from __future__ import annotations

from unicodedata import normalize


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, who is another by no capital, width or blank."""
    return person(one) == person(other)


def person(name: str) -> str:
    """A name as it is compared, and never as it is shown."""
    return " ".join(normalize("NFKC", name).casefold().split())
