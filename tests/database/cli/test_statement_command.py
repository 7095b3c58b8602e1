"""A statement of a month comes to what the ledger says, in each form."""

import csv
import json
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from psycopg import AsyncConnection

from tests.database.cli.test_document_commands import Place
from tests.database.small_site import OPEN, TODAY, on, pay

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
SLABS = """
[[tariff.T.version]]
effective_from = 2026-01-01
ladder = { cycle = "month", method = "slab", bounds_kwh = ["10"], prices = ["0.333", "0.5"], whole_above_kwh = "10" }
minimum = { monthly_yuan = "20" }
"""
Found = dict[str, list[dict[str, Any]]]


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A1 used 3 kWh a day from 1 March to 2 April, whose March is over, and paid in March."""
    place = Place(tmp_path, database_url)
    (tmp_path / "tariffs.toml").write_text(SLABS)
    place.restart()
    place.read("P1", *(100 + 3 * day for day in range(32)))
    place.read_on("P1", date(2026, 4, 2), "196")
    place.read_on("P1", date(2026, 4, 3), "199")

    async def story(connection: AsyncConnection[Any]) -> None:
        days = [OPEN + timedelta(days=it) for it in range(31)]
        await connection.execute("INSERT INTO closed_day (day) SELECT unnest(%s::date[])", (days,))
        await connection.execute(
            "INSERT INTO to_settle (account_id, from_day, to_day, cause)"
            " SELECT id, '2026-03-01', '2026-03-31', 'day_close' FROM account WHERE number = 'A1'"
        )
        await pay(connection, "A1", 10_000)

    on(database_url, story)
    place.balance("A1")  # settles
    return place


def statement(place: Place, month: str) -> Found:
    found: Found = json.loads(place.done("account", "statement", "A1", "--month", month, "--json"))
    return found


def summary(found: Found) -> dict[str, Decimal]:
    return {it["what"]: Decimal(it["yuan"]) for it in found["summary"]}


def test_months_come_to_the_balance_and_components_to_the_ledger(place: Place) -> None:
    months = sorted({"2026-03", "2026-04", f"{TODAY:%Y-%m}"})
    carried = Decimal(0)
    for month in months:
        found = statement(place, month)
        sums = summary(found)
        assert sums["opening balance"] == carried
        assert sums["closing balance"] == carried + sum(
            (sums[it] for it in ("payments", "charges", "others")), Decimal(0)
        )
        running = [Decimal(it["balance"]) for it in found["movements"]]
        assert (running or [carried])[-1] == sums["closing balance"]
        assert all(it["charged"] == it["posted"] for it in found["components"])
        carried = sums["closing balance"]
    assert carried * 100 == place.balance("A1")


def test_prices_come_to_what_is_charged_and_slab_and_minimum_are_named(place: Place) -> None:
    found = statement(place, "2026-03")
    (line,) = found["prices"]
    assert (line["kWh"], line["price"], line["note"]) == ("93", "0.5", "slab reached 2026-03-04")
    charged = {it["component"]: Decimal(it["charged"]) for it in found["components"]}
    assert charged == {"energy": Decimal("46.50")}
    assert any("slab reached" in it["note"] for it in found["movements"])
    april = statement(place, "2026-04")
    (cheap,) = april["prices"]
    assert (cheap["kWh"], cheap["step_kWh"], cheap["note"]) == ("6", "0 - 10", None)
    exact = Decimal(cheap["yuan"]).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert exact == Decimal(april["components"][0]["charged"])


def test_registers_of_a_meter_that_went_on_are_one_line(place: Place) -> None:
    (shown,) = statement(place, "2026-03")["registers"]
    assert (shown["from"], shown["to"]) == ("2026-03-01 00:00", "2026-04-01 00:00")
    assert (shown["begin"], shown["end"], shown["kWh"]) == ("100.00", "193.00", "93")


def test_csv_and_workbook_hold_the_same_rows_in_chinese(place: Place) -> None:
    asked = ("account", "statement", "A1", "--month", "2026-03", "--language", "zh", "--format")
    rows = list(csv.reader(StringIO(place.done(*asked, "csv").lstrip("\ufeff"))))
    assert ["户号", "户名", "月份"] in rows
    assert ["期初余额", "0.00"] in rows
    place.done(*asked, "xlsx", "--output", "march.xlsx")
    book = load_workbook(place.folder / "march.xlsx")
    sums = {row[0].value: row[1].value for row in book["汇总"].iter_rows(min_row=2)}
    told = {row[0]: row[1] for row in rows if row and row[0] in sums}
    assert {it: Decimal(str(yuan)) for it, yuan in sums.items()} == {
        it: Decimal(yuan) for it, yuan in told.items()
    }
    assert len(list(book["账户变动"].iter_rows())) == 1 + len(
        statement(place, "2026-03")["movements"]
    )
    again = place.meterd(*asked, "xlsx", "--output", "march.xlsx")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert "say --output FILE.xlsx" in place.meterd(*asked, "xlsx").stderr


def test_a_name_is_no_formula(place: Place) -> None:
    place.ask("UPDATE account SET name = '=1+1' WHERE number = 'A1' RETURNING 1")
    asked = ("account", "statement", "A1", "--month", "2026-03", "--format")
    assert "A1,'=1+1,2026-03" in place.done(*asked, "csv")
    place.done(*asked, "xlsx", "--output", "march.xlsx")
    cell = load_workbook(place.folder / "march.xlsx")["account"]["B2"]
    assert (cell.value, cell.data_type) == ("=1+1", "s")


def test_a_month_of_too_little_use_names_the_minimum(place: Place, tmp_path: Path) -> None:
    place.read("P2", *(5 for _ in range(32)))
    place.ask(
        "INSERT INTO to_settle (account_id, from_day, to_day, cause)"
        " SELECT id, '2026-03-01', '2026-03-31', 'day_close' FROM account WHERE number = 'A2' RETURNING 1"
    )
    place.balance("A2")
    shown = place.done("account", "statement", "A2", "--month", "2026-03")
    assert "minimum charge\t20.00\t20.00" in shown


def test_what_comes_after_a_month_was_closed_leaves_its_statement_as_it_was(place: Place) -> None:
    before = place.done("account", "statement", "A1", "--month", "2026-03", "--json")
    place.done("ledger", "close", "2026-03")
    place.done("account", "elsewhere", "A1", "2026-03", "1", "--reason", "late", "--actor", "li")
    place.done("document", "approve", "1", "--actor", "wang")
    place.balance("A1")
    today = statement(place, f"{TODAY:%Y-%m}")
    after = json.loads(place.done("account", "statement", "A1", "--month", "2026-03", "--json"))
    assert after["summary"] == json.loads(before)["summary"]
    (adjusted,) = [it for it in today["movements"] if it["what"] == "adjustment"]
    # Of the kWh that others billed: the slab that the month reached, less what it cost by itself.
    assert (adjusted["yuan"], adjusted["note"]) == ("-0.17", "energy 0.17 (2026-03)")


def test_the_end_of_a_bonus_is_named_in_both_languages(place: Place) -> None:
    for number, kwh in ((1, "100"), (2, "0")):
        correct = ("--correct",) if number == 2 else ()
        said = ("--from", "2026-03-01", "--reason", "it is so", "--actor", "li", *correct)
        place.done("account", "bonus", "A1", kwh, *said)
        place.done("document", "approve", f"{number}", "--actor", "wang")
        place.balance("A1")
    (ended,) = [
        it for it in statement(place, "2026-03")["movements"] if "bonus ended" in str(it["note"])
    ]
    # 93 kWh at 0.333 with the bonus, at 0.50 without.
    assert (ended["yuan"], ended["note"]) == ("-15.53", "energy 15.53 bonus ended")
    asked = ("account", "statement", "A1", "--month", "2026-03", "--language", "zh")
    assert "家庭增量终止" in place.done(*asked)
    told = place.done("explain", "charge", str(ended["transaction"]))
    assert "days before cost more: bonus ended" in told
