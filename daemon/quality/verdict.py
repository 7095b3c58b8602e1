"""What a judgement says: a state for each day, the published chain, its links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from daemon.quality.facts import MAX_AUTO_SPAN_DAYS, LinkRelease

State = Literal["published", "suspect", "rejected", "substituted"]
NextStep = Literal["recollect", "wait", "reread", "person"]
Held = Literal["span", "ratio", "spike", "final_lost", "initial_lost", "backward"]


@dataclass(frozen=True, slots=True)
class DayState:
    """What a day shows: the register (kWh), in the decimals of its run, and the codes on it.

    `next_step` is None where there is nothing to do."""

    state: State
    total: Decimal
    codes: tuple[str, ...] = ()
    next_step: NextStep | None = None


@dataclass(frozen=True, slots=True)
class ChainValue:
    """A member of the published chain: the freeze of a day, or the register of a document."""

    at: date | datetime
    total: Decimal


@dataclass(frozen=True, slots=True)
class Link:
    """The use between two neighbours; `kwh` is None where no register shows it.

    `held`: why it is not billed by itself (judgement.md section 7.2). `ratio`: by which the advance
    of the register was multiplied. `allowed_kwh`: where the use is more than the limit of its time
    allows and is no spike only because its end is confirmed: so much the limit allows."""

    start: date | datetime
    end: date | datetime
    kwh: Decimal | None
    held: Held | None = None
    ratio: Decimal = Decimal(1)
    allowed_kwh: Decimal | None = None

    @property
    def hold(self) -> Held | None:
        """Why nobody is billed for it by itself: a register that is believed is no use that is."""
        return "spike" if self.held is None and self.allowed_kwh is not None else self.held


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one point. Days without facts are not in it."""

    days: Mapping[date, DayState]
    chain: tuple[ChainValue, ...]
    links: tuple[Link, ...]
    is_too_short: bool = False
    """Of a window: a value stands against the one it begins with, so the facts before it matter."""
    beside: tuple[Link, ...] = ()
    """The use that substitutes show before the first value of the chain and behind the last, to and
    from these too, and inside a use that was lost with a meter. Held as a spike where it is more
    than the limit allows."""
    max_auto_span_days: int = MAX_AUTO_SPAN_DAYS
    """By which links were held for their length."""
    link_releases: tuple[LinkRelease, ...] = ()
    """What persons said of the use that is held."""


def changed_days(before: Verdict, after: Verdict) -> dict[date, DayState]:
    """The days that `after` shows otherwise, in order."""
    return {
        day: state for day, state in sorted(after.days.items()) if before.days.get(day) != state
    }


def withdrawn(before: Verdict, after: Verdict) -> list[tuple[date, Decimal]]:
    """The values that were published and are no longer: the difference of two verdicts."""
    lost = _published(before) - _published(after)
    return [(day, before.days[day].total) for day, _ in sorted(lost)]


def _published(verdict: Verdict) -> set[tuple[date, Decimal]]:
    return {(day, state.total) for day, state in verdict.days.items() if state.state == "published"}
