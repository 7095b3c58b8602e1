"""The limit of a point follows from what its connection can carry, as exact arithmetic says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.archive import Point
from config.load import LoadedSite, load_site
from config.point_limit import Connection, limit_of
from tests.unit.config.test_site import GOOD, mistakes, write

NOTHING = Connection(Decimal(1), 1, None, None, None, None)


def numbers(least: str, most: str, places: int) -> st.SearchStrategy[Decimal | None]:
    return st.none() | st.decimals(least, most, places=places)


CONNECTIONS = st.builds(
    Connection,
    ratio=st.sampled_from([1, 10, 30, 80, 8000]).map(Decimal),
    phases=st.sampled_from([1, 3]),
    i_max_a=numbers("0.5", "200", 1),
    u_n_v=numbers("50", "1000", 1),
    contract_kw=numbers("0.1", "100000", 2),
    transformer_kva=numbers("0.1", "100000", 1),
)


def squared_kwh(it: Connection) -> dict[str, Fraction]:
    """The square of each limit by the column that it begins with: the root of 3 is none then."""
    margin = Fraction(12, 10)
    factor = (24 * margin) ** 2
    found = {}
    if it.i_max_a is not None:
        volts = it.u_n_v if it.u_n_v is not None else {1: 220, 3: 380}[it.phases]
        watts = Fraction(it.i_max_a) * Fraction(volts)
        found["i_max_a"] = it.phases * (watts / 1000) ** 2 * factor
    if it.contract_kw is not None:
        found["contract_kw"] = (Fraction(it.contract_kw) / Fraction(it.ratio)) ** 2 * factor
    if it.transformer_kva is not None:
        power = Fraction(it.transformer_kva) * margin / Fraction(it.ratio)
        found["transformer_kva"] = power**2 * factor
    return found


@given(CONNECTIONS, st.integers(1, 2000))
def test_it_is_the_smallest_of_what_is_known_to_three_digits(it: Connection, usual: int) -> None:
    known = squared_kwh(it)
    kwh, basis = limit_of(it, None, usual)
    if not known:
        assert (kwh, basis) == (Decimal(usual * it.phases), "quality.max_daily_kwh")
        return
    least = min(known.values())
    assert known[basis.split()[0]] == least
    half = Fraction(Decimal(5).scaleb(kwh.adjusted() - 3))
    assert (Fraction(kwh) - half) ** 2 <= least <= (Fraction(kwh) + half) ** 2
    assert len(kwh.normalize().as_tuple().digits) <= 3


@given(CONNECTIONS, st.decimals("0.01", "100000", places=2))
def test_what_is_told_counts(it: Connection, told: Decimal) -> None:
    assert limit_of(it, told, 380) == (told, "max_daily_kwh")


@given(CONNECTIONS, st.sampled_from(["i_max_a", "contract_kw", "transformer_kva"]))
def test_who_knows_less_is_not_limited_more(it: Connection, forgotten: str) -> None:
    less = Connection(**{**it._asdict(), forgotten: None})
    if squared_kwh(less):
        assert limit_of(less, None, 380).kwh >= limit_of(it, None, 380).kwh


@pytest.mark.parametrize(
    ("known", "kwh", "basis"),
    [
        ({}, "380", "quality.max_daily_kwh"),
        ({"phases": 3}, "1140", "quality.max_daily_kwh"),
        ({"i_max_a": Decimal(60)}, "380", "i_max_a 60, u_n_v 220, phases 1"),
        ({"i_max_a": Decimal(60), "phases": 3}, "1140", "i_max_a 60, u_n_v 380, phases 3"),
        (
            {"i_max_a": Decimal(6), "u_n_v": Decimal(100), "phases": 3},
            "29.9",
            "i_max_a 6, u_n_v 100, phases 3",
        ),
        ({"contract_kw": Decimal(8)}, "230", "contract_kw 8, ratio 1"),
        ({"contract_kw": Decimal(90), "ratio": Decimal(30)}, "86.4", "contract_kw 90, ratio 30"),
        (
            {"transformer_kva": Decimal(315), "ratio": Decimal(80)},
            "136",
            "transformer_kva 315, ratio 80",
        ),
    ],
)
def test_examples(known: dict[str, Any], kwh: str, basis: str) -> None:
    it = Connection(**{**NOTHING._asdict(), **known})
    assert limit_of(it, None, 380) == (Decimal(kwh), basis)


# --- in the files


def load(
    folder: Path, points: str, meterd: str = "", known: LoadedSite | None = None
) -> LoadedSite:
    return load_site(write(folder, points=points, meterd=GOOD["meterd.toml"] + meterd), known)


def only(site: LoadedSite) -> Point:
    (point,) = [it for it in site.archive.points if it.point == "P1"]
    return point


def test_columns_of_the_connection_make_the_limit(tmp_path: Path) -> None:
    head = "point,account,phases,i_max_a,u_n_v,contract_kw,transformer_kva,max_daily_kwh"
    for cells, kwh in (
        ("3,60,,,,", 1140),
        ("3,60,400,,,", 1200),
        ("3,60,,20,,", 576),
        ("3,60,,20,10,", 346),
        ("3,60,,20,10,500", 500),
        ("3,,,,,", 1140),
        (",,,,,", 380),
    ):
        site = load(tmp_path, f"{head}\nP1,A1,{cells}\nP2,A2,,,,,,\n")
        assert only(site).max_daily_kwh == kwh


def test_what_a_site_says_of_a_phase_is_looked_at_again(tmp_path: Path) -> None:
    points = "point,account,phases,i_max_a\nP1,A1,3,\nP2,A2,,60\n"
    before = load(tmp_path, points)
    after = load(tmp_path, points, "\n[quality]\nmax_daily_kwh = 500\n", before)
    assert [it.max_daily_kwh for it in before.archive.points] == [1140, 380]
    assert [it.max_daily_kwh for it in after.archive.points] == [1500, 380]
    again = load(tmp_path, points, "\n[quality]\nmax_daily_kwh = 500\n", after)
    assert again.archive.points is after.archive.points
    assert only(after) == replace(only(before), max_daily_kwh=Decimal(1500))


@pytest.mark.parametrize(
    ("column", "cell", "told"),
    [
        ("u_n_v", "60000", "60000 is not between 50 and 1000 V: write the voltage at the meter"),
        ("u_n_v", "60 kV", '"60 kV" is no number'),
        ("u_n_v", "0.22", "0.22 is not between 50 and 1000 V"),
        ("i_max_a", "5(60)", '"5(60)" is no number: write 60, the most that it carries'),
        ("i_max_a", "5（60）A", "is no number: write 60, the most that it carries"),
        ("i_max_a", "600", "600 is not between 0.5 and 200 A: write the most that the meter"),
        ("i_max_a", "0", "0 is not greater than zero"),
        ("contract_kw", "-8", "-8 is not greater than zero"),
        ("contract_kw", "0.01", "0.01 is not between 0.1 and 1000000 kW or kVA"),
        ("transformer_kva", "31500000", "31500000 is not between 0.1 and 1000000 kW or kVA"),
        ("phases", "2", '"2" is neither 1 nor 3'),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, column: str, cell: str, told: str) -> None:
    points = f"point,account,{column}\nP1,A1,{cell}\nP2,A2,\n"
    (mistake,) = mistakes(tmp_path, points=points)
    assert mistake.startswith(f"archive/points.csv:2: {column}: ")
    assert told in mistake


@pytest.mark.parametrize("value", ["0", "1000001", '"380"', "3.5"])
def test_a_default_that_cannot_be_meant_is_refused(tmp_path: Path, value: str) -> None:
    told = mistakes(tmp_path, meterd=f"{GOOD['meterd.toml']}\n[quality]\nmax_daily_kwh = {value}\n")
    assert len(told) == 1
    assert "quality.max_daily_kwh: " in told[0]
