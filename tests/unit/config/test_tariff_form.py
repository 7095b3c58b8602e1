import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from config.tariff_form import DOES_IT, read_version
from config.tariff_version import Fixed, Ladder, Surcharge, TariffVersion

FLAT = {"mode": "flat", "price": "0.5"}
TOU: dict[str, Any] = {"mode": "tou", "prices": {"peak": "0.617", "valley": "0.307"}}
KERALA = {
    "cycle": "month",
    "method": "slab",
    "bounds_kwh": ["50", "100", "150", "200", "250", "300"],
    "prices": ["3.25", "4.05", "5.10", "6.95", "8.20", "6.40", "7.25"],
    "whole_above_kwh": "250",
}
STEPS = {"cycle": "month", "method": "price", "bounds_kwh": ["240"], "prices": ["0.4", "0.5"]}
SLABS = {**STEPS, "method": "slab", "whole_above_kwh": "240"}
ADDER = {"cycle": "year", "method": "adder", "bounds_kwh": ["240"], "adders": ["0", "0.1"]}
MATRIX = {
    "cycle": "year",
    "method": "matrix",
    "bounds_kwh": ["3120"],
    "matrix": [{"peak": "0.617", "valley": "0.307"}, {"peak": "0.677", "valley": "0.337"}],
}


def version(**keys: Any) -> dict[str, Any]:
    return {"effective_from": "2026-01-01", "energy": FLAT, **keys}


def mistakes(written: object) -> list[str]:
    found, wrong = read_version(written, "T")
    assert (found is None) == bool(wrong)
    return list(map(str, wrong))


@pytest.mark.parametrize(
    "written",
    [
        version(),
        version(energy=TOU),
        version(energy=TOU, ladder=MATRIX),
        version(ladder={**STEPS, "bounds_kwh": ["0.5"]}),
        version(energy={"mode": "flat", "price": "0.12345678"}),
        version(energy={"mode": "flat", "price": "0.1234567800"}),
        version(energy=TOU, ladder=STEPS),
        version(energy=TOU, ladder=ADDER),
        version(energy=FLAT, ladder=MATRIX),
        version(ladder=KERALA),
        version(ladder={**KERALA, "whole_above_kwh": "0", "prices": ["1"] * 6 + ["1.01"]}),
        version(ladder=KERALA, fixed={"by_slab": {"1": ["1"] * 7, "3": ["2"] * 7}}),
        version(fixed={"daily_yuan": "0.4366"}),
        version(minimum={"monthly_yuan": "15"}, tax={"mode": "exclusive", "rate": "0.15"}),
        {"effective_from": date(2026, 1, 1), "price": "0.5283"},
        {"effective_from": "2026-01-01", "ladder": STEPS},
        # It is of no use by month, where bounds are never scaled.
        version(ladder={**STEPS, "partial_year": "months"}),
        version(fixed={"monthly_yuan": "1000000"}, minimum={"monthly_yuan": "1000000"}),
        version(ladder={**STEPS, "bounds_kwh": ["1000000000"]}),
        version(ladder={**STEPS, "bounds_kwh": ["123456789"]}),
        version(ladder={**SLABS, "bounds_kwh": ["2000"], "whole_above_kwh": "2000"}),
        version(ladder=STEPS, fixed={"by_slab": {"1": ["1", "1000000"]}}),
        version(fixed={"daily_yuan": "1000000"}),
        version(effective_from="1990-01-01"),
        version(effective_from="2199-12-31", energy={"mode": "flat", "price": "1000"}),
        version(tax={"mode": "inclusive", "rate": "1"}),
        version(ladder=None, surcharges=None, fixed=None, minimum=None, tax=None),
        version(energy={"mode": "tou", "prices": {"T1": "1", "deep-valley": "0.2", "尖": "2"}}),
    ],
)
def test_what_money_md_describes_can_be_written(written: Mapping[str, Any]) -> None:
    assert mistakes(written) == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"ladder": {**KERALA, "cycle": "year"}}, "ladder.cycle: slabs are by month"),
        (
            {"ladder": {**KERALA, "whole_above_kwh": "251"}},
            "whole_above_kwh: must be one of bounds",
        ),
        ({"ladder": {**STEPS, "prices": ["0.4"]}}, "ladder.prices: 1 bounds make 2 steps"),
        ({"ladder": {**STEPS, "bounds_kwh": ["0"]}}, "ladder.bounds_kwh: must rise: 0"),
        (
            {"ladder": {**STEPS, "bounds_kwh": ["9", "9"], "prices": ["1", "2", "3"]}},
            "bounds_kwh: must rise: 9 comes after 9",
        ),
        (
            {"ladder": {**KERALA, "prices": ["3.25", "4.05", "5.10", "6.95", "8.20", "5.50", "9"]}},
            "ladder.prices.5: above 250 kWh the whole month costs less than at 250 kWh",
        ),
        (
            {
                "ladder": {
                    **KERALA,
                    "prices": ["3.25", "4.05", "5.10", "6.95", "8.20", "6.4", "6.3"],
                }
            },
            "ladder.prices.6: above 300 kWh",
        ),
        (
            {"ladder": {**KERALA, "whole_above_kwh": "0", "prices": ["2"] * 6 + ["1"]}},
            "ladder.prices.6: above 300 kWh",
        ),
        ({"energy": TOU, "ladder": KERALA}, "ladder: slabs and time of use do not go together"),
        (
            {"ladder": {**STEPS, "bounds_kwh": ["9", "9"]}},
            "ladder.prices: 2 bounds make 3 steps, here are 2",
        ),
        ({"fixed": {"monthly_yuan": "1", "daily_yuan": "1"}}, "fixed: must hold exactly one of"),
        ({"fixed": {}}, "fixed: must hold exactly one of"),
        (
            {"fixed": {"daily_yuan": "1", "proration": "calendar"}},
            "fixed.proration: a fee by the day",
        ),
        ({"fixed": {"by_slab": {"1": ["1", "2"]}}}, "fixed.by_slab: a fee by slab needs a ladder"),
        (
            {"ladder": {**STEPS, "cycle": "year"}, "fixed": {"by_slab": {"1": ["1", "2"]}}},
            "fixed.by_slab: a fee by slab needs a ladder by month",
        ),
        ({"ladder": STEPS, "fixed": {"by_slab": {"1": ["1"]}}}, "fixed.by_slab.1: 1 bounds make 2"),
        ({"ladder": STEPS, "fixed": {"by_slab": {"3": []}}}, "fixed.by_slab.3: 1 bounds make 2"),
        ({"ladder": {**MATRIX, "matrix": [{"peak": "1"}]}}, "ladder.matrix: 1 bounds make 2 steps"),
        ({"ladder": {**MATRIX, "matrix": []}}, "ladder.matrix: 1 bounds make 2 steps, here are 0"),
        ({"ladder": {**STEPS, "prices": []}}, "ladder.prices: 1 bounds make 2 steps, here are 0"),
        (
            {"ladder": STEPS, "fixed": {"by_slab": {"2": ["1", "2"]}}},
            "fixed.by_slab.2: unknown key",
        ),
        ({"energy": None}, "energy: has no price"),
        ({"energy": {"mode": "tou", "prices": {}}}, "energy.prices: names no rate"),
        (
            {"energy": {"mode": "tou", "prices": {"a b": "1"}}},
            "energy.prices.a b: 'a b' is not the name",
        ),
        (
            {"energy": {"mode": "tou", "prices": {"total": "1"}}},
            "energy.prices.total: 'total' is not the name",
        ),
        (
            {
                "energy": {"mode": "tou", "prices": {**TOU["prices"], "sharp": "1", "top": "2"}},
                "ladder": MATRIX,
            },
            "ladder.matrix: leaves without a price: sharp, top",
        ),
        (
            {"ladder": {**MATRIX, "matrix": [{"peak": "1"}, {"valley": "1"}]}},
            "ladder.matrix: every step must price the same rates",
        ),
        *(
            (
                {"surcharges": [{"code": code, "per_kwh": "1"}]},
                f"surcharges.0.code: {code} is the name of a component",
            )
            for code in ("energy", "tier", "fixed", "minimum", "tax", "compensation")
        ),
        ({"surcharges": [{"code": "a", "per_kwh": "1"}] * 2}, "surcharges.1.code: a comes twice"),
        ({"tax": {"mode": "exclusive", "rate": "15"}}, "tax.rate: 15 is more than 1"),
        ({"effective_from": "2026-01-01T12:00"}, "effective_from: must be a date, its 00:00"),
        ({"effective_from": datetime(2026, 1, 1)}, "effective_from: must be a date, its 00:00"),
        (
            {"energy": {"mode": "flat", "price": 0.5}},
            'energy.price: must be a number as a text, "0.5"',
        ),
        ({"energy": {"mode": "flat", "price": 1}}, "energy.price: must be a number as a text"),
        (
            {"energy": {"mode": "flat", "price": "0.53元/kWh"}},
            "energy.price: '0.53元/kWh' is not a number such as \"0.53\"",
        ),
        (
            {"energy": {"mode": "flat", "price": "53 kWh"}},
            "energy.price: '53 kWh' is not a number such as \"0.5283\"",
        ),
        ({"energy": {"mode": "flat", "price": "1_0.5"}}, "energy.price: '1_0.5' is not"),
        ({"energy": {"mode": "flat", "price": "-0.5"}}, "energy.price: '-0.5' is not"),
        ({"energy": {"mode": "flat", "price": "0.123456789"}}, "energy.price: has more than 8"),
        ({"energy": {"mode": "flat", "price": "1001"}}, "energy.price: 1001 is more than 1000"),
        (
            {"energy": {"mode": "flat", "prise": "1"}},
            "energy.prise: unknown key (did you mean price",
        ),
        ({"steps": []}, "steps: unknown key; write ladder = {"),
        ({"vat": "0.15"}, 'vat: unknown key; write tax = { mode = "exclusive", rate = "0.15" }'),
        ({"price": {"peak": "1"}, "energy": None}, "price: of rates: write energy"),
        ({"effective_to": "2026-06-30"}, "effective_to: unknown key; a version is in force until"),
        ({"from": "2026-01-01"}, "from: unknown key; write effective_from = 2026-01-01"),
        ({"effective_from": "0026-01-01"}, "effective_from: the year 26 is not between 1990 and"),
        ({"effective_from": "2200-01-01"}, "effective_from: the year 2200 is not between 1990 and"),
        ({"id": 7}, "id: must be a text, is 7"),
        ({"id": " "}, "id: must be a text, is ' '"),
        ({"id": "a\x1b[31m"}, "id: must be a text"),
        ({"tax": {"mode": "exclusive", "rate": "13%"}}, "'13%' is not a number such as \"0.13\""),
        ({"energy": {"mode": "flat", "price": ["1"]}}, "price: ['1'] is not a number"),
        ({"energy": {"mode": "flat", "price": True}}, "price: True is not a number"),
        ({"fixed": {"monthly_yuan": "1000000.01"}}, "monthly_yuan: 1000000.01 is more than"),
        ({"minimum": {"monthly_yuan": "1000001"}}, "monthly_yuan: 1000001 is more than"),
        (
            {"ladder": {**STEPS, "bounds_kwh": ["1000000000.5"]}},
            "bounds_kwh.0: 1000000000.5 is more than",
        ),
        (
            {"effective_from": "1989-12-31"},
            "effective_from: the year 1989 is not between 1990 and 2199",
        ),
        ({"energy": {**FLAT, "prices": {}}}, "energy.prices: unknown key (did you mean price?)"),
        ({"energy": {**TOU, "price": "1"}}, "energy.price: unknown key (did you mean prices?)"),
        ({"ladder": {**STEPS, "adders": []}}, "ladder.adders: unknown key"),
        ({"ladder": {**STEPS, "whole_above_kwh": "240"}}, "ladder.whole_above_kwh: unknown key"),
        ({"fixed": {"monthly_yuan": "1", "day": "2"}}, "fixed.day: unknown key"),
        ({"minimum": {"monthly_yuan": "1", "daily_yuan": "1"}}, "minimum.daily_yuan: unknown key"),
        ({"tax": {"mode": "exclusive", "rate": "0.1", "name": "VAT"}}, "tax.name: unknown key"),
        ({"surcharges": [{"code": "a", "per_kwh": "1", "of": 1}]}, "surcharges.0.of: unknown key"),
        ({"surcharges": [{"code": "a", "per_kwh": "1", "included": 1}]}, "included: must be true"),
        ({"surcharges": [{"code": "", "per_kwh": "1"}]}, "code: must be a word"),
        ({"surcharges": [{"code": "a:b", "per_kwh": "1"}]}, "code: must be a word"),
        ({"energy": {"mode": "tuo"}}, "energy.mode: must be flat or tou, is 'tuo'"),
        ({"energy": {"price": "1"}}, "energy.mode: must be flat or tou, is missing"),
        (
            {"ladder": {**STEPS, "method": "step"}},
            "method: must be price or adder or matrix or slab",
        ),
        ({"ladder": {**STEPS, "cycle": "day"}}, "ladder.cycle: must be year or month, is 'day'"),
        (
            {"ladder": {**STEPS, "partial_year": "x"}},
            "partial_year: must be full or months, is 'x'",
        ),
        (
            {"fixed": {"monthly_yuan": "1", "proration": "x"}},
            "proration: must be calendar or thirtieth, is 'x'",
        ),
        (
            {"ladder": {**STEPS, "prices": ["x", "1"]}},
            "prices.0: 'x' is not a number such as \"0.5283",
        ),
        ({"tax": {"mode": "added", "rate": "0.1"}}, "tax.mode: must be exclusive or inclusive"),
        ({"fixed": {"by_slab": {}}, "ladder": STEPS}, 'fixed.by_slab: must hold the fees of "1"'),
        ({"price": "0.5"}, "price: energy has a price already"),
        (
            {"energy": None, "ladder": ADDER},
            "energy: has no price",
        ),
        ({"surcharges": [{"code": "a b", "per_kwh": "1"}]}, "code: must be a word of letters"),
        ({"surcharges": {"code": "a"}}, "surcharges: must be a list; write surcharges = [{ code"),
        (
            {"ladder": {**MATRIX, "matrix": {"peak": ["1"]}}},
            "ladder.matrix: must be a list; write matrix = [{",
        ),
        ({"seasons": []}, "seasons: unknown key; a season is a version of its own"),
        ({"peak": ["06:00-22:00"]}, "peak: unknown key; the meter's own calendar"),
    ],
)
def test_what_is_refused_at_entry_says_where_and_what(keys: Mapping[str, Any], told: str) -> None:
    assert [line for line in mistakes(version(**keys)) if told in line], mistakes(version(**keys))


def test_every_key_is_read_as_what_it_says() -> None:
    found, _ = read_version(
        version(
            id="home-1",
            ladder={**STEPS, "partial_year": "months"},
            fixed={"by_slab": {"1": ["1", "2"], "3": ["3", "4"]}, "proration": "thirtieth"},
            minimum={"monthly_yuan": "15"},
            surcharges=[
                {"code": "fund", "per_kwh": "0.02"},
                {"code": "green", "per_kwh": "0.01", "included": True},
            ],
            tax={"mode": "inclusive", "rate": "0.13"},
        ),
        "home",
    )
    assert found == TariffVersion(
        "home-1",
        date(2026, 1, 1),
        {"total": Decimal("0.5")},
        Ladder(
            "month",
            "price",
            (Decimal(240),),
            (Decimal("0.4"), Decimal("0.5")),
            partial_year="months",
        ),
        (Surcharge("fund", Decimal("0.02")), Surcharge("green", Decimal("0.01"), True)),
        Fixed(
            by_slab={1: (Decimal(1), Decimal(2)), 3: (Decimal(3), Decimal(4))},
            proration="thirtieth",
        ),
        Decimal(15),
        included_tax_rate=Decimal("0.13"),
    )
    found, _ = read_version(
        version(fixed={"monthly_yuan": "40"}, tax={"mode": "exclusive", "rate": "0.06"}), "home"
    )
    assert found is not None
    assert found.fixed == Fixed(monthly_yuan=Decimal(40))
    assert (found.tax_rate, found.included_tax_rate) == (Decimal("0.06"), None)
    found, _ = read_version(
        version(fixed={"monthly_yuan": "40", "proration": "thirtieth"}, ladder=MATRIX), "home"
    )
    assert found is not None
    assert found.fixed == Fixed(monthly_yuan=Decimal(40), proration="thirtieth")
    rows = ({"peak": Decimal("0.617"), "valley": Decimal("0.307")},)
    assert found.ladder is not None
    assert found.ladder.matrix[:1] == rows
    assert found.ladder.partial_year == "full"


def test_every_mistake_is_told_at_once() -> None:
    assert mistakes(7) == [": must be a table"]
    wrong = mistakes({"effective_from": 7, "energy": {"mode": "flat"}, "minimum": {}, "vat": "1"})
    assert [line.split(":")[0] for line in wrong] == [
        "vat",
        "effective_from",
        "energy.price",
        "minimum.monthly_yuan",
    ]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (version(energy="0.5"), ["energy: must be a table; write energy = { mode ="]),
        (version(ladder="slab"), ["ladder: must be a table; write ladder = {"]),
        (version(fixed="40"), ['fixed: must be a table; write fixed = { monthly_yuan = "40"']),
        (
            version(minimum="15"),
            ['minimum: must be a table; write minimum = { monthly_yuan = "15"'],
        ),
        (version(tax="0.13"), ["tax: must be a table; write tax = { mode ="]),
        (version(surcharges=["fund"]), ["surcharges.0: must be a table"]),
        (version(fixed={"by_slab": 7}, ladder=STEPS), ["fixed.by_slab: must be a table"]),
        (version(energy={"mode": "tou"}), ["energy.prices: must be a table"]),
        (version(ladder={**STEPS, "bounds_kwh": [240]}), ["ladder.bounds_kwh.0: must be a number"]),
        (
            version(ladder={**STEPS, "bounds_kwh": "240"}),
            ['ladder.bounds_kwh: must be a list; write bounds_kwh = ["1", "2"]'],
        ),
        (version(ladder={**STEPS, "method": "step"}), ["ladder.method: must be price or"]),
        (
            version(ladder={**SLABS, "whole_above_kwh": None}),
            ['ladder.whole_above_kwh: is missing; a number as a text: "0.5283"'],
        ),
        ({"effective_from": "2026-01-01", "prices": {}}, ["prices: unknown key; write energy"]),
        ({"effective_from": "2026-01-01", "steps": []}, ["steps: unknown key; write ladder"]),
        (version(ladder={**STEPS, "bounds_kwh": []}), ["ladder.bounds_kwh: holds no bound"]),
        (
            version(ladder={**STEPS, "bounds_kwh": ["3", "2", "1"], "prices": ["1"] * 4}),
            ["ladder.bounds_kwh: must rise: 2 comes after 3"],
        ),
        (
            version(ladder={**STEPS, "bounds_kwh": "1"}, fixed={"by_slab": {"1": ["1", "2"]}}),
            ["ladder.bounds_kwh: must be a list"],
        ),
        (version(ladder={**STEPS, "prices": "1"}), ["ladder.prices: must be a list"]),
        (
            version(ladder=STEPS, fixed={"by_slab": {"1": "6"}}),
            ["fixed.by_slab.1: must be a list"],
        ),
    ],
)
def test_what_follows_from_a_mistake_is_no_further_one(written: object, told: list[str]) -> None:
    found = mistakes(written)
    assert len(found) == len(told), found
    assert all(line.startswith(begin) for line, begin in zip(found, told, strict=True)), found


def test_a_version_without_a_name_of_its_own_is_named_by_its_tariff_and_day() -> None:
    found, _ = read_version(version(), "home")
    assert found is not None
    assert (found.version_id, found.energy) == ("home@2026-01-01", {"total": Decimal("0.5")})


MEANT = {
    "write ladder = {": {"steps", "tiers", "blocks", "slabs"},
    "write energy = {": {"prices", "price_day", "price_night"},
    "the meter's own calendar tells rates apart; give their prices: energy = {": {
        *("sharp", "peak", "flat", "valley", "day", "night", "hours"),
    },
    "write tax = {": {"vat", "vat_rate", "tax_rate"},
    "write fixed = { monthly": {"fixed_per_month", "standing_per_month", "monthly_yuan"},
    "write fixed = { daily": {"fixed_per_day", "standing_per_day", "daily_yuan"},
    "write minimum = {": {"minimum_per_month", "minimum_yuan"},
    "write effective_from = ": {"from", "valid_from", "start", "since", "date"},
    "a version is in force until the next": {"effective_to", "valid_to", "to", "end", "until"},
    "a season is a version of its own, with": {"season", "seasons", "special_days"},
}


def test_a_key_of_other_systems_is_told_what_does_it_and_what_is_advised_can_be_written() -> None:
    assert {key for keys in MEANT.values() for key in keys} == {*DOES_IT}
    for begin, keys in MEANT.items():
        for key in keys:
            (told,) = mistakes(version(**{key: "1"}))
            assert told.startswith(f"{key}: unknown key; {begin}")
            assert mistakes(version(**written_in(told))) == []
    (told,) = mistakes(version(slabs="1"))
    assert written_in(told)["ladder"]["method"] == "slab"
    (told,) = mistakes(version(price_day="1"))
    assert [*written_in(told)["energy"]["prices"]] == ["day", "night"]


@pytest.mark.parametrize("key", ["energy", "ladder", "fixed", "minimum", "tax"])
def test_how_a_table_is_written_can_be_written(key: str) -> None:
    (told,) = mistakes(version(**{key: "1"}))
    for text in told.partition("; write ")[2].split(" or "):
        assert mistakes(version(**tomllib.loads(text))) == []


def written_in(told: str) -> dict[str, Any]:
    """What a mistake advises to write."""
    _, _, text = told.partition("; ")
    found = re.search("(?:write|prices:) (.*)", text)
    return tomllib.loads(found[1]) if found else {}
