"""A month of many accounts at once is to the fen what the rules say of each."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.tariff_form import read_version
from config.tariff_version import Versions
from daemon.billing.many import (
    LINKED,
    USE,
    YEAR_BEFORE,
    Integers,
    Month,
    UseKey,
    amounts_fen,
    is_for_many,
    month_of,
    month_of_columns,
    slabs_reached,
)
from daemon.billing.pricing import Terms, amounts, rounded_fen
from daemon.billing.use import NoPrice, Use
from tests.unit.billing.exact_account import Story, bill
from tests.unit.billing.stories import seeds, story
from tests.unit.billing.test_pricing import terms_of, uses_of

Account = tuple[Terms, list[Use], list[date]]
FLAT = {"mode": "flat", "price": "0.5"}
MONTHS = (date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1))


def month_of_stories(told: Sequence[Story], month: date) -> Month:
    accounts = []
    for it in told:
        terms = terms_of(it)
        accounts.append((terms, uses_of(it, terms), it.closed))
    return month_of(accounts, month)


def neighbours(seed: int) -> list[Story]:
    """Accounts with one tariff and lives of their own."""
    first = story(seed)
    return [first, *(story(seed + number, like=first) for number in (1, 2, 3))]


def check(told: Sequence[Story]) -> None:
    bills = [bill(it) for it in told]
    for month in MONTHS:
        name = f"{month:%Y-%m}"
        expected = {
            component: [rounded_fen(it.get((name, component), Fraction())) for it in bills]
            for component in {what for it in bills for of, what in it if of == name}
        }
        found = amounts_fen(month_of_stories(told, month))
        assert all(fen.dtype.kind in "iO" for fen in found.values()), "no number is binary"
        assert without_nothing({what: fen.tolist() for what, fen in found.items()}) == (
            without_nothing(expected)
        )


def without_nothing(amounts: dict[str, list[int]]) -> dict[str, list[int]]:
    return {component: fen for component, fen in amounts.items() if any(fen)}


@settings(max_examples=50, deadline=None)
@given(seeds.map(neighbours))
def test_each_account_of_many_pays_what_the_rules_say(told: list[Story]) -> None:
    check(told)


@settings(max_examples=20, deadline=None)
@given(seeds.map(neighbours), st.integers(3, 13))
def test_numbers_beyond_64_bits_are_worked_out_exactly(told: list[Story], zeros: int) -> None:
    """The first account has a great deal more use, and the others are as exact beside it."""
    factor = 10**zeros
    huge = {
        day: {name: kwh * factor for name, kwh in used.items()} for day, used in told[0].use.items()
    }
    told = [replace(told[0], use=huge), *told[1:]]
    check(told)


def test_a_bound_that_nobody_reaches_is_a_number_like_any_other() -> None:
    """Scaled by the months of a close it leaves 64 bits where use has eight decimals."""
    year = {
        "cycle": "year",
        "method": "price",
        "bounds_kwh": ["10", "1000000000"],
        "prices": ["0.5", "1", "2"],
        "partial_year": "months",
    }
    of = {"effective_from": "2026-01-01", "ladder": year}
    use = {date(2026, 2, 3): {"total": Fraction(3_000_000_001, 10**8)}}
    check([Story([of], use, last=date(2026, 11, 20))])


def test_a_large_fee_is_counted_in_the_room_that_numbers_need() -> None:
    fee = {"monthly_yuan": "999999.12345678", "proration": "thirtieth"}
    tax = {"mode": "exclusive", "rate": "0.15"}
    of = {"effective_from": "2026-01-01", "energy": FLAT, "fixed": fee, "tax": tax}
    use = {date(2026, 3, 3): {"total": Fraction(1, 100)}}
    march = {date(2026, 3, day) for day in range(1, 32)}
    check([Story([of], use, march), Story([of], use, march, opened=date(2026, 3, 2))])


def test_of_an_account_alone_whose_numbers_are_wide_the_units_may_be_as_wide() -> None:
    fine = {"mode": "flat", "price": "0.52830001"}
    steps = {"cycle": "month", "method": "adder", "bounds_kwh": ["10.000001"], "adders": ["0", "1"]}
    of = {
        "effective_from": "2026-01-01",
        "energy": fine,
        "ladder": steps,
        "fixed": {"monthly_yuan": "0.00001", "proration": "thirtieth"},
        "tax": {"mode": "exclusive", "rate": "0.0601"},
    }
    march = {date(2026, 3, day) for day in range(1, 20)}
    check([Story([of], {date(2026, 3, 3): {"total": Fraction(1, 10**8)}}, march)])


DEAR = {"mode": "flat", "price": "999.99999999"}
TAX = {"mode": "exclusive", "rate": "0.1234"}
THIRTIETH = {"monthly_yuan": "1", "proration": "thirtieth"}
LEAST = {"monthly_yuan": "0.00000001"}


@pytest.mark.parametrize(
    ("version", "kwh"),
    [
        ({"energy": DEAR}, "10000000.01"),
        ({"energy": DEAR, "tax": TAX}, "10000.01"),
        ({"energy": DEAR, "fixed": THIRTIETH, "minimum": {"monthly_yuan": "9"}}, "1200.01"),
        ({"energy": {"mode": "flat", "price": "0.12345679"}, "minimum": LEAST}, "0.30000001"),
        (
            {
                "energy": {"mode": "flat", "price": "0.46000001"},
                "tax": {"mode": "exclusive", "rate": "0.05"},
            },
            "12.00000001",
        ),
    ],
)
def test_products_that_64_bits_do_not_hold_are_exact(version: dict[str, Any], kwh: str) -> None:
    of = {"effective_from": "2026-01-01", **version}
    march = {date(2026, 3, day) for day in range(1, 32)}
    use = {date(2026, 3, 3): {"total": Fraction(kwh)}}
    check([Story([of], use, march), Story([of], {}, march)])


FINE = Fraction(1, 200)
STEEP = {"method": "price", "bounds_kwh": ["10"], "prices": ["1", "1000"]}
ALL_YEAR = [(date(2026, 1, 1), FINE / 10)]


@pytest.mark.parametrize(
    ("ladder", "account"),
    [
        ({"cycle": "year"}, {"elsewhere": {"2026": 10 - FINE}}),
        ({"cycle": "month"}, {"elsewhere": {"2026-02": 10 - FINE}}),
        ({"cycle": "month"}, {"bonuses": [(date(2026, 2, 1), FINE)]}),
        (
            {"cycle": "month"},
            {"bonuses": [(date(2026, 2, 1), FINE), (date(2026, 3, 1), (1 - FINE) / 10)]},
        ),
        ({"cycle": "year"}, {"bonuses": ALL_YEAR}),
        (
            {"cycle": "year", "partial_year": "months"},
            {
                "bonuses": [
                    (date(2026, 3, 1), Fraction(1, 1000)),
                    (date(2026, 12, 1), Fraction(991, 1000)),
                ],
                "last": date(2026, 11, 5),
            },
        ),
        (
            {"cycle": "year", "partial_year": "months"},
            {"bonuses": ALL_YEAR, "last": date(2026, 11, 5)},
        ),
    ],
)
def test_energy_finer_than_what_meters_show_counts(
    ladder: dict[str, str], account: dict[str, Any]
) -> None:
    of = {"effective_from": "2026-01-01", "ladder": {**STEEP, **ladder}}
    check([Story([of], {date(2026, 2, 3): {"total": Fraction("10.01")}}, **account)])


@pytest.mark.parametrize(
    "version",
    [
        {"minimum": {"monthly_yuan": "15.125"}},
        {"fixed": {"monthly_yuan": "31.155", "proration": "calendar"}},
        {"fixed": {"daily_yuan": "0.025"}},
        {"fixed": {"by_slab": {"1": ["31.155", "62.31"]}, "proration": "calendar"}},
        {"surcharges": [{"code": "fund", "per_kwh": "0.005"}]},
    ],
)
def test_each_amount_may_be_the_finest(version: dict[str, Any]) -> None:
    steps = {"cycle": "month", "method": "price", "bounds_kwh": ["10"], "prices": ["1", "2"]}
    of = {"effective_from": "2026-01-01", "ladder": steps, **version}
    march = {date(2026, 3, day) for day in range(1, 32)}
    check([Story([of], {date(2026, 3, 3): {"total": Fraction(3)}}, march)])


def test_a_bound_that_is_hit_above_which_all_is_re_priced_is_not_above_it() -> None:
    slab = {
        "cycle": "month",
        "method": "slab",
        "bounds_kwh": ["100", "200"],
        "prices": ["0.50", "0.60", "0.80"],
        "whole_above_kwh": "200",
    }
    of = {"effective_from": "2026-01-01", "ladder": slab}
    uses = [{date(2026, 2, 3): {"total": Fraction(kwh)}} for kwh in ("200", "200.01", "1")]
    elsewhere = {"2026-02": Fraction(200)}
    check([Story([of], uses[0]), Story([of], uses[1]), Story([of], uses[2], elsewhere=elsewhere)])


def test_a_residual_rate_below_zero_is_credited() -> None:
    energy = {"mode": "tou", "prices": {"peak": "0.5", "valley": "1.3"}}
    tax = {"mode": "exclusive", "rate": "0.15"}
    of = {"effective_from": "2026-01-01", "energy": energy, "tax": tax}
    registers = {"total": Fraction(0), "peak": Fraction(10), "valley": Fraction(-10)}
    check([Story([of], {date(2026, 2, 3): registers})])


def test_a_month_of_one_day_in_service_has_its_part_of_the_minimum() -> None:
    of = {"effective_from": "2026-01-01", "energy": FLAT, "minimum": {"monthly_yuan": "31"}}
    last = date(2026, 3, 31)
    check([Story([of], {}, [last], opened=last), Story([of], {}, [last])])


def test_days_before_the_first_version_are_of_none() -> None:
    tax = {"mode": "exclusive", "rate": "0.5"}
    versions = [
        {"effective_from": "2026-03-11", "energy": FLAT, "minimum": {"monthly_yuan": "31"}},
        {
            "effective_from": "2026-03-21",
            "energy": FLAT,
            "fixed": {"daily_yuan": "0.2"},
            "tax": tax,
        },
    ]
    closed = [date(2026, 3, day) for day in range(1, 32)]
    for count in (5, 15, 31):
        account: Account = (terms_of(Story(versions, {})), [], closed[:count])
        found = {
            what: fen.tolist() for what, fen in amounts_fen(month_of([account], MONTHS[1])).items()
        }
        expected = {
            stream.component: [rounded_fen(yuan)]
            for stream, yuan in amounts(*account).charged.items()
        }
        assert without_nothing(found) == without_nothing(expected)


def test_the_only_link_of_a_month_re_prices_what_others_billed_of_it() -> None:
    slab = {
        "cycle": "month",
        "method": "slab",
        "bounds_kwh": ["100"],
        "prices": ["0.50", "0.60"],
        "whole_above_kwh": "100",
    }
    of = {"effective_from": "2026-01-01", "ladder": slab}
    use = {date(2026, 2, 3): {"total": Fraction(10)}}
    check(
        [
            Story([of], use, elsewhere={"2026-02": Fraction(95)}),
            Story([of], {}, elsewhere={"2026-02": Fraction(105)}),
        ]
    )


def test_use_of_every_month_before_counts_in_a_ladder_by_year() -> None:
    year = {"cycle": "year", "method": "price", "bounds_kwh": ["15"], "prices": ["0.5", "1"]}
    of = {"effective_from": "2025-01-01", "ladder": year}
    days = (date(2025, 12, 3), date(2026, 1, 3), date(2026, 2, 3), date(2026, 3, 3))
    check([Story([of], {day: {"total": Fraction(10)} for day in days})])


def test_a_matrix_is_not_for_many() -> None:
    written = {
        "effective_from": "2026-01-01",
        "ladder": {
            "cycle": "year",
            "method": "matrix",
            "bounds_kwh": ["10"],
            "matrix": [{"peak": "1"}, {"peak": "2"}],
        },
    }
    version, _ = read_version(written, "T")
    assert version is not None
    assert not is_for_many(Versions((version,)))
    plain = replace(version, ladder=None)
    assert is_for_many(Versions((plain,)))
    assert not is_for_many(Versions((plain, version)))


SLAB = {
    "cycle": "month",
    "method": "slab",
    "bounds_kwh": ["100", "200"],
    "prices": ["0.50", "0.60", "0.80"],
    "whole_above_kwh": "0",
}


@settings(max_examples=25, deadline=None)
@given(seeds.map(neighbours))
def test_accounts_that_ask_for_the_same_closed_days_keep_their_own_terms(told: list[Story]) -> None:
    """What is the same of accounts is worked out once: nothing that differs may be shared."""
    closed = list(told[0].closed)
    check([replace(it, closed=closed) for it in told])


def test_each_difference_of_terms_makes_a_difference_beside_the_same_closed_days() -> None:
    of = {
        "effective_from": "2026-01-01",
        "ladder": {**SLAB, "whole_above_kwh": "100"},
        "fixed": {
            "by_slab": {"1": ["31", "62", "93"], "3": ["1", "2", "3"]},
            "proration": "calendar",
        },
    }
    closed = [date(2026, 3, day) for day in range(1, 32)]
    use = {date(2026, 3, 20): {"total": Fraction(101)}}
    first = date(2026, 3, 1)
    plain = Story([of], use, closed)
    check(
        [
            plain,
            replace(plain, opened=date(2026, 3, 11)),
            replace(plain, opened=date(2026, 3, 12)),
            replace(plain, opened=first),
            replace(plain, last=date(2026, 3, 21)),
            replace(plain, last=date(2026, 3, 21), opened=date(2026, 3, 11)),
            replace(plain, last=date(2026, 3, 21), opened=date(2026, 2, 11)),
            replace(plain, bonuses=[(first, Fraction(5))]),
            replace(plain, elsewhere={"2026-03": Fraction(100)}),
            replace(plain, phases=3),
        ]
    )


def test_who_closes_in_a_year_of_steps_counts_the_months_since_his_own_opening() -> None:
    year = {
        "cycle": "year",
        "method": "price",
        "bounds_kwh": ["12"],
        "prices": ["1", "3"],
        "partial_year": "months",
    }
    of = {"effective_from": "2026-01-01", "ladder": year}
    closed: list[date] = []
    use = {date(2026, 4, 3): {"total": Fraction(20)}}
    account = Story([of], use, closed, last=date(2026, 11, 20))
    check([replace(account, opened=date(2026, month, 2)) for month in (1, 2, 3)])


def test_accounts_of_the_same_terms_have_closed_days_of_their_own() -> None:
    of = {"effective_from": "2026-01-01", "energy": FLAT, "fixed": {"daily_yuan": "0.2"}}
    days = [date(2026, 3, day) for day in range(1, 32)]
    check([Story([of], {}, days), Story([of], {}, days[:7]), Story([of], {}, [])])


def test_a_bound_finer_than_any_use_is_kept_whole() -> None:
    steps = {"cycle": "month", "method": "price", "bounds_kwh": ["10.25"], "prices": ["1", "3"]}
    of = {"effective_from": "2026-01-01", "ladder": steps}
    check([Story([of], {date(2026, 2, 3): {"total": Fraction(11)}})])


@pytest.mark.parametrize(
    ("first", "kwh"), [({"energy": DEAR}, "100000000.01"), ({"energy": DEAR}, "9000000.01")]
)
def test_an_earlier_version_of_a_month_is_given_its_room_too(
    first: dict[str, Any], kwh: str
) -> None:
    versions = [
        {"effective_from": "2026-01-01", **first},
        {"effective_from": "2026-03-11", "energy": FLAT},
    ]
    use = {date(2026, 3, 3): {"total": Fraction(kwh)}, date(2026, 3, 20): {"total": Fraction(1)}}
    check([Story(versions, use)])


@pytest.mark.parametrize(
    ("version", "kwh"),
    [
        (
            {
                "energy": FLAT,
                "fixed": {"monthly_yuan": "999999.12345678", "proration": "thirtieth"},
                "tax": TAX,
            },
            "1",
        ),
        (
            {
                "energy": {"mode": "flat", "price": "0.4321"},
                "minimum": {"monthly_yuan": "0.0001"},
                "tax": TAX,
            },
            "16.12345679",
        ),
    ],
)
def test_tax_on_fees_and_on_fine_use_is_given_its_room(version: dict[str, Any], kwh: str) -> None:
    of = {"effective_from": "2026-01-01", **version}
    march = [date(2026, 3, day) for day in range(1, 32)]
    check([Story([of], {date(2026, 3, 3): {"total": Fraction(kwh)}}, march)])


def test_a_fee_of_an_earlier_version_is_given_its_room_too() -> None:
    large = {"monthly_yuan": "999999.12345678", "proration": "thirtieth"}
    versions = [
        {"effective_from": "2026-01-01", "energy": FLAT, "fixed": large, "tax": TAX},
        {"effective_from": "2026-03-11", "energy": FLAT, "fixed": THIRTIETH, "tax": TAX},
    ]
    march = [date(2026, 3, day) for day in range(1, 32)]
    check([Story(versions, {}, march), Story(versions, {}, march, opened=date(2026, 3, 2))])


def test_use_between_two_kinds_of_64_bits_stays_exact_beside_what_is_below_zero() -> None:
    energy = {"mode": "tou", "prices": {"peak": "0.01", "valley": "0.03"}}
    of = {"effective_from": "2026-01-01", "energy": energy}
    wide = Fraction("100000000000.00000001")
    day = date(2026, 2, 3)
    check(
        [
            Story([of], {day: {"total": wide, "peak": Fraction(0), "valley": wide}}),
            Story([of], {day: {"total": Fraction(0), "peak": Fraction(9), "valley": Fraction(-9)}}),
        ]
    )


def test_use_that_hits_a_bound_is_of_the_lower_slab() -> None:
    fees = {"1": ["31.01", "62.02", "93.03"]}
    of = {
        "effective_from": "2026-01-01",
        "ladder": SLAB,
        "fixed": {"by_slab": fees, "proration": "calendar"},
    }
    march = [date(2026, 3, day) for day in range(1, 32)]
    uses = ["99.99", "100", "100.01", "200", "200.01"]
    check([Story([of], {date(2026, 3, 3): {"total": Fraction(it)}}, march) for it in uses])


def test_use_as_dear_as_the_minimum_pays_none() -> None:
    of = {
        "effective_from": "2026-01-01",
        "energy": {"mode": "flat", "price": "1"},
        "minimum": {"monthly_yuan": "31"},
    }
    march = [date(2026, 3, day) for day in range(1, 32)]
    uses = [30, 31, 100]
    check([Story([of], {date(2026, 3, 3): {"total": Fraction(it)}}, march) for it in uses])


def test_a_minimum_that_is_of_no_day_of_the_month_makes_no_credit_dearer() -> None:
    energy = {"mode": "tou", "prices": {"peak": "0.5", "valley": "1.3"}}
    versions = [
        {"effective_from": "2026-01-01", "energy": energy},
        {"effective_from": "2026-03-01", "energy": energy, "minimum": {"monthly_yuan": "31"}},
    ]
    february = [date(2026, 2, day) for day in range(1, 29)]
    registers = {"total": Fraction(0), "peak": Fraction(10), "valley": Fraction(-10)}
    check([Story(versions, {date(2026, 2, 3): registers}, february)])


def test_a_minimum_is_taxed_by_the_version_of_the_last_day_alone() -> None:
    minimum = {"energy": FLAT, "minimum": {"monthly_yuan": "31"}}
    dear = {"mode": "exclusive", "rate": "0.5"}
    versions = [
        {"effective_from": "2026-01-01", **minimum},
        {"effective_from": "2026-03-31", **minimum, "tax": dear},
    ]
    check([Story(versions, {}, [date(2026, 3, day) for day in range(1, 32)])])


def test_days_before_the_first_version_are_days_in_service() -> None:
    fee = {"monthly_yuan": "31", "proration": "thirtieth"}
    versions = [{"effective_from": "2026-03-11", "energy": FLAT, "fixed": fee}]
    closed = [date(2026, 3, day) for day in range(1, 32)]
    account: Account = (terms_of(Story(versions, {})), [], closed)
    found = amounts_fen(month_of([account], MONTHS[1]))["fixed"].tolist()
    (stream,) = amounts(*account).charged.items()
    assert found == [rounded_fen(stream[1])] == [2_100]


@pytest.mark.parametrize("days", [1, 2])
def test_a_single_closed_day_asks_for_the_fee_of_its_phases(days: int) -> None:
    fixed = {"by_slab": {"1": ["31", "62", "93"]}, "proration": "calendar"}
    of = {"effective_from": "2026-01-01", "ladder": SLAB, "fixed": fixed}
    closed = [date(2026, 3, day) for day in range(1, days + 1)]
    with pytest.raises(NoPrice, match="has no fees of 3 phases"):
        amounts_fen(month_of_stories([Story([of], {}, closed, phases=3)], MONTHS[1]))
    assert amounts_fen(month_of_stories([Story([of], {}, [], phases=3)], MONTHS[1]))


def test_a_month_of_columns_is_that_of_its_accounts() -> None:
    year = {"cycle": "year", "method": "price", "bounds_kwh": ["10"], "prices": ["1", "2"]}
    versions = [
        {"effective_from": "2026-01-01", "ladder": year},
        {"effective_from": "2026-03-11", "energy": {"mode": "tou", "prices": {"peak": "1"}}},
        {"effective_from": "2026-03-21", "energy": FLAT},
    ]
    march = [date(2026, 3, day) for day in range(1, 20)]
    used = {
        date(2026, 2, 3): {"total": Fraction(7)},
        date(2026, 3, 3): {"total": Fraction(3)},
        date(2026, 3, 12): {"total": Fraction(5), "peak": Fraction(4)},
    }
    plain = Story(versions, used, march)
    other = Story(versions, {}, march, elsewhere={"2026": Fraction(9)}, phases=3)
    again = replace(plain, use={})
    told = [plain, other, again]
    use: dict[UseKey, Integers] = {
        (USE, 0, "total"): np.array([3, 0, 0]) * 10**8,
        (LINKED, 0): np.array([1, 0, 0]),
        (USE, 1, "total"): np.array([5, 0, 0]) * 10**8,
        (USE, 1, "peak"): np.array([4, 0, 0]) * 10**8,
        (LINKED, 1): np.array([1, 0, 0]),
        YEAR_BEFORE: np.array([7, 0, 0]) * 10**8,
    }
    found = month_of_columns(
        [terms_of(plain), terms_of(other)], np.array([0, 1, 0]), use, march, MONTHS[1]
    )
    assert numbers_of(found) == numbers_of(month_of_stories(told, MONTHS[1]))
    assert [found.linked[version].tolist() for version in (0, 2)] == [
        [True, False, False],
        [False, False, False],
    ]
    alone = month_of_columns([terms_of(plain)], np.array([0]), {}, march, MONTHS[1])
    assert numbers_of(alone) == numbers_of(month_of_stories([again], MONTHS[1]))


def numbers_of(month: Month) -> dict[str, Any]:
    return {
        it.name: numbers(getattr(month, it.name)) for it in fields(month) if it.name != "versions"
    }


def numbers(told: Any) -> Any:
    if isinstance(told, Mapping):
        return {key: numbers(it) for key, it in told.items()}
    return told.tolist() if isinstance(told, np.ndarray) else told


def test_the_slab_at_which_a_month_stands_is_told_of_each_ladder_by_month() -> None:
    year = {"cycle": "year", "method": "price", "bounds_kwh": ["10"], "prices": ["1", "2"]}
    steps = {"cycle": "month", "method": "price", "bounds_kwh": ["50"], "prices": ["1", "2"]}
    versions = [
        {"effective_from": "2026-01-01", "energy": FLAT},
        {"effective_from": "2026-03-02", "ladder": SLAB},
        {"effective_from": "2026-03-11", "ladder": year},
        {"effective_from": "2026-03-21", "ladder": steps},
    ]
    march = MONTHS[1]
    early, late = date(2026, 3, 3), date(2026, 3, 22)

    def using(**kwh: str) -> Story:
        days = {"plain": march, "slab": early, "year": date(2026, 3, 12), "steps": late}
        return Story(versions, {days[it]: {"total": Fraction(of)} for it, of in kwh.items()})

    told = [
        using(plain="300", year="300", slab="50"),
        using(slab="50", steps="50"),
        using(slab="50", steps="50.00000001"),
        replace(using(slab="51"), elsewhere={"2026-03": Fraction(150)}),
        replace(using(slab="55"), bonuses=[(march, Fraction(5))]),
        replace(using(slab="105", steps="0.01"), bonuses=[(march, Fraction(5))]),
    ]
    found = slabs_reached(month_of_stories(told, march))
    assert found.tolist() == [[0, 0, 1, 2, 0, 1], [0, 1, 1, 1, 0, 1]]
    assert found.dtype == np.int64, "no number is binary"


def test_a_slab_is_reached_by_the_last_decimal_of_large_use() -> None:
    steps = {"cycle": "month", "method": "price", "bounds_kwh": ["100000000"], "prices": ["1", "2"]}
    of = {"effective_from": "2026-01-01", "ladder": steps}
    uses = ["100000000", "100000000.00000001"]
    told = [Story([of], {date(2026, 3, 3): {"total": Fraction(it)}}) for it in uses]
    assert slabs_reached(month_of_stories(told, MONTHS[1])).tolist() == [[0, 1]]


def test_without_a_ladder_by_month_no_slab_is_told() -> None:
    of = {"effective_from": "2026-01-01", "energy": FLAT}
    told = [Story([of], {date(2026, 3, 3): {"total": Fraction(300)}})] * 3
    assert slabs_reached(month_of_stories(told, MONTHS[1])).shape == (0, 3)
