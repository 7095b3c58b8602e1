"""Tables as spreadsheets and people write them: read, or explained with what to write instead."""

from __future__ import annotations

import re
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from config.cells import day, moment
from config.load import LoadedSite, load_site
from config.problems import ConfigError
from tests.unit.config.test_site import GOOD, in_chinese, write

METERS = GOOD["archive/meters.csv"]
ACCOUNTS = "account,name,tariff\nA1,一号楼 101,home\nA2,李四,home\n"


def loaded(folder: Path, **changes: str | bytes) -> LoadedSite:
    return load_site(write(folder, **changes))


def told(folder: Path, **changes: str | bytes) -> list[str]:
    """What is printed of a site with mistakes, without the number of them."""
    with pytest.raises(ConfigError) as refusal:
        load_site(write(folder, **changes))
    in_chinese(refusal.value)
    return str(refusal.value).splitlines()[:-1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_may_be_saved_in_any_unicode(tmp_path: Path, encoding: str) -> None:
    site = loaded(tmp_path, accounts=ACCOUNTS.encode(encoding))
    assert [it.name for it in site.archive.accounts] == ["一号楼 101", "李四"]
    assert site.warnings == loaded(tmp_path).warnings


def test_a_table_in_gbk_is_read_and_said_to_be(tmp_path: Path) -> None:
    site = loaded(tmp_path, accounts=ACCOUNTS.encode("gbk"))
    assert [it.name for it in site.archive.accounts] == ["一号楼 101", "李四"]
    (warning,) = [it for it in site.warnings if it.file == "archive/accounts.csv"]
    assert str(warning) == (
        "archive/accounts.csv:2: file: is not UTF-8 and was read as GB18030 (GBK): "
        '"一号楼"; if that is not what it says, save it as CSV UTF-8'
    )


def test_letters_that_are_none_are_told_with_their_line(tmp_path: Path) -> None:
    assert told(tmp_path, accounts=b"account,tariff\nA1,home\nA2,h\xff\n") == [
        "archive/accounts.csv:3: file: is not written in UTF-8, nor in GB18030: save it as CSV "
        "UTF-8"
    ]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("first", ["", "sep={}{}"])
def test_cells_may_be_parted_otherwise(
    tmp_path: Path, separator: str, ending: str, first: str
) -> None:
    text = METERS.replace(",", separator).replace("\n", ending)
    text = first.format(separator, ending) + text
    assert loaded(tmp_path, meters=text).archive.meters == loaded(tmp_path).archive.meters


def test_a_mistake_below_a_line_with_the_separator_has_its_own_line(tmp_path: Path) -> None:
    (mistake,) = told(tmp_path, meters="sep=,\n" + METERS.replace("gate-1", "gate-9"))
    assert mistake.startswith("archive/meters.csv:3: line: no [[line]]")


def test_empty_columns_at_the_end_do_no_harm(tmp_path: Path) -> None:
    lines = METERS.splitlines()
    padded = "\n".join(f"{line},,," for line in lines)
    assert loaded(tmp_path, meters=padded).archive.meters == loaded(tmp_path).archive.meters
    # Excel pads the first rows alone.
    head = lines[0].replace("installed_on", "installed_on,protocol,modulus_kwh")
    short = "\n".join([head, lines[1] + ",,", lines[2]])
    assert loaded(tmp_path, meters=short).archive.meters == loaded(tmp_path).archive.meters


def test_a_row_with_more_than_its_head_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, meters=METERS.replace("2026-01-01\n", "2026-01-01,x\n", 1)) == [
        "archive/meters.csv:2: row: has 5 cells, the head has 4"
    ]


def test_a_further_column_is_a_warning(tmp_path: Path) -> None:
    lines = METERS.splitlines()
    text = "\n".join(
        f"{line},{cell}" for line, cell in zip(lines, ("备注", "东侧", ""), strict=True)
    )
    site = loaded(tmp_path, meters=text)
    assert site.archive.meters == loaded(tmp_path).archive.meters
    assert "archive/meters.csv:1: 备注: unknown column, it is not read" in map(str, site.warnings)


def test_a_misspelt_column_is_none(tmp_path: Path) -> None:
    text = GOOD["archive/points.csv"].replace("ratio", "raito")
    assert told(tmp_path, points=text) == [
        "archive/points.csv:1: raito: unknown column (did you mean ratio?)"
    ]


def test_a_head_may_have_capitals(tmp_path: Path) -> None:
    text = METERS.replace("address,line", 'Address,"LINE"')
    assert loaded(tmp_path, meters=text).archive.meters == loaded(tmp_path).archive.meters


@pytest.mark.parametrize("written", ["2026/1/1", "2026.1.1", "2026-1-1", "2026年1月1日"])
def test_a_date_with_its_year_first_is_read(tmp_path: Path, written: str) -> None:
    site = loaded(tmp_path, meters=METERS.replace("2026-01-01", written))
    assert {it.installed_on for it in site.archive.meters} == {date(2026, 1, 1)}


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("01.03.2026", "is no date, write 2026-03-01"),
        ("13/01/2026", "is no date, write 2026-01-13"),
        ("01/03/2026", "is no date, write 2026-03-01 or 2026-01-03"),
        ("46082", "is no date, but Excel's number of one: write 2026-03-01"),
        ("2026-02-30", "is no date, the calendar has no such day"),
        ("soon", "is no date, write the year first"),
    ],
)
def test_another_date_is_explained_with_the_day_that_was_meant(
    tmp_path: Path, written: str, hint: str
) -> None:
    (mistake,) = told(tmp_path, meters=METERS.replace("2026-01-01", written, 1))
    assert mistake.startswith(f'archive/meters.csv:2: installed_on: "{written}" {hint}')


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1.2E+11", "a spreadsheet rounded it and its digits are lost"),
        ("3,1E+03", "a spreadsheet rounded it"),
        ("1101", "write 000000001101, with zeros in front as on the label"),
        ("1101.0", "write 000000001101"),
        ("０００００００００００１", "write 000000000001"),
        ("=000000000001", "write 000000000001"),
        ("'000000000001", "write 000000000001"),
        ("0000-0000-0001", "write 000000000001"),
        ("0000 0000 0001", "write 000000000001"),
        ("no. 7", "write those on the label of the meter"),
    ],
)
def test_an_address_is_explained(tmp_path: Path, written: str, hint: str) -> None:
    cell = f'"{written}"' if "," in written else written
    (mistake,) = told(tmp_path, meters=METERS.replace("000000000001", cell))
    assert mistake.startswith(
        f'archive/meters.csv:2: address: "{written}" is not 12 digits: {hint}'
    )


@pytest.mark.parametrize("yes", ["yes", "TRUE", "True", "是", "1", "Y"])
@pytest.mark.parametrize("no", ["no", "FALSE", "否", "0"])
def test_yes_and_no_as_spreadsheets_have_them(tmp_path: Path, yes: str, no: str) -> None:
    points = f"point,account,protected\nP1,A1,{yes}\nP2,A2,{no}\n"
    assert [it.protected for it in loaded(tmp_path, points=points).archive.points] == [True, False]


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1_0", "is no number: write digits with one point"),
        ("1e3", "is no number: write digits with one point"),
        ("NaN", "is no number"),
        ("１２", "is no number: write 12, digits with one point"),
        ("١٢", "is no number: write digits with one point"),
        ("150/5", "is no number: write 30"),
        ("3²", "is no number: write digits with one point"),
        ('"1,000"', "is no number: write 1000"),
        ("0", "is not greater than zero"),
        ("-30", "is not greater than zero"),
    ],
)
def test_a_number_has_ascii_digits_and_one_point(tmp_path: Path, written: str, hint: str) -> None:
    points = f"point,account,ratio\nP1,A1,{written}\nP2,A2,\n"
    (mistake,) = told(tmp_path, points=points)
    assert mistake.startswith("archive/points.csv:2: ratio: ")
    assert hint in mistake


@pytest.mark.parametrize(
    ("column", "written", "number"),
    [
        ("i_max_a", "60A", "60"),
        ("i_max_a", "６０ Ａ", "60"),
        ("u_n_v", "0.22 kV", "220"),
        ("contract_kw", "5 kW", "5"),
        ("contract_kw", "5500W", "5.5"),
        ("transformer_kva", "1.25MVA", "1250"),
        ("max_daily_kwh", "30度", "30"),
    ],
)
def test_a_number_with_its_unit_is_told_as_the_number_that_is_wanted(
    tmp_path: Path, column: str, written: str, number: str
) -> None:
    (mistake,) = told(tmp_path, points=f"point,account,{column}\nP1,A1,{written}\nP2,A2,\n")
    assert mistake.endswith(f'"{written}" is no number: write {number} without a unit')


@pytest.mark.parametrize(
    ("column", "written"),
    [("i_max_a", "60 kW"), ("ratio", "30A"), ("contract_kw", "5 horses"), ("contract_kw", "kW")],
)
def test_a_number_of_something_else_is_none(tmp_path: Path, column: str, written: str) -> None:
    (mistake,) = told(tmp_path, points=f"point,account,{column}\nP1,A1,{written}\nP2,A2,\n")
    assert mistake.endswith(f'"{written}" is no number: write digits with one point')


@pytest.mark.parametrize(
    ("amount", "yuan"), [("30元", "30"), ("￥30", "30"), ("3050分", "30.5"), ("30 kWh", None)]
)
def test_money_with_its_unit_is_told_in_yuan(tmp_path: Path, amount: str, yuan: str | None) -> None:
    accounts = f"account,tariff,warn_yuan\nA1,home,{amount}\nA2,home,\n"
    (mistake,) = told(tmp_path, accounts=accounts)
    hint = "digits with one point" if yuan is None else f"{yuan} without a unit"
    assert mistake.endswith(f'"{amount}" is no amount in yuan: write {hint}')


@pytest.mark.parametrize("amount", ["1_000", "1e3", "２００", "30元"])
def test_money_has_ascii_digits_too(tmp_path: Path, amount: str) -> None:
    accounts = f"account,tariff,warn_yuan\nA1,home,{amount}\nA2,home,\n"
    (mistake,) = told(tmp_path, accounts=accounts)
    assert f'"{amount}" is no amount in yuan' in mistake


@pytest.mark.parametrize("modulus", ["999999.99", "12345", "99999"])
def test_a_modulus_is_where_a_register_starts_again(tmp_path: Path, modulus: str) -> None:
    text = f"address,line,point,installed_on,modulus_kwh\n000000000001,gate-1,P1,2026-01-01,{modulus}\n"
    (mistake,) = told(tmp_path, meters=text)
    assert f"modulus_kwh: {modulus} is where no register starts again at 0" in mistake


@pytest.mark.parametrize("modulus", ["1000000", "100000", "42949672.96", "655.36", "4294967.295"])
def test_a_modulus_that_a_register_may_have(tmp_path: Path, modulus: str) -> None:
    text = f"address,line,point,installed_on,modulus_kwh\n000000000001,gate-1,P1,2026-01-01,{modulus}\n"
    if modulus.endswith("295"):
        assert "starts again" in told(tmp_path, meters=text)[0]
    else:
        assert loaded(tmp_path, meters=text).archive.meters


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        ("{},gate-1,P{},2026-01-01", 'address: "7" is not 12 digits: write 000000000007'),
        ("{:012},gate-1,P{},{}.3.2026", 'installed_on: "7.3.2026" is no date, write 2026-03-07'),
        ("{:012},gate-9,P{},2026-01-01", "line: no [[line]] or terminal named gate-9"),
        ("{:012},gate-1,Q{},2026-01-01", "point: no point Q7 in points.csv"),
    ],
)
def test_the_same_mistake_of_many_rows_is_told_once(tmp_path: Path, row: str, mistake: str) -> None:
    numbers = range(7, 29)
    points = "point,account\n" + "".join(f"P{number},\n" for number in numbers)
    rows = "".join(row.format(number, number, number) + "\n" for number in numbers)
    (found,) = told(tmp_path, points=points, meters="address,line,point,installed_on\n" + rows)
    assert found.startswith(f"archive/meters.csv:2: {mistake}")
    assert found.endswith("(the same in 21 more rows: 3-23)")


def test_rows_with_other_mistakes_between_are_listed(tmp_path: Path) -> None:
    days = ["x", "2026-01-01", "y", "z", "2026-01-01", "w"]
    points = "point,account\n" + "".join(f"P{number},\n" for number in range(6))
    rows = "".join(f"00000000000{at},gate-1,P{at},{day}\n" for at, day in enumerate(days))
    (found,) = told(tmp_path, points=points, meters="address,line,point,installed_on\n" + rows)
    assert found.endswith("(the same in 3 more rows: 4-5, 7)")


def test_a_quotation_that_never_ends_is_told_where_it_began(tmp_path: Path) -> None:
    (mistake,) = told(tmp_path, accounts='account,name,tariff\nA1,"Flat 1,home\nA2,Flat 2,home\n')
    assert "a quotation mark is opened in line 2 and never closed" in mistake


@pytest.mark.parametrize("above", ["\n \n", ",,,\n\n", "\n\nsep=,\n"])
def test_empty_lines_above_the_head_do_no_harm(tmp_path: Path, above: str) -> None:
    (mistake,) = told(tmp_path, accounts=above + ACCOUNTS + ",x,home\n")
    assert mistake.startswith(f"archive/accounts.csv:{len(above.splitlines()) + 4}: account: ")


def test_a_title_above_the_head_is_told_with_the_line_of_the_head(tmp_path: Path) -> None:
    assert told(tmp_path, accounts="Customers of house 7,,\n\n" + ACCOUNTS) == [
        "archive/accounts.csv:1: head: stands in line 3: remove what is above it"
    ]


@pytest.mark.parametrize(
    "text", ["", " \n", "A1,Flat,home\nA2,Flat,home\n", ACCOUNTS.replace(",", "\uff0c")]
)
def test_a_table_without_a_head_is_told_once(tmp_path: Path, text: str) -> None:
    (mistake,) = told(tmp_path, accounts=text)
    assert mistake.endswith(
        "head: the first line names none of the columns; it has to name account, tariff"
    )


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04\x14", r"a workbook of Excel \(XLSX\)"),
        (b"\xd0\xcf\x11\xe0\xa1", r"a workbook of an old Excel \(XLS\)"),
        (b"<html><table>", "a page"),
    ],
)
def test_another_file_that_is_named_csv_is_told_what_it_is(
    tmp_path: Path, data: bytes, kind: str
) -> None:
    (mistake,) = told(tmp_path, accounts=data)
    assert re.match(rf"archive/accounts\.csv:1: file: is {kind}", mistake)


@pytest.mark.parametrize("name", ["Accounts.CSV", "accounts.csv.txt", "accounts.xls"])
def test_a_table_that_is_called_otherwise_is_found(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, accounts=None)
    (tmp_path / "archive" / name).write_text(ACCOUNTS, encoding="utf-8")
    (tmp_path / "archive" / "~$accounts.csv").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"No such file .* \(did you mean {name}\?\)") as refusal:
        load_site(path)
    in_chinese(refusal.value)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("20260301", "2026-03-01"),
        ("2026-03-01T08:30:00", "2026-03-01"),
        ("2026年3月1日 星期日", "2026-03-01"),
        ("２０２６-０３-０１", "2026-03-01"),
        ("1-Mar-26", "2026-03-01"),
        ("12 december 2025", "2025-12-12"),
        ("45717.5", "the year first, as 2026-03-01"),
        ("20261301", "the year first, as 2026-03-01"),
        # A month, and two days.
        ("2026-12", "the year first, as 2026-03-01"),
        ("202612", "the year first, as 2026-03-01"),
        ("2026121", "the year first, as 2026-03-01"),
    ],
)
def test_the_day_that_was_meant_is_told(cell: str, written: str) -> None:
    with pytest.raises(ValueError, match=rf'^"{cell}" is no date, write {written}$'):
        day(cell)


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("2026-03-01 09:05", datetime(2026, 3, 1, 9, 5)),
        ("2026/3/1 9:05", datetime(2026, 3, 1, 9, 5)),
        ("2026年3月1日 9:05:30", datetime(2026, 3, 1, 9, 5, 30)),
        ("2026-03-01T09:05:00+08:00", datetime.fromisoformat("2026-03-01T09:05:00+08:00")),
    ],
)
def test_a_moment_may_be_written_as_spreadsheets_do(cell: str, at: datetime) -> None:
    assert moment(cell) == at


@pytest.mark.parametrize("cell", ["2026/3/1", "1/3/2026 9:05", "2026/3/1 9", "9:05"])
def test_a_moment_that_nobody_can_tell_is_none(cell: str) -> None:
    with pytest.raises(ValueError, match=f'^"{cell}" is no moment, write it as 2026-03-12 10:15$'):
        moment(cell)


def test_a_mark_that_nobody_sees_is_told_with_what_to_write(tmp_path: Path) -> None:
    hidden = METERS.replace("P1", "P1\u200b")
    assert any(it.endswith("not printable: write P1") for it in told(tmp_path, meters=hidden))


# Workbooks


def workbook(*rows: tuple[Any, ...]) -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append([*row])
    data = BytesIO()
    book.save(data)
    return data.getvalue()


def put_workbook(folder: Path, table: str, *rows: tuple[Any, ...]) -> Path:
    path = write(folder)
    (folder / "archive" / f"{table}.csv").unlink(missing_ok=True)
    (folder / "archive" / f"{table}.xlsx").write_bytes(workbook(*rows))
    return path


def test_a_table_may_be_a_workbook(tmp_path: Path) -> None:
    path = put_workbook(
        tmp_path,
        "meters",
        ("address", "line", "point", "installed_on", "relay", None),
        ("000000000001", "gate-1", "P1", date(2026, 1, 1), False, None),
        ("000000000002", "bus-1", "P2", "2026/1/1", True, None),
    )
    first, second = load_site(path).archive.meters
    assert (first.address, first.installed_on, first.relay) == (
        "000000000001",
        date(2026, 1, 1),
        False,
    )
    assert second.relay


def test_numbers_of_a_workbook_lost_their_zeros_and_are_told_so(tmp_path: Path) -> None:
    path = put_workbook(
        tmp_path,
        "meters",
        ("address", "line", "point", "installed_on"),
        (1101, "gate-1", "P1", date(2026, 1, 1)),
        (1101.0, "gate-1", "P2", date(2026, 1, 1)),
    )
    with pytest.raises(ConfigError, match="write 000000001101, with zeros in front") as refusal:
        load_site(path)
    assert [it.line for it in refusal.value.problems if it.where == "address"] == [2, 3, 3]


def test_of_a_workbook_the_first_sheet_counts_that_is_not_hidden(tmp_path: Path) -> None:
    path = put_workbook(tmp_path, "accounts", ("account", "tariff"), ("A9", "home"))
    book = load_workbook(tmp_path / "archive" / "accounts.xlsx")
    old = book.worksheets[0]
    seen = book.create_sheet("now")
    for row in (), ("account", "tariff"), ("A1", "home"), ("A2", "home"):
        seen.append(row)
    book.active = 1
    old.sheet_state = "hidden"
    book.save(tmp_path / "archive" / "accounts.xlsx")
    assert [it.account for it in load_site(path).archive.accounts] == ["A1", "A2"]


def test_what_is_no_workbook_is_told(tmp_path: Path) -> None:
    path = put_workbook(tmp_path, "meters", ("address",))
    (tmp_path / "archive" / "meters.xlsx").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ConfigError, match=r"meters\.xlsx:1: file: meters\.xlsx is no workbook"):
        load_site(path)


def test_a_table_and_a_workbook_of_it_are_one_too_many(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "archive" / "points.xlsx").write_bytes(workbook(("point",), ("P1",)))
    with pytest.raises(ConfigError, match=r"points\.xlsx is there too"):
        load_site(path)
