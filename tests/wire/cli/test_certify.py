"""`meterd certify`: good meters pass, each check fails on a meter with that fault, and two servers
from PyPI have the faults that they are known for."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from config.profiles import load_profile
from daemon.cli.authority import ENVIRONMENT
from daemon.cli.certify import certify
from daemon.field.certify.bench import Bench, Harm, harm_of_dlt645, harm_of_modbus, secret_free
from daemon.field.certify.dlt645.checks import SUITE as DLT645
from daemon.field.certify.dlt645.subject import Subject, is_whole
from daemon.field.certify.modbus.checks import SUITE as MODBUS
from daemon.field.certify.modbus.subject import Subject as Slave
from daemon.field.certify.modbus.subject import is_whole as is_whole_modbus
from daemon.field.certify.suite import Result as Checked
from daemon.field.certify.suite import Verdict, changes, run_suite
from protocols.channels.tcp import TcpChannel
from protocols.dlt645 import functions
from protocols.dlt645.frame import WAKE_UP, Decoder, Frame, encode
from protocols.dlt645.messages import identifier_on_the_wire
from protocols.dlt645.writing import Authority
from protocols.errors import ControlForbidden
from protocols.modbus import frame as modbus
from protocols.modbus.profile import Profile
from simulators.dlt645.deviating import DEVIATIONS, DeviatingMeter2007
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import Fault
from simulators.lines.stream_lines import serve_tcp
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.state.clock import MeterClock
from simulators.state.load import LoadCurve
from simulators.state.meter import MeterState
from simulators.state.relay import Relay, RelayKind
from simulators.state.spec import MeterSpec

ADDRESS = "000000001600"
ZONE = ZoneInfo("Asia/Shanghai")
PASSWORD = Authority("02", "000000")
WAIT_S = 0.4
"""No meter here thinks so long."""
A_DAY_KWH = 10


def now() -> datetime:
    return datetime.now(ZONE).replace(tzinfo=None)


def state(**other: Any) -> MeterState:
    """A meter whose register went over 999999.99 two days ago."""
    today = now().date()
    spec = MeterSpec(
        curve=LoadCurve(mwh_per_day=A_DAY_KWH * 1_000_000),
        initial_kwh=Decimal("999975.00"),
        installed=today - timedelta(days=4),
    )
    given = {
        "now": now,
        "spec": spec,
        "relay": Relay(RelayKind.EXTERNAL, has_button=False),
    }
    return MeterState(ADDRESS, **{**given, **other})


def good(**other: Any) -> SimulatedMeter2007:
    return SimulatedMeter2007(state(**other), frame_limit=60)


def deviating(*names: str) -> DeviatingMeter2007:
    return DeviatingMeter2007(state(), deviations=names, frame_limit=60)


async def certified(
    port: int, *, only: Sequence[str] = (), permitted: Harm = Harm.SWITCHES
) -> list[Checked]:
    async with TcpChannel("127.0.0.1", port) as channel:
        bench = Bench(channel, is_whole, harm_of_dlt645, permitted, WAIT_S)
        meter = Subject(bench, ADDRESS, now, PASSWORD)
        checks = [check for check in DLT645 if not only or check.name in only]
        return await run_suite(checks, meter, bench)


def on(bus: SimulatedBus | list[SimulatedMeter2007], **how: Any) -> list[Checked]:
    async def story() -> list[Checked]:
        async with serve_tcp(bus) as line:
            return await certified(line.port, **how)

    return asyncio.run(story())


def verdicts(results: Sequence[Checked], verdict: Verdict) -> dict[str, str]:
    return {result.name: result.detail for result in results if result.verdict is verdict}


def test_a_good_meter_passes_every_check() -> None:
    results = on([good()])
    assert verdicts(results, Verdict.FAILED) == {}
    assert verdicts(results, Verdict.NOT_TESTED) == {}
    assert len(results) == len(DLT645)
    assert "rollover" in verdicts(results, Verdict.PASSED)


def test_without_permission_nothing_is_written_and_nothing_moves() -> None:
    meter = good()
    results = on([meter], permitted=Harm.NONE)
    assert set(verdicts(results, Verdict.NOT_PERMITTED)) == {
        check.name for check in DLT645 if check.harm
    }
    assert {event.kind for event in meter.state.events} <= {"freeze"}


@pytest.mark.parametrize("function", [functions.WRITE, functions.CONTROL])
def test_what_is_not_permitted_does_not_leave(function: int) -> None:
    async def story() -> None:
        async with serve_tcp([good()]) as line, TcpChannel("127.0.0.1", line.port) as channel:
            bench = Bench(channel, is_whole, harm_of_dlt645, Harm.NONE, WAIT_S)
            with pytest.raises(ControlForbidden):
                await bench.ask(encode(Frame(ADDRESS, function, bytes(16))))
            assert bench.transcript == []

    asyncio.run(story())


@pytest.mark.parametrize("function", [functions.CLEAR_METER, functions.WRITE_ADDRESS])
def test_what_no_check_needs_never_leaves(function: int) -> None:
    with pytest.raises(ControlForbidden):
        harm_of_dlt645(encode(Frame(ADDRESS, function, bytes(16))))


def test_neighbours_on_the_line_are_no_fault_of_the_meter() -> None:
    beside = SimulatedMeter2007(MeterState(f"{int(ADDRESS) + 1:012d}", now=now))
    results = on([good(), beside], permitted=Harm.NONE)
    assert verdicts(results, Verdict.FAILED) == {}
    (alone,) = verdicts(results, Verdict.NOT_TESTED).items()
    assert alone[0] == "wildcard"
    assert "several answer at once" in alone[1]


def test_an_address_that_nobody_has_is_not_tested_to_the_end() -> None:
    results = on([SimulatedMeter2007(MeterState("000000000007", now=now))])
    assert verdicts(results, Verdict.FAILED) == {
        "answers": "silence",
        "one_answer": "silence",
        "wake_up": "silence to a request with 0 FE before it",
    }
    assert set(verdicts(results, Verdict.NOT_TESTED).values()) == {
        "nobody answers: wiring, speed, address?"
    }


FAULTS = {
    "answers_others": "foreign_address",
    "answers_broadcasts": "broadcast",
    "repeats_wildcard": "wildcard",
    "deaf_to_abbreviated": "abbreviated",
    "zeros_for_unknown": "unknown_identifier",
    "wrong_error_bit": "unknown_identifier",
    "two_error_bytes": "error_word",
    "wrong_rates": "tariffs",
    "wrong_total": "total_first",
    "five_byte_energy": "energy",
    "wrong_weekday": "clock_form",
    "stopped_clock": "clock_runs",
    "late_stamps": "freeze_stamps",
    "oldest_first": "freeze_stamps",
    "index_shifted": "newest_first",
    "wrong_freeze": "freeze_registers",
    "always_stamped": "empty_freeze",
    "reserved_type": "status_word",
    "rolls_at_100000": "rollover",
    "wrong_part": "follow_up",
    "any_password": "wrong_password",
    "forgets_writes": "write_back",
    "takes_any_time": "clock_limits",
    "obeys_expired": "expired",
    "never_in_time": "in_time",
    "keeps_no_power": "keep_power",
}


def test_every_deviation_is_found_by_a_check() -> None:
    assert set(FAULTS) == set(DEVIATIONS)


@pytest.mark.parametrize(("deviation", "check"), FAULTS.items())
def test_a_check_fails_on_a_meter_that_deviates(deviation: str, check: str) -> None:
    results = on([deviating(deviation)], only=(check,))
    assert [result.verdict for result in results] == [Verdict.FAILED], results


REFUSED = Authority(PASSWORD.level, "999999")


@pytest.mark.parametrize(
    ("authority", "told", "tries"),
    [
        (PASSWORD, "its clock was set to the right time", 2),
        (REFUSED, "its clock shows that time until somebody sets it", 1),
        (None, "its clock shows that time until somebody sets it", 0),
    ],
)
def test_a_clock_that_took_a_wrong_time_is_set_right_or_told_to_be_wrong_still(
    authority: Authority | None, told: str, tries: int
) -> None:
    meter = deviating("takes_any_time")

    async def story() -> tuple[list[Checked], Subject]:
        async with serve_tcp([meter]) as line, TcpChannel("127.0.0.1", line.port) as channel:
            bench = Bench(channel, is_whole, harm_of_dlt645, Harm.SWITCHES, WAIT_S)
            subject = Subject(bench, ADDRESS, now, authority)
            checks = [check for check in DLT645 if check.name == "clock_limits"]
            return await run_suite(checks, subject, bench), subject

    (result,), subject = asyncio.run(story())
    assert result.verdict is Verdict.FAILED
    assert result.detail == f"a time 10 minutes off was taken; {told}"
    assert subject.takes_no_password is (authority is REFUSED)
    with_password = [it for it in secret_free(subject.bench.transcript) if not it.data]
    assert len(with_password) == tries


OTHER_FAULTS: dict[str, Callable[[], SimulatedBus]] = {
    "answers": lambda: SimulatedBus([good()], faults=[Fault("wrong_checksum")]),
    "one_answer": lambda: SimulatedBus([good()], faults=[Fault("duplicate")]),
    "reply_time": lambda: SimulatedBus([good()], faults=[Fault("lost_answer", every=7)]),
    "byte_gaps": lambda: SimulatedBus([good()], faults=[Fault("split", delay_ms=550)]),
    "clock_right": lambda: SimulatedBus([good(clock=fast())]),
    "control_password": lambda: SimulatedBus([deviating("any_password")]),
    "trip": lambda: SimulatedBus(
        [good(relay=Relay(RelayKind.EXTERNAL, has_button=False, is_stuck=True))]
    ),
}


def fast() -> MeterClock:
    start = now() - timedelta(days=10)
    return MeterClock(start, start + timedelta(minutes=20))


@pytest.mark.parametrize("check", OTHER_FAULTS)
def test_a_check_fails_on_a_line_or_meter_with_that_fault(check: str) -> None:
    results = on(OTHER_FAULTS[check](), only=(check,))
    assert [result.verdict for result in results] == [Verdict.FAILED], results


@pytest.mark.parametrize(
    ("check", "lost", "told"),
    [
        # Of every second, fourth and eighth answer: of the first write, of an order, of its end.
        ("write_back", 2, "silence; 15 is set"),
        ("trip", 4, "silence"),
        ("trip", 8, ""),
        ("keep_power", 4, "silence"),
        ("keep_power", 11, ""),
    ],
)
def test_what_a_check_changed_is_put_right_also_when_an_answer_is_lost(
    check: str, lost: int, told: str
) -> None:
    meter = good()
    before = demand_period(meter)
    (result,) = on(SimulatedBus([meter], faults=[Fault("lost_answer", every=lost)]), only=(check,))
    assert result.verdict is (Verdict.FAILED if told else Verdict.PASSED)
    assert told in result.detail
    assert demand_period(meter) == before
    assert not meter.state.relay.is_open
    assert not meter.state.relay.keeps_power


class WithoutWord(SimulatedMeter2007):
    """Does the first write that it is given, and answers none."""

    writes = 0

    def answer(self, request: Frame) -> Frame | None:
        if request.function != functions.WRITE:
            return super().answer(request)
        self.writes += 1
        if self.writes == 1:
            super().answer(request)
        return None


def test_what_a_check_cannot_put_back_is_told() -> None:
    meter = WithoutWord(state(), frame_limit=60)
    (result,) = on([meter], only=("write_back",))
    assert result.verdict is Verdict.FAILED
    assert result.detail == "silence; 30 is set now: set 04000103 to 15 again, as it was before"
    assert meter.writes == 4


class WithoutRelay(SimulatedMeter2007):
    """Refuses every order."""

    orders = 0

    def answer(self, request: Frame) -> Frame | None:
        if request.function != functions.CONTROL:
            return super().answer(request)
        self.orders += 1
        return self._refuse(request, functions.NO_SUCH_DATA)


@pytest.mark.parametrize("check", ["trip", "keep_power"])
def test_what_a_meter_refuses_is_not_undone_and_nobody_is_told_to_close_by_hand(check: str) -> None:
    meter = WithoutRelay(state(), frame_limit=60)
    (result,) = on([meter], only=(check,))
    assert result.verdict is Verdict.FAILED
    assert result.detail == f"{check} is refused with {functions.NO_SUCH_DATA:02X}"
    assert meter.orders == 1


def demand_period(meter: SimulatedMeter2007) -> bytes:
    asked = Frame(ADDRESS, functions.READ, identifier_on_the_wire("04000103"))
    told = meter.answer(asked)
    assert told is not None
    return told.data[4:]


# --- ears that only bytes can show

Ear = Callable[[bytes], list[Frame]]


def whole(data: bytes) -> list[Frame]:
    """The frames of one segment, however they end and whatever their checksum is."""
    body = data.lstrip(b"\xfe")
    if len(body) < 12 or body[0] != 0x68:
        return []
    mended = body[:-2] + bytes((sum(body[:-2]) & 0xFF, 0x16))
    return [item for item in Decoder().feed(mended) if isinstance(item, Frame)]


def only_woken(data: bytes) -> list[Frame]:
    """Deaf without an FE."""
    return whole(data) if data[:1] == b"\xfe" else []


class Stubborn:
    """Waits for the rest of what began as a frame, for ever."""

    def __init__(self) -> None:
        self._kept = b""

    def __call__(self, data: bytes) -> list[Frame]:
        self._kept += data
        at = self._kept.find(b"\x68")
        # What comes behind 68 01 02 is taken for the rest of that frame.
        if at < 0 or self._kept[at + 7 : at + 8] not in (b"\x68", b""):
            return []
        return whole(self._kept[at:])


@asynccontextmanager
async def ear_line(ear: Ear) -> AsyncIterator[int]:
    meter = good()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            for frame in ear(data):
                answer = meter.answer(frame)
                if answer is not None:
                    writer.write(WAKE_UP + encode(answer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("ear", "check"),
    [
        (whole, "wrong_checksum"),
        (whole, "wrong_end"),
        (only_woken, "wake_up"),
        (whole, "in_pieces"),
        (Stubborn(), "after_noise"),
    ],
)
def test_a_check_fails_on_a_meter_with_bad_ears(ear: Ear, check: str) -> None:
    async def story() -> list[Checked]:
        async with ear_line(ear) as port:
            return await certified(port, only=(check,))

    results = asyncio.run(story())
    assert [result.verdict for result in results] == [Verdict.FAILED], results


def test_every_check_has_a_meter_on_which_it_fails() -> None:
    ears = {"wrong_checksum", "wrong_end", "wake_up", "in_pieces", "after_noise"}
    assert {*FAULTS.values(), *OTHER_FAULTS, *ears} == {check.name for check in DLT645}


# --- Modbus


def profile(name: str = "eastron-sdm630") -> Profile:
    return load_profile(name)


def slave(of: Profile, **other: Any) -> SimulatedModbusMeter:
    meter_state = MeterState("line/5", now=now, **other)
    return SimulatedModbusMeter(meter_state, 5, of)


async def certified_slave(
    port: int, of: Profile | None, *, is_tcp: bool, only: Sequence[str] = (), unit: int = 5
) -> list[Checked]:
    async with TcpChannel("127.0.0.1", port) as channel:
        bench = Bench(channel, is_whole_modbus(is_tcp), harm_of_modbus, Harm.SWITCHES, WAIT_S)
        checks = [check for check in MODBUS if not only or check.name in only]
        return await run_suite(checks, Slave(bench, unit, is_tcp, of), bench)


def on_modbus(bus: SimulatedBus, of: Profile, **how: Any) -> list[Checked]:
    async def story() -> list[Checked]:
        async with serve_tcp(bus) as line:
            is_tcp = bus.modbus_form == "tcp"
            return await certified_slave(line.port, of, is_tcp=is_tcp, **how)

    return asyncio.run(story())


@pytest.mark.parametrize("form", ["rtu", "tcp"])
@pytest.mark.parametrize("name", ["eastron-sdm630", "hiking-dds238-4w"])
def test_a_good_slave_passes_every_check(name: str, form: Any) -> None:
    bus = SimulatedBus([slave(profile(name))], modbus_form=form)
    results = on_modbus(bus, profile(name))
    assert verdicts(results, Verdict.FAILED) == {}


@pytest.mark.parametrize("form", ["rtu", "tcp"])
def test_a_neighbouring_unit_is_no_fault_of_the_slave(form: Any) -> None:
    beside = SimulatedModbusMeter(MeterState("line/6", now=now), 6, profile())
    bus = SimulatedBus([slave(profile()), beside], modbus_form=form)
    results = on_modbus(bus, profile(), only=("other_unit",))
    assert verdicts(results, Verdict.PASSED) == {"other_unit": "silence of unit 88"}


def swapped() -> Profile:
    of = profile()
    items = tuple(replace(item, order="CDAB") for item in of.items)
    return replace(of, items=items)


MODBUS_FAULTS: dict[str, Callable[[], list[Checked]]] = {
    "word_order": lambda: on_modbus(
        SimulatedBus([slave(swapped())]), profile(), only=("word_order",)
    ),
    "plausible": lambda: on_modbus(
        SimulatedBus([slave(swapped())]), profile(), only=("plausible",)
    ),
    "one_answer": lambda: on_modbus(
        SimulatedBus([slave(profile())], faults=[Fault("duplicate")]),
        profile(),
        only=("one_answer",),
    ),
    "answers": lambda: on_modbus(
        SimulatedBus([slave(profile())], faults=[Fault("foreign")]), profile(), only=("answers",)
    ),
    "reply_time": lambda: on_modbus(
        SimulatedBus([slave(profile())], faults=[Fault("lost_answer", every=7)]),
        profile(),
        only=("reply_time",),
    ),
    "every_item": lambda: on_modbus(
        SimulatedBus([slave(profile("eastron-sdm72dm"))]),
        profile("chint-dtsu666"),
        only=("every_item",),
    ),
    "whole_spans": lambda: on_modbus(
        SimulatedBus([slave(replace(profile(), limit=10))]), profile(), only=("whole_spans",)
    ),
    "relay_moves": lambda: on_modbus(
        SimulatedBus(
            [
                slave(
                    profile("hiking-dds238-4w"),
                    relay=Relay(RelayKind.EXTERNAL, has_button=False, is_stuck=True),
                )
            ]
        ),
        profile("hiking-dds238-4w"),
        only=("relay_moves",),
    ),
}


@pytest.mark.parametrize("check", MODBUS_FAULTS)
def test_a_check_fails_on_a_slave_with_that_fault(check: str) -> None:
    results = MODBUS_FAULTS[check]()
    assert [result.verdict for result in results] == [Verdict.FAILED], results


# Slaves whose mistakes are in their bytes.

Slip = Callable[[modbus.Frame], "modbus.Frame | bytes | None"]
REGISTERS = bytes((3, 4, 0x43, 0x5C, 0, 0))


def always_data(request: modbus.Frame) -> modbus.Frame:
    """Answers every request, for every unit, with the same registers."""
    return modbus.Frame(request.unit, REGISTERS, transaction=request.transaction)


def other_transaction(request: modbus.Frame) -> modbus.Frame:
    return modbus.Frame(request.unit, REGISTERS, transaction=request.transaction ^ 1)


def wrong_code(request: modbus.Frame) -> modbus.Frame:
    """Refuses everything with a code that means something else."""
    pdu = bytes((request.function | 0x80, 4))
    return modbus.Frame(request.unit, pdu, transaction=request.transaction)


def long_refusal(request: modbus.Frame) -> modbus.Frame:
    pdu = bytes((request.function | 0x80, 2, 0))
    return modbus.Frame(request.unit, pdu, transaction=request.transaction)


def no_state(request: modbus.Frame) -> modbus.Frame:
    """Its relay is neither open nor closed."""
    pdu = bytes((request.function, 2, 0, 7))
    return modbus.Frame(request.unit, pdu, transaction=request.transaction)


class RunsBack:
    """Its energy is less each time."""

    def __init__(self) -> None:
        self._left = 100

    def __call__(self, request: modbus.Frame) -> modbus.Frame:
        self._left -= 1
        pdu = bytes((request.function, 4)) + struct.pack(">f", self._left)
        return modbus.Frame(request.unit, pdu, transaction=request.transaction)


@asynccontextmanager
async def slip_line(slip: Slip, *, is_tcp: bool) -> AsyncIterator[int]:
    encode_answer = modbus.encode_tcp if is_tcp else modbus.encode_rtu

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            # Whatever comes is taken for one request: neither pieces nor checksums count.
            at = 6 if is_tcp else 0
            if len(data) <= at + 1:
                continue
            number = int.from_bytes(data[:2], "big") if is_tcp else 0
            asked = modbus.Frame(data[at], data[at + 1 : at + 6], True, number)
            answer = slip(asked)
            if isinstance(answer, modbus.Frame):
                writer.write(encode_answer(answer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


OF_THE_CHECK = {
    "does_not_run_back": profile(),
    "relay_state": profile("hiking-dds238-4w"),
}
SLIPS: list[tuple[Slip, str, str]] = [
    (long_refusal, "tcp", "exception_form"),
    (RunsBack(), "tcp", "does_not_run_back"),
    (no_state, "tcp", "relay_state"),
    (always_data, "rtu", "wrong_checksum"),
    (always_data, "rtu", "other_unit"),
    (always_data, "rtu", "broadcast"),
    (always_data, "tcp", "unknown_function"),
    (always_data, "tcp", "unknown_register"),
    (always_data, "tcp", "no_registers"),
    (always_data, "tcp", "too_many_registers"),
    (always_data, "tcp", "in_pieces"),
    (always_data, "rtu", "after_noise"),
    (other_transaction, "tcp", "transaction"),
    (wrong_code, "tcp", "unknown_register"),
    (wrong_code, "tcp", "unknown_function"),
    (wrong_code, "tcp", "no_registers"),
]


@pytest.mark.parametrize(("slip", "form", "check"), SLIPS)
def test_a_check_fails_on_a_slave_with_that_slip(slip: Slip, form: str, check: str) -> None:
    async def story() -> list[Checked]:
        async with slip_line(slip, is_tcp=form == "tcp") as port:
            return await certified_slave(
                port, OF_THE_CHECK.get(check), is_tcp=form == "tcp", only=(check,)
            )

    results = asyncio.run(story())
    assert [result.verdict for result in results] == [Verdict.FAILED], results


def test_every_check_has_a_slave_on_which_it_fails() -> None:
    assert {*MODBUS_FAULTS, *(check for _, _, check in SLIPS)} == {check.name for check in MODBUS}


# --- servers from PyPI


def test_the_server_of_pymodbus_has_the_faults_it_is_known_for() -> None:
    data = [SimData(0, values=[0x435C, 0, 1, 2, 3, 4], datatype=DataType.REGISTERS)]

    async def story() -> list[Checked]:
        server = ModbusTcpServer(
            SimDevice(5, data), framer=FramerType.SOCKET, address=("127.0.0.1", 0)
        )
        await server.serve_forever(background=True)
        assert server.transport is not None
        port = server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        try:
            return await certified_slave(port, None, is_tcp=True)
        finally:
            await server.shutdown()  # type: ignore[no-untyped-call]

    results = asyncio.run(story())
    assert set(verdicts(results, Verdict.FAILED)) == OF_PYMODBUS


OF_PYMODBUS = {
    "other_unit",  # exception 04 for a unit that is not there
    "unknown_function",  # what it cannot decode is refused for function 0
    "no_registers",
    "too_many_registers",
}


PEER = """
import sys
from dlt645 import MeterServerService
service = MeterServerService.new_tcp_server("127.0.0.1", 0, 5)
service.set_address("001600000000")
service.set_00(0x00010000, 123456.78)
service.start()
service.server._started_event.wait(10)
print(service.server.ln.getsockname()[1], flush=True)
sys.stdin.read()
service.stop()
"""


@pytest.fixture
def peer() -> Iterator[int]:
    """The port of the server of the package dlt645, which has the address the wrong way round."""
    process = subprocess.Popen(
        [sys.executable, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    with process:
        yield int(process.stdout.readline())
        process.stdin.close()
        process.wait(timeout=20)


OF_DLT645 = {
    "after_noise",
    "foreign_address",
    "broadcast",
    "abbreviated",
    "unknown_identifier",
    "clock_form",
    "clock_right",
    "clock_runs",
}


def test_the_server_of_dlt645_has_the_faults_it_is_known_for(peer: int) -> None:
    results = asyncio.run(certified(peer, permitted=Harm.NONE))
    assert set(verdicts(results, Verdict.FAILED)) == OF_DLT645


# --- the command


def run_on(*arguments: str, meter: SimulatedMeter2007 | None = None) -> Result:
    async def story() -> Result:
        async with serve_tcp([meter or good()]) as line:
            options = ["--tcp", line.place, "--meter", ADDRESS, "--zone", ZONE.key]
            options += ["--timeout", str(WAIT_S), *arguments]
            return await asyncio.to_thread(CliRunner().invoke, certify, options)

    return asyncio.run(story())


QUICK = ("--only", "answers", "--only", "tariffs", "--only", "trip")


def test_a_certificate_is_printed_and_compared(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    before = run_on(*QUICK, "--json", "--label", "1.0")
    assert before.exit_code == 0, before.output
    old.write_text(before.stdout)
    certificate = json.loads(before.stdout)
    assert certificate["counts"] == {"passed": 2, "not permitted": 1}
    assert certificate["results"][0]["frames"][0]["bytes"].startswith("FE FE FE FE 68")
    html = tmp_path / "certificate.html"
    now_ = run_on(
        *QUICK, "--compare", str(old), "--html", str(html), meter=deviating("wrong_rates")
    )
    assert now_.exit_code == 1, now_.output
    assert "tariffs\tpassed\tfailed" in now_.stdout
    text = html.read_text()
    assert "Differences" in text
    assert "FE FE FE FE 68" in text


def test_a_password_is_in_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, "000000")
    html = tmp_path / "certificate.html"
    result = run_on(
        "--only", "in_time", "--may-switch", "--level", "02", "--json", "--html", str(html)
    )
    assert result.exit_code == 0, result.output
    (checked,) = json.loads(result.stdout)["results"]
    assert checked["verdict"] == "passed"
    assert "(a password, not shown)" in {frame["bytes"] for frame in checked["frames"]}
    assert "(a password, not shown)" in html.read_text()


@pytest.mark.parametrize("first", ["write_back", "expired", "in_time"])
def test_a_password_that_the_meter_refuses_blames_it_for_nothing_and_is_tried_once(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "000000")
    checks = (first, "trip", "keep_power")
    only = [argument for check in checks for argument in ("--only", check)]
    result = run_on(*only, "--may-write", "--may-switch", "--level", "04", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["results"]
    told = "the meter takes no such password at level 04"
    assert [(it["verdict"], it["detail"]) for it in found] == [("not tested", told)] * len(checks)
    sent = [frame["bytes"] for it in found for frame in it["frames"]]
    assert sent.count("(a password, not shown)") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--only", "nonsense"), "the checks are answers"),
        (("--profile", "eastron-sdm630"), "--profile and --framing are for --suite modbus"),
        (("--suite", "modbus"), "a Modbus unit is a number up to 255"),
        (("--may-write",), "is missing"),
    ],
)
def test_a_wrong_use_is_told(
    arguments: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    result = run_on(*arguments)
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    other = tmp_path / "old.json"
    other.write_text("{}")
    result = run_on("--compare", str(other))
    assert "is no certificate" in str(result.exception)


def test_changes_name_what_is_new() -> None:
    before = {"results": [{"name": "answers", "verdict": "passed"}]}
    results = [
        Checked("answers", "", Verdict.FAILED, "silence", 0.1),
        Checked("energy", "", Verdict.PASSED, "", 0.1),
    ]
    found = changes(before, results)
    assert [(it.name, it.before, it.now, it.is_worse) for it in found] == [
        ("answers", "passed", "failed", True),
        ("energy", "new", "passed", False),
    ]
