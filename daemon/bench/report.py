"""What a bench tells: what became of every customer, and what must be by the meters' own truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from config.load import LoadedSite
from daemon.bench.customers import Customer
from daemon.bench.notices import Notice
from daemon.demo.proof import owed_fen
from simulators.bench.stage import Stage
from storage.bench import Outcome

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a customer. Amounts in fen.

    `expected_fen`: the balance by the registers inside the meters, None where the tariff is none
    of one price, or nothing is billed. `days_missing`: up to the last midnight, not billed."""

    account: str
    meters: int
    used_kwh: Decimal
    paid_fen: int
    balance_fen: int
    expected_fen: int | None
    notices: Mapping[str, int]
    cut: int
    restored: int
    dark_h: float
    days_withheld: int
    days_missing: int

    @property
    def is_right(self) -> bool:
        """False where the balance is another one than must be."""
        return self.expected_fen is None or self.expected_fen == self.balance_fen

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "used_kwh": str(self.used_kwh), "is_right": self.is_right}


@dataclass(frozen=True, slots=True)
class Span:
    """The days of the bench: from 00:00 of `first` to 00:00 of `last`, and its last moment."""

    first: date
    last: date
    ended_at: datetime
    """Site time."""


def fates(
    site: LoadedSite,
    stage: Stage,
    span: Span,
    prices: Mapping[str, Sequence[tuple[date, Decimal]]],
    told: Iterable[Notice],
    customers: Iterable[Customer],
    outcomes: Iterable[Outcome],
) -> list[Fate]:
    """In the order of the accounts."""
    notices: dict[str, Counter[str]] = {}
    for notice in told:
        notices.setdefault(notice["account"], Counter())[notice["kind"]] += 1
    paid = {customer.account: customer.paid_fen for customer in customers}
    found = {outcome.account: outcome for outcome in outcomes}
    tariffs = {account.account: account.tariff for account in site.archive.accounts}
    return [
        _fate(
            _Held.of(account, site, stage),
            span,
            prices.get(tariffs[account]),
            notices.get(account, Counter()),
            paid.get(account, 0),
            found[account],
        )
        for account in sorted(found)
        if account in tariffs
    ]


@dataclass(frozen=True, slots=True)
class _Held:
    """The meters of an account, each with the ratio of its point."""

    stage: Stage
    meters: Sequence[tuple[str, Fraction]]

    @classmethod
    def of(cls, account: str, site: LoadedSite, stage: Stage) -> _Held:
        ratios = {
            it.point: Fraction(it.ratio) for it in site.archive.points if it.account == account
        }
        meters = [
            (meter.address, ratios[meter.point])
            for meter in site.archive.meters
            if meter.point in ratios and meter.address in stage.meters
        ]
        return cls(stage, meters)

    def registers(self, first: date, last: date) -> list[tuple[Fraction, dict[date, Decimal]]]:
        """(ratio, true register in kWh at 00:00 by the meter's own clock) of each."""
        found = []
        for address, ratio in self.meters:
            meter = self.stage.meters[address]
            at_midnight = {
                freeze.stamp.date(): meter.true_register(freeze.at)
                for freeze in meter.daily_freezes(self.stage.now())
                if first <= freeze.stamp.date() <= last
            }
            found.append((ratio, at_midnight))
        return found

    def moves(self, since: date) -> list[tuple[datetime, bool]]:
        """(site time, to open) of their relays since the bench began."""
        begin = datetime.combine(since, datetime.min.time())
        return sorted(
            (move.at, move.to_open)
            for address, _ in self.meters
            for move in self.stage.meters[address].relay.moves
            if move.at >= begin
        )


def _fate(
    held: _Held,
    span: Span,
    prices: Sequence[tuple[date, Decimal]] | None,
    notices: Counter[str],
    paid_fen: int,
    outcome: Outcome,
) -> Fate:
    registers = held.registers(span.first, span.last)
    billed_to = outcome.billed_to or span.first
    used = sum(
        (ratio * Fraction(days[billed_to] - days[span.first]) for ratio, days in registers),
        start=Fraction(0),
    )
    moves = held.moves(span.first)
    expected = None
    if prices and outcome.billed_to is not None:
        expected = paid_fen - owed_fen(registers, span.first, billed_to, _price_on(prices))
    return Fate(
        account=outcome.account,
        meters=len(held.meters),
        used_kwh=Decimal(used.numerator) / Decimal(used.denominator),
        paid_fen=paid_fen,
        balance_fen=outcome.balance_fen,
        expected_fen=expected,
        notices=dict(sorted(notices.items())),
        cut=sum(to_open for _, to_open in moves),
        restored=sum(not to_open for _, to_open in moves),
        dark_h=round(_dark(moves, span.ended_at) / HOUR, 1),
        days_withheld=outcome.days_withheld,
        days_missing=(span.last - billed_to).days,
    )


def _dark(moves: Sequence[tuple[datetime, bool]], until: datetime) -> timedelta:
    dark = timedelta(0)
    since: datetime | None = None
    for at, to_open in moves:
        if to_open:
            since = since or at
        elif since is not None:
            dark += at - since
            since = None
    return dark if since is None else dark + (until - since)


def _price_on(prices: Sequence[tuple[date, Decimal]]) -> Any:
    by_day = sorted(prices)

    def price(day: date) -> Decimal:
        return [it for since, it in by_day if since <= day][-1]

    return price
