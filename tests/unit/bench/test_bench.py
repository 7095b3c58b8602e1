"""What surrounds a bench: its clock, its customers, the copy of a site. Nothing runs."""

import tomllib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from config.load import load_site
from config.toml_writing import toml_document
from daemon.bench import files
from daemon.bench.customers import THINKS, Customer, Pays, moods
from daemon.bench.living import moments
from daemon.bench.report import Fate
from daemon.bench.stepped_clock import NoSteppedClock, SteppedClock, library
from simulators.bench.scenario import parse_scenario
from tests.servers.packages import install

FIRST = date(2026, 11, 30)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
PLACES = {"gate-1": "127.0.0.1:4001", "gate-2": "127.0.0.1:4002"}


def test_what_happens_before_the_morning_finds_the_freezes_of_that_midnight_read() -> None:
    def at(day: int, hour: int, minute: int) -> datetime:
        return datetime(2026, 11, day, hour, minute)

    usual = [(0, 1), (6, 5), (9, 2), (14, 30), (20, 0)]
    days = [at(29, *it) for it in usual] + [at(30, *it) for it in usual[:2]]
    assert moments(date(2026, 11, 29), FIRST, []) == days
    too_early = [at(29, 0, 3), at(29, 12, 0), at(30, 0, 6)]
    assert moments(date(2026, 11, 29), FIRST, too_early) == sorted([*days, *too_early])
    by_night = [at(30, 0, 30), at(30, 5, 0)]
    expected = sorted([*days, *by_night, at(30, 0, 6)])
    assert moments(date(2026, 11, 29), FIRST, by_night) == expected


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NoSteppedClock, match="apt install libfaketime"):
        library([str(tmp_path)])


def test_the_clock_goes_on_from_where_it_was_stepped_to_and_never_back(tmp_path: Path) -> None:
    install(["libfaketime"])
    clock = SteppedClock(tmp_path)
    assert (tmp_path / "clock").read_text() == "+0.000000\n"
    at = clock.now() + timedelta(days=2)
    moved = clock.step_to(at)
    assert timedelta(days=1, hours=23, minutes=59) < moved <= timedelta(days=2)
    assert at <= clock.now() < at + timedelta(minutes=1)
    assert clock.step_to(at - timedelta(days=1)) == timedelta(0)
    assert clock.now() >= at
    ahead_s = float((tmp_path / "clock").read_text())
    assert ahead_s == moved.total_seconds()


@pytest.mark.parametrize(("pays", "knows"), [(Pays.TOLD, "told_at"), (Pays.DARK, "dark_since")])
def test_a_customer_thinks_and_then_pays_once(pays: Pays, knows: str) -> None:
    customer = Customer("A", 100, 200, pays)
    assert not customer.wants_to_pay(NOON)
    setattr(customer, knows, NOON)
    assert not customer.wants_to_pay(NOON + THINKS - timedelta(seconds=1))
    assert customer.wants_to_pay(NOON + THINKS)
    customer.has_paid(200)
    assert customer.paid_fen == 200
    assert not customer.wants_to_pay(NOON + THINKS)


def test_one_who_never_pays_does_not() -> None:
    customer = Customer("A", 100, 200, Pays.NEVER, dark_since=NOON, told_at=NOON)
    assert not customer.wants_to_pay(NOON + timedelta(days=99))


def test_the_example_has_customers_of_every_mood() -> None:
    customers = moods([f"C{number}" for number in range(64)])
    assert {customer.pays for customer in customers} == set(Pays)


def test_those_of_the_example_who_pay_little_do_not_run_out_together() -> None:
    little = [it.deposit_fen for it in moods([f"C{number}" for number in range(64)])][::2]
    assert len(set(little)) == len(little)


def test_the_example_is_a_site_without_a_mistake_and_a_scenario_of_all_its_meters(
    tmp_path: Path,
) -> None:
    site = load_site(files.example_site(tmp_path, FIRST))
    scenario = parse_scenario(files.scenario_text(site, seed=3))
    assert scenario.meter_count == len(site.archive.meters) == files.EXAMPLE_METERS
    assert files.flat_prices(site) == {"home": [(FIRST, Decimal(files.EXAMPLE_PRICE))]}


def test_a_copy_reads_the_bench_and_touches_nothing_of_the_site(tmp_path: Path) -> None:
    site = load_site(files.example_site(tmp_path / "own", date(2020, 1, 1)))
    before = {path: path.read_bytes() for path in (tmp_path / "own").rglob("*") if path.is_file()}
    copied = files.copy_site(
        site,
        tmp_path / "copy",
        PLACES,
        first=FIRST,
        http_port=4003,
        inbox_url="http://127.0.0.1:4004/",
    )
    copy = load_site(copied)
    assert [line.tcp for line in copy.settings.line] == [
        ("127.0.0.1", 4001),
        ("127.0.0.1", 4002),
    ]
    assert {meter.installed_on for meter in copy.archive.meters} == {FIRST}
    assert {account.open_from for account in copy.archive.accounts} == {FIRST}
    (channel,) = copy.settings.notice_channel
    assert channel.webhook is not None
    assert channel.webhook.reveal() == "http://127.0.0.1:4004/"
    assert copy.settings.site.data_directory == tmp_path / "copy" / "data"
    assert copy.settings.control == site.settings.control
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "own").rglob("*") if path.is_file()
    }


def test_accounts_that_nobody_opened_are_open_in_a_copy_and_a_line_may_be_serial(
    tmp_path: Path,
) -> None:
    own = files.example_site(tmp_path / "own", FIRST)
    accounts = own.parent / "archive" / "accounts.csv"
    accounts.write_text(
        "account,tariff\n" + "".join(f"C{number},home\n" for number in range(1001, 1065))
    )
    copied = files.copy_site(
        load_site(own),
        tmp_path / "copy",
        {**PLACES, "gate-2": "/dev/pts/9"},
        first=FIRST,
        http_port=4003,
        inbox_url="http://127.0.0.1:4004/",
    )
    copy = load_site(copied)
    assert {account.open_from for account in copy.archive.accounts} == {FIRST}
    assert [(line.serial, line.tcp) for line in copy.settings.line] == [
        (None, ("127.0.0.1", 4001)),
        ("/dev/pts/9", None),
    ]


def test_what_has_no_simulated_counterpart_is_named(tmp_path: Path) -> None:
    site = load_site(files.example_site(tmp_path / "own", FIRST))
    with pytest.raises(files.CannotBeBenched, match="line gate-2 has no meters"):
        files.copy_site(
            site,
            tmp_path / "copy",
            {"gate-1": PLACES["gate-1"]},
            first=FIRST,
            http_port=1,
            inbox_url="",
        )


def with_terminals(folder: Path) -> Path:
    """The example, whose second line is a terminal that dials in; another has no meters yet."""
    path = files.example_site(folder, FIRST)
    (folder / "terminals.csv").write_text("line,terminal\ngate-2,00008601\nspare,00008602\n")
    content = tomllib.loads(path.read_text())
    del content["line"][1]
    registration = {"text": "REG:{id:8}\r\n"}
    content["listener"] = [
        {
            "name": "gprs",
            "listen": "127.0.0.1:9000",
            "terminals": "terminals.csv",
            "registration": registration,
            "reply_timeout_s": 4,
        }
    ]
    path.write_text(toml_document(content))
    return path


def test_a_terminal_that_dials_in_is_dialled(tmp_path: Path) -> None:
    site = load_site(with_terminals(tmp_path / "own"))
    parse_scenario(files.scenario_text(site, seed=1))
    copied = files.copy_site(
        site,
        tmp_path / "copy",
        PLACES,
        first=FIRST,
        http_port=4003,
        inbox_url="http://127.0.0.1:1/",
    )
    copy = load_site(copied)
    assert not copy.settings.listener
    assert [(line.name, line.tcp, line.reply_timeout_s) for line in copy.settings.line] == [
        ("gate-1", ("127.0.0.1", 4001), 1),
        ("gate-2", ("127.0.0.1", 4002), 4),
    ]


def test_a_gateway_is_refused_before_anything_else_is_asked_for(tmp_path: Path) -> None:
    path = files.example_site(tmp_path / "own", FIRST)
    content = tomllib.loads(path.read_text())
    content["gateway"] = [{"name": "mq", "broker": {"host": "127.0.0.1"}}]
    path.write_text(toml_document(content))
    with pytest.raises(files.CannotBeBenched, match=r"gateway mq: .* take it and its meters out"):
        files.scenario_text(load_site(path), seed=1)


def test_prices_by_blocks_are_not_taken_for_one_price(tmp_path: Path) -> None:
    path = files.example_site(tmp_path, FIRST)
    tariffs = tomllib.loads((tmp_path / "tariffs.toml").read_text())
    tariffs["tariff"]["home"]["version"][0]["fixed"] = {}
    site = load_site(path)
    (tmp_path / "tariffs.toml").write_text(toml_document(tariffs))
    assert files.flat_prices(site) == {}


def fate(expected_fen: int | None) -> Fate:
    return Fate(
        account="C1",
        meters=1,
        used_kwh=Decimal(1),
        paid_fen=0,
        balance_fen=-53,
        expected_fen=expected_fen,
        notices={},
        cut=0,
        restored=0,
        dark_h=0.0,
        days_withheld=0,
        days_missing=0,
    )


@pytest.mark.parametrize(("expected_fen", "is_right"), [(-53, True), (-52, False), (None, True)])
def test_a_balance_is_right_when_it_is_what_must_be_to_the_fen(
    expected_fen: int | None, is_right: bool
) -> None:
    assert fate(expected_fen).is_right is is_right
