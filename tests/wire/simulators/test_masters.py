"""Masters of real ports and sockets: who is told what, and whose link is whose."""

import asyncio
import os
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from protocols.dlt645.frame import WAKE_UP, Frame, encode
from simulators.bench.running import Bench, BenchNotOpened
from simulators.bench.scenario import parse_scenario

METER = "000000000006"
REQUEST = WAKE_UP + encode(Frame(METER, 0x13))
PATIENCE_S = 10


def scenario(link: Path) -> str:
    return f"""
[lines.gate]
port = 0
reply_delay_ms = 0
[lines.bus]
link = "{link}"
baud = 9600
reply_delay_ms = 0
[[meters]]
line = "gate"
address = "{METER}"
[[meters]]
line = "bus"
address = "000000000007"
"""


def kinds(bench: Bench) -> dict[str, int]:
    return {it.kind: it.count for it in bench.stage.diagnosis.findings()}


async def say(bench: Bench, data: bytes) -> asyncio.StreamWriter:
    where = bench.lines["gate"].whereabouts()
    _, writer = await asyncio.open_connection(str(where["host"]), int(where["port"]))
    writer.write(data)
    return writer


async def until_told(bench: Bench, kind: str) -> None:
    while kind not in kinds(bench):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (REQUEST[:-2] + b"\x00\x16", "wrong_checksum"),
        (REQUEST[:-1] + b"\x17", "wrong_length"),
        (REQUEST[:-3], "broken_off"),
        (b"\x01\x03\x00\x00", "noise"),
        (WAKE_UP + encode(Frame("000000000099", 0x13)), "no_such_meter"),
        (REQUEST * 2, "not_awaited"),
    ],
)
def test_what_comes_over_a_socket_is_judged_while_it_comes(
    tmp_path: Path, data: bytes, kind: str
) -> None:
    async def run() -> None:
        text = scenario(tmp_path / "bus").replace("reply_delay_ms = 0", "reply_delay_ms = 100", 1)
        async with Bench(parse_scenario(text)) as bench:
            writer = await say(bench, data)
            await until_told(bench, kind)
            assert set(kinds(bench)) == {kind}
            events = [event for _, event in bench.log.since(0) if event.kind == "master"]
            assert events[0].detail["mistake"] == kind
            writer.close()

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_what_a_master_left_that_hung_up_at_once_is_judged(tmp_path: Path) -> None:
    async def run() -> None:
        async with Bench(parse_scenario(scenario(tmp_path / "bus"))) as bench:
            writer = await say(bench, REQUEST[:-2] + b"\x00\x16")
            writer.close()
            await until_told(bench, "wrong_checksum")

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def opened_at(path: Path, speed: int | None) -> int:
    """A port, set up as a reader does it."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    if speed is not None:
        modes = termios.tcgetattr(port)
        modes[4] = modes[5] = speed
        termios.tcsetattr(port, termios.TCSANOW, modes)
    return port


async def answered(port: int, request: bytes, length: int) -> bytes:
    """What comes back; at the latest when the length is there."""
    os.write(port, request)
    found = b""
    while len(found) < length:
        with suppress(BlockingIOError):
            found += os.read(port, 4096)
        await asyncio.sleep(0.005)
    return found


@pytest.mark.parametrize("speed", [None, termios.B9600])
def test_a_port_of_the_right_speed_is_answered(tmp_path: Path, speed: int | None) -> None:
    async def run() -> None:
        async with Bench(parse_scenario(scenario(tmp_path / "bus"))) as bench:
            port = opened_at(tmp_path / "bus", speed)
            answer = await answered(port, WAKE_UP + encode(Frame("000000000007", 0x13)), 22)
            os.close(port)
            assert answer.hex().startswith("fefefefe68070000000000689306")
            assert kinds(bench) == {}

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_a_port_of_another_speed_is_not_understood_and_told_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with Bench(parse_scenario(scenario(tmp_path / "bus"))) as bench:
            port = opened_at(tmp_path / "bus", termios.B2400)
            os.write(port, WAKE_UP + encode(Frame("000000000007", 0x13)))
            await until_told(bench, "wrong_speed")
            await until_told(bench, "noise")  # what was a request is none any more
            (finding,) = [it for it in bench.stage.diagnosis.findings() if "speed" in it.kind]
            assert finding.detail == "2400 Bd, the line has 9600 Bd"
            os.close(port)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_a_second_start_leaves_the_first_benchs_link_alone(tmp_path: Path) -> None:
    async def run() -> None:
        text = scenario(tmp_path / "bus")
        async with Bench(parse_scenario(text)):
            leads_to = os.readlink(tmp_path / "bus")
            with pytest.raises(BenchNotOpened, match="is a line of a bench that runs"):
                async with Bench(parse_scenario(text)):
                    pass
            assert os.readlink(tmp_path / "bus") == leads_to
            port = opened_at(tmp_path / "bus", None)
            assert await answered(port, WAKE_UP + encode(Frame("000000000007", 0x13)), 22)
            os.close(port)
        async with Bench(parse_scenario(text)):
            assert (tmp_path / "bus").is_symlink()

    asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE_S))


def test_a_link_that_a_killed_bench_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "bus").symlink_to("/dev/pts/99999")

    async def run() -> None:
        async with Bench(parse_scenario(scenario(tmp_path / "bus"))):
            assert os.readlink(tmp_path / "bus") != "/dev/pts/99999"

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_a_link_to_a_real_device_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bus").symlink_to("/dev/null")

    async def run() -> None:
        async with Bench(parse_scenario(scenario(tmp_path / "bus"))):
            pass

    with pytest.raises(BenchNotOpened, match="no pseudo-terminal of a bench"):
        asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
    assert os.readlink(tmp_path / "bus") == "/dev/null"
