"""Of facts with a number the highest counts, whatever arrived last (judgement.md 1.4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol, TypeVar

from daemon.quality.facts import (
    Clock,
    ClockFinding,
    Decision,
    Facts,
    Finding,
    Limit,
    Ratio,
    Registers,
)


class _Numbered(Protocol):
    @property
    def rev(self) -> int: ...


N = TypeVar("N", bound=_Numbered)


@dataclass(frozen=True, slots=True)
class InForce:
    """The facts that count, ready to be looked up."""

    clock: Clock
    limits: tuple[Limit, ...]
    ratios: tuple[Ratio, ...]
    clock_findings: tuple[ClockFinding, ...]
    findings: tuple[Finding, ...]
    decisions: dict[tuple[date, Decimal], Decision]
    """By (day, total): releases, rejections, withdrawals."""
    substitutes: dict[date, Decision]
    named: frozenset[tuple[date, Registers]]
    """The values that a closing named."""

    def max_daily(self, day: date) -> Decimal | None:
        """The limit of that day; the first one holds before its date too."""
        if len(self.limits) < 2:
            return self.limits[0].max_daily if self.limits else None
        place = bisect_right(self.limits, day, key=lambda limit: limit.day)
        return self.limits[max(0, place - 1)].max_daily

    def skew_s(self, day: date) -> int | None:
        """What a finding says of the clock on that day; None where none does."""
        finding = _last_word(self.clock_findings, day)
        return finding.skew_s if finding is not None else None

    def codes(self, day: date) -> set[str]:
        """The findings of others on that day."""
        if not self.findings:
            return set()
        by_code = {it.code: it for it in sorted(self.findings, key=_rank) if _covers(it, day)}
        return {code for code, it in by_code.items() if it.is_active}


def in_force(facts: Facts) -> InForce:
    """Choose among facts of the same key."""
    settings = _highest(facts.clock_settings, lambda it: "clock")
    clock_findings = _highest(facts.clock_findings, lambda it: (it.first, it.last))
    findings = _highest(facts.findings, lambda it: (it.code, it.first, it.last))
    decisions: dict[tuple[date, Decimal], Decision] = {}
    substitutes: dict[date, Decision] = {}
    for decision in sorted(facts.decisions, key=lambda it: it.number):
        if decision.action == "substitute":
            substitutes[decision.day] = decision
        else:
            decisions[decision.day, decision.total] = decision
    # A substitute is taken back as a value is: by a withdrawal or rejection of its total.
    for day, substitute in list(substitutes.items()):
        later = decisions.get((day, substitute.total))
        is_against = later is not None and later.action in ("withdraw", "reject")
        if later is not None and is_against and later.number > substitute.number:
            del substitutes[day]
    return InForce(
        clock=settings[0].clock if settings else "zone",
        limits=tuple(sorted(_highest(facts.limits, lambda it: it.day), key=lambda it: it.day)),
        ratios=tuple(_highest(facts.ratios, lambda it: it.at)),
        clock_findings=tuple(clock_findings),
        findings=tuple(findings),
        decisions=decisions,
        substitutes=substitutes,
        named=frozenset(value for closing in facts.closings for value in closing.published),
    )


def _covers(finding: ClockFinding | Finding, day: date) -> bool:
    return finding.first <= day <= finding.last


def _rank(finding: ClockFinding | Finding) -> tuple[int, date, date]:
    return (finding.rev, finding.first, finding.last)


def _last_word(findings: Iterable[ClockFinding], day: date) -> ClockFinding | None:
    """The highest number counts on each day that it covers, one that takes back too."""
    return max((it for it in findings if _covers(it, day)), key=_rank, default=None)


def _highest(facts: Iterable[N], key: Callable[[N], Hashable]) -> list[N]:
    best: dict[Hashable, N] = {}
    for fact in facts:
        held = best.get(key(fact))
        # Two of one number are a mistake of who wrote them; arrival must not decide it either.
        if held is None or (fact.rev, repr(fact)) > (held.rev, repr(held)):
            best[key(fact)] = fact
    return list(best.values())
