"""What a slab, a minimum and tax make of days before: money.md 15a, O33."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from config.tariff_version import TOTAL, Fixed, Ladder, TariffVersion, Versions
from daemon.billing.earlier_days import NO_EARLIER_DAYS, EarlierDays, may_reprice, of_earlier_days
from daemon.billing.posting import Stream
from daemon.billing.pricing import ONE_KWH, Bonus, Terms
from daemon.billing.use import Use

JUNE = date(2026, 6, 1)
AT = datetime(2026, 6, 1, tzinfo=ZoneInfo("Asia/Shanghai"))


def numbers(*told: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, told))


KERALA = Ladder(
    "month",
    "slab",
    numbers("50", "100", "150", "200", "250", "300"),
    numbers("3.25", "4.05", "5.10", "6.95", "8.20", "6.40", "7.25"),
    whole_above_kwh=Decimal(250),
)
FEES = Fixed(by_slab={1: numbers("40", "65", "85", "120", "130", "150", "175")})
MINIMUM = Stream(JUNE, "minimum")


def version(**parts: object) -> TariffVersion:
    return TariffVersion("T", date(2026, 1, 1), {}, KERALA, **parts)  # type: ignore[arg-type]


def use(kwh: str) -> Use:
    return Use(JUNE, 0, {TOTAL: int(Decimal(kwh) * ONE_KWH)}, AT)


def found(
    version: TariffVersion, before: str, came: str, days: int = 0, minimum_fen: int = 0
) -> EarlierDays:
    moved_fen = {MINIMUM: minimum_fen} if minimum_fen else {}
    closed = {JUNE + timedelta(number) for number in range(days)}
    terms = Terms(Versions((version,)))
    return of_earlier_days(terms, JUNE, [use(before)], [use(came)], moved_fen, closed)


@pytest.mark.parametrize(
    ("before", "came", "fen"),
    [
        # 250 kWh cost 1377.50 by steps and 1600.00 at 6.40; O33 posts 6 fen of the 0.01 kWh besides.
        ("250.00", "0.01", 22_250),
        ("249.99", "0.01", 0),
        ("250.00", "0.00", 0),
        # From 6.40 to 7.25 for each of 300 kWh.
        ("300.00", "1.00", 25_500),
        ("0.00", "300.00", 0),
        # Below 250 a slab that is reached has no word about the kWh before it.
        ("99.00", "9.00", 0),
        # One that is lost gives back, which spares nobody.
        ("300.00", "-51.00", 0),
    ],
)
def test_the_use_before_costs_more_when_a_slab_is_reached(before: str, came: str, fen: int) -> None:
    expected = EarlierDays(fen, ("slab reached",)) if fen else NO_EARLIER_DAYS
    assert found(version(), before, came) == expected


def test_so_does_the_fee_of_the_days_before() -> None:
    # O33: 14.00 for 21 days, of 150 instead of 130 a month.
    assert found(version(fixed=FEES), "250.00", "0.01", days=21).fen == 22_250 + 1_400
    by_steps = Ladder("month", "price", KERALA.bounds_kwh, KERALA.prices)
    alone = TariffVersion("T", date(2026, 1, 1), {}, by_steps, fixed=FEES)
    assert found(alone, "250.00", "0.01", days=21) == EarlierDays(1_400, ("slab reached",))
    assert found(alone, "249.00", "0.01", days=21) == NO_EARLIER_DAYS


def test_a_minimum_is_of_the_whole_month() -> None:
    told = found(version(minimum_yuan=Decimal(50)), "10", "1", minimum_fen=1_425)
    assert told == EarlierDays(1_425, ("minimum",))
    assert found(version(), "10", "1", minimum_fen=-1_425) == NO_EARLIER_DAYS


def test_tax_is_added_and_reasons_come_together() -> None:
    taxed = version(minimum_yuan=Decimal(50), tax_rate=Decimal("0.1"))
    told = found(taxed, "250.00", "0.01", minimum_fen=100)
    assert told == EarlierDays(24_475 + 110, ("slab reached", "minimum"))


SMALL = Ladder("month", "slab", numbers("10"), numbers("1", "1.05"), whole_above_kwh=Decimal(10))
JUNE_16, JUNE_30 = date(2026, 6, 16), date(2026, 6, 30)


def told(
    versions: Sequence[TariffVersion],
    before: Sequence[tuple[int, str]],
    came: Sequence[tuple[int, str]],
    minimum_fen: int = 0,
    **more: Any,
) -> EarlierDays:
    """Uses as (number of the version, kWh)."""

    def uses(them: Sequence[tuple[int, str]]) -> list[Use]:
        return [Use(JUNE, number, use(kwh).registers, AT) for number, kwh in them]

    moved_fen = {MINIMUM: minimum_fen}
    terms = Terms(Versions(tuple(versions)), **more)
    return of_earlier_days(terms, JUNE, uses(before), uses(came), moved_fen, set())


def plain(start: date = date(2026, 1, 1), **parts: Any) -> TariffVersion:
    return TariffVersion(str(start), start, {TOTAL: Decimal(1)}, **parts)


@pytest.mark.parametrize(
    ("parts", "may"),
    [
        ({}, False),
        ({"ladder": SMALL}, True),
        ({"ladder": Ladder("month", "price", numbers("10"), numbers("1", "2"))}, False),
        ({"fixed": Fixed(monthly_yuan=Decimal(3))}, False),
        ({"fixed": FEES}, True),
        ({"minimum_yuan": Decimal(9)}, True),
    ],
)
def test_slabs_and_minimums_may_re_price_earlier_days_and_nothing_else(
    parts: dict[str, Any], may: bool
) -> None:
    assert may_reprice(plain(**parts)) is may


def test_nothing_for_earlier_days_is_no_fen_and_no_reason() -> None:
    assert told([plain()], [(0, "5")], [(0, "5")]) == EarlierDays(0, ())
    assert EarlierDays(0, ()) == NO_EARLIER_DAYS


def test_a_few_fen_for_earlier_days_are_told_too() -> None:
    slab = plain(ladder=SMALL)
    assert told([slab], [(0, "10")], [(0, "1")]) == EarlierDays(50, ("slab reached",))
    assert told([slab], [(0, "4"), (0, "6")], [(0, "1")]) == EarlierDays(50, ("slab reached",))
    assert told([slab], [], [(0, "11")]) == NO_EARLIER_DAYS
    assert told([slab], [(0, "1")], [(0, "1")], minimum_fen=1) == EarlierDays(1, ("minimum",))


def test_a_bonus_moves_the_slab_that_is_reached() -> None:
    slab = [plain(ladder=SMALL)]
    bonus = (Bonus(JUNE, Decimal(1)),)
    assert told(slab, [(0, "10")], [(0, "1")], bonuses=bonus) == NO_EARLIER_DAYS
    assert told(slab, [(0, "10")], [(0, "1.01")], bonuses=bonus).fen == 50


def test_a_slab_is_reached_beside_versions_without_one() -> None:
    both = [plain(), plain(JUNE_16, ladder=SMALL)]
    found = told(both, [(0, "3"), (1, "10")], [(0, "2"), (1, "1")])
    assert found == EarlierDays(50, ("slab reached",))


def test_what_falls_below_a_slab_takes_nothing_off_the_minimum() -> None:
    tariff = [version(minimum_yuan=Decimal(9))]
    found = told(tariff, [(0, "320")], [(0, "-60")], minimum_fen=500)
    assert found == EarlierDays(500, ("minimum",))


@pytest.mark.parametrize(("start", "fen"), [(JUNE_30, 150), (date(2026, 7, 1), 100)])
def test_a_minimum_is_taxed_by_the_version_of_the_last_day(start: date, fen: int) -> None:
    versions = [
        plain(minimum_yuan=Decimal(9)),
        plain(start, minimum_yuan=Decimal(9), tax_rate=Decimal("0.5")),
    ]
    assert told(versions, [(0, "1")], [(0, "1")], minimum_fen=100) == EarlierDays(fen, ("minimum",))
