"""Random lives of small sites: what meters and people tell, late, twice, wrong and mended.

Each is made of one number, so that what fails is repeated by it. Registers are absolute, so any part
of a story is a story too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Any

from tests.unit.billing.random_cases import MODULUS, ZONES, Meter
from tests.unit.billing.stories import RATES, version
from tests.unit.billing.stories import price as unit_price

Event = dict[str, Any]
DAY = timedelta(days=1)
FIRSTS = (date(2026, 1, 27), date(2026, 3, 20), date(2025, 12, 12), date(2025, 10, 20))
LENGTHS = (8, 16, 30)
KWH = ("100", "10", "37.5", "3.25", "390")
RATIOS = ("2", "0.1", "30", "33.3333")


@dataclass
class Story:
    """`accounts`: by number the tariff and the day on which it is opened, None: not yet. `points`:
    what `exact_case.Chain` is given, and who has it first. `events`: in order."""

    seed: int
    zone: str
    first: date
    last: date
    rates: tuple[str, ...]
    phases: int
    tariffs: dict[str, list[dict[str, Any]]]
    accounts: dict[str, tuple[str, date | None]]
    points: list[Event]
    events: list[Event] = field(default_factory=list)


@dataclass
class Timeline:
    """What happens on which day; of one day in the order in which it was added. `now`: the day."""

    chance: Random
    events: defaultdict[date, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def add(self, on: date, kind: str, /, **told: Any) -> None:
        self.events[on].append({"type": kind, **told})

    def in_order(self) -> Iterator[Event]:
        for day in sorted(self.events):
            for event in self.events[day]:
                yield {**event, "now": day}


def story(seed: int) -> Story:
    chance = Random(seed)
    first = chance.choice(FIRSTS)
    last = first + chance.choice(LENGTHS) * DAY
    rates = RATES if chance.random() < 0.5 else ()
    residual = RATES[1] if rates and chance.random() < 0.5 else None
    told = Story(
        seed=seed,
        zone=chance.choice(ZONES),
        first=first,
        last=last,
        rates=rates,
        phases=chance.choice([1, 3]),
        tariffs={
            name: [
                priced(chance, start, rates)
                for start in (date(2025, 1, 1), *starts(chance, first, last))
            ]
            for name in ("T", "U")
        },
        accounts={"A1": ("T", first), "A2": (chance.choice("TU"), None)},
        points=[
            {
                "id": f"P{number}",
                "account": chance.choice(["A1", "A1", "A2"]) if number > 1 else "A1",
                "ratio": chance.choice(["1", "1", "20", "33.3333"]),
                "modulus": str(MODULUS),
                "decimals": chance.choice([2, 2, 0, 4]),
                "max_daily_kwh": "150",
                **({"residual_rate": residual} if residual else {}),
            }
            for number in range(1, chance.choice([2, 3, 4]))
        ],
    )
    timeline = Timeline(chance)
    for point in told.points:
        live(timeline, told, Meter(chance, point, rates))
    for happening in (look_after, price, enter, come_and_go, pay, repeal):
        happening(timeline, told)
    told.events = list(timeline.in_order())
    return told


def starts(chance: Random, first: date, last: date) -> list[date]:
    count = chance.choice([0, 0, 1, 2])
    days = (last - first).days
    return sorted({first + chance.randint(1, days) * DAY for _ in range(count)})


def priced(chance: Random, start: date, rates: tuple[str, ...]) -> dict[str, Any]:
    """A version that the meters can be billed by."""
    written = version(chance, str(start))
    if not rates:
        return {**written, "energy": {"mode": "flat", "price": "0.5283"}}
    ladder = written.get("ladder", {})
    if "prices" not in ladder or ladder["method"] == "slab" or chance.random() < 0.4:
        return written
    steps = ladder.pop("prices")
    matrix = [{rate: unit_price(chance) for rate in rates} for _ in steps]
    return {**written, "ladder": {**ladder, "method": "matrix", "matrix": matrix}}


def live(timeline: Timeline, told: Story, meter: Meter) -> None:
    """Readings with gaps between, late ones, and documents."""
    chance, point = timeline.chance, meter.point
    point |= {"from": told.first, "initial": meter.shown()}
    ratio, address = point["ratio"], 0
    not_before = day = told.first
    missing = 0
    while day <= told.last:
        missing = missing - 1 if missing > 0 else chance.choice([0] * 12 + [1, 1, 2, 6, 9])
        arrives = max(not_before, day + chance.choice([0] * 6 + [1, 2, 5, 9]) * DAY)
        reading = {"point": point["id"], "day": day, "registers": meter.shown()}
        if chance.random() < 0.05:
            wrong = {**meter.shown(), "total": str(MODULUS + 5)}
            timeline.add(max(day, arrives - DAY), "read", **{**reading, "registers": wrong})
        if not missing or day == told.first:
            timeline.add(arrives, "read", **reading)
            if chance.random() < 0.1:
                timeline.add(arrives + chance.randint(0, 9) * DAY, "read", **reading)
            if chance.random() < 0.15:
                mend(timeline, arrives, reading)
        meter.run(chance.choice([0, 20, 90]))
        filed = day + chance.choice([1, 1, 2, 6]) * DAY
        if chance.random() < 0.06:
            at = datetime.combine(day, time(chance.randint(16, 20)))
            final = meter.shown()
            for rate in meter.rates:
                meter.rates[rate] = chance.randrange(5 * meter.step)
            meter.total = sum(meter.rates.values()) or chance.randrange(9 * meter.step)
            change: dict[str, Any] = {"old_final": final, "new_initial": meter.shown()}
            if chance.random() < 0.4:
                ratio = change["new_ratio"] = chance.choice([it for it in RATIOS if it != ratio])
            address += 1
            new = f"{point['id'][1:]}{address:011d}" if chance.random() < 0.7 else None
            # What the new meter tells before anybody wrote it down would be that of the old one.
            filed = not_before = max(not_before, filed)
            timeline.add(filed, "exchange", point=point["id"], at=at, address=new, **change)
            meter.run(10)
        day += DAY
        if chance.random() < 0.03 and day <= told.last:
            ratio = chance.choice([it for it in RATIOS if it != ratio])
            filed = max(not_before, day + chance.choice([0, 1, 6]) * DAY)
            document = {"old_final": meter.shown(), "new_ratio": ratio}
            timeline.add(filed, "ratio_change", point=point["id"], day=day, **document)


def mend(timeline: Timeline, arrives: date, reading: Event) -> None:
    """What was read turns out to be another number, perhaps more than once, or none."""
    chance = timeline.chance
    later = arrives
    for _ in range(chance.choice([1, 1, 2, 3])):
        later += chance.choice([0, 1, 4]) * DAY
        moved = chance.choice([0, 1, -1, 3, -7, 40])
        kind = "correct" if chance.random() < 0.85 else "withdraw"
        timeline.add(later, kind, point=reading["point"], day=reading["day"], moved=moved)


def some_day(timeline: Timeline, told: Story) -> date:
    return told.first + timeline.chance.randint(0, (told.last - told.first).days + 4) * DAY


def look_after(timeline: Timeline, told: Story) -> None:
    """What the daemon does by itself, and who releases what is held."""
    for number in range((told.last - told.first).days + 5):
        for kind, likely in (("close_days", 0.6), ("settle", 0.6), ("release_spans", 0.1)):
            if timeline.chance.random() < likely:
                timeline.add(told.first + number * DAY, kind)


def price(timeline: Timeline, told: Story) -> None:
    """Versions that come later, also of days long billed; accounts that change their tariff."""
    chance = timeline.chance
    days = (told.last - told.first).days
    known = {(name, it["effective_from"]) for name in told.tariffs for it in told.tariffs[name]}
    for _ in range(chance.choice([0, 1, 1, 2])):
        name, start = chance.choice("TU"), told.first + chance.randint(-20, days) * DAY
        if (name, str(start)) not in known:
            known.add((name, str(start)))
            new = priced(chance, start, told.rates)
            timeline.add(some_day(timeline, told), "tariff", tariff=name, version=new)
    for _ in range(chance.choice([0, 0, 1, 2])):
        change = {"account": chance.choice(["A1", "A2"]), "tariff": chance.choice("TU")}
        since = told.first + chance.randint(0, days) * DAY
        timeline.add(some_day(timeline, told), "account_tariff", day=since, **change)


def repeal(timeline: Timeline, told: Story) -> None:
    """A version of days long billed has none of the components that were charged for them."""
    chance = timeline.chance
    if chance.random() < 0.4:
        name, start = chance.choice("TU"), chance.choice([told.first, told.last.replace(day=1)])
        bare = {"effective_from": str(start), "energy": {"mode": "flat", "price": "0.25"}}
        known = [it["effective_from"] for it in told.tariffs[name]]
        later = [
            it["version"]["effective_from"]
            for of_day in timeline.events.values()
            for it in of_day
            if it["type"] == "tariff" and it["tariff"] == name
        ]
        if str(start) not in (*known, *later):
            on = told.last + chance.randint(0, 4) * DAY
            timeline.add(on, "tariff", tariff=name, version={"id": str(start), **bare})


def enter(timeline: Timeline, told: Story) -> None:
    """Bonuses, and what others billed."""
    chance = timeline.chance
    for _ in range(chance.choice([0, 1, 3])):
        month = told.first.replace(day=1) + chance.choice([-31, 0, 31]) * DAY
        entry = {"account": chance.choice(["A1", "A1", "A2"]), "kwh": chance.choice(KWH)}
        since = month.replace(day=chance.choice([1, 1, 2]))
        timeline.add(some_day(timeline, told), "bonus", day=since, **entry)
    for _ in range(chance.choice([0, 0, 1, 2])):
        cycle = chance.choice([f"{told.first:%Y}", f"{told.first:%Y-%m}", f"{told.last:%Y-%m}"])
        entry = {"account": chance.choice(["A1", "A2"]), "kwh": chance.choice(KWH)}
        timeline.add(some_day(timeline, told), "elsewhere", cycle=cycle, **entry)


def come_and_go(timeline: Timeline, told: Story) -> None:
    """An account is opened, another one ends, points change hands, a month is closed."""
    chance = timeline.chance
    days = (told.last - told.first).days
    if chance.random() < 0.6:
        opened = chance.randint(0, days)
        filed = told.first + chance.randint(opened, days) * DAY
        timeline.add(filed, "open", account="A2", day=told.first + opened * DAY)
    for _ in range(chance.choice([0, 0, 1, 2])):
        moved = chance.randint(1, days)
        filed = told.first + chance.randint(moved, days) * DAY
        to = chance.choice(["A1", "A2", "A2", None])
        point = chance.choice(told.points)["id"]
        timeline.add(filed, "assign", point=point, account=to, day=told.first + moved * DAY)
    if chance.random() < 0.3:
        ended = told.first + chance.randint(days // 2, days) * DAY
        timeline.add(ended + chance.randint(1, 4) * DAY, "close", account="A1", day=ended)
    if chance.random() < 0.4 and told.first.month != told.last.month:
        month = told.first.replace(day=1)
        end = (month + 31 * DAY).replace(day=1)
        timeline.add(end + chance.randint(1, 5) * DAY, "close_month", month=month)


def pay(timeline: Timeline, told: Story) -> None:
    """Payments, told twice or otherwise, and taken back."""
    chance = timeline.chance
    days = (told.last - told.first).days
    for number in range(chance.randint(0, 5)):
        account = chance.choice(["A1", "A1", "A2"])
        payment = {"account": account, "key": f"k{number}", "fen": chance.randint(1, 99_999)}
        day = told.first + chance.randint(0, days) * DAY
        timeline.add(day, "pay", **payment)
        for _ in range(chance.choice([0, 0, 1, 2])):
            day += chance.randint(0, 3) * DAY
            other = chance.choice([payment, payment, {**payment, "fen": 7}])
            if chance.random() < 0.5:
                timeline.add(day, "pay_back", key=payment["key"])
            else:
                timeline.add(day, "pay", **other)
