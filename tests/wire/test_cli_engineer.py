"""`meterd scan`, `meterd write` and `meterd clock` against simulated meters on pseudo-terminals and TCP."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from click import Command
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.acquisition.scan import Heard, Patience, Step, judge
from daemon.acquisition.scan import scan as scan_line
from daemon.cli import clock as clock_module
from daemon.cli.authority import ENVIRONMENT
from daemon.cli.clock import clock
from daemon.cli.read import read
from daemon.cli.scan import scan
from daemon.cli.write import write
from protocols.dlt645.frame import ANY_ADDRESS, Decoder, Frame, encode
from simulators.bus import SimulatedBus
from simulators.clock import MeterClock
from simulators.lines import serve_pty, serve_tcp
from simulators.load import LoadCurve
from simulators.meter import SimulatedMeter
from simulators.meter_1997 import SimulatedMeter1997

NOW = datetime(2026, 3, 2, 12, 0, 0)
ADDRESSES = ("000000001600", "000000001601")


def meter(
    address: str,
    ahead_s: int = 0,
    kind: type[SimulatedMeter] = SimulatedMeter,
    initial_kwh: Decimal = Decimal(12),
) -> SimulatedMeter:
    start = datetime(2024, 1, 1)
    shown = MeterClock(start, start + timedelta(seconds=ahead_s))
    no_load = LoadCurve(mwh_per_day=0)
    return kind(
        address, now=lambda: NOW, curve=no_load, clock=shown, level="04", password="123456", initial_kwh=initial_kwh
    )


def run_on(
    command: Command, meters: Iterable[SimulatedMeter] | SimulatedBus, *arguments: str, pty: bool = False
) -> Result:
    async def story() -> Result:
        serve = serve_pty if pty else serve_tcp
        async with serve(meters) as line:
            place = ["--serial" if pty else "--tcp", line.place]
            return await asyncio.to_thread(CliRunner().invoke, command, [*place, *arguments])

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("pty", "addresses", "questions"),
    [
        # all, then 00 to 99 below it; each of the meters proves three times that it is alone
        (False, ("000000001600", "000000001601"), 101),
        # below 01 once more
        (True, ("000000001600", "000000001601", "202611210001"), 201),
    ],
    ids=["tcp", "pty"],
)
def test_a_scan_finds_every_meter_and_writes_rows_for_the_archive(
    pty: bool, addresses: tuple[str, ...], questions: int
) -> None:
    speed = ["--baud", "19200", "--parity", "E"] if pty else []
    result = run_on(scan, map(meter, addresses), "--timeout", "0.02", "--line", "gate-3", *speed, pty=pty)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert sorted(row["address"] for row in rows) == sorted(addresses)
    assert {(row["line"], row["protocol"]) for row in rows} == {("gate-3", "dlt645-2007")}
    assert f"{len(addresses)} meters, {questions} questions" in result.stderr


def test_the_only_meter_is_found_at_once() -> None:
    result = run_on(scan, [meter(ADDRESSES[0])], "--timeout", "0.05", "--json")
    assert json.loads(result.stdout)["address"] == ADDRESSES[0]


def test_meters_that_answer_one_after_the_other_are_two() -> None:
    delays = {ADDRESSES[0]: (0, 0), ADDRESSES[1]: (25, 25)}
    bus = SimulatedBus([meter(ADDRESSES[0]), meter(ADDRESSES[1])], meter_delays_ms=delays)
    result = run_on(scan, bus, "--timeout", "0.05", "--json")
    assert len(result.stdout.splitlines()) == 2, result.stderr


def test_silence_is_not_a_collision() -> None:
    result = run_on(scan, [], "--timeout", "0.02")
    assert result.exit_code == 1
    assert "no meter answered 2 questions: check the wires" in str(result.exception)


def test_a_meter_of_1997_is_found_when_nobody_knows_the_wildcard() -> None:
    result = run_on(scan, [meter(ADDRESSES[0], kind=SimulatedMeter1997)], "--timeout", "0.05")
    assert f"{ADDRESSES[0]},line-1,{ADDRESSES[0]}" in result.stdout
    assert result.stdout.rstrip().endswith("dlt645-1997")


def test_the_same_meter_at_several_speeds_is_one() -> None:
    result = run_on(scan, [meter(ADDRESSES[0])], "--timeout", "0.02", "--baud", "9600", "--baud", "19200", pty=True)
    assert result.stdout.count(ADDRESSES[0]) == 2  # address and point of one row
    assert "4 questions, at 9600 8E1" in result.stderr


QUESTION = Frame(ANY_ADDRESS, 0x13)
ANSWER = encode(Frame(ADDRESSES[0], 0x93, bytes.fromhex("001600000000")))


@pytest.mark.parametrize(
    ("data", "heard"),
    [
        (b"", Heard.SILENCE),
        (b"\xfe\xfe", Heard.SILENCE),
        (ANSWER, Heard.METER),
        (b"\xfe\xfe\xfe\xfe" + ANSWER, Heard.METER),
        (ANSWER + ANSWER, Heard.COLLISION),
        (ANSWER[:-1], Heard.COLLISION),
        (b"\x00" + ANSWER, Heard.COLLISION),
        (b"\x41\x13\xa0", Heard.COLLISION),
        (encode(QUESTION), Heard.COLLISION),
        (encode(Frame(ADDRESSES[0], 0x91, b"\0\0\1\0")), Heard.COLLISION),
    ],
)
def test_one_answer_is_a_meter_and_anything_else_a_collision(data: bytes, heard: Heard) -> None:
    assert judge(data, QUESTION, ANY_ADDRESS)[0] is heard


def test_the_answer_of_a_meter_that_was_not_asked_is_a_collision() -> None:
    assert judge(ANSWER, QUESTION, "AAAAAAAAAA01")[0] is Heard.COLLISION
    assert judge(ANSWER, QUESTION, "AAAAAAAA1600") == (Heard.METER, ADDRESSES[0])


class Overheard:
    """A channel to a bus on which nothing takes time."""

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus
        self._pieces: list[bytes] = []

    async def send(self, data: bytes) -> None:
        (request,) = Decoder().feed(data)
        assert isinstance(request, Frame)
        self._pieces = [piece.data for piece in self._bus.hear(request)]

    async def receive(self) -> bytes:
        if not self._pieces:
            raise TimeoutError
        return self._pieces.pop(0)


@given(st.lists(st.integers(0, 999_999_999_998), min_size=1, max_size=4, unique=True))
@settings(max_examples=100, deadline=None)
@example([1, 50, 1900, 835670000])
def test_no_meter_is_missed_or_made_up_where_voices_garble_each_other(numbers: list[int]) -> None:
    """Bytes that overlap on the simulated line are joined by AND, which at times is a good frame of nobody."""
    addresses = {f"{number:012d}" for number in numbers}
    bus = SimulatedBus([meter(address, initial_kwh=Decimal(int(address) % 10_007)) for address in addresses])

    async def story() -> list[Step]:
        return [step async for step in scan_line(Overheard(bus), Patience())]

    found = {step.address for step in asyncio.run(story()) if step.heard is Heard.METER}
    assert found == addresses


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--meter", ADDRESSES[0]), "12.00 kWh at 2026-03-02 12:00:07"),
        (("--meter", "any", "--quantity", "voltage"), "voltage_a\t220\tV"),
        (("--meter", "any", "--identifier", "C032"), f"{ADDRESSES[0]} at"),
    ],
)
def test_a_meter_of_1997_is_read(arguments: tuple[str, ...], told: str) -> None:
    old = meter(ADDRESSES[0], 7, SimulatedMeter1997)
    result = run_on(read, [old], "--protocol", "dlt645-1997", *arguments)
    assert result.exit_code == 0, result.output
    assert told in result.stdout


@pytest.mark.parametrize("arguments", [("--quantity", "freeze"), ("--identifier", "00010000")])
def test_what_a_meter_of_1997_does_not_have_is_wrong_use(arguments: tuple[str, ...]) -> None:
    result = run_on(read, [], "--protocol", "dlt645-1997", "--meter", ADDRESSES[0], *arguments)
    assert result.exit_code == 2


@pytest.fixture
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "123456")


@pytest.mark.usefixtures("_password")
class TestWrite:
    CLOCK = ("--meter", ADDRESSES[0], "--identifier", "04000102", "--yes", "--timeout", "2")

    def test_a_parameter_is_written_and_read_back(self) -> None:
        result = run_on(write, [meter(ADDRESSES[0])], *self.CLOCK, "--value", "083000", "--json")
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert told["was"] == ["120000"]
        assert told["values"] == [{"name": "time", "value": "083000", "unit": "hhmmss"}]

    def test_in_1997_too(self) -> None:
        old = meter(ADDRESSES[0], kind=SimulatedMeter1997)
        arguments = ("--meter", ADDRESSES[0], "--identifier", "C011", "--yes", "--value", "083000")
        result = run_on(write, [old], *arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("time  083000")

    def test_a_wrong_password_is_sent_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ENVIRONMENT, "654321")
        result = run_on(write, [meter(ADDRESSES[0])], *self.CLOCK, "--value", "083000", "--trace")
        assert result.exit_code == 1
        assert "password or unauthorised" in str(result.exception)
        assert result.stderr.count("with a password, not shown") == 1
        assert "654321" not in result.output
        assert "21 43 65" not in result.stderr

    @pytest.mark.parametrize(
        ("identifier", "value", "words"),
        [
            ("00010000", "1", "measured by the meter"),
            ("9010", "1", "measured by the meter"),
            ("04000102", "8:30", "not 6 digits"),
            ("0400", "1", "measured"),
            ("04000102", "hex:8", "hex: and bytes"),
            ("XX", "1", "not 8 hexadecimal digits"),
        ],
    )
    def test_what_cannot_be_written_is_wrong_use(self, identifier: str, value: str, words: str) -> None:
        arguments = ("--meter", ADDRESSES[0], "--identifier", identifier, "--yes", "--value", value)
        result = run_on(write, [], *arguments)
        assert result.exit_code == 2
        assert words in result.stderr


class Forgetful(SimulatedMeter):
    """Accepts a write and does nothing, or hears it and stays silent."""

    silent = False
    writes = 0

    def answer(self, request: Frame) -> Frame | None:
        if request.control != 0x14:
            return super().answer(request)
        self.writes += 1
        return None if self.silent else Frame(self.address, 0x94)


@pytest.mark.usefixtures("_password")
@pytest.mark.parametrize("silent", [False, True])
def test_what_was_not_kept_is_told_and_a_write_is_sent_once(silent: bool) -> None:
    forgetful = meter(ADDRESSES[0], kind=Forgetful)
    assert isinstance(forgetful, Forgetful)
    forgetful.silent = silent
    arguments = ("--meter", ADDRESSES[0], "--identifier", "04000102", "--yes", "--value", "083000")
    result = run_on(write, [forgetful], *arguments, "--timeout", "0.3", "--retries", "2")
    assert result.exit_code == 1
    words = "Whether it was written is not known" if silent else "accepted the write, but 04000102 reads 00 00 12"
    assert words in str(result.exception)
    assert forgetful.writes == 1


def test_without_a_password_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    result = run_on(write, [], "--meter", ADDRESSES[0], "--identifier", "04000102", "--value", "083000", "--yes")
    assert result.exit_code == 2
    assert ENVIRONMENT in result.stderr


@pytest.mark.usefixtures("_password")
class TestClock:
    def run(
        self, monkeypatch: pytest.MonkeyPatch, meters: list[SimulatedMeter], *arguments: str, at: Any = NOW
    ) -> Result:
        monkeypatch.setattr(clock_module, "_now", lambda: at)
        asked = [word for it in meters for word in ("--meter", it.address)]
        return run_on(clock, meters, *asked, *arguments, "--timeout", "2", "--json")

    def ahead(self, result: Result) -> list[int]:
        return [json.loads(line)["meter_ahead_s"] for line in result.stdout.splitlines()]

    def test_clocks_are_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = self.run(monkeypatch, [meter(ADDRESSES[0], 7), meter(ADDRESSES[1], -400)])
        assert result.exit_code == 0, result.output
        assert self.ahead(result) == [7, -400]

    @pytest.mark.parametrize("kind", [SimulatedMeter, SimulatedMeter1997])
    def test_one_is_set_and_read_back(self, monkeypatch: pytest.MonkeyPatch, kind: type[SimulatedMeter]) -> None:
        protocol = "dlt645-1997" if kind is SimulatedMeter1997 else "dlt645-2007"
        wrong = meter(ADDRESSES[0], 90_000, kind)
        result = self.run(monkeypatch, [wrong], "--set", "--protocol", protocol)
        assert result.exit_code == 0, result.output
        assert self.ahead(result) == [0]

    def test_a_broadcast_sets_all_that_are_near_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        meters = [meter(ADDRESSES[0], 200), meter(ADDRESSES[1], -250)]
        result = self.run(monkeypatch, meters, "--broadcast")
        assert result.exit_code == 0, result.output
        assert self.ahead(result) == [0, 0]

    def test_a_second_broadcast_of_the_day_is_not_obeyed_and_that_is_seen(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = meter(ADDRESSES[0], 20)
        assert self.run(monkeypatch, [wrong], "--broadcast").exit_code == 0
        result = self.run(monkeypatch, [wrong], "--broadcast", at=NOW + timedelta(seconds=100))
        assert result.exit_code == 1
        assert "still wrong" in str(result.exception)

    def test_a_broadcast_that_a_meter_would_ignore_is_not_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        near, far = meter(ADDRESSES[0], 20), meter(ADDRESSES[1], 301)
        result = self.run(monkeypatch, [near, far], "--broadcast")
        assert result.exit_code == 1
        assert f"meter {ADDRESSES[1]} is 301 s ahead" in str(result.exception)
        assert near.clock.shows(NOW) == NOW + timedelta(seconds=20)

    @pytest.mark.parametrize("how", ["--set", "--broadcast"])
    @pytest.mark.parametrize("at", [NOW.replace(hour=23, minute=56), NOW.replace(hour=0, minute=4)])
    def test_near_midnight_no_clock_is_set(self, monkeypatch: pytest.MonkeyPatch, how: str, at: datetime) -> None:
        result = self.run(monkeypatch, [meter(ADDRESSES[0])], how, at=at)
        assert result.exit_code == 1
        assert "midnight" in str(result.exception)
