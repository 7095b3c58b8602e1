"""Loading a site: every mistake at once, each with its file, its line and a hint; nothing half
loaded."""

import re
import subprocess
import sys
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.load import LoadedSite, load_site
from config.problems import ConfigError
from config.translation import words_of
from daemon.cli.check import check

GOOD = {
    "meterd.toml": """\
[site]
name = "house"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"

[[line]]
name = "gate-1"
tcp = "127.0.0.1:7001"
baud = 9600

[[line]]
name = "bus-1"
serial = "/dev/ttyS9"
""",
    "tariffs.toml": """\
[[tariff.home.version]]
effective_from = 2026-01-01
price = "0.5283"
""",
    "archive/accounts.csv": "account,tariff,open_from,agreement\n"
    "A1,home,2026-03-01,signed\nA2,home,,\n",
    "archive/points.csv": "point,account,ratio,protected\nP1,A1,,\nP2,A2,60,yes\nP3,,,\n",
    "archive/meters.csv": "address,line,point,installed_on\n"
    "000000000001,gate-1,P1,2026-01-01\n000000000002,bus-1,P2,2026-01-01\n",
}


def write(folder: Path, **changes: tuple[str, str] | str | bytes | None) -> Path:
    """A good site with changes by file: (old, new), a whole text, bytes, or None for no such
    file."""
    for name, text in GOOD.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        change = changes.pop(path.stem, text)
        if isinstance(change, tuple):
            assert text.count(change[0]) >= 1, f"{name} has no {change[0]!r}"
            change = text.replace(change[0], change[1], 1)
        if change is not None:
            path.write_bytes(change if isinstance(change, bytes) else change.encode())
    assert not changes, f"no such files: {changes}"
    return folder / "meterd.toml"


def mistakes(folder: Path, **changes: tuple[str, str] | str | bytes | None) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        load_site(write(folder, **changes))
    in_chinese(refusal.value)
    return [str(problem) for problem in refusal.value.problems]


def in_chinese(refusal: ConfigError) -> None:
    """Whatever is told of a site in these tests can be told in Chinese."""
    words = words_of("zh")
    english = [it.message for it in refusal.problems if not HAN.search(words(it.message))]
    assert not english


HAN = re.compile("[\u4e00-\u9fff]")
TOU = (
    '[[tariff.home.version]]\neffective_from = 2026-01-01\nprice = "0.5"\n'
    "[[tariff.home.version]]\neffective_from = 2026-05-01\n"
)
TWO_RATES = TOU + 'energy = { mode = "tou", prices = { peak = "0.6", valley = "0.3" } }\n'
OF_SLABS = """\
[[tariff.home.version]]
effective_from = 2026-01-01
ladder = { cycle = "month", method = "price", bounds_kwh = ["100"], prices = ["0.5", "0.6"] }
fixed = { by_slab = { FEES } }
"""
NONE_OF = "tariff home from 2026-05-01 has no price of sharp flat"


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("P1,A1,1,,\nP2,,1,,\n", [f"archive/points.csv:2: rates: {NONE_OF}; name only the"]),
        ("P1,A1,1,peak valley,\nP2,A2,3,peak flat valley,peak\n", []),
        (
            "P1,A1,1,peak valy,\nP2,A2,1,,flat\n",
            [
                "archive/points.csv:2: rates: tariff home from 2026-05-01 prices valley, which is "
                "none of peak valy (did you mean valy?)",
                "archive/points.csv:3: residual_rate: tariff home from 2026-05-01 has no price of "
                "flat; it prices peak valley",
            ],
        ),
    ],
)
def test_a_tariff_prices_the_registers_that_the_meter_of_a_point_has(
    tmp_path: Path, points: str, expected: list[str]
) -> None:
    good = "point,account,phases,rates,residual_rate\nP1,A1,1,peak valley,\nP2,,1,,\n"
    told = good.splitlines(keepends=True)[0] + points
    before = load_site(write(tmp_path, tariffs=TWO_RATES, points=good))
    write(tmp_path, tariffs=TWO_RATES, points=told)
    for known in (None, before):
        found = told_mistakes(tmp_path, known)
        assert len(found) == len(expected), found
        assert all(line.startswith(it) for line, it in zip(found, expected, strict=True)), found


def test_versions_from_before_an_account_was_opened_price_nothing_of_it(tmp_path: Path) -> None:
    tariffs = TWO_RATES + '[[tariff.home.version]]\neffective_from = 2026-06-01\nprice = "0.5"\n'
    accounts = "account,tariff,open_from,agreement\nA1,home,2026-06-01,s\nA2,home,2026-07-01,s\n"
    load_site(write(tmp_path, tariffs=tariffs, accounts=accounts))


@pytest.mark.parametrize(
    ("fees", "phases", "expected"),
    [
        ('1 = ["5", "6"]', "1,1", []),
        ('1 = ["5", "6"], 3 = ["7", "8"]', "1,3", []),
        ('3 = ["7", "8"]', "1,3", [2]),
        ('1 = ["5", "6"]', "3,1", [2]),
    ],
)
def test_a_tariff_has_fees_of_the_phases_of_its_accounts(
    tmp_path: Path, fees: str, phases: str, expected: list[int]
) -> None:
    first, second = phases.split(",")
    points = f"point,account,phases\nP1,A1,{first}\nP2,A2,{second}\nP3,,3\n"
    before = load_site(write(tmp_path, points=points))
    write(tmp_path, tariffs=OF_SLABS.replace("FEES", fees), points=points)
    for known in (None, before):
        found = told_mistakes(tmp_path, known)
        where = [
            f"archive/accounts.csv:{line}: tariff: home from 2026-01-01 has no fees of"
            for line in expected
        ]
        assert len(found) == len(where), found
        assert all(line.startswith(it) for line, it in zip(found, where, strict=True)), found


def told_mistakes(folder: Path, known: LoadedSite | None) -> list[str]:
    """With the site that was read last and without."""
    try:
        load_site(folder / "meterd.toml", known)
    except ConfigError as error:
        return [str(it).replace(f"{folder}/", "") for it in error.problems]
    return []


def test_a_good_site_is_loaded_with_its_units(tmp_path: Path) -> None:
    control = (
        '\n[control]\nmin_debt_yuan = "7.50"\nwindow_end = "24:00"\n'
        "max_reading_age_h = 12\nholidays = [2026-10-01]\n"
    )
    site = load_site(write(tmp_path, meterd=GOOD["meterd.toml"] + control))
    assert [(line.name, line.tcp, line.serial, line.baud) for line in site.settings.line] == [
        ("gate-1", ("127.0.0.1", 7001), None, 9600),
        ("bus-1", None, "/dev/ttyS9", 2400),
    ]
    assert site.settings.site.data_directory == tmp_path / "data"
    assert site.settings.control.mode == "shadow"
    assert (site.settings.control.min_debt_fen, site.settings.control.window_end) == (
        750,
        time.max,
    )
    assert site.settings.control.max_reading_age == timedelta(hours=12)
    assert site.settings.control.holidays == {date(2026, 10, 1)}
    assert [
        (a.account, a.open_from, a.warn_fen, a.trip_fen, a.reconnect_fen)
        for a in site.archive.accounts
    ] == [
        ("A1", date(2026, 3, 1), 3000, 0, 0),
        ("A2", None, 3000, 0, 0),
    ]
    assert [
        (p.point, p.account, p.ratio, p.max_daily_kwh, p.protected) for p in site.archive.points
    ] == [
        ("P1", "A1", Decimal(1), Decimal(380), False),
        ("P2", "A2", Decimal(60), Decimal(380), True),
        ("P3", None, Decimal(1), Decimal(380), False),
    ]
    assert [(m.address, m.line, m.point) for m in site.archive.meters] == [
        ("000000000001", "gate-1", "P1"),
        ("000000000002", "bus-1", "P2"),
    ]
    assert site.tariffs["home"].all[0].energy == {"total": Decimal("0.5283")}


def test_the_versions_of_a_tariff_are_in_the_order_of_their_start(tmp_path: Path) -> None:
    january = GOOD["tariffs.toml"]
    december = january.replace("2026-01-01", "2025-12-01")
    site = load_site(write(tmp_path, tariffs=january + december))
    starts = [version.effective_from for version in site.tariffs["home"].all]
    assert starts == [date(2025, 12, 1), date(2026, 1, 1)]


def test_a_file_that_is_not_there_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/elsewhere.toml:1: file: cannot be read"):
        load_site(tmp_path / "elsewhere.toml")


def test_an_account_may_open_on_the_first_day_of_its_tariff(tmp_path: Path) -> None:
    site = load_site(write(tmp_path, tariffs=("2026-01-01", "2026-03-01")))
    assert site.archive.accounts[0].open_from == site.tariffs["home"].all[0].effective_from


def test_supply_is_restored_where_it_is_cut_unless_the_table_says_so(tmp_path: Path) -> None:
    table = "account,tariff,trip_yuan,reconnect_yuan\nA1,home,5,\nA2,home,5,7.50\n"
    site = load_site(write(tmp_path, accounts=table))
    assert [account.reconnect_fen for account in site.archive.accounts] == [500, 750]


def test_the_example_site_has_no_mistake() -> None:
    load_site(Path(__file__).parents[3] / "config" / "example" / "meterd.toml")


def test_all_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        meterd=("baud = 9600", "buad = 9600\nretries = 99"),
        tariffs=('price = "0.5283"', "price = 0.5283"),
        accounts=("A2,home,,", "A2,home,,,x\nA3,home,2026-13-01,signed"),
        points=("P2,A2,60,yes", "P2,A2,-60,perhaps"),
        meters=("000000000001,gate-1", "1,gaet-1"),
    )
    expected = [
        ("archive/accounts.csv:3: row", "has 5 cells, the head has 4"),
        (
            "archive/accounts.csv:4: open_from",
            '"2026-13-01" is no date, the calendar has no such day',
        ),
        ("archive/meters.csv:2: address", '"1" is not 12 digits'),
        (
            "archive/meters.csv:2: line",
            "no [[line]] or terminal named gaet-1 (did you mean gate-1?)",
        ),
        ("archive/points.csv:3: protected", '"perhaps" is neither yes nor no'),
        ("archive/points.csv:3: ratio", "-60 is not greater than zero"),
        ("meterd.toml:11: line.gate-1.buad", "unknown key (did you mean baud?)"),
        ("meterd.toml:12: line.gate-1.retries", "99 is too large: at most 10"),
        ("tariffs.toml:3: tariff.home.version.0.price", 'must be a number as a text, "0.5283"'),
    ]
    for (where, what), line in zip(expected, found, strict=True):
        assert line.startswith(where), found
        assert what in line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # meterd.toml
        (
            {"meterd": ("zone = ", "zoen = ")},
            [
                "meterd.toml:1: site.zone: is missing",
                "meterd.toml:3: site.zoen: unknown key (did you mean zone?)",
            ],
        ),
        (
            {"meterd": ("Asia/Shanghai", "Asia/Shanghigh")},
            ["meterd.toml:3: site.zone: 'Asia/Shanghigh' is no IANA time zone"],
        ),
        (
            {"meterd": ('"house"', "5")},
            ['meterd.toml:2: site.name: 5 is no text: write "5"'],
        ),
        (
            {"meterd": ('name = "bus-1"', 'name = "gate-1"')},
            [
                "meterd.toml:14: line.gate-1: two lines have this name",
                "archive/meters.csv:3: line: no [[line]] or terminal named bus-1",
            ],
        ),
        (
            {"meterd": ('serial = "/dev/ttyS9"', "")},
            ['meterd.toml:13: line.bus-1: give one of tcp = "HOST:PORT", serial = '],
        ),
        (
            {"meterd": ('serial = "/dev/ttyS9"', 'serial = "/dev/ttyS9"\ntcp = "h:1"')},
            ["meterd.toml:13: line.bus-1: give one of"],
        ),
        (
            {"meterd": ("baud = 9600", "pipelined = 17")},
            ["meterd.toml:11: line.gate-1.pipelined: 17 is too large: at most 16"],
        ),
        (
            {"meterd": ('"/dev/ttyS9"', '"/dev/ttyS9"\npipelined = 2')},
            ["meterd.toml:13: line.bus-1: pipelined is for tcp"],
        ),
        (
            {"meterd": ("127.0.0.1:7001", "127.0.0.1")},
            ["meterd.toml:10: line.gate-1.tcp: '127.0.0.1' is not HOST:PORT"],
        ),
        (
            {"meterd": ("127.0.0.1:7001", "127.0.0.1:70000")},
            ["meterd.toml:10: line.gate-1.tcp: '127.0.0.1:70000' is not HOST:PORT"],
        ),
        (
            {"meterd": ("baud = 9600", 'baud = "9600"')},
            ['meterd.toml:11: line.gate-1.baud: "9600" is none of 300'],
        ),
        (
            {"meterd": ("baud = 9600", "baud = 9600\nparity = true")},
            ['meterd.toml:12: line.gate-1.parity: true is none of "E"'],
        ),
        ({"meterd": "[site]\nname = \n"}, ["meterd.toml:2: file: is no TOML: Invalid value"]),
        (
            {"meterd": "[site]\nname = 1\nname = 2\n"},
            ["meterd.toml:3: file: is no TOML: Cannot overwrite a value"],
        ),
        ({"meterd": ""}, ["meterd.toml:1: site: is missing"]),
        ({"meterd": b'[site]\nname = "\xff"\n'}, ["meterd.toml:2: file: is not written in UTF-8"]),
        ({"meterd": None}, ["meterd.toml:1: file: cannot be read: No such file or directory"]),
        (
            {"meterd": ("archive = ", "archives = ")},
            [
                "meterd.toml:1: site.archive: is missing",
                "meterd.toml:5: site.archives: unknown key (did you mean archive?)",
            ],
        ),
        (
            {
                "meterd": (
                    'serial = "/dev/ttyS9"',
                    'serial = "/dev/ttyS9"\n[log]\ntrace_lines = ["gate-2"]',
                )
            },
            ["meterd.toml:17: log.trace_lines: no line gate-2 (did you mean gate-1?)"],
        ),
        (
            {
                "meterd": GOOD["meterd.toml"].split("[[line]]")[0],
                "meters": "address,line,point,installed_on\n",
            },
            ["meterd.toml:1: line: there is no line; add [[line]] with name and tcp or serial"],
        ),
        # tariffs
        ({"tariffs": None}, ["tariffs.toml:1: file: cannot be read: No such file"]),
        ({"tariffs": ""}, ["tariffs.toml:1: file: holds no tariff; add [[tariff.NAME.version]]"]),
        (
            {"tariffs": "tariff = 5\n"},
            ["tariffs.toml:1: tariff: must be written as [[tariff.NAME.version]]"],
        ),
        (
            {"tariffs": "[[tariff]]\nname = 'x'\n"},
            ["tariffs.toml:1: tariff: must be written as [[tariff.NAME.version]]"],
        ),
        (
            {"tariffs": "tariff.home.version = [1]\n"},
            ["tariffs.toml:1: tariff.home.version.0: must be a table"],
        ),
        (
            {"tariffs": "[tariff.home]\nversion = []\n"},
            ["tariffs.toml:1: tariff.home: has no versions; add [[tariff.home.version]]"],
        ),
        (
            {"tariffs": ("price", "prize")},
            [
                "tariffs.toml:1: tariff.home.version.0.energy: has no price; write energy = {",
                "tariffs.toml:3: tariff.home.version.0.prize: unknown key (did you mean price?)",
            ],
        ),
        (
            {"tariffs": ('"0.5283"', "0.5283")},
            ["tariffs.toml:3: tariff.home.version.0.price: must be a number as a text"],
        ),
        (
            {"tariffs": ('"0.5283"', "1")},
            ["tariffs.toml:3: tariff.home.version.0.price: must be a number as a text"],
        ),
        (
            {"tariffs": ('"0.5283"', '"-0.1"')},
            ["tariffs.toml:3: tariff.home.version.0.price: '"],
        ),
        (
            {"tariffs": ('"0.5283"', '"0.123456789"')},
            ["tariffs.toml:3: tariff.home.version.0.price: has more than 8 decimals"],
        ),
        (
            {"tariffs": ('"0.5283"', '"nan"')},
            ["tariffs.toml:3: tariff.home.version.0.price: '"],
        ),
        (
            {"tariffs": ('"0.5283"', '"1e9"')},
            ["tariffs.toml:3: tariff.home.version.0.price: '"],
        ),
        (
            {"tariffs": ("2026-01-01", '"1 January"')},
            [
                "tariffs.toml:2: tariff.home.version.0.effective_from: must be a date, its 00:00 "
                "counts: effective_from = 2026-01-01"
            ],
        ),
        (
            {"tariffs": ("2026-01-01", "2026-01-01T08:00:00")},
            ["tariffs.toml:2: tariff.home.version.0.effective_from: must be a date"],
        ),
        (
            {"tariffs": GOOD["tariffs.toml"] * 2},
            ["tariffs.toml:1: tariff.home.version: two versions start on the same day"],
        ),
        (
            {"tariffs": GOOD["tariffs.toml"] + GOOD["tariffs.toml"].replace("2026-01-01", "5")},
            ["tariffs.toml:5: tariff.home.version.1.effective_from: must be a date"],
        ),
        (
            {"tariffs": ("2026-01-01", "2026-03-02")},
            [
                "archive/accounts.csv:2: open_from: A1 opens on 2026-03-01, before the "
                "first version of home"
            ],
        ),
        # archive
        ({"accounts": None}, ["archive/accounts.csv:1: file: cannot be read: No such file"]),
        (
            {"accounts": "name\n"},
            [
                "archive/accounts.csv:1: account: column is missing",
                "archive/accounts.csv:1: tariff: column is missing",
            ],
        ),
        (
            {"meters": "relay\n"},
            [
                f"archive/meters.csv:1: {column}: column is missing"
                for column in ("address", "installed_on", "line", "point")
            ],
        ),
        (
            {"accounts": ("A2,home", "A1,home")},
            [
                "archive/accounts.csv:3: account: A1 stands twice",
                "archive/points.csv:3: account: no account A2 in accounts.csv",
            ],
        ),
        (
            {"accounts": ("A1,home", "A1,hme")},
            [
                "archive/accounts.csv:2: tariff: no tariff hme in the tariffs file (did "
                "you mean home?)"
            ],
        ),
        (
            {"accounts": ("A1,home", "A1,")},
            ["archive/accounts.csv:2: tariff: '' is empty or not printable"],
        ),
        (
            {"accounts": ("2026-03-01,signed", "2026-03-01,")},
            ["archive/accounts.csv:2: agreement: an account is opened only with a signed"],
        ),
        (
            {"accounts": ("tariff,", "tarif,")},
            [
                "archive/accounts.csv:1: tarif: unknown column (did you mean tariff?)",
                "archive/accounts.csv:1: tariff: column is missing",
            ],
        ),
        (
            {
                "accounts": "account,tariff,warn_yuan,trip_yuan,reconnect_yuan,credit_limit_yuan\n"
                "A1,home,-1,0,-1,-5\nA2,home,1.005,,,x\n"
            },
            [
                "archive/accounts.csv:2: credit_limit_yuan: must not be negative",
                "archive/accounts.csv:2: reconnect_yuan: must not be below trip_yuan",
                "archive/accounts.csv:2: warn_yuan: must not be below trip_yuan",
                'archive/accounts.csv:3: credit_limit_yuan: "x" is no amount in yuan',
                "archive/accounts.csv:3: warn_yuan: 1.005 yuan is not a whole number of fen",
            ],
        ),
        (
            {"points": ("P2,A2", "P1,A2")},
            [
                "archive/points.csv:3: point: P1 stands twice",
                "archive/meters.csv:3: point: no point P2 in points.csv",
            ],
        ),
        (
            {"points": ("P2,A2", "P2,A3")},
            ["archive/points.csv:3: account: no account A3 in accounts.csv"],
        ),
        (
            {"meters": ("000000000002,bus-1,P2", "000000000002,bus-1,P1")},
            ["archive/meters.csv:3: point: P1 is served by 000000000001 already"],
        ),
        (
            {"meters": ("000000000002,bus-1", "000000000001,bus-1")},
            ["archive/meters.csv:3: address: 000000000001 stands twice"],
        ),
        (
            {"meters": ("000000000002", "999999999999")},
            ["archive/meters.csv:3: address: 999999999999 is the broadcast address"],
        ),
        (
            {"meters": ("000000000002,bus-1,P2", "000000000002,bus-1,P9")},
            ["archive/meters.csv:3: point: no point P9 in points.csv"],
        ),
        (
            {"meters": ("2026-01-01", "01.01.2026")},
            ['archive/meters.csv:2: installed_on: "01.01.2026" is no date'],
        ),
        (
            {"meters": GOOD["archive/meters.csv"].encode() + b"\xff\xfe,bus-1,P3,2026-01-01\n"},
            ["archive/meters.csv:4: file: is not written in UTF-8"],
        ),
        (
            {
                "points": "point,account,phases,rates,residual_rate\n"
                "P1,A1,2,peak total,peak\nP2,A2,3,peak valley peak,\nP3,,1,peak valley,vally\n"
                "P4,,,,Flat\n"
            },
            [
                'archive/points.csv:2: phases: "2" is neither 1 nor 3',
                'archive/points.csv:2: rates: "total" is no name of a rate register',
                "archive/points.csv:3: rates: peak stands twice",
                "archive/points.csv:4: residual_rate: vally is not one of the rates peak valley "
                "(did you mean valley?)",
                "archive/points.csv:5: residual_rate: Flat is not one of the rates sharp peak flat "
                "valley (did you mean flat?)",
            ],
        ),
        (
            {"points": 'point,account\n"P1,A1\n'},
            ["archive/points.csv:2: file: is no CSV: unexpected end of data"],
        ),
    ],
)
def test_a_mistake_is_told_with_file_line_and_hint(
    tmp_path: Path, changes: dict[str, tuple[str, str] | str | bytes | None], expected: list[str]
) -> None:
    found = mistakes(tmp_path, **changes)
    named = [line.replace(f"{tmp_path}/", "") for line in found]
    assert len(named) == len(expected), named
    for line, start in zip(sorted(named), sorted(expected), strict=True):
        assert line.startswith(start), named


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("holidays = 5", "control.holidays: write days without quotation marks"),
        ('holidays = ["2026-10-01"]', "control.holidays: write days without quotation marks"),
        ("holidays = [2026-10-01T00:00:00]", "control.holidays: write days"),
        ("window_start = 9", "control.window_start: 9 is no time of day"),
        ('window_start = "9 Uhr"', "control.window_start: '9 Uhr' is no time of day"),
        ('window_start = "09:00+08:00"', "control.window_start: '09:00+08:00' is no time of day"),
        ('window_start = "16:00"', "control: window_start must be before window_end"),
        ("min_debt_yuan = 5.0", "control.min_debt_yuan: 5.0 is no amount in yuan"),
        ("min_debt_yuan = 5", "control.min_debt_yuan: 5 is no amount in yuan"),
        ('min_debt_yuan = "5.001"', "control.min_debt_yuan: '5.001' is no amount in yuan"),
        ('min_debt_yuan = "1e999999"', "control.min_debt_yuan: '1e999999' is no amount in yuan"),
        ('min_debt_yuan = "-1"', "control.min_debt_yuan: '-1' is no amount in yuan"),
        ("max_reading_age_h = -1", "control.max_reading_age_h: -1 is no number of hours"),
        ("max_reading_age_h = nan", "control.max_reading_age_h: nan is no number of hours"),
        ("max_reading_age_h = inf", "control.max_reading_age_h: inf is no number of hours"),
        ("max_reading_age_h = 1e300", "control.max_reading_age_h: 1e+300 is no number of hours"),
        ("startup_hold_min = true", "control.startup_hold_min: True is no number of minutes"),
        ('mode = "auto"', 'control: mode = "auto" needs the meters\' control password'),
        (
            'mode = "automatic"',
            'control.mode: "automatic" is none of "shadow", "manual", "assisted" or "auto"',
        ),
        ('password = "123456"', 'control.password: a secret is given as { file = "PATH" }'),
        ('password = { file = "nowhere" }', "control.password: cannot read"),
        (
            'password = { env = "NO_SUCH_VARIABLE" }',
            "control.password: the environment has no NO_SUCH_VARIABLE",
        ),
        ('password = { vault = "x" }', "control.password: vault is no source of secrets"),
        (
            'password = { credential = "x" }',
            "control.password: credentials are only there when systemd",
        ),
        ('operator = "1"', 'control.operator: "1" is not eight digits'),
    ],
)
def test_a_wrong_value_of_control_is_told_with_its_line(
    tmp_path: Path, line: str, told: str
) -> None:
    text = f"{GOOD['meterd.toml']}\n[control]\n{line}\n"
    (found,) = mistakes(tmp_path, meterd=text)
    number = text.count("\n", 0, text.index("[control]")) + (
        1 if told.startswith("control:") else 2
    )
    assert found.startswith(f"meterd.toml:{number}: {told}")


def test_a_bad_row_is_told_once_and_not_again_by_who_refers_to_it(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        accounts=("A1,home,2026-03-01", "A1,home,1 March"),
        points=("P2,A2,60", "P2,A2,sixty"),
    )
    assert [line.partition(": ")[0] for line in found] == [
        "archive/accounts.csv:2",
        "archive/points.csv:3",
    ]


def test_files_as_other_systems_write_them_are_read(tmp_path: Path) -> None:
    """With a byte order mark and CR LF, as an editor or a spreadsheet on Windows saves them."""
    windows = {
        Path(name).stem: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
        for name, text in GOOD.items()
    }
    there, here = load_site(write(tmp_path, **windows)), None
    (tmp_path / "plain").mkdir()
    here = load_site(write(tmp_path / "plain"))
    assert there.archive == here.archive
    assert there.tariffs == here.tariffs
    assert there.settings.line == here.settings.line


def test_blank_lines_and_quoted_cells_keep_their_line_numbers(tmp_path: Path) -> None:
    text = (
        'account,name,tariff\n\nA1,"Li, Wang ""& Co""",home\n,,\nA2,"two\nlines",home\nA3,x,hom\n'
    )
    assert [line.partition(": ")[0] for line in mistakes(tmp_path, accounts=text)] == [
        "archive/accounts.csv:6",  # the row ends there
        "archive/accounts.csv:7",
    ]


def test_a_name_that_no_database_can_keep_is_refused(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, accounts="account,name,tariff\nA1,a\0b,home\nA2,,home\n")
    assert found.startswith(
        "archive/accounts.csv:2: name: 'a\\x00b' holds characters that cannot be printed"
    )


def test_an_amount_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    text = "account,tariff,credit_limit_yuan\nA1,home,1e30\nA2,home,1e999999\n"
    assert [line.partition(": ")[0] for line in mistakes(tmp_path, accounts=text)] == [
        "archive/accounts.csv:2",
        "archive/accounts.csv:3",
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_meterd_check_ends_with_78_and_names_every_mistake(tmp_path: Path, as_json: bool) -> None:
    path = write(tmp_path, meterd=("baud = 9600", "buad = 9600"), accounts=("A1,home", "A1,hme"))
    meterd = Path(sys.executable).with_name("meterd")
    command = [str(meterd), "check", "-c", str(path), *(["--json"] if as_json else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    told = done.stdout if as_json else done.stderr
    assert "buad" in told
    assert "hme" in told
    if not as_json:
        assert told.splitlines()[-1].endswith("2 mistakes")
    assert "Traceback" not in done.stderr


def with_database(keys: str) -> tuple[str, str]:
    return ("[[line]]", f"[database]\n{keys}\n\n[[line]]")


def test_a_url_of_the_owner_needs_one_of_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://meterd_owner@/meterd")
    (found,) = mistakes(tmp_path, meterd=with_database('migration_url = { file = "url" }'))
    assert "migration_url needs url, of the daemon's own role" in found


def test_check_warns_of_a_daemon_that_may_own_its_tables(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://meterd@/meterd")
    url = 'url = { file = "url" }'
    told = []
    for keys in (url, f"{url}\nmigration_{url}"):
        site = write(tmp_path, meterd=with_database(keys))
        done = CliRunner().invoke(check, ["-c", str(site)])
        assert done.exit_code == 0
        told.append("database.migration_url is not given" in done.stderr)
    assert told == [True, False]


def test_who_is_on_call_has_a_channel_and_areas_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("json://host/{address}")
    tables = (
        '[[notice_channel]]\nname = "sms"\napprise = { file = "url" }\n'
        '[[on_call]]\nname = "li"\nareas = ["T22"]\nchannel = "smss"\naddress = "1"\n'
        "[site]"
    )
    told = mistakes(
        tmp_path, meterd=("[site]", tables), points="point,account,area\nP1,A1,T1\nP2,A2,T2\n"
    )
    assert [it.split(": ", 1)[1] for it in told] == [
        "on_call.li.areas: no point of points.csv is in area T22 (did you mean T2?)",
        "on_call.li.channel: no [[notice_channel]] smss in meterd.toml (did you mean sms?)",
    ]
