"""`meterd doctor` over pseudo-terminals and sockets."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from config.profiles import load_profile
from daemon.api.asking import socket_path
from daemon.cli.doctor import doctor
from daemon.field.connection import Speed
from daemon.field.doctor.asking import examine
from daemon.field.doctor.causes import Cause
from daemon.field.doctor.diagnosis import diagnose
from daemon.field.doctor.evidence import KnownMeter, Patience, Step, Subject
from daemon.field.language import DLT645_2007
from daemon.field.read_only import ReadOnly, is_read
from protocols.channels.serial import SerialChannel
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645 import functions
from protocols.dlt645.frame import Frame
from protocols.dlt645.messages import encode_request
from protocols.errors import ControlForbidden
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import AnyMeter, SimulatedBus
from simulators.lines.faults import Fault
from simulators.lines.stream_lines import serve_pty, serve_tcp
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.state.clock import MeterClock
from simulators.state.meter import MeterState
from tests.unit.config.test_site import write

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = "000000001600"
SECOND = "000000001601"
SHORT = Patience(listen_s=0.2, wait_s=1.2, other_way_s=0.2, after_answer_s=0.05)


def now() -> datetime:
    """The site's wall clock; this test reads the clock of the machine as the meters do."""
    return datetime.now(ZONE).replace(tzinfo=None)


def meter(address: str, ahead: timedelta = timedelta()) -> SimulatedMeter2007:
    start = now() - timedelta(days=30)
    clock = MeterClock(start, start + ahead)
    return SimulatedMeter2007(MeterState(address, now=now, clock=clock))


def subject(*addresses: str, has_speed: bool = False) -> Subject:
    return Subject(
        Speed(9600, "E") if has_speed else Speed(),
        tuple(KnownMeter(DLT645_2007, address) for address in addresses),
        timeout_s=0.5,
        zone=ZONE,
        has_speed=has_speed,
        patience=SHORT,
    )


async def examined(place: str, of: Subject) -> tuple[Cause, list[Step]]:
    """The first diagnosis of the line at a place, and what was asked."""
    steps: list[Step] = []

    def channel_at(speed: Speed) -> StreamChannel:
        if of.has_speed:
            return SerialChannel(place, speed.baud or 0, speed.parity or "")
        host, _, port = place.rpartition(":")
        return TcpChannel(host, int(port))

    evidence = await examine(channel_at, of, now=lambda: datetime.now(UTC), on_step=steps.append)
    return diagnose(of, evidence)[0].cause, steps


TCP = False
PTY = True


@pytest.mark.parametrize(
    ("bus", "asked", "cause", "is_pty"),
    [
        ([meter(FIRST), meter(SECOND)], (FIRST, SECOND), Cause.NOTHING, PTY),
        ([meter(FIRST)], (FIRST, SECOND), Cause.DEAD_METER, TCP),
        ([meter(FIRST)], (SECOND,), Cause.WRONG_ADDRESS, PTY),
        ([meter(FIRST, timedelta(hours=3))], (FIRST,), Cause.WRONG_CLOCK, PTY),
        (SimulatedBus([meter(FIRST)], faults=[Fault("echo")]), (FIRST,), Cause.ECHO, PTY),
        (
            SimulatedBus([meter(FIRST)], faults=[Fault("late", delay_ms=900)]),
            (FIRST,),
            Cause.SLOW_ANSWERS,
            TCP,
        ),
        (
            SimulatedBus([meter(FIRST), meter(SECOND)], faults=[Fault("foreign")]),
            (FIRST, SECOND),
            Cause.OTHER_METER_ANSWERS,
            TCP,
        ),
        (
            SimulatedBus([meter(FIRST)], faults=[Fault("wrong_checksum", every=2)]),
            (FIRST,),
            Cause.NOISE,
            TCP,
        ),
        ([], (FIRST,), Cause.DEAD_BUS, TCP),
    ],
    ids=lambda it: it.value if isinstance(it, Cause) else "",
)
def test_a_line_is_examined(
    bus: Iterable[AnyMeter] | SimulatedBus, asked: tuple[str, ...], cause: Cause, is_pty: bool
) -> None:
    async def story() -> None:
        serve = serve_pty if is_pty else serve_tcp
        async with serve(bus) as line:
            found, steps = await examined(line.place, subject(*asked, has_speed=is_pty))
        assert found is cause
        assert all(is_read(step.sent) for step in steps if step.request is not None)

    asyncio.run(story())


def test_a_modbus_meter_is_found_on_a_line_of_another_protocol() -> None:
    async def story() -> None:
        state = MeterState("line/1", now=now)
        sdm = SimulatedModbusMeter(state, 1, load_profile("eastron-sdm630"))
        async with serve_tcp([sdm]) as line:
            found, _ = await examined(line.place, subject(FIRST))
        assert found is Cause.WRONG_PROTOCOL

    asyncio.run(story())


@asynccontextmanager
async def another_master() -> AsyncIterator[str]:
    """A socket on which somebody else is heard who reads a meter of the line all the time."""
    theirs = meter(SECOND)
    ours = meter(FIRST)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = Frame(SECOND, functions.READ, bytes.fromhex("00000200"))
        answer = theirs.answer(request)
        assert answer is not None
        # Heard before anything is asked, and after each of our questions.
        while True:
            writer.write(encode_request(request))
            writer.write(encode_request(answer))
            data = await reader.read(100)
            if not data:
                break
            own = ours.answer(Frame(FIRST, functions.READ, data[14:18].translate(_UNSHIFT)))
            if own is not None:
                writer.write(encode_request(own))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


_UNSHIFT = bytes((byte - 0x33) & 0xFF for byte in range(256))


def test_another_master_is_heard() -> None:
    async def story() -> None:
        async with another_master() as place:
            found, _ = await examined(place, subject(FIRST))
        assert found is Cause.TWO_MASTERS

    asyncio.run(story())


def test_a_write_does_not_leave_the_channel() -> None:
    async def story() -> None:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.set_result(await reader.read())
            writer.close()

        server = await asyncio.start_server(listen, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            async with ReadOnly(TcpChannel("127.0.0.1", port)) as channel:
                with pytest.raises(ControlForbidden, match="only reads"):
                    await channel.send(encode_request(Frame(FIRST, functions.CONTROL, bytes(16))))
            assert await heard == b""

    asyncio.run(story())


# --- the command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(doctor, list(arguments))


def run_on(meters: Iterable[AnyMeter], *arguments: str) -> Result:
    async def story() -> Result:
        async with serve_tcp(meters) as line:
            options = ["--tcp", line.place, "--listen", "0.1", "--zone", ZONE.key]
            return await asyncio.to_thread(run, *options, *arguments)

    return asyncio.run(story())


def test_a_good_line_is_told_so() -> None:
    result = run_on([meter(FIRST)], "--meter", FIRST)
    assert result.exit_code == 0, result.output
    assert "nothing is wrong" in result.stdout


def test_whoever_answers_is_asked_when_no_meter_is_named() -> None:
    result = run_on([meter(FIRST, timedelta(hours=-2))], "--json")
    assert result.exit_code == 1, result.output
    first = json.loads(result.stdout.splitlines()[0])
    assert first["cause"] == "wrong_clock"
    assert first["meters"] == [FIRST]
    assert re.search(rf"meterd clock --tcp [0-9.:]+ --meter {FIRST} --set", first["next_step"])
    assert 0 < first["confidence"] <= 100


def test_it_is_told_in_chinese() -> None:
    result = run_on([meter(FIRST, timedelta(hours=-2))], "--meter", FIRST, "--language", "zh")
    assert "电表时钟不准" in result.stdout
    assert "慢 120 分钟" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give either --tcp HOST:PORT or --serial DEVICE"),
        (("--tcp", "127.0.0.1:1", "--meter", "12"), "has 12 digits"),
        (("--tcp", "127.0.0.1:1", "--protocol", "modbus-tcp", "--meter", "256"), "up to 255"),
        (("gate-1", "--tcp", "127.0.0.1:1"), "give either LINE"),
    ],
)
def test_a_wrong_use_is_told(arguments: tuple[str, ...], told: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())


# --- a line of a site


@contextmanager
def a_running_daemon(data_directory: Path) -> Iterator[None]:
    """Somebody who listens where the daemon does."""
    data_directory.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(socket_path(data_directory)))
        server.listen()
        yield


def invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(doctor, list(arguments))
    return result.exception, result


def test_a_line_that_the_daemon_holds_is_left_to_it(tmp_path: Path) -> None:
    site = write(tmp_path)
    with a_running_daemon(tmp_path / "data"):
        error, _ = invoke("gate-1", "-c", str(site))
    assert "the daemon holds gate-1" in str(error)
    assert "meterd trace gate-1" in str(error)


def test_a_line_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    site = write(tmp_path)
    _, result = invoke("gatt-1", "-c", str(site))
    assert result.exit_code == 2
    assert "did you mean gate-1?" in " ".join(result.stderr.replace("│", " ").split())
