"""The command `meterd read` over real lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from zoneinfo import ZoneInfo

import pytest

from daemon.cli import main
from protocols.dlt645.frame import Frame, encode

METER = "000000001600"
ZONE = ("--zone", "Asia/Shanghai")
Answer = Callable[[Frame], Iterable[bytes]]


@dataclass(frozen=True)
class Result:
    """How the program ended and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


Server = Callable[[Answer], AbstractAsyncContextManager[int]]
Terminal = Callable[[Answer], AbstractAsyncContextManager[str]]
DATA = {
    "00010000": "56341200",
    "0001FF00": "56341200 78560000",
    "0201FF00": "5622 FFFF FFFF",
    "02020100": "191581",
    "04000503": "5000",
    "04000101": "01110116",
    "04000102": "555321",
    "05060001": "0000091015",
    "05060101": "56341200 78560000",
}
NO_CLOCK = {key: data for key, data in DATA.items() if key not in ("04000101", "04000102")}


def meter(data: dict[str, str]) -> Answer:
    """A meter that answers these identifiers and refuses the others."""

    def answer(request: Frame) -> Iterable[bytes]:
        if request.control == 0x13:
            return [encode(Frame(METER, 0x93, bytes.fromhex(METER)[::-1]))]
        if request.address != METER:
            return []
        known = data.get(request.data[3::-1].hex().upper())
        if known is None:
            return [encode(Frame(METER, 0xD1, b"\x02"))]
        return [encode(Frame(METER, 0x91, request.data + bytes.fromhex(known)))]

    return answer


def meterd_read(*arguments: str) -> Result:
    printed, complained = StringIO(), StringIO()
    with redirect_stdout(printed), redirect_stderr(complained), pytest.raises(SystemExit) as end:
        main(["read", *arguments])
    return Result(int(end.value.code or 0), printed.getvalue(), complained.getvalue())


def run_tcp(server: Server, answer: Answer, *arguments: str) -> Result:
    async def story() -> Result:
        async with server(answer) as port:
            given = ["--tcp", f"127.0.0.1:{port}", "--timeout", "0.2", *arguments]
            return await asyncio.to_thread(meterd_read, *given)

    return asyncio.run(story())


def test_a_single_value_comes_with_unit_and_the_meters_time(server: Server) -> None:
    result = run_tcp(server, meter(DATA), "--meter", METER)
    assert (result.exit_code, result.stdout) == (0, "1234.56 kWh at 2016-01-11 21:53:55\n")


def test_a_meter_without_clock_is_read_all_the_same(server: Server) -> None:
    result = run_tcp(server, meter(NO_CLOCK), "--meter", METER, "--identifier", "02020100")
    assert (result.exit_code, result.stdout) == (0, "-11.519 A\n")


def test_a_meter_on_a_serial_line_is_read(terminal: Terminal) -> None:
    async def story() -> Result:
        async with terminal(meter(DATA)) as device:
            given = ["--serial", device, "--baud", "9600", "--meter", "any"]
            return await asyncio.to_thread(meterd_read, *given)

    result = asyncio.run(story())
    assert (result.exit_code, result.stdout) == (0, "1234.56 kWh at 2016-01-11 21:53:55\n")


def test_any_asks_for_the_address_first(server: Server) -> None:
    result = run_tcp(server, meter(DATA), "--meter", "any", "--json")
    assert json.loads(result.stdout)["meter"] == METER


def test_several_values_are_a_table(server: Server) -> None:
    result = run_tcp(server, meter(NO_CLOCK), "--meter", METER, "--quantity", "voltage")
    assert result.stdout.splitlines() == [
        "name\tvalue\tunit",
        "voltage_a\t225.6\tV",
        "voltage_b\t-\tV",
        "voltage_c\t-\tV",
    ]


def test_a_meter_that_knows_no_block_is_asked_for_the_single_value(server: Server) -> None:
    result = run_tcp(server, meter(NO_CLOCK), "--meter", METER, "--quantity", "current")
    assert result.stdout == "-11.519 A\n"


def test_json_has_one_object_for_each_value(server: Server) -> None:
    wanted = ["--identifier", "00010000", "--identifier", "0001ff00", "--json", *ZONE]
    result = run_tcp(server, meter(DATA), "--meter", METER, *wanted)
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(item["identifier"], item["value"]) for item in told] == [
        ("00010000", "1234.56"),
        ("0001FF00", "1234.56"),
        ("0001FF00", "56.78"),
    ]
    assert told[0]["name"] == "forward_active_energy"
    assert told[0]["unit"] == "kWh"
    assert told[0]["meter_time"] == "2016-01-11T21:53:55"
    assert told[0]["meter_ahead_s"] < 0


def test_the_status_says_what_the_relay_does(server: Server) -> None:
    output = run_tcp(server, meter(NO_CLOCK), "--meter", METER, "--quantity", "status").stdout
    assert "status_word_3\t0x0050\t" in output
    assert "relay\topen\t" in output


def test_the_newest_freeze_comes_with_its_own_stamp(server: Server) -> None:
    output = run_tcp(server, meter(NO_CLOCK), "--meter", METER, "--quantity", "freeze").stdout
    assert output.splitlines()[1:] == [
        "frozen_at\t2015-10-09 00:00\t",
        "total\t1234.56\tkWh",
        "tariff_1\t56.78\tkWh",
    ]


def test_a_meter_without_freeze_says_so(server: Server) -> None:
    result = run_tcp(server, meter({}), "--meter", METER, "--quantity", "freeze")
    assert result.exit_code == 1
    assert "has no daily freeze yet" in result.stderr


def test_the_clock_is_compared_with_the_time_of_its_zone(server: Server) -> None:
    ahead = datetime.now(ZoneInfo("Asia/Shanghai")) + timedelta(seconds=90)
    now = {"04000101": ahead.strftime("0%w%d%m%y"), "04000102": ahead.strftime("%S%M%H")}
    result = run_tcp(server, meter(now), "--meter", METER, "--quantity", "clock", *ZONE)
    assert result.exit_code == 0
    assert f"meter {METER} at 20" in result.stdout
    assert any(
        f", {seconds} s ahead of Asia/Shanghai" in result.stdout for seconds in range(85, 91)
    )


def test_a_meter_without_clock_fails_when_asked_for_it(server: Server) -> None:
    result = run_tcp(server, meter({}), "--meter", METER, "--quantity", "clock")
    assert result.exit_code == 1
    assert "no such data" in result.stderr


def test_the_trace_shows_the_bytes_on_standard_error(server: Server) -> None:
    result = run_tcp(server, meter(NO_CLOCK), "--meter", METER, "--trace")
    assert (
        'direction=tx bytes="FE FE FE FE 68 00 16 00 00 00 00 68 11 04 33 33 34 33 C8 16"'
        in result.stderr
    )
    assert "direction=rx" in result.stderr
    assert result.stdout == "1234.56 kWh\n"


def test_silence_tells_what_to_try(server: Server) -> None:
    result = run_tcp(server, meter(DATA), "--meter", "000000001601", "--retries", "0")
    assert result.exit_code == 1
    assert "no reply from 000000001601 on tcp 127.0.0.1:" in result.stderr
    assert "8E1" in result.stderr
    assert "--meter any" in result.stderr


def test_a_refusal_fails_with_the_reason(server: Server) -> None:
    result = run_tcp(server, meter(DATA), "--meter", METER, "--identifier", "02010200")
    assert result.exit_code == 1
    assert "refused 02010200: no such data" in result.stderr


def test_data_that_are_no_number_fail(server: Server) -> None:
    result = run_tcp(server, meter({"00010000": "0A000000"}), "--meter", METER)
    assert result.exit_code == 1
    assert "not BCD: 0000000A" in result.stderr


@pytest.mark.parametrize(("data", "told"), [("5634120003", "5 bytes"), ("563412", "3 bytes")])
def test_an_answer_of_another_length_than_its_identifier_fails(
    server: Server, data: str, told: str
) -> None:
    result = run_tcp(server, meter({"00010000": data}), "--meter", METER)
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr
    assert "4" in result.stderr


def test_a_line_that_is_not_there_fails() -> None:
    result = meterd_read("--serial", "/dev/no-such-port", "--meter", METER)
    assert result.exit_code == 1
    assert "cannot open" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--meter", METER], "either --tcp HOST:PORT or --serial"),
        (["--tcp", "h:1", "--serial", "d", "--meter", METER], "either --tcp HOST:PORT or --serial"),
        (["--tcp", "h", "--meter", METER], "not HOST:PORT"),
        (["--tcp", "h:99999", "--meter", METER], "not HOST:PORT"),
        (["--tcp", "h:1", "--meter", "9" * 12], "is the broadcast address, no meter has it"),
        (["--tcp", "h:1", "--meter", "1600"], "filled up with zeros it is 000000001600"),
        (["--tcp", "h:1", "--meter", "somebody"], "12 digits"),
        (["--tcp", "h:1", "--meter", METER, "--identifier", "9010"], "8 hexadecimal digits"),
        (
            ["--tcp", "h:1", "--meter", METER, "--identifier", "00010000", "--quantity", "energy"],
            "either --identifier",
        ),
        (["--tcp", "h:1"], "--meter"),
    ],
)
def test_wrong_use_is_told_before_anything_is_opened(arguments: list[str], words: str) -> None:
    result = meterd_read(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
