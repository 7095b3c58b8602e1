"""The verifier of a bill, part by part: what it reads, what it reckons, and what it tells is wrong."""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from fractions import Fraction
from functools import partial
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.billing.proof import verify
from daemon.billing.proof.bill import Seals, bill_files
from daemon.billing.proof.verify import Fact, Ladder, Version, Wrong
from tests.unit.billing.test_bill_proof import bill_of_case, facts
from tests.unit.bills import Ledger

MISSING = "{} is missing, or not what it must be"


def wrong(call: Callable[[], object]) -> tuple[Any, ...]:
    with pytest.raises(Wrong) as caught:
        call()
    told = caught.value
    assert (told.place, told.message, told.values) == told.args
    assert told.message in verify.ZH
    return told.place, told.message, *told.values


def fact(**values: Any) -> Fact:
    return Fact("f:1", values)


# A line, and what is asked of it.


def test_what_is_told_is_read_as_what_it_is() -> None:
    told = fact(
        text="x",
        whole=7,
        yes=True,
        number="-1.50",
        numbers=["1", "2.5"],
        registers={"total": "1.00", "peak": "0"},
        day="2026-02-28",
        month="2026-02",
        instant="1970-01-02T01:00:00.000001+01:00",
        tables=[{"a": "b"}],
        none=None,
    )
    assert (told.text("text"), told.whole("whole"), told.number("number")) == (
        "x",
        7,
        Fraction(-3, 2),
    )
    assert (told.flag("yes"), told.flag("none"), told.flag("other")) == (True, False, False)
    assert (told.has("text"), told.has("none"), told.has("other")) == (True, False, False)
    assert told.numbers("numbers") == [1, Fraction(5, 2)]
    assert told.registers("registers") == {"total": 1, "peak": 0}
    assert (told.day("day"), told.month("month")) == (date(2026, 2, 28), date(2026, 2, 1))
    assert told.instant("instant") == verify.DAY_US + 1
    assert [it.text("a") for it in told.tables("tables")] == ["b"]
    assert (told.tables("none"), told.tables("tables")[0].place) == ([], "f:1")
    assert [fact(d=it).day("d").year for it in ("1970-01-01", "2199-12-31")] == [1970, 2199]


@pytest.mark.parametrize(
    ("values", "ask", "told"),
    [
        ({}, lambda it: it.text("k"), (MISSING, "k")),
        ({"k": 1}, lambda it: it.text("k"), (MISSING, "k")),
        ({"k": "1"}, lambda it: it.whole("k"), (MISSING, "k")),
        ({"k": True}, lambda it: it.whole("k"), (MISSING, "k")),
        ({"k": 0.0}, lambda it: it.whole("k"), (MISSING, "k")),
        ({"k": 1}, lambda it: it.flag("k"), (MISSING, "k")),
        ({"k": []}, lambda it: it.table("k"), (MISSING, "k")),
        ({"k": {}}, lambda it: it.tables("k"), (MISSING, "k")),
        ({"k": [1]}, lambda it: it.tables("k"), ("is not an object of JSON",)),
        ({"k": "1e3"}, lambda it: it.number("k"), ("{} is not a number", "k")),
        ({"k": "1" * 21}, lambda it: it.number("k"), ("{} is not a number", "k")),
        ({"k": 1}, lambda it: it.number("k"), (MISSING, "k")),
        ({"k": "1"}, lambda it: it.numbers("k"), (MISSING, "k")),
        ({"k": [1]}, lambda it: it.numbers("k"), (MISSING, "k")),
        ({"k": ["x"]}, lambda it: it.numbers("k"), ("{} is not a number", "k")),
        ({"k": {"total": 1}}, lambda it: it.registers("k"), (MISSING, "total")),
        ({"k": "2026-02-30"}, lambda it: it.day("k"), ("{} is not a date", "k")),
        ({"k": "1969-12-31"}, lambda it: it.day("k"), ("{} is not a date", "k")),
        ({"k": "2200-01-01"}, lambda it: it.day("k"), ("{} is not a date", "k")),
        ({"k": "2026-13"}, lambda it: it.month("k"), ("{} is not a date", "k")),
        *(
            (
                {"k": text},
                lambda it: it.instant("k"),
                ("{} is not an instant with its offset from UTC", "k"),
            )
            for text in ("2026-01-01T00:00:00", "noon")
        ),
        ({"k": "x"}, lambda it: verify.hash_in(it, "k"), ("{} is not a hash", "k")),
        ({"k": "A" * 64}, lambda it: verify.hash_in(it, "k"), ("{} is not a hash", "k")),
        ({"path": ["=" + "0" * 64]}, lambda it: verify.root_from(b"", it), (MISSING, "path")),
        ({"path": ["<" + "0" * 63]}, lambda it: verify.root_from(b"", it), (MISSING, "path")),
        ({"path": [1]}, lambda it: verify.root_from(b"", it), (MISSING, "path")),
        ({}, lambda it: verify.sent(it, ">l", 2**31), ("{} is too large", 2**31)),
        ({"k": ["1"]}, lambda it: verify.sent_list(it, "k", ">l", 23), (MISSING, "k")),
        (
            {},
            lambda it: verify.in_steps(it, Fraction(1, 1000), 2),
            ("{} is no register with {} decimals", 0.001, 2),
        ),
        (
            {},
            lambda it: verify.in_steps(it, Fraction(-1), 2),
            ("{} is no register with {} decimals", -1.0, 2),
        ),
    ],
)
def test_what_is_not_of_its_kind_is_told_with_its_place(
    values: dict[str, Any], ask: Callable[[Fact], object], told: tuple[object, ...]
) -> None:
    assert wrong(lambda: ask(fact(**values))) == ("f:1", *told)


def test_a_line_that_is_no_json_is_told() -> None:
    for line in (b"{", b"\xff", b"[" * 100_000):
        assert wrong(partial(verify.parsed, "f:1", line)) == ("f:1", "is not a line of JSON")


# The container.


def test_a_zip_is_read_as_far_as_it_goes() -> None:
    nameless = b"PK\3\4" + bytes(26)
    assert verify.unpacked(nameless) == {"": b""}
    assert verify.unpacked(nameless[:-1]) == verify.unpacked(bytes(40)) == {}
    whole = verify.packed({"é": b"x", "b": b""})
    assert verify.unpacked(whole) == {"?": b"x", "b": b""}
    assert verify.unpacked(whole.replace(b"?", b"\xff")) == {"\ufffd": b"x", "b": b""}
    squeezed = b"PK\3\4" + bytes(14) + b"\1" + bytes(11)
    assert verify.unpacked(whole[: whole.index(b"PK\1")] + squeezed) == verify.unpacked(whole)


def test_the_first_byte_that_is_not_as_it_was_made_is_told() -> None:
    files = {"a": b"0123456789"}
    right = verify.packed(files)
    verify.check_container("z", right, files)
    for place in range(len(right)):
        raw = right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :]
        told = wrong(partial(verify.check_container, "z", raw, files))
        assert told == ("z", "byte {} is damaged, or the zip was packed anew", place)
    for raw in (right[:-1], right + b"0"):
        told = wrong(partial(verify.check_container, "z", raw, files))
        assert told[-1] == min(len(raw), len(right))


def test_how_many_lines_are_as_they_were_made_is_told(tmp_path: Path) -> None:
    files = bill_files(bill_of_case("O01"))
    (tmp_path / "bill.zip").write_bytes(verify.packed(files))
    told: list[tuple[object, ...]] = []
    verify.verify(str(tmp_path / "bill.zip"), lambda *it: told.append(it))
    count = sum(len(files[name].splitlines()) for name in verify.NAMES[:-1])
    assert told[0] == ("{} lines of {} files are as they were made", count, 7)


def test_a_chinese_sentence_is_chinese_throughout() -> None:
    for told in verify.ZH.values():
        assert not re.search("[A-Za-z]", re.sub("JSON|whole_above_kwh", "", told)), told


# The tariff.

STEPS = {"cycle": "month", "method": "price", "bounds_kwh": ["50"], "prices": ["1", "2"]}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"method": "x"}, ("{} is no method of a ladder", "x")),
        ({"prices": ["1"]}, ("{} bounds make {} steps", 1, 2)),
        ({"prices": ["1", "2", "3"]}, ("{} bounds make {} steps", 1, 2)),
        ({"method": "matrix", "matrix": [{}]}, ("{} bounds make {} steps", 1, 2)),
        (
            {"method": "slab", "whole_above_kwh": "51"},
            ("whole_above_kwh is none of the bounds",),
        ),
        ({"prices": []}, ("{} bounds make {} steps", 1, 2)),
        ({"method": "adder"}, (MISSING, "adders")),
        ({"method": "slab"}, (MISSING, "whole_above_kwh")),
        ({"cycle": None}, (MISSING, "cycle")),
    ],
)
def test_a_ladder_that_can_not_be_is_told(change: dict[str, Any], told: tuple[object, ...]) -> None:
    assert wrong(lambda: Ladder(fact(**{**STEPS, **change}))) == ("f:1", *told)


def test_a_ladder_is_read_by_its_method_and_cycle() -> None:
    march = date(2026, 3, 1)
    steps: Any = Ladder(fact(**STEPS))
    assert (steps.place, steps.method, steps.bounds, steps.prices) == ("f:1", "price", [50], [1, 2])
    assert (steps.cycle(march), steps.scales_at_close, steps.whole_above) == (
        "2026-03",
        False,
        None,
    )
    yearly = Ladder(fact(**{**STEPS, "cycle": "year", "partial_year": "months"}))
    assert (yearly.cycle(march), yearly.scales_at_close) == ("2026", True)
    assert not Ladder(fact(**STEPS, partial_year="full")).scales_at_close
    assert Ladder(fact(**{**STEPS, "method": "adder"}, adders=["0", "3"])).prices == [0, 3]
    for whole in ("0", "50"):
        slab = Ladder(fact(**{**STEPS, "method": "slab"}, whole_above_kwh=whole))
        assert slab.whole_above == int(whole)
    matrix: Any = Ladder(
        fact(**{**STEPS, "method": "matrix"}, matrix=[{"peak": "1"}, {"peak": "2"}])
    )
    assert (matrix.matrix, matrix.prices) == ([{"peak": 1}, {"peak": 2}], [])


def version(**keys: Any) -> Any:
    return Version(fact(effective_from="2026-01-01", **keys))


def test_a_version_is_read_with_what_it_adds_and_without_what_it_includes() -> None:
    flat = {"mode": "flat", "price": "0.5"}
    told = version(energy=flat, tax={"mode": "exclusive", "rate": "0.15"})
    assert (told.place, told.start, told.energy) == (
        "f:1",
        date(2026, 1, 1),
        {"total": Fraction(1, 2)},
    )
    assert (told.tax_rate, told.rates(), told.ladder, told.fixed) == (
        Fraction(3, 20),
        [],
        None,
        None,
    )
    assert (told.minimum, told.surcharges) == (None, [])
    assert version(tax={"mode": "inclusive", "rate": "0.15"}).tax_rate == 0
    assert version().energy == {}
    assert version(minimum={"monthly_yuan": "15"}).minimum == 15
    added, included = {"code": "a", "per_kwh": "1"}, {"code": "b", "per_kwh": "2", "included": True}
    assert version(surcharges=[added, included]).surcharges == [("a", 1)]
    tou = {"mode": "tou", "prices": {"peak": "1", "valley": "0.5"}}
    assert version(energy=tou).rates() == ["peak", "valley"]
    adder = {**STEPS, "method": "adder", "adders": ["0", "1"]}
    assert version(energy=tou, ladder=adder).rates() == ["peak", "valley"]
    assert version(energy=tou, ladder=STEPS).rates() == []
    matrix = {**STEPS, "method": "matrix", "matrix": [{"peak": "1"}, {"peak": "2"}]}
    assert version(energy=flat, ladder=matrix).rates() == ["peak"]
    row = {**STEPS, "method": "matrix", "bounds_kwh": [], "matrix": [{"peak": "1"}]}
    assert version(energy=flat, ladder=row).rates() == ["peak"]


# What PostgreSQL hashed: a record as it sends it.


def test_a_line_is_hashed_as_the_database_did() -> None:
    name = fact(place=258, account=-3, name="é")
    assert verify.leaf_of(name) == bytes.fromhex(
        "0000000300000014 00000008 000000000000010200000017 00000004 fffffffd00000011 00000002 c3a9"
    )
    stream = fact(place=1, stream=2, month="2000-02", component="tax")
    assert verify.leaf_of(stream) == bytes.fromhex(
        "00000004"
        "00000014 00000008 0000000000000001"
        "00000017 00000004 00000002"
        "0000043a 00000004 0000001f"
        "00000011 00000003 746178"
    )
    transaction: dict[str, Any] = {
        "place": 1,
        "recorded_at": "2000-01-01T00:00:01.000002+00:00",
        "value_date": "1999-12-31",
        "kind": "k",
        "accounts": [5, -6],
        "fen": [-7, 7],
        "streams": [None, 8],
        "actor": None,
        "key": "a",
        "channel": "b",
        "content": "",
        "document": 9,
        "reverses": 10,
    }
    assert verify.leaf_of(fact(**transaction)) == bytes.fromhex(
        "0000000d"
        "00000014 00000008 0000000000000001"
        "000004a0 00000008 00000000000f4242"
        "0000043a 00000004 ffffffff"
        "00000011 00000001 6b"
        "000003ef 00000024 00000001 00000000 00000017 00000002 00000001"
        " 00000004 00000005 00000004 fffffffa"
        "000003f8 0000002c 00000001 00000000 00000014 00000002 00000001"
        " 00000008 fffffffffffffff9 00000008 0000000000000007"
        "000003ef 00000020 00000001 00000001 00000017 00000002 00000001"
        " ffffffff 00000004 00000008"
        "00000011 ffffffff"
        "00000011 00000001 61"
        "00000011 00000001 62"
        "00000011 00000000"
        "00000017 00000004 00000009"
        "00000014 00000008 000000000000000a"
    )
    by_person = {**transaction, "actor": "c"}
    assert bytes.fromhex("00000011 00000001 6300000011 00000001 61") in verify.leaf_of(
        fact(**by_person)
    )
    bare = {**transaction, "streams": None, "document": None, "reverses": None}
    assert verify.leaf_of(fact(**bare))[-16:] == bytes.fromhex(
        "00000017 ffffffff 00000014 ffffffff"
    )


# The bill: each contradiction is told with its line, its reason and what it is about.


def told_wrong(name: str, change: Callable[[list[Any]], object]) -> tuple[Any, ...]:
    """What is wrong with the bill of a case once its facts were changed."""
    files = bill_files(bill_of_case(name))
    lines = [json.loads(line) for line in files["bill.jsonl"].splitlines()]
    change(lines)
    files["bill.jsonl"] = "".join(json.dumps(line) + "\n" for line in lines).encode()
    place, *told = wrong(lambda: verify.verify_files(files, lambda *_: None))
    number = int(place.removeprefix("bill.jsonl:"))
    return lines[number - 1]["fact"], *told


def first(kind: str, **change: Any) -> Callable[[list[Any]], object]:
    return lambda lines: facts(lines, fact=kind)[0].update(change)


def last(kind: str, **change: Any) -> Callable[[list[Any]], object]:
    return lambda lines: facts(lines, fact=kind)[-1].update(change)


def dropped(kind: str) -> Callable[[list[Any]], object]:
    def drop(lines: list[Any]) -> None:
        lines[:] = [it for it in lines if it["fact"] != kind]

    return drop


def doubled(kind: str, **change: Any) -> Callable[[list[Any]], object]:
    def double(lines: list[Any]) -> None:
        found = facts(lines, fact=kind)[-1]
        lines.insert(lines.index(found) + 1, {**found, **change})

    return double


TOLD = {"registers": {"total": "1.00"}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (first("bill", format=2), ("bill", "is not of format {}", 1)),
        (doubled("bill"), ("bill", "must hold one line of the kind {}", "bill")),
        (dropped("balance"), ("bill", "must hold one line of the kind {}", "balance")),
        (
            dropped("utc_offset"),
            ("bill", "the offsets of the zone are missing, or out of order"),
        ),
        (
            doubled("utc_offset", **{"from": "1980-01-01T00:00:00+00:00"}),
            ("bill", "the offsets of the zone are missing, or out of order"),
        ),
        (doubled("tariff"), ("tariff", "the versions of the tariff are out of order")),
        (
            dropped("tariff"),
            ("link", "no version of the tariff is in force on {}", date(2026, 3, 1)),
        ),
        (first("meter", decimals=9), ("meter", MISSING, "decimals")),
        (first("meter", decimals=-1), ("meter", MISSING, "decimals")),
        (
            first("meter", decimals=1),
            ("link", "{} is no register with {} decimals", 1007.31, 1),
        ),
        (
            doubled("reading", **TOLD),
            ("reading", "the meter told something else at the same instant"),
        ),
        (first("link", meter=2), ("link", "there is no meter {}", 2)),
        (
            first("link", begins={"total": "1000.01"}),
            ("link", "{} is not what the meter told then", "begins"),
        ),
        (
            last("link", ends={"total": "1018.66"}),
            ("link", "{} is not what the meter told then", "ends"),
        ),
        (
            first("link", ends={}),
            ("link", "begins and ends do not hold the same registers"),
        ),
        (
            first("link", begins={}, ends={}),
            ("link", "begins and ends do not hold the same registers"),
        ),
        (
            first("link", **{"from": "2026-03-01T00:00:00.000001+08:00"}),
            ("link", "{} is not what the meter told then", "begins"),
        ),
        (doubled("link"), ("link", "begins before the link before it ends")),
        (
            first("link", held="span"),
            ("charge", "the registers make {} yuan of it, not {}", "5.99", "9.85"),
        ),
        (
            last("link", held="span"),
            ("charge", "the registers make {} yuan of it, not {}", "6.38", "9.85"),
        ),
        (
            first("charge", fen=984),
            ("charge", "the registers make {} yuan of it, not {}", "9.85", "9.84"),
        ),
        (
            first("charge", month="2026-02"),
            ("charge", "{} yuan were posted of it, not {}", "0.00", "9.85"),
        ),
        (dropped("charge"), ("bill", "there is no charge {} of {}", "energy", "2026-03")),
        (
            first("balance", charged_fen=1),
            ("balance", "{} must be {}, is {}", "charged_fen", 985, 1),
        ),
        (first("balance", others_fen=1), ("balance", "{} must be {}, is {}", "others_fen", 0, 1)),
        (
            first("balance", opening_fen=10_001),
            ("balance", "{} must be {}, is {}", "closing_fen", 9_016, 9_015),
        ),
    ],
)
def test_a_fact_that_contradicts_another_is_told_with_its_reason(
    change: Callable[[list[Any]], object], told: tuple[object, ...]
) -> None:
    assert told_wrong("O01", change) == told


def test_a_register_that_went_back_further_than_it_rolls_over_is_told() -> None:
    def back(lines: list[Any]) -> None:
        begins, ends = facts(lines, fact="reading")[-2:]
        facts(lines, fact="meter")[0]["modulus"] = "1000.00"
        ends["registers"] = facts(lines, fact="link")[-1]["ends"] = {"total": "12.07"}
        assert begins["registers"] == {"total": "1012.08"}

    assert told_wrong("O01", back) == ("link", "the register {} went back", "total")


@pytest.mark.parametrize(
    ("rates", "residual", "name"),
    [
        (["peak"], None, "valley"),
        (["peak", "valley", "sharp"], None, "sharp"),
        (["peak"], "x", "valley"),
    ],
)
def test_a_rate_without_a_register_or_a_price_is_told(
    rates: list[str], residual: str | None, name: str
) -> None:
    tou = version(energy={"mode": "tou", "prices": {"peak": "1", "valley": "2"}})
    steps = {"total": 5, **dict.fromkeys(rates, 2)}
    link = verify.Link("f:7", "P1", 0, 10, Fraction(1), steps, held=False)
    told = wrong(lambda: verify.priced_registers(link, steps, tou, residual))
    assert told == ("f:7", "the rate {} has no register, or no price", name)


def test_a_price_of_a_rate_that_was_not_used_is_told() -> None:
    told = wrong(lambda: verify.at_prices("f:7", {"peak": Fraction(1)}, {"total": Fraction(5)}))
    assert told == ("f:7", "the rate {} has no register, or no price", "peak")


def test_a_matrix_that_is_no_register_is_told_with_its_place() -> None:
    rows = {"bounds_kwh": ["50"], "matrix": [{"peak": "x"}, {"peak": "7"}]}
    told = wrong(lambda: Ladder(fact(method="matrix", cycle="year", **rows)))
    assert told[0] == "f:1"


def test_a_charge_that_registers_make_and_nobody_posted_is_missed() -> None:
    bill = verify.Bill(verify.facts_of("bill.jsonl", bill_files(bill_of_case("O01"))["bill.jsonl"]))
    bill.by_kind["charge"] = []
    owed = {(date(2026, 3, 1), "energy"): Fraction(1)}
    told = wrong(lambda: verify.check_postings(bill, owed, [], lambda *_: None))
    assert told[1:] == ("there is no charge {} of {}", "energy", "2026-03")


def test_an_offset_counts_from_its_instant_on() -> None:
    told = bill_of_case("O01")
    files = bill_files(replace(told, zone=ZoneInfo("Europe/Berlin")))
    bill = verify.Bill(verify.facts_of("bill.jsonl", files["bill.jsonl"]))
    (_, winter), (changes, summer) = bill.offsets
    assert [bill.offset(it) for it in (changes - 1, changes)] == [winter, summer]


def test_a_fee_by_slab_needs_a_ladder_with_as_many_steps() -> None:
    def without(lines: list[Any]) -> None:
        del facts(lines, fact="tariff")[0]["version"]["ladder"]

    def short(lines: list[Any]) -> None:
        facts(lines, fact="tariff")[0]["version"]["fixed"]["by_slab"]["3"] = ["1"]

    assert told_wrong("O46", without) == ("tariff", "a fee by slab needs a ladder")
    assert told_wrong("O46", short) == ("tariff", "{} bounds make {} steps", 2, 3)


def bill(*more: dict[str, Any]) -> verify.Bill:
    """Of April, with the terms that are told; the site is in Shanghai."""
    head = {"fact": "bill", "format": 1, "account": "A", "month": "2026-04", "phases": 1}
    zone = {"fact": "utc_offset", "from": "2026-01-01T00:00:00+00:00", "seconds": 28_800}
    return verify.Bill([Fact(f"f:{it}", told) for it, told in enumerate([head, zone, *more], 1)])


def tariff(start: str, **terms: Any) -> dict[str, Any]:
    return {"fact": "tariff", "version": {"effective_from": start, **terms}}


def instant(text: str) -> int:
    return Fact("", {"at": f"2026-{text}+08:00"}).instant("at")


FLAT = {"mode": "flat", "price": "1"}
APRIL, MAY = date(2026, 4, 1), date(2026, 5, 1)


def test_versions_out_of_order_are_told_with_the_line_of_the_first() -> None:
    told = wrong(lambda: bill(tariff("2026-02-01"), tariff("2026-01-01")))
    assert told == ("f:3", "the versions of the tariff are out of order")


def test_use_that_was_agreed_is_of_the_residual_rate_of_its_point() -> None:
    point = {"fact": "point", "point": "P1", "rates": ["peak", "flat"], "residual_rate": "flat"}
    agreed = {"fact": "link", "agreed_kwh": "6.5", "from": "2026-04-01T00:00:00+08:00"}
    agreed["to"] = agreed["from"]
    tou = {"mode": "tou", "prices": {"peak": "1", "flat": "2"}}
    of_one, of_other = ({**agreed, "point": it} for it in ("P1", "P2"))
    told = bill(tariff("2026-01-01", energy=tou), point, of_one, of_other)
    links = verify.links_of(told)
    assert [it.steps for it in links] == [{"peak": 0, "flat": 0, "total": 65}, {"total": 65}]
    (part,) = verify.parts_of(told, links[:1])
    assert part.kwh == {"total": Fraction(13, 2), "peak": 0, "flat": Fraction(13, 2)}
    point["residual_rate"] = ["flat"]
    assert wrong(lambda: verify.parts_of(told, links)) == ("f:4", MISSING, "residual_rate")


def test_a_begin_with_too_many_decimals_is_told() -> None:
    meter = verify.Meter("P1", Fraction(1), 2, 100_000)
    told = fact(begins={"total": "1.001"}, ends={"total": "2.00"})
    message = "{} is no register with {} decimals"
    assert wrong(lambda: verify.advanced(told, meter, 1, 5)) == ("f:1", message, 1.001, 2)


def test_a_link_is_cut_where_a_month_or_a_version_starts_and_nowhere_else() -> None:
    spans = [
        ("P1", "04-09T00:00:00", "04-13T00:00:00", 40),
        ("P1", "04-30T12:00:00", "05-01T12:00:00", 24),
        ("P2", "04-29T00:00:00", "05-01T00:00:00", 8),
        ("P3", "04-09T00:00:00", "04-10T00:00:00", 7),
    ]
    links = [
        verify.Link("f:1", point, instant(start), instant(end), Fraction(1), {"total": kwh}, False)
        for point, start, end, kwh in spans
    ]
    told = bill(tariff("2026-01-01", energy=FLAT), tariff("2026-04-12", energy=FLAT))
    assert verify.parts_of(told, links) == [
        verify.Part(APRIL, 0, instant("04-09T00:00:00"), {"total": Fraction(30)}),
        verify.Part(APRIL, 0, instant("04-09T00:00:00"), {"total": Fraction(7)}),
        verify.Part(APRIL, 1, instant("04-12T00:00:00"), {"total": Fraction(10)}),
        verify.Part(APRIL, 1, instant("04-29T00:00:00"), {"total": Fraction(8)}),
        verify.Part(APRIL, 1, instant("04-30T12:00:00"), {"total": Fraction(12)}),
        verify.Part(MAY, 1, instant("05-01T00:00:00"), {"total": Fraction(12)}),
    ]


@pytest.mark.parametrize(
    ("partial_year", "last_day", "bound"),
    [
        ("months", None, 120 + 9 * 5),
        ("months", "2025-12-31", 120 + 9 * 5),
        ("full", "2026-06-30", 120 + 9 * 5),
        ("months", "2026-06-30", 60 + 3 * 5),
    ],
)
def test_the_steps_of_a_year_are_scaled_where_it_ends_and_the_tariff_says_so(
    partial_year: str, last_day: str | None, bound: int
) -> None:
    bonus = {"fact": "bonus", "from": "2026-03-02", "kwh_per_month": "5"}
    told = bill(bonus)
    told.last_day = date.fromisoformat(last_day) if last_day else None
    yearly = {**STEPS, "cycle": "year", "bounds_kwh": ["120"], "partial_year": partial_year}
    assert told.bounds(Ladder(fact(**yearly)), APRIL) == [bound]


def test_steps_without_a_price_of_a_rate_are_told_with_the_place_of_the_ladder() -> None:
    rows = [{"peak": "1"}, {"valley": "1"}]
    ladder = Ladder(fact(**{**STEPS, "method": "matrix"}, matrix=rows))
    kwh = {"total": Fraction(0), "peak": Fraction(5)}
    for before, after in ((Fraction(60), Fraction(60)), (Fraction(40), Fraction(60))):
        told = wrong(partial(verify.at_matrix, ladder, ladder.bounds, before, after, kwh))
        assert told == ("f:1", "the rate {} has no register, or no price", "valley")


def test_what_a_kwh_costs_changes_above_the_bound_that_is_named_alone() -> None:
    slab = {"method": "slab", "bounds_kwh": ["50", "100"], "prices": ["1", "2", "3"]}
    ladder = Ladder(fact(**{**STEPS, **slab}, whole_above_kwh="100"))
    costs = [
        verify.slab_cost(ladder, ladder.bounds, it, it) for it in (Fraction(100), Fraction(101))
    ]
    assert costs == [150, 303]


def test_the_fixed_fee_and_the_minimum_are_of_the_versions_of_their_days() -> None:
    last = {"fixed": {"daily_yuan": "2"}, "minimum": {"monthly_yuan": "900"}}
    told = bill(tariff("2026-01-01", minimum=None), tariff("2026-04-30", **last))
    served = set(verify.days_of(APRIL))
    lines: verify.Lines = defaultdict(Fraction)
    for component, yuan in (("energy", 3), ("tier", 4), ("tax", 50)):
        lines[APRIL, 0, component] = Fraction(yuan)
    verify.price_days(told, APRIL, served, {}, lines)
    assert lines[APRIL, 1, "fixed"] == 2
    assert lines[APRIL, 1, "minimum"] == 30 - 3 - 4 - 2
    assert len(lines) == 5


def test_without_a_minimum_nothing_is_missing_to_it() -> None:
    lines: verify.Lines = defaultdict(Fraction, {(APRIL, 0, "energy"): Fraction(-5)})
    verify.price_days(bill(tariff("2026-01-01")), APRIL, set(verify.days_of(APRIL)), {}, lines)
    assert [*lines] == [(APRIL, 0, "energy")]


def test_a_fee_by_slab_of_a_month_without_use_is_that_of_the_first() -> None:
    fees = {"by_slab": {"1": ["3", "8"]}}
    told = bill(tariff("2026-01-01", fixed=fees, ladder=STEPS))
    assert verify.monthly_fee(told, 0, APRIL, {}) == 3


@pytest.mark.parametrize(
    ("steps", "shares"), [(3, [0, 1, 2, 2, 3]), (-3, [0, -1, -1, -2, -3]), (0, [0, 0, 0, 0, 0])]
)
def test_a_link_is_shared_out_by_time_half_up(steps: int, shares: list[int]) -> None:
    link = verify.Link("f:1", "P1", 100, 104, Fraction(1), {}, held=False)
    assert [verify.share(steps, link, 100 + it) for it in range(5)] == shares


@pytest.mark.parametrize(
    ("exact", "text"),
    [
        (Fraction(0), "0.00"),
        (Fraction(1), "1.00"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(1, 3), "0.33333333..."),
        (Fraction(5, 10**39), "0." + "0" * 38 + "5"),
        (Fraction(5, 10**40), "0.00000000..."),
    ],
)
def test_an_exact_amount_is_written_with_all_its_decimals(exact: Fraction, text: str) -> None:
    assert verify.decimal(exact) == text


@pytest.mark.parametrize(
    ("fen", "text"), [(0, "0.00"), (5, "0.05"), (-5, "-0.05"), (12345, "123.45"), (-100, "-1.00")]
)
def test_fen_are_written_as_money(fen: int, text: str) -> None:
    assert verify.yuan(fen) == text


def test_a_block_that_was_published_is_compared_and_told() -> None:
    told: list[tuple[object, ...]] = []
    blocks = {3: b"\xab" * 32}
    bill = verify.Verified("A", date(2026, 3, 1), 0, 0, blocks)
    verify.check_published(bill, "3:" + "AB" * 32, lambda *it: told.append(it))
    assert told == [("the hash of block {} is the published one", "3")]
    for published, reason in (
        ("4:" + "ab" * 32, "the chain does not hold block {}"),
        ("3:" + "ac" * 32, "block {} has another hash than was published"),
        ("3:" + "ab" * 32 + ":", "block {} has another hash than was published"),
    ):
        found = wrong(partial(verify.check_published, bill, published, print))
        assert found == ("seals.jsonl", reason, published[0])


def test_bills_of_one_account_that_follow_each_other_hand_on_the_balance() -> None:
    told: list[tuple[object, ...]] = []
    first = verify.Verified("A", date(2026, 12, 1), 0, 5, {})
    second = first._replace(month=date(2027, 1, 1), opening_fen=5)
    verify.check_followed([first, second], lambda *it: told.append(it))
    assert told == [("{} opens with the balance of {}", "2027-01", "2026-12")]
    other = second._replace(opening_fen=6)
    found = wrong(lambda: verify.check_followed([first, other], print))
    assert found == ("A", "{} does not open with the balance of {}", "2027-01", "2026-12")
    verify.check_followed([first, other._replace(account="B")], print)
    before = first._replace(account="0")
    assert wrong(lambda: verify.check_followed([before, first, other], print)) == found
    verify.check_followed([first, other._replace(month=date(2027, 2, 1))], print)


def test_what_is_right_is_told_line_by_line() -> None:
    told: list[str] = []
    verify.verify_files(
        bill_files(bill_of_case("O01")),
        lambda message, *values: told.append(message.format(*values)),
    )
    head = bill_of_case("O01").seals.head
    assert told == [
        f"3 transactions are sealed before {head.head.number}:{head.hash.hex()}",
        "3 links join what the meters told; 2026-03: 18.65 kWh",
        "2026-03 energy: the registers make 9.852795 yuan, 9.85 were posted",
        "balance 100.00 + 0.00 paid - 9.85 charged = 90.15 yuan",
    ]


def test_what_was_posted_to_another_account_is_told() -> None:
    files = bill_files(replace(bill_of_case("O01"), account="1"))
    place, *told = wrong(lambda: verify.verify_files(files, lambda *_: None))
    assert place.startswith("transactions.jsonl:")
    assert told == ["is not of account {}", "1"]


ENERGY = date(2026, 3, 1), "energy"


def posted(*fen: int) -> list[verify.Transaction]:
    legs = [verify.Leg("revenue:energy", it, ENERGY) for it in fen]
    return [verify.Transaction("f:9", date(2026, 3, 5), legs)]


def test_what_was_posted_is_told_where_it_is_not_what_registers_make() -> None:
    told = bill_of_case("O01")
    found = verify.Bill(verify.facts_of("bill.jsonl", bill_files(told)["bill.jsonl"]))
    owed = {ENERGY: Fraction("9.852795")}
    place, *why = wrong(lambda: verify.check_postings(found, owed, posted(984), lambda *_: None))
    assert place == found.by_kind["charge"][0].place
    assert why == ["{} yuan were posted of it, not {}", "9.84", "9.85"]
    found.by_kind["charge"] = []
    place, *why = wrong(lambda: verify.check_postings(found, {}, posted(1), lambda *_: None))
    assert why == ["there is no charge {} of {}", "energy", "2026-03"]
    verify.check_postings(found, {}, posted(5, -5), lambda *_: None)


def test_a_component_of_nothing_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = bill_files(bill_of_case("O01"))["bill.jsonl"].splitlines()
    number = next(it for it, line in enumerate(lines) if b'"fact": "charge"' in line)
    none = json.dumps({**json.loads(lines[number]), "component": "x", "fen": 0}).encode() + b"\n"
    files = changed("bill.jsonl", lambda it: it.insert(number, none))
    verify.verify_files(files, lambda message, *values: print(message.format(*values)))
    assert "2026-03 x: the registers make 0.00 yuan, 0.00 were posted" in capsys.readouterr().out


# The files: each message with the line that it is about.


def changed(name: str, change: Callable[[list[bytes]], object]) -> dict[str, bytes]:
    """The files of O01, of one of which the lines are changed."""
    files = bill_files(bill_of_case("O01"))
    lines = files[name].splitlines(keepends=True)
    change(lines)
    return {**files, name: b"".join(lines)}


def cut_end(lines: list[bytes]) -> None:
    lines[-1] = lines[-1].removesuffix(b"\n")


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("manifest.jsonl", lambda it: it.pop(), ("manifest.jsonl:6", "the line is missing")),
        ("manifest.jsonl", lambda it: it.clear(), ("manifest.jsonl:1", "the line is missing")),
        (
            "manifest.jsonl",
            lambda it: it.reverse(),
            ("manifest.jsonl:1", "must be about {}", "README.txt"),
        ),
        (
            "manifest.jsonl",
            lambda it: it.append(it[0]),
            ("manifest.jsonl:7", "the line is damaged"),
        ),
        ("manifest.jsonl", cut_end, ("manifest.jsonl:6", "the line is damaged")),
        (
            "transactions.jsonl",
            lambda it: it.append(it[0]),
            ("transactions.jsonl:7", "the line is damaged"),
        ),
        (
            "transactions.jsonl",
            lambda it: it.pop(),
            ("transactions.jsonl:5", "the file is damaged here, or cut off"),
        ),
        (
            "transactions.jsonl",
            cut_end,
            ("transactions.jsonl:6", "the file is damaged here, or cut off"),
        ),
    ],
)
def test_a_file_that_is_not_as_the_manifest_says_is_told(
    name: str, change: Callable[[list[bytes]], object], told: tuple[object, ...]
) -> None:
    assert wrong(lambda: verify.check_manifest(changed(name, change))) == told


def checked(told: bytes) -> bytes:
    """A line of the manifest behind which its own hash stands, as that of a forger does."""
    return told + b', "check": "' + verify.short_hash(told, 16) + b'"}\n'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (checked(b'{"file"'), ("manifest.jsonl:1", "is not a line of JSON")),
        (checked(b'{"lines": ""'), ("manifest.jsonl:1", MISSING, "file")),
        (
            checked(checked(b'{"file": "README.txt"').removesuffix(b"}\n")),
            ("manifest.jsonl:1", "the line is damaged"),
        ),
        (
            checked('{"file": "README.txt", "lines": "é"'.encode()),
            ("README.txt:1", "the line is damaged"),
        ),
    ],
)
def test_a_line_of_the_manifest_that_fits_its_own_hash_is_read(
    line: bytes, told: tuple[object, ...]
) -> None:
    files = changed("manifest.jsonl", lambda it: it.__setitem__(0, line))
    assert wrong(lambda: verify.check_manifest(files)) == told


def test_what_no_text_can_be_is_hashed_as_something_else() -> None:
    assert verify.leaf_of(fact(place=1, account=1, name="\ud800"))[-5:] == b"\0\0\0\1?"


def edited(number: int, **values: Any) -> Callable[[list[bytes]], object]:
    def edit(lines: list[bytes]) -> None:
        lines[number] = json.dumps({**json.loads(lines[number]), **values}).encode() + b"\n"

    return edit


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (
            "transactions.jsonl",
            edited(1, name="x"),
            ("transactions.jsonl:2", "is not what was sealed in block {}", 1),
        ),
        (
            "seals.jsonl",
            edited(5, block=9),
            ("transactions.jsonl:6", "is not what was sealed in block {}", 9),
        ),
        (
            "seals.jsonl",
            edited(-1, after=1),
            ("seals.jsonl:8", "is not the head of the block with this hash"),
        ),
        (
            "seals.jsonl",
            edited(-2, block=2),
            ("seals.jsonl:7", "block {} is not among those before block {}", 2, 2),
        ),
        (
            "seals.jsonl",
            edited(-2, hash="0" * 64),
            ("seals.jsonl:7", "block {} is not among those before block {}", 1, 2),
        ),
    ],
)
def test_a_line_that_was_not_sealed_so_is_told(
    name: str, change: Callable[[list[bytes]], object], told: tuple[object, ...]
) -> None:
    assert wrong(lambda: verify.sealed(changed(name, change))) == told


def test_a_line_without_a_seal_is_told_and_so_is_one_that_comes_twice() -> None:
    files = changed("seals.jsonl", lambda it: it.clear())
    assert wrong(lambda: verify.sealed(files)) == ("transactions.jsonl:1", "has no seal")
    files = changed("transactions.jsonl", lambda it: it.insert(1, it[0]))
    seals = files["seals.jsonl"].splitlines(keepends=True)
    files["seals.jsonl"] = b"".join([seals[0], *seals])
    told = wrong(lambda: verify.sealed(files))
    assert told == ("transactions.jsonl:2", "is out of order, or comes twice")
    assert verify.sealed({"transactions.jsonl": b"", "seals.jsonl": b""}) == ([], {})


NAMED = [
    {"account": 1, "name": "customer:A:prepaid"},
    {"account": -2, "name": "revenue:energy"},
    {"stream": 3, "month": "2026-03", "component": "energy"},
]
POSTED: dict[str, Any] = {
    "value_date": "2026-03-05",
    "accounts": [1, -2],
    "fen": [-5, 5],
    "streams": [None, 3],
}


def transactions(**change: Any) -> list[verify.Transaction]:
    posted = Fact("f:4", {**POSTED, **change})
    return verify.transactions_of([*(Fact("f:1", it) for it in NAMED), posted])


def test_a_transaction_is_told_with_the_names_of_its_accounts_and_streams() -> None:
    stream = date(2026, 3, 1), "energy"
    legs = [
        verify.Leg("customer:A:prepaid", -5, None),
        verify.Leg("revenue:energy", 5, stream),
    ]
    assert transactions() == [verify.Transaction("f:4", date(2026, 3, 5), legs)]
    assert transactions(streams=None)[0].legs[1].stream is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fen": [-5, 6]}, "the legs do not sum to zero"),
        ({"fen": [None, 5]}, "the legs do not sum to zero"),
        ({"fen": [-5, 5, 0]}, "the legs do not sum to zero"),
        ({"streams": [None]}, "the legs do not sum to zero"),
        ({"accounts": [1, 2]}, "an account or a stream of it has no name here"),
        ({"streams": [None, 4]}, "an account or a stream of it has no name here"),
    ],
)
def test_legs_that_can_not_be_are_told(change: dict[str, Any], message: str) -> None:
    assert wrong(lambda: transactions(**change)) == ("f:4", message)


def test_a_charge_of_a_month_that_is_not_explained_is_told() -> None:
    lines = bill_files(bill_of_case("O01"))["bill.jsonl"].splitlines()
    number = next(it for it, line in enumerate(lines) if b"rated_month" in line)
    files = changed("bill.jsonl", edited(number, month="2026-02"))
    place, message = wrong(lambda: verify.verify_files(files, lambda *_: None))
    assert place.startswith("transactions.jsonl:")
    assert message == "is of a month that the bill does not explain"


def test_what_is_no_bill_is_told_by_its_name(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.zip")
    told = wrong(lambda: verify.read_bill(missing))
    assert told == (missing, "cannot be read: {}", "No such file or directory")
    assert wrong(lambda: verify.read_bill(str(tmp_path)))[1] == "cannot be read: {}"
    other = tmp_path / "other.zip"
    other.write_bytes(verify.packed({"a": b""}))
    told = wrong(lambda: verify.verify(str(other), print))
    assert told == ("other.zip", "must hold {}", ", ".join(verify.NAMES))


def test_each_bill_is_told_and_the_exit_code_says_whether_all_are_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    good.write_bytes(verify.packed(bill_files(bill_of_case("O01"))))
    bad.write_bytes(b"")
    assert verify.main([str(bad), str(good)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "INVALID bad.zip bad.zip: byte 0 is damaged, or the zip was packed anew"
    assert told[-1] == "VALID account 10010301, 2026-03"
    assert verify.main([str(good), "--language", "zh"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "有效 户号 10010301，2026-03"


def test_a_folder_is_read_as_the_zip_is(tmp_path: Path) -> None:
    files = bill_files(bill_of_case("O01"))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert verify.read_bill(str(tmp_path)) == (files, None)


def test_what_can_not_be_read_at_all_is_told_by_its_name() -> None:
    told = wrong(lambda: verify.told_apart("folder/a\0b", None, print))
    assert told == ("a\0b", "cannot be understood: {}", "ValueError('embedded null byte')")


def test_a_console_without_chinese_is_shown_that_a_bill_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bill.zip"
    target.write_bytes(verify.packed(bill_files(bill_of_case("O01"))))
    console = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", console)
    assert verify.main([str(target), "--language", "zh"]) == 0
    console.seek(0)
    assert console.read().splitlines()[-1].startswith(r"\u6709\u6548 \u6237\u53f7 10010301")


def test_bills_of_one_month_that_were_sealed_twice_are_both_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = bill_of_case("O01")
    anew = Ledger([dict(it.told) for it in told.seals.lines]).sealed(of_block=2)
    for name, it in (("a", told), ("b", replace(told, seals=Seals(*anew)))):
        (tmp_path / name).write_bytes(verify.packed(bill_files(it)))
    assert verify.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert capsys.readouterr().out.count("VALID account 10010301, 2026-03\n") == 2


def test_without_a_name_the_bill_is_where_the_program_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert verify.main([]) == 1
    assert capsys.readouterr().out.startswith("INVALID proof ")


def test_it_says_how_it_is_called(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        verify.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert told.partition("[-h] ")[2] == (
        "[--published BLOCK:HASH] [--language {en,zh}] [BILL ...]"
        " Verify bills of electricity / 验证电费账单"
        " positional arguments: BILL zip or folder / 压缩包或文件夹"
        " options: -h, --help show this help message and exit"
        " --published BLOCK:HASH what the utility published / 供电方公布的区块哈希"
        " --language {en,zh} language / 语言"
    )


# What was agreed, and bounds.


def test_use_that_was_agreed_is_of_the_residual_rate() -> None:
    point = fact(point="P1", rates=["peak", "valley"], residual_rate="valley")
    told = Fact("f:9", {"point": "P1", "agreed_kwh": "6.5", "held": "final_lost"})
    steps = {"peak": 0, "valley": 0, "total": 65}
    link = verify.Link("f:9", "P1", 1, 5, Fraction(1, 10), steps, held=True)
    assert verify.agreed(told, point, 1, 5) == link
    whole = Fact("f:9", {"point": "P1", "agreed_kwh": "7"})
    link = verify.Link("f:9", "P1", 1, 5, Fraction(1), {"total": 7}, held=False)
    assert verify.agreed(whole, fact(point="P1", rates=["peak"]), 1, 5) == link
    below = Fact("f:9", {"point": "P1", "agreed_kwh": "-0.5"})
    assert wrong(lambda: verify.agreed(below, point, 1, 5))[0] == "f:9"


def test_a_register_has_up_to_eight_decimals() -> None:
    assert told_wrong("O01", first("meter", decimals=0))[::3] == ("link", 0)
    lines = bill_files(bill_of_case("O01"))["bill.jsonl"].splitlines()
    number = next(it for it, line in enumerate(lines) if b'"fact": "meter"' in line)
    verify.verify_files(changed("bill.jsonl", edited(number, decimals=8)), lambda *_: None)
    told = told_wrong("O01", first("meter", modulus="1.001"))
    assert told == ("meter", "{} is no register with {} decimals", 1.001, 2)


def test_a_component_that_the_registers_do_not_make_is_nothing() -> None:
    told = told_wrong("O01", doubled("charge", component="x", fen=5))
    assert told == ("charge", "the registers make {} yuan of it, not {}", "0.00", "0.05")


def test_a_line_that_is_no_json_is_told_with_its_file() -> None:
    told = wrong(lambda: verify.facts_of("bill.jsonl", b"{}\n{"))
    assert told == ("bill.jsonl:2", "is not a line of JSON")


def test_a_line_of_the_manifest_that_was_changed_is_damaged() -> None:
    files = changed("manifest.jsonl", edited(1, file="x"))
    assert wrong(lambda: verify.check_manifest(files)) == (
        "manifest.jsonl:2",
        "the line is damaged",
    )


@pytest.mark.parametrize(
    "values",
    [
        {"place": 2**63, "account": 1, "name": "n"},
        {"place": 1, "account": 2**31, "name": "n"},
        {"place": 1, "stream": 2**31, "month": "2026-03", "component": "c"},
        *(
            {
                "place": 1,
                "recorded_at": "2026-03-01T00:00:00+00:00",
                "value_date": "2026-03-01",
                **large,
            }
            for large in ({"fen": [2**63]}, {"document": 2**63}, {"reverses": 2**63})
        ),
    ],
)
def test_a_number_that_the_database_cannot_hold_is_told(values: dict[str, Any]) -> None:
    place, message, number = wrong(lambda: verify.leaf_of(fact(**values)))
    assert (place, message) == ("f:1", "{} is too large")
    assert number >= 2**31
