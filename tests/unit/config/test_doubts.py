"""What a site's files say and nobody can have meant: two on one bus, days out of reach, prices in
fen."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from config.doubts import doubts_of
from config.load import load_site
from config.problems import ConfigError
from tests.unit.config.test_site import GOOD, in_chinese, mistakes, write

TODAY = date(2026, 3, 10)
MORE = GOOD["meterd.toml"]
LISTENER = """
[[listener]]
name = "gprs"
listen = "0.0.0.0:{port}"
terminals = "terminals.csv"
registration = {{ text = "REG:{{id}}\\r\\n" }}
"""


def with_lines(*lines: str) -> str:
    return MORE + "".join(
        f'\n[[line]]\nname = "more-{at}"\n{line}\n' for at, line in enumerate(lines)
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('serial = "/dev/ttyS9"', "line.more-0.serial: /dev/ttyS9 is line bus-1 already"),
        ('serial = "/dev/../dev/ttyS9"', "is line bus-1 already: one bus has one talker"),
        ('tcp = "127.0.0.1:7001"', "line.more-0.tcp: 127.0.0.1:7001 is line gate-1 already"),
        ('tcp = "LOCALHOST:7001"', "is line gate-1 already"),
        ('tcp = "127.0.0.1:9645"', "is the port that http.listen opens"),
    ],
)
def test_two_lines_at_one_place_are_told(tmp_path: Path, line: str, told: str) -> None:
    (mistake,) = mistakes(tmp_path, meterd=with_lines(line))
    assert told in mistake
    assert mistake.startswith("meterd.toml:19: ")


def test_a_link_to_a_port_is_that_port(tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.touch()
    (tmp_path / "by-id").symlink_to(port)
    lines = with_lines(f'serial = "{port}"', f'serial = "{tmp_path / "by-id"}"')
    (mistake,) = mistakes(tmp_path, meterd=lines)
    assert "is line more-0 already" in mistake


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ('host = "B", client_id = "m1"', True),
        ('host = "b", client_id = "m2"', False),
        ('host = "c", client_id = "m1"', False),
        ('host = "b", port = 8883, client_id = "m1"', False),
        ('host = "b"', False),
    ],
)
def test_a_broker_knows_one_client_of_a_name(tmp_path: Path, second: str, told: bool) -> None:
    first = 'host = "b", client_id = "m1"'
    line = 'mqtt = {{ {}, down = "d{}", up = "u{}" }}'
    text = with_lines(line.format(first, 1, 1), line.format(second, 2, 2))
    if not told:
        assert load_site(write(tmp_path, meterd=text))
        return
    (mistake,) = mistakes(tmp_path, meterd=text)
    assert mistake.startswith("meterd.toml:23: line.more-1.mqtt.client_id: m1 is that of line.")


def test_a_line_that_is_switched_off_may_wait_for_the_place_of_another(tmp_path: Path) -> None:
    assert load_site(write(tmp_path, meterd=with_lines('tcp = "127.0.0.1:7001"\nenabled = false')))


@pytest.mark.parametrize(
    ("port", "http", "told"),
    [
        (9645, "127.0.0.1:9645", "http.listen: port 9645 is that of listener.gprs.listen already"),
        (9000, "127.0.0.1:9645", None),
    ],
)
def test_ports_of_our_own_are_opened_once(
    tmp_path: Path, port: int, http: str, told: str | None
) -> None:
    (tmp_path / "terminals.csv").write_text("line,terminal\n", encoding="utf-8")
    text = MORE + LISTENER.format(port=port) + f'\n[http]\nlisten = "{http}"\n'
    if told is None:
        assert load_site(write(tmp_path, meterd=text))
    else:
        (mistake,) = mistakes(tmp_path, meterd=text)
        assert told in mistake


@pytest.mark.parametrize("key", ["baud = 9600", 'parity = "N"', "data_bits = 7", "stop_bits = 2"])
def test_a_speed_of_a_line_that_has_none_is_a_warning(tmp_path: Path, key: str) -> None:
    site = load_site(write(tmp_path, meterd=("baud = 9600", key)))
    (warning,) = site.warnings
    assert str(warning).startswith(f"meterd.toml:11: line.gate-1.{key.split()[0]}: ")
    assert "is for serial" in warning.message


def doubts(folder: Path, **changes: tuple[str, str] | str) -> tuple[list[str], list[str]]:
    found = doubts_of(load_site(write(folder, **changes)), TODAY)
    return [*map(str, found.mistakes)], [*map(str, found.warnings)]


def test_a_sound_site_leaves_one_doubt(tmp_path: Path) -> None:
    assert doubts(tmp_path) == (
        [],
        ["archive/points.csv:1: point: 1 (P3): no meter in meters.csv, nothing is billed there"],
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"meterd": ("Asia/Shanghai", "Etc/GMT+8")},
            "meterd.toml:3: site.zone: Etc/GMT+8 is 8 h WEST of Greenwich",
        ),
        (
            {"meterd": ('"data"', '"~/data"')},
            "meterd.toml:4: site.data_directory: ",
        ),
        (
            {"meterd": ('"data"', f'"{"d" * 90}"')},
            "meterd.toml:4: site.data_directory: has ",
        ),
        (
            {"meterd": ('"data"', '"tariffs.toml"')},
            "meterd.toml:4: site.data_directory: ",
        ),
        (
            {"tariffs": ("0.5283", "52.83")},
            "tariffs.toml:1: tariff.home: version from 2026-01-01: 52.83 yuan/kWh cannot be meant",
        ),
        (
            {
                "tariffs": ("2026-01-01", "2062-01-01"),
                "accounts": ("A1,home,2026-03-01,signed", "A1,home,,"),
            },
            "tariffs.toml:1: tariff.home: begins on 2062-01-01: nothing is billed before",
        ),
        (
            {"meters": ("P2,2026-01-01", "P2,2062-01-01")},
            "archive/meters.csv:3: installed_on: meter 000000000002 is installed on 2062-01-01",
        ),
        (
            {"meters": ("P1,2026-01-01", "P1,1900-01-01")},
            "archive/meters.csv:2: installed_on: meter 000000000001 is installed on 1900-01-01",
        ),
        (
            {"accounts": ("A1,home,2026-03-01", "A1,home,2062-03-01")},
            "archive/accounts.csv:2: open_from: account A1 opens on 2062-03-01, which cannot be",
        ),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(
    tmp_path: Path, changes: dict[str, tuple[str, str]], told: str
) -> None:
    (mistake,), _ = doubts(tmp_path, **changes)
    assert mistake.startswith(told)


SMALL_REGISTER = """address,line,point,installed_on,modulus_kwh
000000000001,gate-1,P1,2026-01-01,
000000000002,bus-1,P2,2026-01-01,10000
"""
"""Of P2."""


@pytest.mark.parametrize(("limit", "is_mistake"), [("2499.99", False), ("2500", True)])
def test_a_limit_of_a_quarter_of_the_register_is_a_mistake(
    tmp_path: Path, limit: str, is_mistake: bool
) -> None:
    points = f"point,account,max_daily_kwh\nP1,A1,\nP2,A2,{limit}\n"
    found, _ = doubts(tmp_path, points=points, meters=SMALL_REGISTER)
    told = "archive/points.csv:3: max_daily_kwh: 2500 kWh a day is a quarter or more of 10000"
    assert [it.startswith(told) for it in found] == [True] * is_mistake


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("1,,,90,,", "contract_kw: 2590 kWh a day is a quarter or more of 10000"),
        ("1,3,200,,,", "i_max_a: 3790 kWh a day is a quarter or more of 10000"),
        ("1000000,,,0.1,,", "contract_kw: 0.00000288 kWh a day is less than 0.01, the smallest"),
        ("1,3,120,,,", ""),
        ("1,,,90,,2000", ""),
    ],
)
def test_a_limit_that_follows_is_told_with_the_column_that_is_mended(
    tmp_path: Path, cells: str, told: str
) -> None:
    head = "point,account,ratio,phases,i_max_a,contract_kw,u_n_v,max_daily_kwh"
    points = f"{head}\nP1,A1,,,,,,\nP2,A2,{cells}\n"
    site = load_site(write(tmp_path, points=points, meters=SMALL_REGISTER))
    found = doubts_of(site, TODAY).mistakes
    if not told:
        assert not found
        return
    (mistake,) = found
    assert str(mistake).startswith(f"archive/points.csv:3: {told}")
    column = told.split(":")[0]
    assert mistake.message.partition("; it follows from ")[2].startswith(f"{column} ")
    in_chinese(ConfigError(found))


def test_the_default_of_a_phase_may_be_too_much_for_a_register(tmp_path: Path) -> None:
    meterd = f"{MORE}\n[quality]\nmax_daily_kwh = 1000000\n"
    points = "point,account,max_daily_kwh\nP1,A1,\nP2,A2,380\n"
    (mistake,), _ = doubts(tmp_path, meterd=meterd, points=points)
    assert mistake.startswith("archive/points.csv:2: i_max_a: 1000000 kWh a day is a quarter")
    assert mistake.endswith("follows from quality.max_daily_kwh; write max_daily_kwh instead")


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ("1,1,60,380,", "u_n_v: 1 (P2): u_n_v is a voltage between two phases"),
        ("1,1,60,220,", ""),
        ("1,3,60,220,", "u_n_v: 1 (P2): u_n_v is the voltage of one phase"),
        ("1,3,6,57.7,", "u_n_v: 1 (P2): u_n_v is the voltage of one phase"),
        ("1,3,60,380,", ""),
        ("1,3,60,400,", ""),
        ("80,3,6,100,", ""),
        ("30,3,150,,", "i_max_a: 1 (P2): i_max_a is more than meters behind current transf"),
        ("1,3,150,,", ""),
        ("1,1,60,,20", "contract_kw: 1 (P2): contract_kw is more than i_max_a, u_n_v and ratio"),
        ("1,1,60,,13", ""),
        ("30,3,6,,118", ""),
        ("30,3,6,,119", "contract_kw: 1 (P2): contract_kw is more than"),
        ("1,1,,,900", ""),
    ],
)
def test_what_a_connection_hardly_can_be_is_a_warning(
    tmp_path: Path, cells: str, told: str
) -> None:
    head = "point,account,ratio,phases,i_max_a,u_n_v,contract_kw"
    points = f"{head}\nP1,A1,,,,,\nP2,A2,{cells}\n"
    site = load_site(write(tmp_path, points=points))
    found = doubts_of(site, TODAY).warnings
    assert [str(it).startswith(f"archive/points.csv:1: {told}") for it in found] == [True] * bool(
        told
    )
    in_chinese(ConfigError(found))


def test_who_signs_has_to_be_a_program(tmp_path: Path) -> None:
    signer = f'{MORE}\n[control]\nsigner = "sign"\n'
    told = "sign is no program that can be started"
    program = tmp_path / "sign"
    for mode in (None, 0o600, 0o700):
        if mode is not None:
            program.touch()
            program.chmod(mode)
        found, _ = doubts(tmp_path, meterd=signer)
        assert len(found) == (mode != 0o700)
        assert all("control.signer: " in it and it.endswith(told) for it in found)


@pytest.mark.parametrize(
    ("family", "devices", "told"),
    [
        ("tasmota", ("strip", "strip:2"), ["strip:2 is a part of strip, which is 000000000001"]),
        ("tasmota", ("strip:1", "strip:2"), []),
        # Another device: channels have one name each.
        ("tasmota", ("strip", "strip:02"), []),
        ("shelly", ("strip", "strip:2"), []),
    ],
)
def test_a_channel_beside_the_whole_of_its_device_is_a_warning(
    tmp_path: Path, family: str, devices: tuple[str, str], told: list[str]
) -> None:
    gateway = f'[[gateway]]\nname = "gw"\nfamily = "{family}"\nbroker = {{ host = "b" }}\n'
    rows = "".join(
        f"00000000000{number},gw,P{number},2026-01-01,mqtt,{device}\n"
        for number, device in enumerate(devices, 1)
    )
    meters = f"address,line,point,installed_on,protocol,device\n{rows}"
    meterd = f"{GOOD['meterd.toml']}\n{gateway}"
    _, warnings = doubts(tmp_path, meterd=meterd, meters=meters)
    where = "archive/meters.csv:3: device: "
    assert [it for it in warnings if "device" in it] == [
        f"{where}{words}: counted twice" for words in told
    ]


@pytest.mark.parametrize(("mode", "told"), [("shadow", 0), ("auto", 1), ("manual", 1)])
def test_where_somebody_may_be_cut_somebody_answers_for_it(
    tmp_path: Path, mode: str, told: int
) -> None:
    control = f'[control]\nmode = "{mode}"\npassword = {{ file = "password" }}\n[site]'
    (tmp_path / "password").write_text("123456")
    (tmp_path / "password").chmod(0o600)
    _, warnings = doubts(tmp_path, meterd=("[site]", control))
    said = f"on_call: nobody is on call, who would answer for a cut in mode {mode}"
    assert len([it for it in warnings if said in it]) == told


CHANNEL = '[[notice_channel]]\nname = "sms"\napprise = { file = "url" }\n'


def on_call(*persons: tuple[str, int]) -> tuple[str, str]:
    tables = "".join(
        f'[[on_call]]\nname = "li"\nareas = {areas}\nlevel = {level}\nchannel = "sms"\n'
        'address = "1"\n'
        for areas, level in persons
    )
    return "[site]", f"{CHANNEL}{tables}[site]"


@pytest.mark.parametrize(
    ("persons", "told"),
    [
        ([], []),
        ([("[]", 1)], []),
        ([("[]", 1), ('["T2"]', 2)], []),
        (
            [('["T2"]', 1)],
            ["nobody is on call for areas 1 (T1): of their alarms nobody is told"],
        ),
        (
            [("[]", 1), ('["T2"]', 3)],
            ["areas without a level below another: 1 (T2: 2)"],
        ),
        (
            [('["T2"]', 2)],
            [
                "nobody is on call for areas 1 (T1): of their alarms nobody is told",
                "areas without a level below another: 1 (T2: 1)",
            ],
        ),
    ],
)
def test_areas_that_nobody_is_on_call_for_are_named(
    tmp_path: Path, persons: list[tuple[str, int]], told: list[str]
) -> None:
    (tmp_path / "url").write_text("json://host/{address}")
    (tmp_path / "url").chmod(0o600)
    _, warnings = doubts(
        tmp_path,
        meterd=on_call(*persons),
        points="point,account,area\nP1,A1,T1\nP2,A2,T2\n",
    )
    found = [it for it in warnings if ": on_call: " in it]
    assert [it.split(": on_call: ")[1] for it in found] == told


def test_a_price_of_nothing_is_a_warning(tmp_path: Path) -> None:
    mistakes, (warning, _) = doubts(tmp_path, tariffs=("0.5283", "0"))
    assert not mistakes
    assert warning.startswith("tariffs.toml:1: tariff.home: version from 2026-01-01: each kWh")


@pytest.mark.parametrize(
    ("opening", "told"),
    [
        ("2026-01-06", "1 (A1): opened before the 62 days that meters remember"),
        ("2026-03-11", "1 (A1): not billed before that day, which is in the future"),
    ],
)
def test_openings_out_of_reach_and_in_the_future_are_warnings(
    tmp_path: Path, opening: str, told: str
) -> None:
    found, warnings = doubts(tmp_path, accounts=("A1,home,2026-03-01", f"A1,home,{opening}"))
    assert found == []
    assert warnings[0].startswith(f"archive/accounts.csv:1: open_from: {told}")


@pytest.mark.parametrize(
    ("today", "control", "years"),
    [
        (date(2026, 3, 10), 'calendar = "CN"', []),
        (date(2399, 3, 10), 'calendar = "CN"', [2399]),
        (date(2399, 12, 10), 'calendar = "CN"', [2399, 2400]),
        (date(2399, 3, 10), 'calendar = "CN"\nmakeup_workdays = [2399-10-09]', []),
        (date(2399, 3, 10), 'calendar = "DE"', []),
        (date(2399, 3, 10), "", []),
    ],
)
def test_a_year_whose_workdays_are_not_known_is_told(
    tmp_path: Path, today: date, control: str, years: list[int]
) -> None:
    site = load_site(write(tmp_path, meterd=f"{MORE}\n[control]\n{control}\n"))
    told = [it.message for it in doubts_of(site, today).warnings if it.where == "control.calendar"]
    assert [int(message.split()[4]) for message in told] == years
