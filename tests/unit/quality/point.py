"""A point whose facts are written down day by day, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from daemon.quality.acceptance import closing, refusal, with_seen
from daemon.quality.facts import (
    Action,
    ClockFinding,
    ClockSetting,
    Decision,
    Fact,
    Facts,
    Finding,
    Installation,
    Limit,
    Ratio,
    Read,
    Registers,
    with_fact,
)
from daemon.quality.judge import judge
from daemon.quality.verdict import DayState, Verdict

MARCH = date(2026, 3, 1)


def day(number: int) -> date:
    """Day 1 is the first of March."""
    return MARCH + timedelta(days=number - 1)


def kwh(total: str | int, **rates: str | int) -> Registers:
    return Registers(Decimal(total), tuple((it, Decimal(rates[it])) for it in sorted(rates)))


def plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass
class Point:
    """The meter A, installed on the first of March, 1,000,000 kWh in steps of 0.01."""

    zone: str = "Asia/Shanghai"
    limit: str = "380"
    modulus: str = "1000000"
    decimals: int = 2
    wire_decimals: int | None = None
    initial: Registers | None = None
    facts: Facts = field(init=False)
    _number: int = 0

    def __post_init__(self) -> None:
        zone = ZoneInfo(self.zone)
        self.facts = Facts(zone, (), (Limit(day(-400), Decimal(self.limit)),))
        self.exchange(self.midnight(1), serial="A", initial=self.initial)

    def midnight(self, number: int, hour: int = 0, minute: int = 0) -> datetime:
        at = datetime.combine(day(number), datetime.min.time(), tzinfo=ZoneInfo(self.zone))
        return at.replace(hour=hour, minute=minute)

    def add(self, fact: Fact) -> Point:
        self.facts = with_fact(self.facts, fact)
        return self

    def values(self, *totals: Registers | str | int | None, first: int = 1) -> Point:
        """One a day, read seven minutes after midnight; None is a day without."""
        for number, total in enumerate(totals, start=first):
            if total is not None:
                self.value(number, total)
        return self

    def value(self, number: int, total: str | int | Registers, **about: Any) -> Point:
        """`after_h`: hours from midnight to the reading."""
        after_h = about.pop("after_h", 0.1)
        registers = total if isinstance(total, Registers) else kwh(total)
        read_at = self.midnight(number).astimezone(UTC) + timedelta(hours=after_h)
        return self.add(
            Read(**{"day": day(number), "registers": registers, "read_at": read_at, **about})
        )

    def exchange(
        self,
        at: datetime,
        *,
        serial: str = "B",
        initial: Registers | None = None,
        final: Registers | None = None,
    ) -> Point:
        wire = self.decimals if self.wire_decimals is None else self.wire_decimals
        modulus = Decimal(self.modulus)
        return self.add(Installation(at, serial, modulus, self.decimals, wire, initial, final))

    def ratio(
        self, at: int | datetime, ratio: str, register: Registers | None = None, rev: int = 0
    ) -> Point:
        when = day(at) if isinstance(at, int) else at
        return self.add(Ratio(when, Decimal(ratio), rev, register))

    def max_daily(self, first: int, limit: str, rev: int = 0) -> Point:
        return self.add(Limit(day(first), Decimal(limit), rev))

    def clock(self, first: int, last: int, skew_s: int | None, rev: int = 0) -> Point:
        return self.add(ClockFinding(day(first), day(last), skew_s, rev))

    def finding(
        self, code: str, first: int, last: int, *, rev: int = 0, is_active: bool = True
    ) -> Point:
        return self.add(Finding(code, day(first), day(last), rev, is_active))

    def standard(self) -> Point:
        return self.add(ClockSetting("standard", 1))

    def refused(self, number: int) -> Point:
        self.facts = replace(self.facts, refused=self.facts.refused | {day(number)})
        return self

    def decision(self, action: Action, number: int, total: str | int, **about: Any) -> Decision:
        self._number += 1
        return Decision(action, day(number), Decimal(total), self._number, **about)

    def says(self, action: Action, number: int, total: str | int, **about: Any) -> Point:
        """A person's decision, if it is not refused."""
        decision = self.decision(action, number, total, **about)
        assert refusal(self.facts, decision) is None
        return self.add(with_seen(self.facts, decision) if action == "release" else decision)

    def refusal(self, action: Action, number: int, total: str | int, **about: Any) -> str | None:
        return refusal(self.facts, self.decision(action, number, total, **about))

    def closed(self, through: int) -> Point:
        return self.add(closing(self.facts, day(through)))

    @property
    def verdict(self) -> Verdict:
        return judge(self.facts)

    def on(self, number: int) -> DayState:
        return self.verdict.days[day(number)]

    def shows(self, number: int) -> tuple[str, str]:
        """State and register of a day."""
        state = self.on(number)
        return (state.state, plain(state.total))

    def codes(self, number: int) -> tuple[str, ...]:
        return self.on(number).codes

    def next_step(self, number: int) -> str | None:
        return self.on(number).next_step

    def published(self) -> dict[int, str]:
        """Day -> register of what is published."""
        return {
            (on - MARCH).days + 1: plain(state.total)
            for on, state in self.verdict.days.items()
            if state.state == "published"
        }

    def links(self) -> list[tuple[str, str, str | None, str | None]]:
        """From, to (day, or day and hour), kWh, held."""
        return [
            (
                self._at(it.start),
                self._at(it.end),
                None if it.kwh is None else plain(it.kwh),
                it.held,
            )
            for it in self.verdict.links
        ]

    def chain(self) -> list[tuple[str, str]]:
        return [(self._at(it.at), plain(it.total)) for it in self.verdict.chain]

    def _at(self, at: date | datetime) -> str:
        if isinstance(at, datetime):
            local = at.astimezone(ZoneInfo(self.zone))
            return f"{(local.date() - MARCH).days + 1} {local:%H:%M}"
        return str((at - MARCH).days + 1)
