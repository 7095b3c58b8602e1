"""A bill proves itself to a program that knows nothing of ours; what is not so is named."""

import ast
import json
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import accumulate, chain, count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings

from daemon.billing.posting import Stream
from daemon.billing.proof import verify
from daemon.billing.proof.bill import (
    AgreedFact,
    BillFacts,
    LinkFact,
    Measured,
    MeterFact,
    Money,
    PointFact,
    ReadingFact,
    Seals,
    _changed_between,
    _lines,
    _seals,
    bill_files,
    manifest,
    packed,
)
from tests.unit.billing.random_cases import case
from tests.unit.billing.stories import seeds
from tests.unit.bills import SETTLED, Ledger, bill_of, bills_of, settled_case
from tests.unit.golden_cases import CASES

Files = dict[str, bytes]
SOURCE = Path(verify.__file__).read_text("utf-8")


def written(folder: Path, bill: BillFacts) -> Path:
    target = folder / f"{bill.account}-{bill.month:%Y-%m}.zip"
    target.write_bytes(packed(bill_files(bill)))
    return target


@cache
def bill_of_case(name: str, number: int = -1) -> BillFacts:
    return bills_of(CASES[name]["input"])[number]


def wrong(target: Path) -> verify.Wrong:
    with pytest.raises(verify.Wrong) as caught:
        verify.told_apart(str(target), None, lambda *_: None)
    return caught.value


def test_a_line_is_read_as_it_is_written() -> None:
    assert _lines([{"point": "3 栋 502"}]) == '{"point": "3 栋 502"}\n'.encode()


def test_the_offset_is_told_of_a_link_that_begins_long_before_the_month() -> None:
    bill = bill_of_case("O01")
    (link, *links) = bill.measured.links
    assert isinstance(link, LinkFact)
    early = link._replace(start=link.start - timedelta(days=40))
    facts = facts_of(replace(bill, measured=bill.measured._replace(links=[early, *links])))
    since = [it["from"] for it in facts if it["fact"] == "utc_offset"]
    assert datetime.fromisoformat(since[0]) <= early.start


@pytest.mark.parametrize(
    ("zone", "changes"),
    [
        ("Europe/Berlin", "2026-03-29T01:00:00+00:00"),
        ("America/New_York", "2026-03-08T07:00:00+00:00"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00+00:00"),
        ("Africa/Monrovia", "1972-01-07T00:44:30+00:00"),
    ],
)
def test_an_offset_counts_from_its_first_second(zone: str, changes: str) -> None:
    first = datetime.fromisoformat(changes)
    for seconds in range(3600, 3660):
        before = first - timedelta(seconds=seconds)
        found = _changed_between(before, before + timedelta(days=1), ZoneInfo(zone))
        assert found[0] == first


@pytest.mark.parametrize("name", SETTLED)
def test_registers_make_what_the_case_expects_to_be_posted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bills = bills_of(CASES[name]["input"])
    assert verify.main([str(written(tmp_path, bill)) for bill in bills]) == 0
    told = capsys.readouterr().out
    for month, charges in CASES[name]["expected"]["final"]["charges_fen_by_period"].items():
        for component, fen in charges.items():
            assert f"{month} {component}: " in told
            assert f"{verify.yuan(fen)} were posted" in told


@settings(max_examples=25, deadline=None)
@given(seeds.map(case))
def test_any_account_pays_what_the_registers_make(told: dict[str, Any]) -> None:
    for bill in bills_of(told):
        verify.verify_files(bill_files(bill), lambda *_: None)


def places(raw: bytes) -> list[tuple[int, str]]:
    """By the byte behind it, each line of the zip; the other bytes are of the zip itself."""
    found = []
    for name, content in verify.unpacked(raw).items():
        start = raw.index(content)
        found.append((start, "zip"))
        ends = accumulate(len(line) + 1 for line in content.removesuffix(b"\n").split(b"\n"))
        found += [(start + end, f"{name}:{number}") for number, end in enumerate(ends, 1)]
    return [*found, (len(raw), "zip")]


@cache
def hundred_proofs() -> tuple[list[BillFacts], set[str]]:
    """Of the worked cases and of random ones; and what happens to their accounts."""
    cases = chain((CASES[name]["input"] for name in SETTLED), map(case, count()))
    bills: list[BillFacts] = []
    happens: set[str] = set()
    while len(bills) < 100:
        told = next(cases)
        bills += bills_of(told)
        happens |= {it["type"] for it in told["events"]}
        for version in told["tariff_versions"]:
            happens |= {key for key, value in version.items() if value}
            happens.add((version.get("ladder") or {}).get("method", "no ladder"))
            if not version["effective_from"].endswith("-01"):
                happens.add("a version inside a month")
    return bills[:100], happens


def test_the_hundred_proofs_are_of_every_kind() -> None:
    assert hundred_proofs()[1] >= {
        *("exchange", "ratio_change", "correct_reading", "topup", "reverse_topup", "close"),
        *("slab", "matrix", "adder", "price", "no ladder", "household"),
        *("minimum", "fixed", "surcharges", "tax", "a version inside a month"),
    }


def test_any_one_bit_of_a_hundred_proofs_is_found_and_its_line_named(tmp_path: Path) -> None:
    """One of each file that is not the same in all proofs, and one of the whole."""
    chance = random.Random(11)
    target = tmp_path / "bill.zip"
    for number, bill in enumerate(hundred_proofs()[0]):
        files = bill_files(replace(bill, account=f"{number}"))
        raw = bytearray(packed(files))
        of_lines = places(bytes(raw))
        of_facts = [files[name] for name in verify.NAMES if name.endswith(".jsonl")]
        spans = [(raw.index(content), len(content)) for content in of_facts if content]
        for start, size in [*spans, (0, len(raw))]:
            byte, bit = start + chance.randrange(size), 1 << chance.randrange(8)
            raw[byte] ^= bit
            target.write_bytes(raw)
            raw[byte] ^= bit
            place = next(name for end, name in of_lines if byte < end)
            assert wrong(target).place == ("bill.zip" if place == "zip" else place)


def test_a_bit_of_the_zip_itself_is_found_wherever_it_is(tmp_path: Path) -> None:
    raw = bytearray(packed(bill_files(bill_of_case("O01"))))
    of_lines = places(bytes(raw))
    target = tmp_path / "bill.zip"
    starts = [0, *(end for end, _ in of_lines)]
    for start, (end, name) in zip(starts, of_lines, strict=False):
        if name != "zip":
            continue
        for byte in range(start, end):
            raw[byte] ^= 1 << byte % 8
            target.write_bytes(raw)
            raw[byte] ^= 1 << byte % 8
            assert wrong(target).place == "bill.zip"


def test_a_file_that_is_cut_off_or_longer_is_damaged(tmp_path: Path) -> None:
    raw = packed(bill_files(bill_of_case("O01")))
    target = tmp_path / "bill.zip"
    for content in (raw[:-1], raw + b"\0", raw[: len(raw) // 2], b"", b"PK", b"PK\3\4" * 9):
        target.write_bytes(content)
        assert wrong(target).place == "bill.zip"


# Whoever changes a fact and makes the manifest anew is contradicted by the next fact.


class Forged:
    """The files of a bill, changed, with a manifest that fits."""

    def __init__(self, bill: BillFacts) -> None:
        self.files: Files = bill_files(bill)

    def lines(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.files[name].splitlines()]

    def change(self, name: str, change: Callable[[list[Any]], object]) -> None:
        lines = self.lines(name)
        change(lines)
        told = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self.files[name] = told.encode()

    def place(self, name: str, **values: object) -> str:
        number = next(
            number
            for number, line in enumerate(self.lines(name), 1)
            if values.items() <= line.items()
        )
        return f"{name}:{number}"

    def write(self, folder: Path) -> Path:
        content = {name: it for name, it in self.files.items() if name != "manifest.jsonl"}
        target = folder / "bill.zip"
        target.write_bytes(packed({**content, "manifest.jsonl": manifest(content)}))
        return target


def facts(lines: list[Any], **values: object) -> list[dict[str, Any]]:
    return [line for line in lines if values.items() <= line.items()]


def test_a_forger_has_to_change_everything_and_is_told_by_the_published_hash(
    tmp_path: Path,
) -> None:
    forged = Forged(bill_of_case("O01"))
    last = {"fact": "link", "begins": {"total": "1012.08"}}

    def reading(lines: list[Any]) -> None:
        facts(lines, fact="reading", registers={"total": "1018.65"})[0]["registers"] = {
            "total": "1019.65"
        }

    def link(lines: list[Any]) -> None:
        facts(lines, **last)[0]["ends"] = {"total": "1019.65"}

    def charge(lines: list[Any]) -> None:
        facts(lines, fact="charge")[0]["fen"] += 53

    def legs(lines: list[Any]) -> None:
        lines[-1]["fen"] = [-347 - 53, 347 + 53]

    def balance(lines: list[Any]) -> None:
        facts(lines, fact="balance")[0]["charged_fen"] += 53
        facts(lines, fact="balance")[0]["closing_fen"] -= 53

    forged.change("bill.jsonl", reading)
    assert wrong(forged.write(tmp_path)).place == forged.place("bill.jsonl", **last)
    forged.change("bill.jsonl", link)
    of_charge = forged.place("bill.jsonl", fact="charge")
    assert wrong(forged.write(tmp_path)).place == of_charge
    forged.change("bill.jsonl", charge)
    found = wrong(forged.write(tmp_path))
    assert (found.place, found.message) == (of_charge, "{} yuan were posted of it, not {}")
    forged.change("transactions.jsonl", legs)
    assert wrong(forged.write(tmp_path)).place == "transactions.jsonl:6"
    anew = Ledger(forged.lines("transactions.jsonl")).sealed()
    forged.files["seals.jsonl"] = _lines(_seals(Seals(*anew)))
    assert wrong(forged.write(tmp_path)).place == forged.place("bill.jsonl", fact="balance")
    forged.change("bill.jsonl", balance)
    target = str(forged.write(tmp_path))
    assert verify.main([target]) == 0
    head = bill_of_case("O01").seals.head
    published = f"{head.head.number}:{head.hash.hex()}"
    assert verify.main([str(written(tmp_path, bill_of_case("O01"))), "--published", published]) == 0
    assert verify.main([target, "--published", published]) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines.pop(),
        lambda lines: lines.pop(0),
        lambda lines: lines.append(lines[-1]),
        lambda lines: lines.reverse(),
    ],
)
def test_a_transaction_left_out_doubled_or_moved_is_found(
    change: Callable[[list[Any]], object], tmp_path: Path
) -> None:
    forged = Forged(bill_of_case("O01"))
    count = len(forged.lines("transactions.jsonl"))

    def seals(lines: list[Any]) -> None:
        of_transactions = lines[:count]
        change(of_transactions)
        lines[:count] = of_transactions

    forged.change("transactions.jsonl", change)
    forged.change("seals.jsonl", seals)
    assert wrong(forged.write(tmp_path)).place.startswith(("bill.jsonl:", "transactions.jsonl:"))


@pytest.mark.parametrize(
    ("fact", "change"),
    [
        ("link", lambda lines: lines.remove(facts(lines, fact="link")[1])),
        ("link", lambda lines: lines.append(facts(lines, fact="link")[1])),
        ("link", lambda lines: facts(lines, fact="link")[0].update(held="span")),
        ("meter", lambda lines: facts(lines, fact="meter")[0].update(ratio="2")),
        ("tariff", lambda lines: facts(lines, fact="tariff")[0]["version"].update(energy=None)),
        ("charge", lambda lines: lines.remove(facts(lines, fact="charge")[0])),
        ("balance", lambda lines: facts(lines, fact="balance")[0].update(closing_fen=1)),
        ("bill", lambda lines: lines[0].update(account="1")),
    ],
)
def test_a_fact_that_is_changed_moves_money_and_is_found(
    fact: str, change: Callable[[list[Any]], object], tmp_path: Path
) -> None:
    forged = Forged(bill_of_case("O01"))
    forged.change("bill.jsonl", change)
    assert wrong(forged.write(tmp_path)).place.startswith(("bill.jsonl:", "transactions.jsonl:"))


def test_whatever_stands_in_a_line_its_place_is_told(tmp_path: Path) -> None:
    chance = random.Random(7)
    values: list[Any] = [
        None,
        True,
        -1,
        10**30,
        0.5,
        "",
        "x",
        "-1",
        "2026-02-30",
        [],
        [[]],
        {},
        {"total": "9"},
    ]
    for _ in range(200):
        name = chance.choice(SETTLED)
        forged = Forged(bill_of_case(name, 0))

        def spoil(lines: list[Any]) -> None:
            for _ in range(chance.choice((1, 1, 2))):
                at: Any = lines
                while True:
                    key = chance.choice([*at] if isinstance(at, dict) else range(len(at)))
                    inner = at[key]
                    if not isinstance(inner, dict | list) or not inner or chance.random() < 0.1:
                        break
                    at = inner
                at[key] = chance.choice(values)

        forged.change(chance.choice(("bill.jsonl", "transactions.jsonl", "seals.jsonl")), spoil)
        with suppress(verify.Wrong):
            verify.verify(str(forged.write(tmp_path)), lambda *_: None)


def test_use_that_was_agreed_is_priced_where_no_register_shows_it(tmp_path: Path) -> None:
    bill = bill_of_case("O01")
    *others, last = bill.measured.links
    assert isinstance(last, LinkFact)
    agreed = AgreedFact("P1", last.start, last.end, Decimal("6.57"))
    told = replace(bill, measured=bill.measured._replace(links=[*others, agreed]))
    assert verify.main([str(written(tmp_path, told))]) == 0
    more = agreed._replace(kwh=Decimal("6.6"))
    told = replace(bill, measured=bill.measured._replace(links=[*others, more]))
    assert wrong(written(tmp_path, told)).message == "the registers make {} yuan of it, not {}"


def test_each_fact_is_a_line_and_an_instant_is_the_sites_time() -> None:
    october, november = date(2026, 10, 1), date(2026, 11, 1)
    at, day = datetime(2026, 11, 20, 23, tzinfo=UTC), timedelta(days=1)
    late = timedelta(seconds=90)
    bill = bill_of_case("O46")
    charged = {
        Stream(november, "fixed"): 600,
        Stream(november, "energy"): 4550,
        Stream(october, "tax"): -7,
    }
    told = replace(
        bill,
        zone=ZoneInfo("Europe/Berlin"),
        terms=replace(bill.terms, last_day=date(2026, 11, 30)),
        closed_days=[date(2026, 11, it) for it in (24, 23, 21, 23)],
        measured=Measured(
            [PointFact("P1", ("peak", "flat"), "flat")],
            [MeterFact(4, "P1", "000000000007", Decimal("1.5"), 1_000_000, 1)],
            [
                ReadingFact(4, at, {"total": 127, "peak": 5}, "freeze", at + late, at + 2 * late),
                ReadingFact(4, at + day, {"total": 200}, "by hand"),
            ],
            [
                LinkFact(4, at, at + day, {"total": 127}, {"total": 200}, "span"),
                AgreedFact("P1", at + day, at + 2 * day, Decimal("1E+1"), "no reading"),
            ],
        ),
        money=Money([october, november], charged, 50_000, 5_143, 1_000),
    )
    *_, tariff, bonus, elsewhere = facts_of(told)[:8]
    assert tariff["fact"] == "tariff"
    assert (bonus, elsewhere) == (
        {"fact": "bonus", "from": "2026-10-02", "kwh_per_month": "10"},
        {"fact": "used_elsewhere", "cycle": "2026-11", "kwh": "95.00"},
    )
    began, ended = "2026-11-21T00:00:00+01:00", "2026-11-22T00:00:00+01:00"
    assert [it for it in facts_of(told) if it not in (tariff, bonus, elsewhere)] == [
        {
            "fact": "bill",
            "format": 1,
            "account": "10010301",
            "month": "2026-11",
            "zone": "Europe/Berlin",
            "phases": 3,
            "opened": "2026-11-21",
            "last_day": "2026-11-30",
        },
        {"fact": "rated_month", "month": "2026-10"},
        {"fact": "rated_month", "month": "2026-11"},
        {"fact": "utc_offset", "from": "2026-09-29T00:00:00+00:00", "seconds": 7200},
        {"fact": "utc_offset", "from": "2026-10-25T01:00:00+00:00", "seconds": 3600},
        {"fact": "closed_days", "from": "2026-11-21", "to": "2026-11-21"},
        {"fact": "closed_days", "from": "2026-11-23", "to": "2026-11-24"},
        {
            "fact": "point",
            "point": "P1",
            "number": "P1",
            "rates": ["peak", "flat"],
            "residual_rate": "flat",
        },
        {
            "fact": "meter",
            "meter": 4,
            "point": "P1",
            "address": "000000000007",
            "ratio": "1.5",
            "modulus": "100000.0",
            "decimals": 1,
        },
        {
            "fact": "reading",
            "meter": 4,
            "at": began,
            "registers": {"total": "12.7", "peak": "0.5"},
            "source": "freeze",
            "stamp": "2026-11-21T00:01:30+01:00",
            "arrived_at": "2026-11-21T00:03:00+01:00",
        },
        {
            "fact": "reading",
            "meter": 4,
            "at": ended,
            "registers": {"total": "20.0"},
            "source": "by hand",
            "stamp": None,
            "arrived_at": None,
        },
        {
            "fact": "link",
            "meter": 4,
            "from": began,
            "to": ended,
            "begins": {"total": "12.7"},
            "ends": {"total": "20.0"},
            "held": "span",
        },
        {
            "fact": "link",
            "point": "P1",
            "from": ended,
            "to": "2026-11-23T00:00:00+01:00",
            "agreed_kwh": "10",
            "held": "no reading",
        },
        {"fact": "charge", "month": "2026-10", "component": "tax", "fen": -7},
        {"fact": "charge", "month": "2026-11", "component": "energy", "fen": 4550},
        {"fact": "charge", "month": "2026-11", "component": "fixed", "fen": 600},
        {
            "fact": "balance",
            "opening_fen": 50_000,
            "others_fen": 1_000,
            "charged_fen": 5_143,
            "closing_fen": 45_857,
        },
    ]


def facts_of(bill: BillFacts) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bill_files(bill)["bill.jsonl"].splitlines()]


ZONES = (
    "Africa/Cairo",
    "America/Havana",
    "America/Nuuk",
    "America/Santiago",
    "Asia/Beirut",
    "Asia/Shanghai",
)
"""In some of them there is no 00:00 on a day, or two of them; in one clocks are put on to it."""


@pytest.mark.parametrize("name", ZONES)
def test_a_reader_without_a_table_of_zones_knows_every_midnight(name: str) -> None:
    zone = ZoneInfo(name)
    year = [date(2026, 1, 1), date(2026, 12, 1)]
    bill = bill_of_case("O01")
    told = replace(bill, zone=zone, money=bill.money._replace(rated_months=year))
    facts = verify.facts_of("bill.jsonl", bill_files(told)["bill.jsonl"])
    found = verify.Bill(facts)
    for number in range(365):
        day = year[0] + timedelta(days=number)
        midnight = datetime.combine(day, time(), zone).astimezone(UTC)
        since = (midnight - verify.EPOCH) // timedelta(microseconds=1)
        assert found.midnight(day) == since
        assert found.day_of(since) == midnight.astimezone(zone).date()
        assert found.day_of(since - 1) == day - timedelta(days=1)


def test_what_lies_exactly_on_a_bound_is_of_the_lower_step() -> None:
    slab = {
        "method": "slab",
        "cycle": "month",
        "bounds_kwh": ["50", "100"],
        "prices": ["1", "2", "3"],
        "whole_above_kwh": "50",
    }
    ladder = verify.Ladder(verify.Fact("", slab))
    costs = {
        standing: verify.slab_cost(ladder, ladder.bounds, Fraction(standing), Fraction(standing))
        for standing in (50, 51, 100, 101)
    }
    assert costs == {50: 50, 51: 102, 100: 200, 101: 303}


@pytest.mark.parametrize(
    ("yuan", "fen"), [("0.004", 0), ("0.005", 1), ("-0.005", -1), ("-0.0049", 0), ("-1.125", -113)]
)
def test_half_a_fen_goes_away_from_zero(yuan: str, fen: int) -> None:
    assert verify.fen(Fraction(yuan)) == fen


def test_rates_without_a_total_cost_what_the_step_of_the_total_does() -> None:
    rows = {"bounds_kwh": ["50"], "matrix": [{"peak": "1"}, {"peak": "7"}]}
    ladder = verify.Ladder(verify.Fact("", {"method": "matrix", "cycle": "year", **rows}))
    at = Fraction(60)
    used = {"total": Fraction(0), "peak": Fraction(-1, 100)}
    assert verify.at_matrix(ladder, ladder.bounds, at, at, used) == Fraction(-7, 100)


# Months that follow each other, and adjustments.


def test_a_bill_opens_with_the_balance_of_the_month_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bills = bills_of(CASES["O10"]["input"])
    assert len(bills) == 2
    assert verify.main([str(written(tmp_path, bill)) for bill in bills]) == 0
    assert "2026-05 opens with the balance of 2026-04" in capsys.readouterr().out
    money = bills[1].money._replace(opening_fen=bills[1].money.opening_fen - 1)
    later = replace(bills[1], money=money)
    assert verify.main([str(written(tmp_path, bill)) for bill in (bills[0], later)]) == 1
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == "INVALID  10010301: 2026-05 does not open with the balance of 2026-04"


def adjusted(fen: int) -> BillFacts:
    """O10, whose April was closed before the late reading: what it moves there is an adjustment."""
    account, ledger = settled_case(CASES["O10"]["input"])
    april, may = date(2026, 4, 1), date(2026, 5, 1)
    told = Ledger()
    posted = [it for it in ledger.posted if it]
    for charged in posted[:-1]:
        told.post(april, charged)
    late = dict(posted[-1])
    of_april = Stream(april, "energy")
    told.post(may, {of_april.adjusted_in(may): late.pop(of_april) + fen}, kind="adjustment")
    told.post(may, late)
    return bill_of(account, told, may, 10000)


def test_an_adjustment_is_explained_by_the_month_that_it_is_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main([str(written(tmp_path, adjusted(0)))]) == 0
    told = capsys.readouterr().out
    assert "2026-04 energy" in told
    assert "2026-05 energy" in told
    found = wrong(written(tmp_path, adjusted(1)))
    assert found.message == "the registers make {} yuan of it, not {}"


# The program itself.


def test_it_runs_as_the_zip_and_from_the_folder_in_both_languages(tmp_path: Path) -> None:
    target = written(tmp_path, bill_of_case("O21"))
    for name, content in verify.unpacked(target.read_bytes()).items():
        (tmp_path / name).write_bytes(content)
    for command in ([target], [tmp_path / "verify.py"], [tmp_path / "verify.py", target]):
        run = subprocess.run(
            [sys.executable, "-I", *command, "--language", "zh"], capture_output=True, check=True
        )
        assert run.stdout.decode().splitlines()[-1] == "有效 户号 10010301，2026-06"


def test_every_sentence_is_there_in_chinese_and_none_is_left_over() -> None:
    said = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = {"Wrong": 1, "say": 0}.get(node.func.id)
            told = node.args[place] if place is not None else None
            if isinstance(told, ast.Constant):
                said.add(str(told.value))
    assert said == set(verify.ZH)
    assert all(it.count("{") == verify.ZH[it].count("{") for it in said)


def test_it_is_one_file_for_python_3_8_that_needs_nothing() -> None:
    tree = ast.parse(SOURCE, feature_version=(3, 8))
    modules = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    modules |= {str(it.module) for it in ast.walk(tree) if isinstance(it, ast.ImportFrom)}
    assert modules <= set(sys.stdlib_module_names)
    assert "zoneinfo" not in modules
