"""What the accounts of a site owe, in fractions, by money.md alone: for stories to compare with.

A site is worked out anew from what was told of it, with nothing kept between: which registers are
accepted, who has which point, which tariff counts on which day. `exact_account` says what that costs.
A link goes from freeze to freeze, whatever documents lie inside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from tests.database.stories.random_stories import Event, Story
from tests.unit.billing import exact_account
from tests.unit.billing.exact_account import DAY, Version, bill
from tests.unit.billing.exact_case import Account as Case
from tests.unit.billing.exact_case import Chain, Link, Registers
from tests.unit.exact_money import rounded

LONGEST_SPAN = 7 * DAY
AN_INSTANT = timedelta(microseconds=1)
Stream = tuple[str, str]
"""A month and a component."""


class Span(NamedTuple):
    """A link of a point."""

    point: str
    first: date
    last: date


def midnight(day: date) -> datetime:
    return datetime.combine(day, time())


@dataclass
class FrozenChain(Chain):
    """The chain of a point whose links begin and end with readings at midnight.

    `said`: what persons put in the place of readings, in the order in which they did."""

    said: dict[datetime, Registers] = field(default_factory=dict)

    @property
    def known(self) -> dict[datetime, Registers]:
        """With what somebody wrote down when the meter came."""
        return {midnight(self.given["from"]): told(self.given["initial"]), **self.readings}

    @property
    def shown(self) -> dict[datetime, Registers]:
        """What was read, and of what was said that which it does not disprove."""
        shown = dict(self.readings)
        for at, registers in self.said.items():
            if at not in shown and self.fits(at, registers, shown):
                shown[at] = registers
        return shown

    def fits(self, at: datetime, registers: Registers, shown: Mapping[datetime, Registers]) -> bool:
        """judgement.md 4.3: not below what is before it, not above what is behind it."""
        return "suspect:backward" not in self.statuses(at, registers, shown)

    def statuses(
        self, at: datetime, registers: Registers, shown: Mapping[datetime, Registers]
    ) -> set[str]:
        """Of the links that would begin and end with it."""
        among = {**self.known, **shown, at: registers}
        moves = [self.moves(link) for link in self.links_of(among) if at in link[:2]]
        return {status for of in moves for *_, status in of}

    def spans(self) -> list[tuple[date, date]]:
        return list(pairwise(at.date() for at in sorted(self.shown)))

    def pieces(self, first: date, last: date) -> Iterator[Link]:
        """Of a link what each meter shows under one ratio."""
        return self.between(midnight(first), midnight(last), self.shown)

    def between(
        self, begin: datetime, end: datetime, known: Mapping[datetime, Registers]
    ) -> Iterator[Link]:
        edges = [begin, *(at for at in sorted(self.documents) if begin < at < end), end]
        for since, until in pairwise(edges):
            before = known[since] if since == begin else self.documents[since][1]
            after = known[until] if until == end else self.documents[until][0]
            if until == end in self.documents and self.documents[end][0] != after:
                # Of one instant the document counts first, and what follows is of the day that ends.
                final, initial, _ = self.documents[end]
                yield since, end, before, final, self.meter(since)
                yield end - AN_INSTANT, end, initial, after, self.meter(end)
                continue
            yield since, until, before, after, self.meter(since)

    def links(self) -> Iterator[Link]:
        return self.links_of(self.known)

    def links_of(self, known: Mapping[datetime, Registers]) -> Iterator[Link]:
        """Up to the last document too, where nothing was read behind it."""
        newest = max(known)
        finals = {at: it[0] for at, it in self.documents.items() if at > newest}
        ends = {**known, **dict(sorted(finals.items())[-1:])}
        for begin, end in pairwise(sorted(ends)):
            yield from self.between(begin, end, ends)


@dataclass
class Account:
    """`tariffs`: by the first day of each."""

    opened: date | None
    tariffs: dict[date, str]
    last: date | None = None
    bonuses: dict[date, Fraction] = field(default_factory=dict)
    elsewhere: dict[str, Fraction] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)

    @property
    def came_fen(self) -> int:
        return sum(fen for key, fen in self.paid.items() if key not in self.taken_back)


@dataclass
class ExactSite:
    """`holders`: by point who has it from a day on, None: nobody."""

    tariffs: dict[str, dict[date, Version]]
    accounts: dict[str, Account]
    chains: dict[str, FrozenChain]
    holders: dict[str, dict[date, str | None]]
    phases: int
    closed: set[date] = field(default_factory=set)
    released: set[Span] = field(default_factory=set)
    gone: defaultdict[str, set[date]] = field(default_factory=lambda: defaultdict(set))
    """By point the days of which what was read is taken back."""

    def tariff_of(self, account: Account) -> list[Version]:
        """Its versions as if they were of one tariff."""
        found: dict[date, Version] = {}
        starts = sorted(account.tariffs)
        for number, start in enumerate(starts):
            end = starts[number + 1] if number + 1 < len(starts) else date.max
            versions = self.tariffs[account.tariffs[start]]
            if number:
                in_force = max(day for day in versions if day <= start)
                found[start] = versions[in_force]
            first = start if number else date.min
            found |= {day: it for day, it in versions.items() if first < day < end}
        return [{**found[day], "effective_from": str(day)} for day in sorted(found)]

    def spans_of(self, number: str) -> list[Span]:
        """M1: the links that are an account's, held or billed."""
        account = self.accounts[number]
        found = []
        for point, chain in self.chains.items():
            held = sorted(self.holders[point].items())
            for (since, holder), (until, _) in pairwise([*held, (date.max, None)]):
                if holder != number or account.opened is None:
                    continue
                first = max(since, account.opened)
                last = until if account.last is None else min(until, account.last + DAY)
                # R41: nothing is billed before the opening freeze is there.
                if midnight(first) in chain.shown:
                    mine = [(a, b) for a, b in chain.spans() if first <= a and b <= last]
                    found += [Span(point, *it) for it in mine]
        return found

    def ever_held(self) -> set[str | None]:
        """Who had a point for a day at least, or will have one."""
        return {holder for held in self.holders.values() for holder in held.values()}

    def is_held(self, span: Span) -> bool:
        """A document inside tells registers too."""
        pieces = self.chains[span.point].pieces(span.first, span.last)
        is_long = any(until - since > LONGEST_SPAN for since, until, *_ in pieces)
        return is_long and span not in self.released

    def owed(self, number: str) -> dict[Stream, int]:
        """Fen by month and component: R(X)."""
        account = self.accounts[number]
        if account.opened is None:
            return {}
        use: defaultdict[date, Registers] = defaultdict(lambda: defaultdict(Fraction))
        parts: list[tuple[date, Registers]] = []
        story = exact_account.Story(
            versions=self.tariff_of(account),
            use=use,
            closed=self.closed,
            opened=account.opened,
            last=account.last,
            bonuses=sorted(account.bonuses.items()),
            elsewhere=account.elsewhere,
            phases=self.phases if number in self.ever_held() else 1,
            parts=parts,
        )
        # Of links that begin together that of the first point comes first.
        spans = sorted(self.spans_of(number), key=lambda it: (it.first, it.point))
        billed = [it for span in spans if not self.is_held(span) for it in self.parts(story, span)]
        for start, registers in sorted(billed, key=lambda it: it[0]):
            parts.append((start.date(), registers))
            for name, kwh in registers.items():
                use[start.date()][name] += kwh
        return {stream: fen for stream, yuan in bill(story).items() if (fen := rounded(yuan))}

    def parts(self, story: exact_account.Story, span: Span) -> Iterator[tuple[datetime, Registers]]:
        """Of a link what lies in each month and version, and when that begins."""
        chain = self.chains[span.point]
        case = Case(
            {
                "opening_balance_fen": 0,
                "tariff_versions": story.versions,
                "points": [],
                "timezone": chain.zone.key,
            }
        )
        for piece in chain.pieces(span.first, span.last):
            start = piece[0]
            for day, registers in case.parts(story, chain, piece):
                yield max(start, midnight(day)), registers

    def balance(self, number: str) -> int:
        """M3."""
        return self.accounts[number].came_fen - sum(self.owed(number).values())

    # --- what is told: True where it says something that may be so ---

    def take(self, event: Event) -> bool:
        taken: bool = getattr(self, f"_{event['type']}")(event)
        return taken

    def _read(self, event: Event) -> bool:
        """What is no register, what was taken back and what is known already changes nothing."""
        day, registers = event["day"], told(event["registers"])
        chain = self.chains[event["point"]]
        is_register = registers["total"] < Fraction(chain.given["modulus"])
        if not is_register or day in self.gone[event["point"]]:
            return True
        if midnight(day) in chain.readings:
            return chain.readings[midnight(day)] == registers
        return chain.read({**event, "at": str(midnight(day))}).startswith("accepted")

    def _correct(self, event: Event) -> bool:
        """Another number takes the place of what is published."""
        day, chain = event["day"], self.chains[event["point"]]
        at, shown = midnight(day), chain.shown
        if at not in shown or day == chain.given["from"]:
            return False
        registers = {**shown.pop(at)}
        step = Fraction(event["moved"], 10 ** chain.meter(at)[2])
        for name in ("total", *chain.rates[:1]):
            registers[name] += step
        if min(registers.values()) < 0 or registers["total"] >= Fraction(chain.given["modulus"]):
            return False
        is_right = chain.is_sum_right(registers, chain.meter(at))
        # A link to more than the point can use is held until a person releases it: not in stories.
        statuses = chain.statuses(at, registers, shown)
        if not is_right or any(status.startswith("suspect") for status in statuses):
            return False
        event["registers"] = registers
        self._withdraw(event)
        chain.said[at] = registers
        return True

    def _withdraw(self, event: Event) -> bool:
        chain, at = self.chains[event["point"]], midnight(event["day"])
        if at not in chain.shown:
            return False
        self.gone[event["point"]].add(event["day"])
        return (chain.readings.pop(at, None) or chain.said.pop(at)) is not None

    def _exchange(self, event: Event) -> bool:
        written = {**event, "at": str(event["at"])}
        return self.chains[event["point"]].change(written).startswith("accepted")

    def _ratio_change(self, event: Event) -> bool:
        chain, at = self.chains[event["point"]], midnight(event["day"])
        if chain.meter(at)[0] == Fraction(event["new_ratio"]):
            return False
        return chain.change({**event, "at": str(at)}).startswith("accepted")

    def _release_spans(self, event: Event) -> bool:
        held = [it for number in self.accounts for it in self.spans_of(number) if self.is_held(it)]
        self.released.update(held)
        event["spans"] = held
        return bool(held)

    def _settle(self, event: Event) -> bool:
        return True

    def _close_days(self, event: Event) -> bool:
        opened = [it.opened for it in self.accounts.values() if it.opened is not None]
        self.closed |= {min(opened) + n * DAY for n in range((event["now"] - min(opened)).days)}
        return True

    def _close_month(self, event: Event) -> bool:
        return True

    def _tariff(self, event: Event) -> bool:
        start = date.fromisoformat(event["version"]["effective_from"])
        self.tariffs[event["tariff"]][start] = event["version"]
        return True

    def _account_tariff(self, event: Event) -> bool:
        account = self.accounts[event["account"]]
        if account.opened is None or event["day"] <= account.opened:
            return False
        was = account.tariffs[max(it for it in account.tariffs if it <= event["day"])]
        if was == event["tariff"]:
            return False
        account.tariffs[event["day"]] = event["tariff"]
        return True

    def _bonus(self, event: Event) -> bool:
        bonuses = self.accounts[event["account"]].bonuses
        event["corrects"] = event["day"] in bonuses
        bonuses[event["day"]] = Fraction(event["kwh"])
        return True

    def _elsewhere(self, event: Event) -> bool:
        elsewhere = self.accounts[event["account"]].elsewhere
        event["corrects"] = event["cycle"] in elsewhere
        elsewhere[event["cycle"]] = Fraction(event["kwh"])
        return True

    def _open(self, event: Event) -> bool:
        self.accounts[event["account"]].opened = event["day"]
        return True

    def _close(self, event: Event) -> bool:
        self.accounts[event["account"]].last = event["day"]
        return True

    def _assign(self, event: Event) -> bool:
        held, day = self.holders[event["point"]], event["day"]
        before = {since: holder for since, holder in held.items() if since < day}
        last = held[max(held)]
        if event["account"] is None:
            if last is None and max(held) <= day:
                return False
        elif last == event["account"] and max(held) <= day:
            return False
        self.holders[event["point"]] = {**before, day: event["account"]}
        return True

    def _pay(self, event: Event) -> bool:
        self.accounts[event["account"]].paid.setdefault(event["key"], event["fen"])
        return True

    def _pay_back(self, event: Event) -> bool:
        for account in self.accounts.values():
            if event["key"] in account.paid:
                account.taken_back.add(event["key"])
        return True


def told(registers: Mapping[str, str]) -> Registers:
    return {name: Fraction(value) for name, value in registers.items()}


def exact_site(story: Story) -> ExactSite:
    """The site before anything happened."""
    needs_rates = bool(story.rates)
    zone = ZoneInfo(story.zone)
    return ExactSite(
        tariffs={
            name: {date.fromisoformat(it["effective_from"]): it for it in versions}
            for name, versions in story.tariffs.items()
        },
        accounts={
            number: Account(opened, {date.min: tariff})
            for number, (tariff, opened) in story.accounts.items()
        },
        chains={
            it["id"]: FrozenChain(it, list(story.rates), needs_rates, zone) for it in story.points
        },
        holders={it["id"]: {date.min: it["account"]} for it in story.points},
        phases=story.phases,
    )
