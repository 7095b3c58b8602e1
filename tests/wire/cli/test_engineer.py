"""`meterd scan`, `meterd write` and `meterd clock` against simulated meters on pseudo-terminals and
TCP."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import signal
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo

import pytest
from click import Command
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from config.values import Name
from daemon.cli import clock as clock_module
from daemon.cli.authority import ENVIRONMENT
from daemon.cli.clock import clock
from daemon.cli.connection import Place
from daemon.cli.read import read
from daemon.cli.scan import scan
from daemon.cli.write import write
from daemon.field import survey as survey_module
from daemon.field.scan import Outcome, ScanTimeouts, Step, judge
from daemon.field.scan import scan as scan_line
from protocols.dlt645.frame import ANY_ADDRESS, Decoder, Frame, encode
from protocols.errors import LineDown
from protocols.peer import Peer
from simulators.dlt645.meter import SimulatedMeter
from simulators.dlt645.meter_1997 import SimulatedMeter1997
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import SimulatedBus
from simulators.lines.stream_lines import serve_pty, serve_tcp
from simulators.state.clock import MeterClock
from simulators.state.load import LoadCurve
from tests.examples import examples
from tests.servers.commands import METERD
from tests.simulated_meters import simulated_meter_of

NOW = datetime(2026, 3, 2, 12, 0, 0)
ADDRESSES = ("000000001600", "000000001601")


def meter(
    address: str,
    ahead_s: int = 0,
    kind: type[SimulatedMeter] = SimulatedMeter2007,
    initial_kwh: Decimal = Decimal(12),
) -> SimulatedMeter:
    start = datetime(2024, 1, 1)
    shown = MeterClock(start, start + timedelta(seconds=ahead_s))
    no_load = LoadCurve(mwh_per_day=0)
    return simulated_meter_of(
        kind,
        address,
        now=lambda: NOW,
        curve=no_load,
        clock=shown,
        level="04",
        password="123456",
        initial_kwh=initial_kwh,
    )


def run_on(
    command: Command,
    meters: Iterable[SimulatedMeter] | SimulatedBus,
    *arguments: str,
    pty: bool = False,
) -> Result:
    async def story() -> Result:
        serve = serve_pty if pty else serve_tcp
        async with serve(meters) as line:
            place = ["--serial" if pty else "--tcp", line.place]
            return await asyncio.to_thread(CliRunner().invoke, command, [*place, *arguments])

    return asyncio.run(story())


@pytest.mark.parametrize("pty", [False, True], ids=["tcp", "pty"])
def test_a_scan_finds_every_meter_and_writes_rows_for_the_archive(pty: bool) -> None:
    speed = ["--baud", "19200", "--parity", "E"] if pty else []
    # A busy machine answers late, which a scan takes for a collision: it finds the same meters with
    # more questions. 98 of them wait for so long.
    patience = ["--timeout", "0.1"]
    result = run_on(scan, map(meter, ADDRESSES), *patience, "--line", "gate-3", *speed, pty=pty)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert sorted(row["address"] for row in rows) == sorted(ADDRESSES)
    assert {(row["line"], row["protocol"]) for row in rows} == {("gate-3", "dlt645-2007")}
    told = re.search(rf"{len(ADDRESSES)} meters, (\d+) questions", result.stderr)
    assert told is not None, result.stderr
    assert int(told[1]) >= 101


def test_the_only_meter_is_found_at_once() -> None:
    result = run_on(scan, [meter(ADDRESSES[0])], "--timeout", "0.05", "--json")
    assert json.loads(result.stdout)["address"] == ADDRESSES[0]


def test_meters_that_answer_one_after_the_other_are_two() -> None:
    delays = {ADDRESSES[0]: (0, 0), ADDRESSES[1]: (20, 20)}
    bus = SimulatedBus([meter(ADDRESSES[0]), meter(ADDRESSES[1])], meter_delays_ms=delays)
    result = run_on(scan, bus, "--timeout", "0.1", "--json")
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
    result = run_on(
        scan,
        [meter(ADDRESSES[0])],
        "--timeout",
        "0.02",
        "--baud",
        "9600",
        "--baud",
        "19200",
        pty=True,
    )
    assert result.stdout.count(ADDRESSES[0]) == 2  # address and point of one row
    assert "4 questions, at 9600 8E1" in result.stderr


@pytest.mark.parametrize("command", [scan, write, clock, read])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("--timeout", seconds) for seconds in ("nan", "inf", "0", "1e9")],
        *[("--baud", baud) for baud in ("-2400", "99999999999999999999")],
        *[("--tcp", place) for place in ("here", "here:0", "here:99999")],
    ],
)
def test_numbers_that_no_line_has_are_wrong_use(command: Command, option: str, value: str) -> None:
    asked = ["--meter", ADDRESSES[0]] if command is not scan else []
    asked += ["--identifier", "04000103", "--value", "15"] if command is write else []
    result = CliRunner().invoke(command, ["--serial", "/dev/null", *asked, option, value])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


QUESTION = Frame(ANY_ADDRESS, 0x13)
ANSWER = encode(Frame(ADDRESSES[0], 0x93, bytes.fromhex("001600000000")))


@pytest.mark.parametrize(
    ("data", "heard"),
    [
        (b"", Outcome.SILENCE),
        (b"\xfe\xfe", Outcome.SILENCE),
        (ANSWER, Outcome.METER),
        (b"\xfe\xfe\xfe\xfe" + ANSWER, Outcome.METER),
        (ANSWER + ANSWER, Outcome.COLLISION),
        (ANSWER[:-1], Outcome.COLLISION),
        (b"\x00" + ANSWER, Outcome.COLLISION),
        (b"\x41\x13\xa0", Outcome.COLLISION),
        (encode(QUESTION), Outcome.COLLISION),
        (encode(Frame(ADDRESSES[0], 0x91, b"\0\0\1\0")), Outcome.COLLISION),
        (encode(Frame(ANY_ADDRESS, 0x93)), Outcome.COLLISION),
        (encode(Frame("9" * 12, 0x93, b"\x99" * 6)), Outcome.COLLISION),
    ],
)
def test_one_answer_is_a_meter_and_anything_else_a_collision(data: bytes, heard: Outcome) -> None:
    assert judge(data, QUESTION, ANY_ADDRESS)[0] is heard


def test_the_answer_of_a_meter_that_was_not_asked_is_a_collision() -> None:
    assert judge(ANSWER, QUESTION, "AAAAAAAAAA01")[0] is Outcome.COLLISION
    assert judge(ANSWER, QUESTION, "AAAAAAAA1600") == (Outcome.METER, ADDRESSES[0])


class OpenChannel:
    """A channel that somebody opens and closes elsewhere."""

    peer = Peer("a bus of this test")
    question = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Overheard(OpenChannel):
    """A channel to a bus on which nothing takes time."""

    def __init__(self, bus: SimulatedBus) -> None:
        self._bus = bus
        self._pieces: list[bytes] = []

    async def send(self, data: bytes) -> None:
        (request,) = Decoder().feed(data)
        assert isinstance(request, Frame)
        self._pieces = [piece.data for piece in self._bus.answer(request)]

    async def receive(self) -> bytes:
        if not self._pieces:
            raise TimeoutError
        return self._pieces.pop(0)


@pytest.mark.parametrize(
    ("addresses", "questions"),
    [
        # all, then 00 to 99 below it; each of the meters proves that it is alone
        (("000000001600", "000000001601"), 101),
        # below 01 once more
        (("000000001600", "000000001601", "202611210001"), 201),
    ],
)
def test_so_many_questions_find_so_many_meters(addresses: tuple[str, ...], questions: int) -> None:
    steps = scanned(Overheard(SimulatedBus(map(meter, addresses))))
    found = [step.address for step in steps if step.outcome is Outcome.METER]
    assert set(found) == set(addresses)
    assert len(steps) == questions


USUAL = ScanTimeouts()


def scanned(channel: Overheard | Talkative, timeouts: ScanTimeouts = USUAL) -> list[Step]:
    async def story() -> list[Step]:
        return [step async for step in scan_line(channel, timeouts)]

    return asyncio.run(story())


class Talkative(OpenChannel):
    """A channel that says something `unasked`, or after each question; `endless`: and never
    stops."""

    def __init__(self, *, unasked: bool = False, endless: bool = False) -> None:
        self._is_due, self._endless = unasked, endless

    async def send(self, data: bytes) -> None:
        self._is_due = True

    async def receive(self) -> bytes:
        await asyncio.sleep(0)
        if not self._is_due:
            raise TimeoutError
        self._is_due = self._endless
        return b"ERROR"


def test_a_line_that_talks_unasked_is_noise_and_is_asked_nothing() -> None:
    assert scanned(Talkative(unasked=True)) == [Step("dlt645-2007", ANY_ADDRESS, Outcome.NOISE)]


def test_a_line_that_never_stops_is_left() -> None:
    said = Talkative(unasked=True, endless=True)
    assert scanned(said, ScanTimeouts(longest_s=0.01)) == [
        Step("dlt645-2007", ANY_ADDRESS, Outcome.NOISE)
    ]


def test_where_all_hundred_collide_there_are_no_meters() -> None:
    steps = scanned(Talkative())
    assert [step.outcome for step in steps] == [Outcome.COLLISION] * 101 + [Outcome.NOISE]
    assert steps[-1].pattern == ANY_ADDRESS


class ObeysOnlyThirteen(SimulatedMeter2007):
    """Knows the wildcard when it is asked for its address, and for nothing else."""

    def answer(self, request: Frame) -> Frame | None:
        return (
            None if "A" in request.address and request.control == 0x11 else super().answer(request)
        )


class Parrot(SimulatedMeter2007):
    """Answers from the address that was asked, wildcard or not."""

    def answer(self, request: Frame) -> Frame | None:
        reply = super().answer(request)
        return reply and reply._replace(address=request.address)


@pytest.mark.parametrize("kind", [ObeysOnlyThirteen, Parrot])
@pytest.mark.parametrize("addresses", [ADDRESSES[:1], ADDRESSES])
def test_a_meter_that_half_knows_the_wildcard_is_found(
    kind: type[SimulatedMeter], addresses: tuple[str, ...]
) -> None:
    bus = SimulatedBus([meter(address, kind=kind) for address in addresses])
    found = [step.address for step in scanned(Overheard(bus)) if step.outcome is Outcome.METER]
    assert found == list(addresses)


class Nowhere(AbstractAsyncContextManager["Nowhere"]):
    """An open channel that carries nothing."""

    name = "nowhere"

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.mark.parametrize(
    ("ending", "told"), [(LineDown("the cable is out"), "the cable"), (KeyboardInterrupt(), "")]
)
def test_what_was_found_before_the_end_is_printed(
    monkeypatch: pytest.MonkeyPatch, ending: BaseException, told: str
) -> None:
    async def scan_until_the_end(*_: Any, **__: Any) -> AsyncIterator[Step]:
        yield Step("dlt645-2007", ANY_ADDRESS, Outcome.METER, ADDRESSES[0])
        raise ending

    monkeypatch.setattr(survey_module, "scan", scan_until_the_end)
    monkeypatch.setattr(Place, "channel", lambda *_: Nowhere())
    result = CliRunner().invoke(scan, ["--tcp", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert f"{ADDRESSES[0]},line-1" in result.stdout
    assert told in str(result.exception)


def test_a_meter_is_printed_when_it_is_found_and_sigterm_loses_none() -> None:
    """Two meters collide, so that a hundred questions follow the first row."""

    async def story() -> tuple[list[bytes], int, bytes]:
        async with serve_tcp(map(meter, ADDRESSES[:2])) as line:
            scanning = await asyncio.create_subprocess_exec(
                *(METERD, "scan", "--tcp", line.place, "--timeout", "0.5"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert scanning.stdout is not None
            rows = [await scanning.stdout.readline() for _ in range(2)]
            scanning.terminate()
            _, told = await scanning.communicate()
            return rows, scanning.returncode or 0, told

    (head, row), exit_code, told = asyncio.run(story())
    assert head == b"address,line,point,installed_on,protocol\n"
    assert row.split(b",")[0].decode() in ADDRESSES
    assert exit_code == 128 + signal.SIGTERM
    assert b"1 meters, " in told
    assert b"Traceback" not in told


@pytest.mark.parametrize("name", ["gate,3", "=1+1", "gate\n3", ""])
def test_what_is_no_name_of_a_line_gets_into_no_row(name: str) -> None:
    result = CliRunner().invoke(scan, ["--tcp", "127.0.0.1:1", "--line", name])
    assert result.exit_code == 2
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@given(st.lists(st.integers(0, 999_999_999_998), min_size=1, max_size=4, unique=True))
@examples(100)
@example([1, 50, 1900, 835670000])
@example([0, 8000])
def test_no_meter_is_missed_or_made_up_where_voices_garble_each_other(numbers: list[int]) -> None:
    """Bytes that overlap on the simulated line are joined by AND, which at times is a good frame of
    nobody."""
    addresses = {f"{number:012d}" for number in numbers}
    bus = SimulatedBus(
        [meter(address, initial_kwh=Decimal(int(address) % 10_007)) for address in addresses]
    )

    found = {step.address for step in scanned(Overheard(bus)) if step.outcome is Outcome.METER}
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
            ("1D000001", "1", "measured by the meter"),
            ("04001001", "hex:", "nothing to write"),
            ("04001001", "hex:" + "00" * 39, "at most 50 data bytes"),
            ("C010", "hex:" + "00" * 45, "at most 50 data bytes"),
            ("04001001", "1e999999999", "is no number: digits with at most one point"),
            ("04000C01", "hex:02112233", "is a password"),
            ("C212", "hex:02112233", "is a password"),
        ],
    )
    def test_what_cannot_be_written_is_wrong_use(
        self, identifier: str, value: str, words: str
    ) -> None:
        arguments = ("--meter", ADDRESSES[0], "--identifier", identifier, "--yes", "--value", value)
        result = run_on(write, [], *arguments)
        assert result.exit_code == 2
        assert words in result.stderr


class Forgetful(SimulatedMeter2007):
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
    words = (
        "Whether it was written is not known"
        if silent
        else "accepted the write, but 04000102 reads 00 00 12"
    )
    assert words in str(result.exception)
    assert forgetful.writes == 1


class Answering(SimulatedMeter2007):
    """Answers a write with `written` and every read after it with `after`; None is silence."""

    before: Frame | None = Frame("", 0x91, bytes(3))
    written: Frame | None = Frame("", 0x94)
    after: Frame | None = None
    writes = 0

    def answer(self, request: Frame) -> Frame | None:
        if request.control == 0x14:
            self.writes += 1
            reply = self.written
        else:
            reply = self.after if self.writes else self.before
        if reply is None or reply.is_abnormal or request.control == 0x14:
            return reply and reply._replace(address=self.address)
        return Frame(self.address, reply.control, request.data[:4] + reply.data)


def write_to(answering: SimulatedMeter, identifier: str, value: str) -> Result:
    arguments = (
        "--meter",
        ADDRESSES[0],
        "--identifier",
        identifier,
        "--value",
        value,
        "--yes",
        "--timeout",
        "0.3",
    )
    return run_on(write, [answering], *arguments, "--retries", "0")


@pytest.mark.usefixtures("_password")
@pytest.mark.parametrize("after", [None, Frame("", 0xD1, b"\x04")], ids=["silence", "refusal"])
def test_a_write_that_was_accepted_is_said_so_when_it_cannot_be_read_back(
    after: Frame | None,
) -> None:
    answering = meter(ADDRESSES[0], kind=Answering)
    assert isinstance(answering, Answering)
    answering.after = after
    result = write_to(answering, "04000102", "083000")
    assert result.exit_code == 1
    assert "accepted the write, but 04000102 cannot be read back" in str(result.exception)
    assert "not known" not in str(result.exception)


@pytest.mark.usefixtures("_password")
def test_where_nothing_was_sent_nothing_is_unknown() -> None:
    answering = meter(ADDRESSES[0], kind=Answering)
    assert isinstance(answering, Answering)
    answering.before = None
    result = write_to(answering, "04000102", "083000")
    assert result.exit_code == 1
    assert "no reply" in str(result.exception)
    assert "not known" not in str(result.exception)
    assert answering.writes == 0


@pytest.mark.usefixtures("_password")
@pytest.mark.parametrize(
    ("identifier", "value", "after", "is_kept"),
    [
        ("04000102", "083000", "023008", True),
        ("04000102", "083000", "063008", False),
        ("04000102", "083000", "593008", False),
        ("04000102", "083001", "003008", False),
        ("04000102", "235959", "020000", True),
        ("04000102", "083000", "AA3008", False),
        ("0400010C", "26030201083000", "02300801020326", True),
        ("0400010C", "26030201083000", "02300801030326", False),
        ("04000103", "15", "16", False),
    ],
)
def test_a_clock_goes_on_until_it_is_read_back_and_nothing_else_does(
    identifier: str, value: str, after: str, is_kept: bool
) -> None:
    answering = meter(ADDRESSES[0], kind=Answering)
    assert isinstance(answering, Answering)
    answering.after = Frame("", 0x91, bytes.fromhex(after))
    result = write_to(answering, identifier, value)
    assert result.exit_code == (0 if is_kept else 1), result.output


@pytest.mark.usefixtures("_password")
def test_a_meter_with_a_new_address_is_read_back_by_it() -> None:
    class Renamed(SimulatedMeter2007):
        def answer(self, request: Frame) -> Frame | None:
            address = ADDRESSES[1] if renamed else ADDRESSES[0]
            if request.address != address:
                return None
            if request.control == 0x14:
                renamed.append(True)
                return Frame(address, 0x94)
            return Frame(address, 0x91, request.data[:4] + bytes.fromhex(address)[::-1])

    renamed: list[bool] = []
    old, new = (meter(address, kind=Renamed) for address in ADDRESSES)
    arguments = (
        "--meter",
        ADDRESSES[0],
        "--identifier",
        "04000401",
        "--value",
        ADDRESSES[1],
        "--yes",
    )
    result = run_on(write, [old, new], *arguments, "--timeout", "0.3")
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"address  {ADDRESSES[1]}\n"


def test_without_a_password_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    result = run_on(
        write, [], "--meter", ADDRESSES[0], "--identifier", "04000102", "--value", "083000", "--yes"
    )
    assert result.exit_code == 2
    assert ENVIRONMENT in result.stderr


@pytest.mark.usefixtures("_password")
class TestClock:
    def run(
        self,
        monkeypatch: pytest.MonkeyPatch,
        meters: list[SimulatedMeter],
        *arguments: str,
        at: Any = NOW,
    ) -> Result:
        monkeypatch.setattr(clock_module, "wall_clock", lambda zone: at)
        asked = [word for it in meters for word in ("--meter", it.address)]
        asked += ["--zone", "Asia/Shanghai"]
        return run_on(clock, meters, *asked, *arguments, "--timeout", "2", "--json")

    def ahead(self, result: Result) -> list[int]:
        return [json.loads(line)["meter_ahead_s"] for line in result.stdout.splitlines()]

    def test_clocks_are_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = self.run(monkeypatch, [meter(ADDRESSES[0], 7), meter(ADDRESSES[1], -400)])
        assert result.exit_code == 0, result.output
        assert self.ahead(result) == [7, -400]

    @pytest.mark.parametrize("kind", [SimulatedMeter2007, SimulatedMeter1997])
    def test_one_is_set_and_read_back(
        self, monkeypatch: pytest.MonkeyPatch, kind: type[SimulatedMeter]
    ) -> None:
        protocol = "dlt645-1997" if kind is SimulatedMeter1997 else "dlt645-2007"
        wrong = meter(ADDRESSES[0], 90_000, kind)
        result = self.run(monkeypatch, [wrong], "--set", "--yes", "--protocol", protocol)
        assert result.exit_code == 0, result.output
        assert self.ahead(result) == [0]

    def test_no_clock_is_moved_by_more_than_five_minutes_without_a_word(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = meter(ADDRESSES[0], -28_800)
        result = self.run(monkeypatch, [wrong], "--set")
        assert result.exit_code == 1
        assert f"{ADDRESSES[0]} is 28800 s behind: nothing was set" in str(result.exception)
        assert wrong.state.clock.shows(NOW) == NOW - timedelta(hours=8)

    def test_a_small_step_is_shown_and_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = self.run(monkeypatch, [meter(ADDRESSES[0], 300)], "--set")
        assert (result.exit_code, self.ahead(result)) == (0, [0]), result.output

    @pytest.mark.parametrize("machine", ["UTC", "America/New_York"])
    @pytest.mark.parametrize("named", [["--zone", "Asia/Shanghai"], ["-c", "site.toml"]])
    def test_the_time_is_that_of_the_zone_or_the_site_and_never_of_the_machine(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, named: list[str]
    ) -> None:
        (tmp_path / "site.toml").write_text('[site]\nzone = "Asia/Shanghai"\n')
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TZ", machine)
        time.tzset()
        try:
            there = datetime.now(ZoneInfo("Asia/Shanghai")).replace(tzinfo=None)
            right = meter(ADDRESSES[0], round((there - NOW).total_seconds()))
            result = run_on(clock, [right], "--meter", ADDRESSES[0], *named)
        finally:
            monkeypatch.undo()
            time.tzset()
        assert result.exit_code == 0, result.output
        head, row = result.stdout.splitlines()
        assert head == "meter\tclock (Asia/Shanghai)\tdifference"
        assert int(row.split("\t")[2].split()[0]) < 60

    def test_without_a_zone_and_a_site_nobody_s_time_is_meant(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = run_on(clock, [meter(ADDRESSES[0])], "--meter", ADDRESSES[0], "--set", "--yes")
        assert (result.exit_code, "whose time is meant" in result.stderr) == (2, True)

    def test_a_broadcast_sets_all_that_are_near_enough(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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

    def test_a_broadcast_that_a_meter_would_ignore_is_not_sent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        near, far = meter(ADDRESSES[0], 20), meter(ADDRESSES[1], 301)
        result = self.run(monkeypatch, [near, far], "--broadcast")
        assert result.exit_code == 1
        assert f"meter {ADDRESSES[1]} is 301 s ahead" in str(result.exception)
        assert near.state.clock.shows(NOW) == NOW + timedelta(seconds=20)

    @pytest.mark.parametrize("how", ["--set", "--broadcast"])
    @pytest.mark.parametrize("at", [NOW.replace(hour=23, minute=56), NOW.replace(hour=0, minute=4)])
    def test_near_midnight_no_clock_is_set(
        self, monkeypatch: pytest.MonkeyPatch, how: str, at: datetime
    ) -> None:
        result = self.run(monkeypatch, [meter(ADDRESSES[0])], how, "--yes", at=at)
        assert result.exit_code == 1
        assert "midnight" in str(result.exception)

    @pytest.mark.parametrize("how", ["--set", "--broadcast"])
    def test_a_midnight_that_comes_nearer_while_meters_are_reached_stops_it(
        self, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        times = iter([NOW.replace(hour=23, minute=54)])
        monkeypatch.setattr(
            clock_module, "wall_clock", lambda zone: next(times, NOW.replace(hour=23, minute=57))
        )
        ahead = timedelta(hours=11, minutes=57, seconds=20)
        wrong = meter(ADDRESSES[0], round(ahead.total_seconds()))
        arguments = ["--meter", ADDRESSES[0], how, "--yes", "--zone", "Asia/Shanghai"]
        result = run_on(clock, [wrong], *arguments, "--timeout", "2")
        assert result.exit_code == 1
        assert "midnight" in str(result.exception)
        assert wrong.state.clock.shows(NOW) == NOW + ahead

    def test_a_wrong_password_is_tried_on_one_meter_and_what_was_done_is_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = meter(ADDRESSES[1], 90)
        other.access.password = "654321"
        last = meter("000000001602", 90, Forgetful)
        assert isinstance(last, Forgetful)
        result = self.run(monkeypatch, [meter(ADDRESSES[0], 90), other, last], "--set")
        assert result.exit_code == 1
        assert f"meter {ADDRESSES[1]} refused" in str(result.exception)
        assert f"set before it: {ADDRESSES[0]}" in str(result.exception)
        assert last.writes == 0

    def test_a_clock_that_cannot_be_read_is_a_failure(self) -> None:
        result = run_on(
            clock,
            [],
            *("--meter", ADDRESSES[0], "--timeout", "0.05", "--retries", "0", "--json"),
            *("--zone", "Asia/Shanghai"),
        )
        assert result.exit_code == 1
        assert f"no clock of {ADDRESSES[0]}" in str(result.exception)
        assert json.loads(result.stdout)["error"].startswith("no reply")

    def test_a_meter_that_is_named_twice_is_set_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        forgetful = meter(ADDRESSES[0], kind=Forgetful)
        assert isinstance(forgetful, Forgetful)
        self.run(monkeypatch, [forgetful, forgetful], "--set")
        assert forgetful.writes == 2  # date and time
