"""Accounts event by event, in fractions: money.md sections 3, 4, 8, 12, 14 and 15 said a second time.

For tests to compare `account_case` with. Each event is held against what was accepted before it, and
everything is worked out anew from that; `exact_account` says what it costs. A matrix ladder is taken
link by link, so under one an account has one point."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from tests.unit.billing.exact_account import DAY, Story, Version, bill, version_on
from tests.unit.exact_money import rounded

Event = Mapping[str, Any]
Registers = dict[str, Fraction]
Meter = tuple[Fraction, Fraction, int]
"""Ratio, modulus and decimals."""
Link = tuple[datetime, datetime, Registers, Registers, Meter]


BEGIN, END = (datetime.combine(day, time()) for day in (date.min, date.max))


def told(registers: Mapping[str, str]) -> Registers:
    return {name: Fraction(value) for name, value in registers.items()}


def moment(event: Event) -> datetime:
    return datetime.fromisoformat(event["at"])


@dataclass
class Chain:
    """One point; times are those of the walls."""

    given: Event
    rates: list[str]
    needs_rates: bool
    zone: ZoneInfo
    readings: dict[datetime, Registers] = field(default_factory=dict)
    documents: dict[datetime, tuple[Registers, Registers, Event]] = field(default_factory=dict)

    def days(self, first: datetime, last: datetime) -> Fraction:
        begin, end = (at.replace(tzinfo=self.zone).astimezone(UTC) for at in (first, last))
        return Fraction(int((end - begin).total_seconds()), 86400)

    def by_clock(self, at: datetime) -> datetime:
        """Where summer time begins at midnight, no clock shows 00:00."""
        return at.replace(tzinfo=self.zone).astimezone(UTC).astimezone(self.zone)

    def meter(self, at: datetime) -> Meter:
        now = self.given
        for document in (self.documents[it] for it in sorted(self.documents) if it <= at):
            new = {name[4:]: value for name, value in document[2].items() if name[:4] == "new_"}
            now = {**now, **new}
        return Fraction(now["ratio"]), Fraction(now["modulus"]), now["decimals"]

    def links(self) -> Iterator[Link]:
        """Readings strictly between two documents belong to the meter between them."""
        edges = [BEGIN, *sorted(self.documents), END]
        for begin, end in pairwise(edges):
            points = [(at, self.readings[at]) for at in sorted(self.readings) if begin < at < end]
            if begin in self.documents:
                points.insert(0, (begin, self.documents[begin][1]))
            if end in self.documents:
                points.append((end, self.documents[end][0]))
            for (first, before), (last, after) in pairwise(points):
                yield first, last, before, after, self.meter(begin)

    def moves(self, link: Link) -> Iterator[tuple[str, Fraction, str]]:
        """(register, how far it moved, the status of that)."""
        first, last, before, after, (_, modulus, _) = link
        most = Fraction(self.given["max_daily_kwh"]) * max(self.days(first, last), Fraction(1, 24))
        for name in sorted(before.keys() & after.keys(), key=lambda it: it != "total"):
            step = after[name] - before[name]
            if step >= 0:
                yield name, step, "accepted" if step <= most else "suspect:spike"
            elif (
                self.given.get("allow_rollover", True) and step + modulus <= most
                and 4 * (step + modulus) < modulus
            ):  # fmt: skip
                yield name, step + modulus, "accepted:rollover"
            else:
                yield name, step, "suspect:backward"

    def status(self, at: datetime) -> str:
        """Of what was accepted at that moment, as its neighbours see it."""
        result = "accepted"
        for link in self.links():
            for name, _, status in self.moves(link) if at in link[:2] else ():
                if status.startswith("suspect"):
                    return status
                if name == "total" and status == "accepted:rollover":
                    result = status
        return result

    def is_sum_right(self, registers: Registers, meter: Meter) -> bool:
        missing = [rate for rate in self.rates if rate not in registers]
        if missing or not self.rates:
            return (
                not missing or not self.needs_rates or missing == [self.given.get("residual_rate")]
            )
        _, modulus, decimals = meter
        apart = (registers["total"] - sum(registers[rate] for rate in self.rates)) % modulus
        allowed = Fraction(len(self.rates), 10**decimals)
        return min(apart, modulus - apart) <= Fraction(self.given.get("tou_tolerance_kwh", allowed))

    def read(self, event: Event) -> str:
        at, registers = moment(event), told(event["registers"])
        is_new = event["type"] != "correct_reading"
        known = [self.readings[at]] if at in self.readings and is_new else []
        if at in self.documents:
            known += self.documents[at][:2]
        if known:
            return "duplicate" if is_new and registers in known else "suspect:conflict"
        if not self.is_sum_right(registers, self.meter(at)):
            return "suspect:tou_mismatch"
        before = dict(self.readings)
        self.readings[at] = registers
        status = self.status(at)
        if status.startswith("suspect"):
            self.readings = before
        return status

    def change(self, event: Event) -> str:
        at, final = moment(event), told(event["old_final"])
        initial = told(event["new_initial"]) if event["type"] == "exchange" else final
        if at in self.documents:
            is_same = self.documents[at] == (final, initial, event)
            return "duplicate" if is_same else "suspect:conflict"
        if at in self.readings and self.readings[at] not in (final, initial):
            return "suspect:conflict"
        is_right = self.is_sum_right(final, self.meter(at))
        self.documents[at] = (final, initial, event)
        status = self.status(at)
        if not (is_right and self.is_sum_right(initial, self.meter(at))):
            status = "suspect:tou_mismatch"
        if status.startswith("suspect"):
            del self.documents[at]
        return status


@dataclass
class Account:
    given: Event
    balance: int = 0
    chains: dict[str, Chain] = field(default_factory=dict)
    bonuses: dict[date, Fraction] = field(default_factory=dict)
    top_ups: dict[str, int] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)
    closed: set[date] = field(default_factory=set)
    closes: list[tuple[Any, ...]] = field(default_factory=list)
    posted: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.balance = self.given["opening_balance_fen"]
        self.versions = sorted(self.given["tariff_versions"], key=lambda it: it["effective_from"])
        rates = self.given.get("rates", [])
        needs_rates = any(map(priced_rates, self.versions))
        zone = ZoneInfo(self.given["timezone"])
        for point in self.given["points"]:
            self.chains[point["id"]] = Chain(point, rates, needs_rates, zone)
        for entry in self.given.get("household", []):
            self.enter(entry)

    def enter(self, entry: Event) -> str:
        start, kwh = date.fromisoformat(entry["from"]), Fraction(entry["bonus_kwh_per_month"])
        if start not in self.bonuses:
            self.bonuses[start] = kwh
            return "accepted"
        return "duplicate" if self.bonuses[start] == kwh else "suspect:conflict"

    @property
    def end(self) -> datetime:
        return max((close[0] for close in self.closes), default=END)

    def story(
        self, use: Mapping[date, Registers], parts: Sequence[tuple[date, Registers]]
    ) -> Story:
        opened = self.given.get("open_date")
        return Story(
            versions=self.versions,
            use=use,
            parts=parts,
            closed=self.closed,
            opened=None if opened is None else date.fromisoformat(opened),
            # A day that ends with the close was in service, one that begins with it was not.
            last=(self.end - timedelta(minutes=1)).date() if self.closes else None,
            bonuses=sorted(self.bonuses.items()),
            elsewhere=told(self.given.get("ladder_used_kwh", {})),
            phases=max(point.get("phases", 1) for point in self.given["points"]),
        )

    def bill(self) -> tuple[Story, dict[tuple[str, str], Fraction]]:
        use: defaultdict[date, Registers] = defaultdict(lambda: defaultdict(Fraction))
        parts: list[tuple[date, Registers]] = []
        story = self.story(use, parts if len(self.chains) == 1 else ())
        for chain in self.chains.values():
            for link in chain.links():
                is_after_opening = story.opened is None or story.opened <= link[0].date()
                if is_after_opening and link[1] <= self.end:
                    for day, registers in self.parts(story, chain, link):
                        parts.append((day, registers))
                        for name, kwh in registers.items():
                            use[day][name] += kwh
        return story, bill(story)

    def parts(self, story: Story, chain: Chain, link: Link) -> Iterator[tuple[date, Registers]]:
        first, last, _, _, (ratio, _, decimals) = link
        edges = [first]
        day = first.date() + DAY
        while datetime.combine(day, time()) < last:
            if day.day == 1 or any(it["effective_from"] == str(day) for it in self.versions):
                edges.append(datetime.combine(day, time()))
            day += DAY
        edges.append(last)
        share: dict[str, list[int]] = {}
        for name, moved, _ in chain.moves(link):
            steps = moved * 10**decimals
            passed = [chain.days(first, edge) / (chain.days(first, last) or 1) for edge in edges]
            share[name] = [int(steps * part + Fraction(1, 2)) for part in passed[:-1]]
            share[name].append(int(steps))
        for number, edge in enumerate(edges[:-1]):
            kwh = {
                name: Fraction(it[number + 1] - it[number], 10**decimals) * ratio
                for name, it in share.items()
            }
            rates = priced_rates(version_on(story, edge.date()))
            residual = chain.given.get("residual_rate")
            registers = {name: kwh[name] for name in ("total", *rates) if name != residual}
            if residual in rates:
                others = sum(registers[rate] for rate in rates if rate != residual)
                registers[residual] = kwh["total"] - others
            yield edge.date(), registers

    def take(self, event: Event) -> str:
        kind = event["type"]
        if kind in ("reading", "correct_reading"):
            return self.chains[event["point"]].read(event)
        if kind in ("exchange", "ratio_change"):
            return self.chains[event["point"]].change(event)
        if kind == "household":
            return self.enter(event)
        if kind == "close":
            return self.close(event)
        if kind == "day_close":
            day, last = date.fromisoformat(event["from"]), date.fromisoformat(event["to"])
            self.closed |= {day + number * DAY for number in range((last - day).days + 1)}
            return "accepted"
        return self.pay(event["key"], event.get("amount_fen"))

    def pay(self, key: str, fen: int | None) -> str:
        if fen is None:
            if key in self.taken_back:
                return "duplicate"
            if key not in self.top_ups:
                return "suspect:conflict"
            self.taken_back.add(key)
            self.balance -= self.top_ups[key]
            return "accepted"
        if key in self.top_ups:
            return "duplicate" if self.top_ups[key] == fen else "suspect:conflict"
        self.top_ups[key] = fen
        self.balance += fen
        return "accepted"

    def close(self, event: Event) -> str:
        close = (moment(event), event.get("point"), event.get("registers"))
        if "registers" not in event:
            status = "duplicate" if close in self.closes else "accepted"
        else:
            status = self.chains[event["point"]].read(event)
            if status == "duplicate" and close not in self.closes:
                status = "accepted"
        if status.startswith("accepted"):
            self.closes.append(close)
        return status

    def post(self) -> None:
        _, owed = self.bill()
        for stream in {*owed, *self.posted}:
            fen = rounded(owed.get(stream, Fraction(0)))
            self.balance -= fen - self.posted.get(stream, 0)
            self.posted[stream] = fen


def priced_rates(version: Version) -> list[str]:
    ladder = version.get("ladder")
    if ladder is not None and ladder["method"] == "matrix":
        return list(ladder["matrix"][0])
    if ladder is not None and ladder["method"] != "adder":
        return []
    return list(version["energy"].get("prices", ()))


def settled(given: Event) -> dict[str, Any]:
    """`steps` of a case, and what its `final` is made of."""
    account = Account(given)
    steps = []
    for number, event in enumerate(given["events"]):
        before = account.balance
        status = account.take(event)
        if status.startswith("accepted"):
            account.post()
        moved = account.balance - before
        steps.append(
            {"event": number, "status": status, "delta_fen": moved, "balance_fen": account.balance}
        )
    story, _ = account.bill()
    by_period: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (month, component), fen in account.posted.items():
        if fen:
            by_period[month][component] = fen
    final: dict[str, Any] = {
        "balance_fen": account.balance,
        "charges_fen_by_period": by_period,
        "total_charges_fen": sum(account.posted.values()),
        "billed_through": {
            name: f"{it.by_clock(max(moments)):%Y-%m-%dT%H:%M}"
            for name, it in account.chains.items()
            if (moments := [at for at in (*it.readings, *it.documents) if at <= account.end])
        },
    }
    included = of_month(story)
    if any(
        it.get("included") for version in story.versions for it in version.get("surcharges", ())
    ):
        final["included_fen_by_period"] = included
    if used := ladder_used(story):
        final["ladder_used_kwh"] = used
    if account.closes:
        final["refund_fen"] = max(0, account.balance)
        final["owed_fen"] = max(0, -account.balance)
    return {"steps": steps, "final": final}


def of_month(story: Story) -> dict[str, dict[str, int]]:
    """What prices hold of surcharges, in fen."""
    yuan: defaultdict[str, defaultdict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for day, registers in story.use.items():
        for surcharge in version_on(story, day).get("surcharges", ()):
            if surcharge.get("included"):
                cost = Fraction(surcharge["per_kwh"]) * registers["total"]
                yuan[f"{day:%Y-%m}"][surcharge["code"]] += cost
    fen = {
        month: {code: rounded(it) for code, it in codes.items()} for month, codes in yuan.items()
    }
    kept = {month: {code: it for code, it in codes.items() if it} for month, codes in fen.items()}
    return {month: codes for month, codes in kept.items() if codes}


def ladder_used(story: Story) -> dict[str, Fraction]:
    used = defaultdict(Fraction, story.elsewhere)
    for day, registers in story.use.items():
        if ladder := version_on(story, day).get("ladder"):
            used[f"{day:%Y}" if ladder["cycle"] == "year" else f"{day:%Y-%m}"] += registers["total"]
    return dict(used)
