"""Amounts and times as customers read them."""

from __future__ import annotations

from datetime import datetime, tzinfo


def yuan(fen: int) -> str:
    """Integer fen in yuan: -120 -> -1.20."""
    whole, rest = divmod(abs(fen), 100)
    return f"{'-' if fen < 0 else ''}{whole}.{rest:02d}"


def minute(at: datetime, zone: tzinfo) -> str:
    """A moment of the site, to the minute."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"
