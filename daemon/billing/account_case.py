"""Worked cases of accounts, event by event through the pure rules (money.md sections 15 and 15a).

Needs no daemon and no database, and never looks at what a case `expected`."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo

from config.problems import quoted
from config.tariff_form import read_version
from config.tariff_version import TOTAL, TariffVersion, Versions
from daemon.billing.case_point import (
    ACCEPTED,
    CONFLICT,
    DUPLICATE,
    Change,
    Link,
    Meter,
    Point,
    Registers,
)
from daemon.billing.posting import Stream
from daemon.billing.pricing import Amounts, Bonus, Terms, amounts, postings, rounded_fen
from daemon.billing.use import NoPrice, Use, gathered, uses_of
from daemon.quality.case_fields import CaseError, Fields

EXACT: Final = Context(prec=60)
_CYCLE: Final = re.compile(r"[0-9]{4}(-(0[1-9]|1[0-2]))?")


@dataclass
class _Account:
    """Everything that was told of an account, and what was posted."""

    zone: ZoneInfo
    terms: Terms
    points: dict[str, Point]
    balance_fen: int
    closed_days: set[date] = field(default_factory=set)
    closed_at: datetime | None = None
    closes: list[tuple[datetime, str | None, Registers | None]] = field(default_factory=list)
    topups: dict[str, int] = field(default_factory=dict)
    reversed: set[str] = field(default_factory=set)
    posted_fen: dict[Stream, int] = field(default_factory=dict)
    known_uses: dict[Hashable, list[Use]] = field(default_factory=dict)

    def amounts(self) -> Amounts:
        links = [(name, link) for name, point in self.points.items() for link in point.links()]
        uses = [
            use
            for name, link in sorted(links, key=lambda it: it[1].start)
            if self._is_of_account(link.start, link.end)
            for use in self._uses_of(name, link)
        ]
        versions = self.terms.versions
        return amounts(self.terms, gathered(uses, versions), self.closed_days)

    def _uses_of(self, point: str, link: Link) -> list[Use]:
        """Of a link; each event asks for all of them again, and few have changed."""
        registers = (*link.before.items(), *link.after.items())
        key = (point, link.start, link.end, link.meter, registers)
        if key not in self.known_uses:
            span = self.points[point].span_of(link)
            self.known_uses[key] = uses_of(span, self.terms.versions, self.zone)
        return self.known_uses[key]

    def _is_of_account(self, start: datetime, end: datetime) -> bool:
        """The opening register is the freeze of the first day, the last one that of the close."""
        opened = self.terms.opened
        is_after_opening = opened is None or opened <= start.astimezone(self.zone).date()
        return is_after_opening and (self.closed_at is None or end <= self.closed_at)

    def post(self) -> None:
        for stream, fen in postings(self.amounts().charged, self.posted_fen).items():
            self.posted_fen[stream] = self.posted_fen.get(stream, 0) + fen
            self.balance_fen -= fen


def settled(given: Fields) -> dict[str, Any]:
    """What a case of kind `settle` comes to: `steps` and `final`. CaseError: not understood."""
    account = _opened(given)
    steps = []
    try:
        for number, event in enumerate(given.each("events")):
            before = account.balance_fen
            kind = event.choice("type", tuple(_EVENTS))
            status = _EVENTS[kind](account, event)
            account.post()
            steps.append(
                {
                    "event": number,
                    "status": status,
                    "delta_fen": account.balance_fen - before,
                    "balance_fen": account.balance_fen,
                }
            )
        return {"steps": steps, "final": _final(account)}
    except NoPrice as error:
        raise given.error("tariff_versions", str(error)) from None


def advanced(given: Fields) -> dict[str, Any]:
    """Kind `energy_delta`: whether a register moved as it may, and the kWh."""
    ratio = given.positive("ratio")
    meter = Meter(ratio, given.positive("modulus"), 0, given.not_below_0("max_daily_kwh"))
    days = Fraction(given.number("days"))
    if days < 0:
        raise given.error("days", f"{days} is below 0")
    advance = meter.advance(given.decimal("prev"), given.decimal("next"), days)
    if not advance.is_good:
        return {"status": advance.status, "kwh": None}
    kwh = EXACT.multiply(advance.amount, ratio)
    return {"status": advance.status.replace(ACCEPTED, "ok"), "kwh": _plain(kwh)}


def rounded_series(given: Fields) -> dict[str, Any]:
    """Kind `round_series`: what a stream posts for a row of exact amounts."""
    exact = list(map(Fraction, given.decimals("exact_yuan")))
    posted: list[int] = []
    total = Fraction(0)
    for yuan in exact:
        total += yuan
        posted.append(rounded_fen(total) - sum(posted))
    return {
        "posted_fen": posted,
        "total_fen": sum(posted),
        "naive_per_day_total_fen": sum(map(rounded_fen, exact)),
    }


def _opened(given: Fields) -> _Account:
    zone = given.zone("timezone")
    versions = _versions(given)
    needs_rates = any(version.rates for version in versions.all)
    rates = tuple(given.texts("rates"))
    points: dict[str, Point] = {}
    for it in given.each("points"):
        if (name := it.text("id")) in points:
            raise given.error("points", f"two have the id {quoted(name)}")
        points[name] = _point(it, rates, needs_rates=needs_rates)
    phases = max((it.phases for it in points.values()), default=1)
    _check_phases(versions, phases)
    bonuses = tuple(map(_bonus, given.each("household", [])))
    if len({it.start for it in bonuses}) < len(bonuses):
        raise given.error("household", "two entries begin on the same day")
    terms = Terms(
        versions,
        phases=phases,
        opened=given.day("open_date") if "open_date" in given.names() else None,
        bonuses=bonuses,
        used_elsewhere=_used_elsewhere(given),
    )
    return _Account(zone, terms, points, given.integer("opening_balance_fen", 0))


def _versions(given: Fields) -> Versions:
    found: list[TariffVersion] = []
    mistakes = []
    for number, written in enumerate(given.each("tariff_versions")):
        version, wrong = read_version(
            written.whole_object(), f"#{number}", ("input", "tariff_versions", number)
        )
        mistakes += wrong
        if version is not None:
            found.append(version)
    if mistakes:
        raise CaseError("; ".join(map(str, mistakes)))
    found.sort(key=lambda version: version.effective_from)
    if len({it.effective_from for it in found}) < len(found):
        raise given.error("tariff_versions", "two versions start on the same day")
    return Versions(tuple(found))


def _check_phases(versions: Versions, phases: int) -> None:
    for version in versions.all:
        by_slab = version.fixed.by_slab if version.fixed is not None else None
        if by_slab is not None and phases not in by_slab:
            raise CaseError(f"{version.version_id}: has no fee by slab for {phases} phases")


def _used_elsewhere(given: Fields) -> dict[str, Decimal]:
    if "ladder_used_kwh" not in given.names():
        return {}
    used = given.inside("ladder_used_kwh")
    for cycle in used.names():
        if not _CYCLE.fullmatch(cycle):
            raise used.error(cycle, "is no cycle, as 2026 or 2026-07")
    return {cycle: used.not_below_0(cycle) for cycle in used.names()}


def _point(given: Fields, rates: tuple[str, ...], *, needs_rates: bool) -> Point:
    phases = given.integer("phases", 1)
    if phases not in (1, 3):
        raise given.error("phases", f"{phases} is neither 1 nor 3")
    names = given.names()
    return Point(
        Meter(
            given.positive("ratio"),
            given.positive("modulus"),
            given.whole("decimals"),
            given.positive("max_daily_kwh"),
            given.flag("allow_rollover", default=True),
        ),
        rates,
        needs_rates,
        given.text("residual_rate", None),
        given.not_below_0("tou_tolerance_kwh") if "tou_tolerance_kwh" in names else None,
        phases,
    )


def _bonus(given: Fields) -> Bonus:
    return Bonus(given.day("from"), given.not_below_0("bonus_kwh_per_month"))


def _read(account: _Account, event: Fields) -> str:
    return _told(account, event, Point.read)


def _corrected(account: _Account, event: Fields) -> str:
    return _told(account, event, Point.corrected)


def _told(
    account: _Account,
    event: Fields,
    take: Callable[[Point, datetime, Registers], tuple[Point, str]],
) -> str:
    name, point = _point_of(account, event)
    at = _moment(account, event)
    registers = _registers(event, "registers", *point.meters_at(at))
    account.points[name], status = take(point, at, registers)
    return status


def _exchanged(account: _Account, event: Fields) -> str:
    name, point = _point_of(account, event)
    at = _moment(account, event)
    old = point.meters_at(at)[0]
    names = event.names()
    new: dict[str, Any] = {
        name: event.positive(f"new_{name}")
        for name in ("ratio", "modulus")
        if f"new_{name}" in names
    }
    if "new_decimals" in names:
        new["decimals"] = event.whole("new_decimals")
    final = _registers(event, "old_final", old)
    # A new ratio without an exchange: the register goes on from where it was.
    is_exchange = event.text("type") == "exchange"
    initial = _registers(event, "new_initial", replace(old, **new)) if is_exchange else final
    account.points[name], status = point.changed(Change(at, final, initial, new))
    return status


def _topped_up(account: _Account, event: Fields) -> str:
    key = event.text("key")
    amount_fen = event.count("amount_fen", least=1)
    if key in account.topups:
        return DUPLICATE if account.topups[key] == amount_fen else CONFLICT
    account.topups[key] = amount_fen
    account.balance_fen += amount_fen
    return ACCEPTED


def _reversed(account: _Account, event: Fields) -> str:
    key = event.text("key")
    if key in account.reversed:
        return DUPLICATE
    if key not in account.topups:
        return CONFLICT
    account.reversed.add(key)
    account.balance_fen -= account.topups[key]
    return ACCEPTED


def _days_closed(account: _Account, event: Fields) -> str:
    first, last = event.span_of_days("from", "to")
    count = (last - first).days + 1
    account.closed_days |= {first + timedelta(days=number) for number in range(count)}
    return ACCEPTED


def _closed(account: _Account, event: Fields) -> str:
    at = _moment(account, event)
    status = ACCEPTED
    names = event.names()
    told: tuple[str | None, Registers | None] = (None, None)
    if "registers" in names:
        name, point = _point_of(account, event)
        registers = _registers(event, "registers", *point.meters_at(at))
        changed, status = point.read(at, registers)
        # A freeze of that moment may be there already.
        if status == DUPLICATE and (at, name, registers) not in account.closes:
            status = ACCEPTED
        if not status.startswith(ACCEPTED):
            return status
        account.points[name] = changed
        told = name, registers
    elif (at, None, None) in account.closes:
        return DUPLICATE
    account.closes.append((at, *told))
    account.closed_at = max(close[0] for close in account.closes)
    # At 00:00 the day has not begun: the reading frozen then closes the day before (section 2).
    last_day = (account.closed_at.astimezone(account.zone) - timedelta.resolution).date()
    account.terms = replace(account.terms, last_day=last_day)
    return status


def _household(account: _Account, event: Fields) -> str:
    bonus = _bonus(event)
    for other in account.terms.bonuses:
        if other.start == bonus.start:
            return DUPLICATE if other == bonus else CONFLICT
    account.terms = replace(account.terms, bonuses=(*account.terms.bonuses, bonus))
    return ACCEPTED


_EVENTS: Final[Mapping[str, Callable[[_Account, Fields], str]]] = {
    "reading": _read,
    "correct_reading": _corrected,
    "exchange": _exchanged,
    "ratio_change": _exchanged,
    "topup": _topped_up,
    "reverse_topup": _reversed,
    "day_close": _days_closed,
    "close": _closed,
    "household": _household,
}


def _moment(account: _Account, event: Fields) -> datetime:
    # As an instant: between times of one zone Python reckons as if its clocks never changed.
    return event.moment("at", account.zone).astimezone(UTC)


def _point_of(account: _Account, event: Fields) -> tuple[str, Point]:
    is_only = len(account.points) == 1
    name = event.text("point", *account.points) if is_only else event.text("point")
    if name not in account.points:
        raise event.error("point", f"there is no point {quoted(name)}")
    return name, account.points[name]


def _registers(event: Fields, name: str, *meters: Meter) -> Registers:
    """What one of the meters showed."""
    told = event.registers(name)
    registers = {TOTAL: told.total, **dict(told.rates)}
    modulus = max(meter.modulus for meter in meters)
    decimals = max(meter.decimals for meter in meters)
    for register, value in registers.items():
        if not 0 <= value < modulus:
            told_as = f"{value} is not between 0 and the modulus {modulus}"
            raise event.error(f"{name}.{register}", told_as)
        if value.scaleb(decimals) % 1:
            raise event.error(f"{name}.{register}", f"{value} has more than {decimals} decimals")
    return registers


def _final(account: _Account) -> dict[str, Any]:
    found = account.amounts()
    final: dict[str, Any] = {
        "balance_fen": account.balance_fen,
        "charges_fen_by_period": _by_period(account.posted_fen),
        "total_charges_fen": sum(account.posted_fen.values()),
        "billed_through": {
            name: _at(at, account.zone)
            for name, point in account.points.items()
            if (at := point.billed_through(account.closed_at)) is not None
        },
    }
    versions = account.terms.versions.all
    if found.ladder_used:
        final["ladder_used_kwh"] = {
            cycle: _plain(_decimal(kwh)) for cycle, kwh in sorted(found.ladder_used.items())
        }
    if any(surcharge.is_included for it in versions for surcharge in it.surcharges):
        included = {stream: rounded_fen(yuan) for stream, yuan in found.included.items()}
        final["included_fen_by_period"] = _by_period(included)
    if account.closed_at is not None:
        final["refund_fen"] = max(0, account.balance_fen)
        final["owed_fen"] = max(0, -account.balance_fen)
    return final


def _by_period(fen_by_stream: Mapping[Stream, int]) -> dict[str, dict[str, int]]:
    by_period: dict[str, dict[str, int]] = {}
    for stream in sorted(fen_by_stream):
        if fen_by_stream[stream]:
            month = by_period.setdefault(f"{stream.period:%Y-%m}", {})
            month[stream.component] = fen_by_stream[stream]
    return by_period


def _at(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone).replace(tzinfo=None)
    return local.isoformat(timespec="seconds" if local.second else "minutes")


def _decimal(number: Fraction) -> Decimal:
    return EXACT.divide(Decimal(number.numerator), Decimal(number.denominator))


def _plain(number: Decimal) -> str:
    """Without trailing zeros, and never with an exponent."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
