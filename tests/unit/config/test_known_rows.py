"""A site that was read before is read again: the same comes out, mistakes too, and what did not
change is not made anew."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.cells import word
from config.known_rows import NotPlain, follow_rows
from config.load import LoadedSite, load_site
from config.problems import ConfigError, Mistakes
from config.table import REQUIRED, Columns

SITE = {
    "meterd.toml": """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[[line]]
name = "a"
tcp = "127.0.0.1:7001"

[[line]]
name = "b"
tcp = "127.0.0.1:7002"

[[gateway]]
name = "g"
broker = { host = "127.0.0.1" }
""",
    "m.toml": """
title = "A meter"
source = ["its manual"]
address_base = 0
function = 3
type = "uint32"
order = "ABCD"

[block]
limit = 40

[quantity]
forward_active_energy = { register = 62, unit = "kWh", scale = 0.01 }
""",
    "tariffs.toml": '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n',
    "meters.csv": "address,line,point,installed_on,protocol,profile,serial,device\n"
    "000000000001,a,P1,2026-01-01,,,11,\n"
    "000000000002,b,P2,2026-01-01,dlt645-2007,,12,\n"
    "000000000003,g,P3,2026-01-01,mqtt,,,socket\n"
    "4,b,P4,2026-01-01,modbus-rtu,m.toml,,\n",
    "points.csv": "point,account,ratio\nP1,C1,1\nP2,C2,1\nP3,C3,1\nP4,,1\nP5,,1\n",
    "accounts.csv": "account,name,tariff,open_from,agreement\n"
    'C1,"Zhang, W",home,2026-03-01,x\nC2,,home,,\nC3,,home,,\n',
}
CELLS = [
    *("", " ", "a", "b", "g", "c", "P1", "P2", "P5", "P9", "C1", "C2", "C9", "1", "4", "40", "0"),
    *("000000000001", "000000000009", "999999999999", "2026-01-02", "2019-01-01", "no day", "mqtt"),
    *("modbus-rtu", "m.toml", "home", "shop", "socket", "11", "12", '"', '"a,b"', '"a\nb"', "\r"),
]
TABLES = ["meters.csv", "points.csv", "accounts.csv"]

cell = st.tuples(st.integers(0, 5), st.integers(0, 7), st.sampled_from(CELLS))
other_lines = st.sampled_from(["swap", "drop", "double", "blank", "crlf", "bom", "latin"])
edits = st.lists(st.tuples(st.sampled_from(TABLES), st.one_of(cell, other_lines)), max_size=3)


def write(folder: Path) -> Path:
    for name, text in SITE.items():
        (folder / name).write_bytes(text.encode())
    return folder / "meterd.toml"


def edit(path: Path, how: tuple[int, int, str] | str) -> None:
    lines = path.read_bytes().split(b"\n")
    match how:
        case (row, column, text):
            if row < len(lines) and column <= lines[row].count(b","):
                cells = lines[row].split(b",")
                cells[column] = str(text).encode()
                lines[row] = b",".join(cells)
        case "swap":
            lines[1:3] = lines[2:0:-1]
        case "drop":
            del lines[2:3]
        case "double":
            lines[2:2] = lines[2:3]
        case "blank":
            lines[2:2] = [b" ,"]
        case "crlf":
            lines[:-1] = [line + b"\r" for line in lines[:-1]]
        case "bom":
            lines[0] = b"\xef\xbb\xbf" + lines[0]
        case "latin":
            lines[-1] += b"\xfc"
    path.write_bytes(b"\n".join(lines))


def outcome(load: Callable[[], LoadedSite]) -> object:
    try:
        return load()
    except ConfigError as error:
        return error.problems


@given(first=edits, then=edits)
def test_what_is_found_is_the_same_whatever_was_known(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[tuple[str, tuple[int, int, str] | str]],
    then: list[tuple[str, tuple[int, int, str] | str]],
) -> None:
    path = write(tmp_path_factory.mktemp("site"))
    known = load_site(path)
    for several in (first, then):
        for name, how in several:
            edit(path.parent / name, how)
        thorough = outcome(lambda: load_site(path))
        followed = outcome(partial(load_site, path, known))
        assert followed == thorough
        if isinstance(followed, LoadedSite):
            assert followed.archive.texts == load_site(path).archive.texts
            known = followed


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    known = load_site(path)
    again = load_site(path, known)
    assert again.archive.meters is known.archive.meters
    assert again.archive.points is known.archive.points
    assert again.archive.accounts is known.archive.accounts


def test_of_a_file_that_changed_the_other_rows_are_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path)
    known = load_site(path)
    points = tmp_path / "points.csv"
    points.write_text(points.read_text().replace("P2,C2,1", "P2,C2,40"))
    again = load_site(path, known)
    for was, now in zip(known.archive.points, again.archive.points, strict=True):
        assert (was is now) == (now.point != "P2")


def test_a_row_that_refers_to_what_is_gone_is_told_though_it_did_not_change(tmp_path: Path) -> None:
    path = write(tmp_path)
    known = load_site(path)
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(accounts.read_text().replace("C2,,home,,\n", ""))
    with pytest.raises(ConfigError, match=r"points.csv:3: account: no account C2"):
        load_site(path, known)


def test_a_profile_that_changed_makes_its_meters_anew(tmp_path: Path) -> None:
    path = write(tmp_path)
    known = load_site(path)
    profile = tmp_path / "m.toml"
    profile.write_text(profile.read_text().replace("scale = 0.01", "scale = 0.001"))
    assert load_site(path, known) == load_site(path)
    assert load_site(path, known).archive.meters[-1].decimals == 3


def test_a_row_that_only_looks_like_two_is_left_to_the_thorough_reading() -> None:
    columns: Columns = {"key": (word, REQUIRED), "text": (str, "")}

    def record_of(row: dict[str, object], mistakes: Mistakes) -> str:
        return str(row["key"])

    before = b"key,text\na,1\nb,2\n"
    # Each line has two quotation marks, yet the field goes on.
    text = b'key,text\na,1\nx"y,"z\nw",q"r\n'
    with pytest.raises(NotPlain):
        follow_rows(before, ("a", "b"), text, columns, record_of)
