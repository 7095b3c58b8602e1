"""Whether a policy lets be cut who was not. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from daemon.control.guard import Policy

SAFER_WHEN_MORE: Final = (
    "approvals_required",
    "approvals_of_several",
    "min_debt_fen",
    "startup_hold",
    "new_tariff_days",
    "window_start",
)
SAFER_WHEN_LESS: Final = (
    "window_end",
    "max_reading_age",
    "max_failed_restores",
    "max_moves_per_hour",
    "max_moves_per_day",
    "max_clocks_apart",
)
SAFER_WHEN_TRUE: Final = ("working_days_only", "no_trip_on_eve", "shadow")


def widened(old: Policy, new: Policy) -> list[str]:
    """The fields in which the new policy asks for less; empty where nobody can be cut by it who
    could not be by the old one."""
    return [
        *(name for name in SAFER_WHEN_MORE if getattr(new, name) < getattr(old, name)),
        *(name for name in SAFER_WHEN_LESS if getattr(new, name) > getattr(old, name)),
        *(name for name in SAFER_WHEN_TRUE if getattr(old, name) and not getattr(new, name)),
        *_widened_days(old, new),
        *_widened_notices("written", old, new),
        *_widened_notices("final", old, new),
        *_widened_looks(old, new),
    ]


def _widened_days(old: Policy, new: Policy) -> Iterator[str]:
    # Where no day is asked for, that is what is wider.
    if not (new.working_days_only or new.no_trip_on_eve):
        return
    if old.holidays - new.holidays:
        yield "holidays"
    if new.makeup_workdays - old.makeup_workdays:
        yield "makeup_workdays"


def _widened_notices(kind: str, old: Policy, new: Policy) -> Iterator[str]:
    if not getattr(old, f"{kind}_required"):
        return
    if not getattr(new, f"{kind}_required"):
        yield f"{kind}_required"
        return
    if getattr(new, f"{kind}_min") < getattr(old, f"{kind}_min"):
        yield f"{kind}_min"
    if getattr(new, f"{kind}_max") > getattr(old, f"{kind}_max"):
        yield f"{kind}_max"


def _widened_looks(old: Policy, new: Policy) -> Iterator[str]:
    before, now = old.max_relay_age, new.max_relay_age
    if before is not None and (now is None or now > before):
        yield "max_relay_age"
