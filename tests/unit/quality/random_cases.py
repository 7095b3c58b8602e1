"""Random cases of kind `judge`, each told again by its seed: a true past of one meter or several,
and some of what can happen to it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

Event = dict[str, Any]
DAY = timedelta(days=1)
HOURS = (0, 1, 3, 4, 5, 6)
"""Two o'clock there is not on every day."""
HAPPENINGS = (
    "close",
    "clock",
    "decisions",
    "exchange",
    "finding",
    "host",
    "junk",
    "late",
    "limit",
    "missing",
    "outlier",
    "ratio",
    "rival",
    "second",
    "source",
    "standard",
    "substitute",
    "wrong first",
)
RATES = "abcd"


@dataclass
class Past:
    """A point of which every register is known, and what happens to what is told of it."""

    chance: random.Random
    zone: str
    first: date
    days: int
    modulus: int
    decimals: int
    limit: int
    use: float
    rates: int
    happens: set[str]
    true: dict[date, float] = field(default_factory=dict)
    serials: dict[date, str] = field(default_factory=dict)
    exchanges: list[Event] = field(default_factory=list)
    rev: int = 0

    def is_so(self, often: float) -> bool:
        return self.chance.random() < often

    def day(self, least: int = 0) -> date:
        return self.first + self.chance.randint(least, self.days - 1) * DAY

    def next_rev(self) -> int:
        self.rev += 1
        return self.rev

    def kwh(self, total: float) -> str:
        return f"{total:.{self.decimals}f}"

    def registers(self, total: float, *, adds_up: bool = True) -> dict[str, str]:
        shown = round(max(0.0, total), self.decimals) % self.modulus
        each = round(shown / self.rates, self.decimals) if self.rates else 0
        last = shown - each * (self.rates - 1) + (0 if adds_up else 5)
        shares = [each] * (self.rates - 1) + [max(0.0, last)] if self.rates else []
        named = zip(RATES, map(self.kwh, shares), strict=False)
        return {"total": self.kwh(shown), **dict(named)}

    # --- what is true ---

    def live(self) -> None:
        total = self.chance.choice([100, 5000, self.modulus - 3 * self.use]) % self.modulus
        exchanged = self.chance.randint(2, self.days - 1) if "exchange" in self.happens else None
        serial = "A1"
        for number in range(self.days):
            day = self.first + number * DAY
            total += self.use * self.chance.choice([1, 1, 0.5]) if number else 0
            if number == exchanged:
                serial, total = self._exchange(day, serial, total)
            self.true[day], self.serials[day] = total, serial

    def _exchange(self, day: date, serial: str, total: float) -> tuple[str, float]:
        hour = self.chance.choice(["00:00", "08:20", "14:00"])
        begins = self.chance.choice([0, 3, 700])
        new = self.chance.choice([serial, "B2"])
        final = total if self.is_so(0.9) else total - 3 * self.use - 1
        self.exchanges.append(
            {
                "type": "exchange",
                "at": f"{day if hour == '00:00' else day - DAY}T{hour}",
                "serial": new,
                "initial": self.registers(begins) if self.is_so(0.7) else None,
                "old_final": self.registers(final) if self.is_so(0.7) else None,
                "modulus": str(self.modulus),
                "decimals": self.decimals,
            }
        )
        return new, begins if hour == "00:00" else begins + self.use / 2

    # --- what is told ---

    def reads(self) -> list[Event]:
        found: list[Event] = []
        for day in self.true:
            if not ("missing" in self.happens and self.is_so(0.3)):
                found += self._reads_of(day)
        if "late" in self.happens and self.is_so(0.5):
            self.chance.shuffle(found)
        return found

    def _reads_of(self, day: date) -> list[Event]:
        shown = self.true[day]
        if "outlier" in self.happens and self.is_so(0.2):
            apart = [0.8 * self.limit, 3 * self.limit, -2 * self.use - 1, 0.3 * self.modulus]
            shown += self.chance.choice([*apart, -0.9 * shown])
        if "wrong first" in self.happens and day == self.first:
            shown += self.chance.choice([5 * self.limit, 0.9 * self.limit, -0.8 * shown])
        adds_up = not ("junk" in self.happens and self.is_so(0.1))
        read = {
            "type": "value",
            "day": str(day),
            "registers": self.registers(shown, adds_up=adds_up),
            "read_at": f"{day}T0{self.chance.choice(HOURS)}:07",
            **self._around(day),
        }
        return [read, *self._read_again(day, read)]

    def _around(self, day: date) -> Event:
        """What else a read tells."""
        found: Event = {}
        if "late" in self.happens and self.is_so(0.3):
            later = day + self.chance.choice([1, 2, 3, 5]) * DAY
            found["read_at"] = f"{later}T0{self.chance.choice(HOURS)}:{self.chance.randint(10, 59)}"
        if self.is_so(0.3):
            found["serial"] = self.serials[day] if self.is_so(0.9) else "Z9"
        if self.is_so(0.3):
            found["stamp"] = f"{day if self.is_so(0.85) else day - DAY}T00:00"
        if "clock" in self.happens and self.is_so(0.4):
            found["skew_s"] = self.chance.choice([0, 60, 61, -100, 300, 301, -3600, -3595])
        if "source" in self.happens and self.is_so(0.4):
            found["source"] = self.chance.choice(["line", "terminal", "gateway"])
        if "host" in self.happens and self.is_so(0.5):
            found["host_offset_s"] = self.chance.choice([0, 10, 60, 61, -45])
        return found

    def _read_again(self, day: date, read: Event) -> list[Event]:
        found: list[Event] = []
        hour = f"{day}T0{self.chance.randint(7, 9)}"
        if "second" in self.happens and self.is_so(0.3):
            again = {**read, "type": "second_read", "read_at": f"{hour}:07"}
            told = [
                {"type": "second_read", "day": str(day), "refused": True},
                {**again, "registers": self.registers(self.true[day])},
                again,
                again,
            ]
            found.append(self.chance.choice(told))
        if "rival" in self.happens and self.is_so(0.2):
            other = self.registers(self.true[day] + self.chance.choice([1, -1, self.limit]))
            found.append({**read, "registers": other, "read_at": f"{hour}:41"})
        return found + ([dict(read)] if self.is_so(0.05) else [])

    # --- what else happens ---

    def facts(self) -> list[Event]:
        found = [*self.exchanges]
        for what in ("limit", "ratio", "clock", "standard", "finding", "junk"):
            if what in self.happens:
                number = self.chance.randint(1, 3)
                found += [getattr(self, f"_{what}")() for _ in range(number)]
        return found

    def _limit(self) -> Event:
        most = self.chance.choice([2 * self.limit, max(1, int(self.use)), 1, 24])
        day = self.first + self.chance.choice([0, 0, 2, 4]) * DAY
        rev = self.next_rev()
        return {"type": "limit", "from": str(day), "max_daily_register": str(most), "rev": rev}

    def _ratio(self) -> Event:
        day = self.day(least=1)
        ratio = self.chance.choice(["1", "2", "80", "0.5"])
        told = {"type": "ratio", "at": f"{day}T00:00", "ratio": ratio, "rev": self.next_rev()}
        at_an_exchange = any(it["at"].startswith(str(day)) for it in self.exchanges)
        if at_an_exchange or self.is_so(0.6):
            return told
        return {**told, "register": self.registers(self.true[day])}

    def _span(self) -> dict[str, str]:
        first = self.day()
        return {"from": str(first), "to": str(first + self.chance.randint(0, 3) * DAY)}

    def _clock(self) -> Event:
        skew_s = self.chance.choice([0, 100, 300, 420, -3600, -3700])
        return {"type": "clock_finding", **self._span(), "skew_s": skew_s, "rev": self.next_rev()}

    def _standard(self) -> Event:
        clock = self.chance.choice(["standard", "zone"])
        return {"type": "setting", "clock": clock, "rev": self.next_rev()}

    def _finding(self) -> Event:
        code = self.chance.choice(["V25", "V28"])
        told = {"type": "finding", "code": code, **self._span(), "active": self.is_so(0.7)}
        return {**told, "rev": self.next_rev()}

    def _junk(self) -> Event:
        day = self.first + self.chance.randint(-2, self.days) * DAY
        total = self.chance.choice(["-1", str(self.modulus), "5.12345"])
        minute = self.chance.randint(10, 59)
        registers = {"total": total}
        return {
            "type": "value",
            "day": str(day),
            "registers": registers,
            "read_at": f"{day}T05:{minute}",
        }

    def barriers(self, reads: Sequence[Event]) -> list[Event]:
        found: list[Event] = []
        told = [it for it in reads if "registers" in it]
        if "decisions" in self.happens and told:
            found += [self._decision(self.chance.choice(told)) for _ in range(3)]
        if "substitute" in self.happens:
            day = self.day()
            apart = self.chance.choice([0, 0, 1, -self.use, 2 * self.limit])
            total = self.registers(self.true[day] + apart)["total"]
            said = {"type": "operator", "action": "substitute", "day": str(day), "total": total}
            found.append({**said, "method": "S2"})
        if "close" in self.happens:
            found.append({"type": "close", "through": str(self.day(least=2))})
        return found

    def _decision(self, read: Event) -> Event:
        action = self.chance.choice(["release", "release", "reject", "withdraw"])
        total = read["registers"]["total"] if self.is_so(0.95) else "77"
        said = {"type": "operator", "action": action, "day": read["day"], "total": total}
        return {**said, "rollover": True} if self.is_so(0.15) else said


def random_case(seed: int) -> Mapping[str, Any]:
    """One with three to eight kinds of happenings; documents only where the clock is the zone's."""
    chance = random.Random(seed)
    zone = chance.choice(["Asia/Shanghai", "Asia/Shanghai", "Europe/Berlin", "America/St_Johns"])
    first = chance.choice([date(2026, 3, 1), date(2026, 3, 25), date(2026, 10, 21)])
    is_small = chance.random() < 0.3
    limit = chance.choice([10, 40, 100] if is_small else [20, 60, 380])
    happens = set(chance.sample(HAPPENINGS, chance.randint(3, 8)))
    if "standard" in happens:
        happens -= {"exchange", "ratio"}
    past = Past(
        chance=chance,
        zone=zone,
        first=first,
        days=chance.randint(4, 12),
        modulus=chance.choice([1000, 10_000] if is_small else [100_000, 1_000_000]),
        decimals=chance.choice([0, 1, 2]),
        limit=limit,
        use=chance.choice([0, 1, 5, 9, 0.4 * limit]),
        rates=chance.choice([0, 0, 0, 2, 4]),
        happens=happens,
    )
    past.live()
    reads = past.reads()
    events = [*reads]
    for fact in past.facts():
        events.insert(chance.randint(0, len(events)), fact)
    for barrier in past.barriers(reads):
        events.insert(chance.randint(len(events) // 2, len(events)), barrier)
    begins = past.registers(past.true[first]) if chance.random() < 0.25 else None
    hour = chance.choice(["00:00", "00:00", "09:30"])
    installed = {"serial": "A1", "from": f"{first}T{hour}", "initial": begins}
    ratio = chance.choice(["1", "1", "20"])
    return {
        "id": f"R{seed}",
        "input": {
            "timezone": zone,
            "installations": [
                {**installed, "modulus": str(past.modulus), "decimals": past.decimals}
            ],
            "ratios": [{"from": str(first), "ratio": ratio, "rev": 0}],
            "limits": [{"from": str(first), "max_daily_register": str(limit), "rev": 0}],
            "events": events,
            "max_auto_span_days": chance.choice([7, 7, 1, 3, 14, 31]),
        },
    }
