"""Random worked cases of accounts: what meters and people tell, late, twice, wrong and mended.

Each is made of one number, so that what fails is repeated by it."""

from collections.abc import Callable
from copy import deepcopy
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from tests.unit.billing.stories import RATES, fixed, ladder, price, text, version

Event = dict[str, Any]
ZONES = (
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Cairo",
)
DAY = timedelta(days=1)
MODULUS = 10_000
MOST_DAYS = 45


class Meter:
    """Registers that run, in their smallest step."""

    def __init__(self, chance: Random, point: Event, rates: tuple[str, ...]) -> None:
        self.chance = chance
        self.point = point
        self.decimals = point["decimals"]
        self.step = 10**self.decimals
        whole = MODULUS * self.step
        self.rates = {rate: chance.randrange(whole // 5) for rate in rates}
        near_the_end = whole - chance.randrange(60 * self.step)
        self.total = sum(self.rates.values()) or chance.choice([whole // 3, near_the_end])

    def run(self, kwh: int) -> None:
        used = self.chance.randint(0, kwh * self.step)
        self.total += used
        for rate in self.rates:
            part = used if rate == [*self.rates][-1] else self.chance.randint(0, used)
            self.rates[rate] += part
            used -= part

    def shown(self) -> dict[str, str]:
        registers = {"total": self.total, **self.rates}
        whole = MODULUS * self.step
        return {name: text(steps % whole, self.decimals) for name, steps in registers.items()}

    def event(self, kind: str, at: datetime, **keys: object) -> Event:
        return {"type": kind, "point": self.point["id"], "at": f"{at:%Y-%m-%dT%H:%M}", **keys}

    def changed(self, at: datetime) -> Event:
        """An exchange or a new ratio."""
        chance = self.chance
        final = self.shown()
        ratio = chance.choice(["2", "0.1", "30"])
        if chance.random() < 0.3:
            return self.event("ratio_change", at, old_final=final, new_ratio=ratio)
        for rate in self.rates:
            self.rates[rate] = chance.randrange(5 * self.step)
        self.total = sum(self.rates.values()) or chance.randrange(9 * self.step)
        more = {"new_ratio": ratio} if chance.random() < 0.5 else {}
        return self.event("exchange", at, old_final=final, new_initial=self.shown(), **more)


def life(meter: Meter, first: datetime, days: int) -> list[Event]:
    """Readings with gaps between, and documents."""
    chance = meter.chance
    events = []
    now = first
    while now < first + days * DAY:
        events.append(meter.event("reading", now, registers=meter.shown()))
        gap = chance.choice([1, 1, 1, 2, 6])
        if chance.random() < 0.15:
            meter.run(10)
            hours = chance.choice([0, 7, 10, 24 * gap])
            events.append(meter.changed(now + timedelta(hours=hours)))
        meter.run(chance.choice([0, 20, 90]) * gap)
        now += gap * DAY
    return events


def disturbed(chance: Random, events: list[Event], decimals: int) -> list[Event]:
    """The same with some late, twice, wrong or mended."""
    late = list(events)
    for _ in range(len(late) // 3):
        event = late.pop(chance.randrange(len(late)))
        late.insert(chance.randint(0, len(late)), event)
    for event in events:
        again = deepcopy(event)
        if event["type"] == "reading" and chance.random() < 0.5:
            moved = Decimal(chance.randint(-30, 30)).scaleb(-decimals)
            for name in ("total", RATES[0]):
                if name in again["registers"]:
                    value = (Decimal(again["registers"][name]) + moved) % MODULUS
                    again["registers"][name] = f"{max(value, Decimal(0)):f}"
            again["type"] = chance.choice(["reading", "correct_reading", "correct_reading"])
        if chance.random() < 0.25:
            late.insert(chance.randint(0, len(late)), again)
    return late


def of_account(chance: Random, first: datetime, days: int, closing: Event | None) -> list[Event]:
    """Closed days with gaps, payments, bonuses and a close."""
    events: list[Event] = []
    day = first.replace(day=1).date() if chance.random() < 0.5 else first.date()
    while day < (first + days * DAY).date():
        last = day + chance.choice([0, 6, 30]) * DAY
        if chance.random() < 0.9:
            events.append({"type": "day_close", "from": str(day), "to": str(last)})
        day = last + DAY
    for key in ("a", "b"):
        top_up: Event = {"type": "topup", "key": key, "amount_fen": chance.randint(1, 9999)}
        back: Event = {"type": "reverse_topup", "key": key}
        events += [top_up, top_up, back, {**top_up, "amount_fen": 7}, back][: chance.randint(0, 5)]
    for _ in range(chance.choice([0, 1, 3])):
        start = (first.replace(day=1) + chance.choice([-31, 0, 31]) * DAY).replace(
            day=chance.choice([1, 1, 2])
        )
        kwh = chance.choice(["100", "10", "37.5"])
        events.append({"type": "household", "from": str(start.date()), "bonus_kwh_per_month": kwh})
    if chance.random() < 0.4:
        at = first + timedelta(days=chance.randint(0, days), hours=chance.choice([0, 15]))
        events.append({"type": "close", "at": f"{at:%Y-%m-%dT%H:%M}"})
    elif closing is not None and chance.random() < 0.5:
        events += [{**closing, "type": "close"}] * chance.randint(1, 2)
    chance.shuffle(events)
    return events


def by_registers(
    chance: Random, written: Event, rates: tuple[str, ...], residual: str | None, *, is_alone: bool
) -> Event:
    """A version of these registers; with a residual rate not all of them have a price (seasons).

    A matrix only where one meter `is_alone`: it is taken link by link."""
    if not rates:
        return {**written, "energy": {"mode": "flat", "price": "0.5283"}}
    priced = [it for it in rates if residual is None or it == residual or chance.random() < 0.6]
    is_matrix = is_alone and chance.random() < 0.4
    if not is_matrix and written["energy"]["mode"] == "flat" and chance.random() < 0.5:
        return written
    prices = {rate: price(chance) for rate in priced}
    written = {**written, "energy": {"mode": "tou", "prices": prices}}
    if is_matrix or written.get("ladder", {}).get("method") == "slab":
        steps = ladder(chance, ("adder", "price"))
        if is_matrix:
            costs = steps.pop("adders", None) or steps.pop("prices")
            rows = [{rate: price(chance) for rate in priced} for _ in costs]
            steps |= {"method": "matrix", "matrix": rows}
        written["ladder"] = steps
        if "fixed" in written:
            written["fixed"] = fixed(chance, steps)
    return written


def case(seed: int) -> Event:
    """The `input` of a case of kind `settle`."""
    chance = Random(seed)
    first = datetime(2026, *chance.choice([(1, 28), (3, 20), (10, 20), (12, 15)]))
    days = chance.choice([6, 20, MOST_DAYS])
    starts = sorted(
        {first.date() + chance.randint(1, days) * DAY for _ in range(chance.randint(0, 2))}
    )
    rates = chance.choice([(), RATES, (*RATES, "sharp"), (*RATES, "sharp")])
    residual = chance.choice(rates) if rates and chance.random() < 0.5 else None
    names = ("P", "Q")[: chance.randint(1, 2)]
    versions = [
        by_registers(chance, version(chance, start), rates, residual, is_alone=len(names) == 1)
        for start in ("2026-01-01", *map(str, starts))
    ]
    points: list[Event] = []
    events: list[Event] = []
    for name in names:
        point: Event = {
            "id": name,
            "ratio": chance.choice(["1", "1", "20", "33.3333"]),
            "modulus": str(MODULUS),
            "decimals": chance.choice([2, 2, 0, 4]),
            "max_daily_kwh": chance.choice(["100", "1000"]),
            "phases": chance.choice([1, 1, 3]),
            "allow_rollover": chance.random() < 0.9,
            **({} if residual is None else {"residual_rate": residual}),
        }
        points.append(point)
        told = life(Meter(chance, point, rates), first, days)
        events += disturbed(chance, told, point["decimals"])
    readings = [event for event in events if event["type"] == "reading"]
    for event in of_account(chance, first, days, chance.choice([None, *readings])):
        events.insert(chance.randint(0, len(events)), event)
    case: Event = {
        "timezone": chance.choice(ZONES),
        "opening_balance_fen": 5000,
        "points": points,
        "tariff_versions": versions,
        "events": events,
        "rates": list(rates),
    }
    optional: dict[str, Callable[[], object]] = {
        "open_date": lambda: str((first + chance.choice([0, 0, 3]) * DAY).date()),
        "ladder_used_kwh": lambda: {
            "2026": "150",
            f"{first:%Y-%m}": text(chance.randrange(20_000), 2),
        },
        "household": lambda: [{"from": f"{first:%Y-%m}-01", "bonus_kwh_per_month": "10"}],
    }
    return {**case, **{name: of() for name, of in optional.items() if chance.random() < 0.4}}
