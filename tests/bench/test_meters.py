"""The simulator of the benchmarks answers as a meter does: asked by the exchanges of `protocols`,
which do not know it.

A machine without a C compiler has no benchmarks either; the tests say so."""

from __future__ import annotations

import os
import select
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

import pytest

from protocols.dlt645.exchanges import (
    CODEC_2007,
    read,
    read_clock,
    read_daily_freeze,
    read_status_word_3,
)
from protocols.dlt645.frame import Frame
from protocols.errors import MeterRefused
from protocols.exchange import Exchange
from tests.bench.meters import Meters, address_of, day_now, energies, modbus_registers
from tests.bench.wire import ANSWER, HEAD, head_of, registers_in, request_of

T = TypeVar("T")
ADDRESSES = ["000000000000", "161616161616", "686868686868", "999999999998", address_of(123_456)]
ZONE_MIN = 480

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler: the benchmarks cannot run here"
)


@pytest.fixture(scope="module")
def meters() -> Iterator[Meters]:
    with Meters("tcp", ports=2, zone_min=ZONE_MIN, dead=1, of=20) as started:
        yield started


@pytest.fixture
def connection(meters: Meters) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", meters.told["ports"][1]), timeout=5) as connected:
        yield connected


def run(connection: socket.socket, exchange: Exchange[Frame, T]) -> T:
    """What the exchange returns, carried over a blocking socket."""
    decoder = CODEC_2007.new_decoder()
    try:
        request = next(exchange)
        while True:
            connection.sendall(CODEC_2007.encode(request))
            frames: list[Frame] = []
            while not frames:
                frames = [
                    item for item in decoder.feed(connection.recv(4096)) if isinstance(item, Frame)
                ]
            assert CODEC_2007.is_answer(request, frames[0])
            request = exchange.send(frames[0])
    except StopIteration as stop:
        answered: T = stop.value
        return answered


def take(connection: socket.socket, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        data += connection.recv(size - len(data))
    return data


@pytest.mark.parametrize("address", ADDRESSES[1:])
@pytest.mark.parametrize("index", [1, 2, 62])
def test_a_freeze_shows_its_midnight_and_the_energies_of_its_day(
    connection: socket.socket, address: str, index: int
) -> None:
    day = day_now(ZONE_MIN) - index + 1
    frozen = run(connection, read_daily_freeze(address, index, confirm=True))
    assert frozen is not None
    assert (frozen.frozen_at - datetime(1970, 1, 1)).days == day
    assert frozen.registers == tuple(
        Decimal(register).scaleb(-2) for register in energies(address, day)
    )


def test_a_meter_shows_the_wall_clock_of_the_zone(connection: socket.socket) -> None:
    wall = datetime.now(UTC).replace(tzinfo=None) + timedelta(minutes=ZONE_MIN)
    assert abs(run(connection, read_clock(ADDRESSES[1])) - wall) < timedelta(seconds=5)


def test_its_relay_is_closed(connection: socket.socket) -> None:
    assert not run(connection, read_status_word_3(ADDRESSES[1])).relay_open


@pytest.mark.parametrize("identifier", ["00010000", "05060100", "0506013F", "0506003F"])
def test_what_a_meter_does_not_know_it_refuses(connection: socket.socket, identifier: str) -> None:
    with pytest.raises(MeterRefused) as refused:
        run(connection, read(ADDRESSES[1], identifier))
    assert refused.value.word == 0x02


def test_questions_in_one_piece_or_many_have_the_same_answers(connection: socket.socket) -> None:
    asked = b"\x68\x16noise" + b"".join(request_of(address) for address in ADDRESSES[1:])
    connection.sendall(asked)
    together = take(connection, ANSWER * 4)
    for at in range(len(asked)):
        connection.sendall(asked[at : at + 1])
    assert take(connection, ANSWER * 4) == together
    for number, address in enumerate(ADDRESSES[1:]):
        answer = together[ANSWER * number : ANSWER * (number + 1)]
        assert answer[4 : 4 + HEAD] == head_of(address)
        assert registers_in(answer) == energies(address, day_now(ZONE_MIN))


def test_dead_meters_and_wrong_checksums_are_not_answered(connection: socket.socket) -> None:
    spoiled = bytearray(request_of(ADDRESSES[1]))
    spoiled[-2] ^= 1
    connection.sendall(request_of(ADDRESSES[0]) + spoiled + request_of(ADDRESSES[2]))
    assert take(connection, ANSWER)[4 : 4 + HEAD] == head_of(ADDRESSES[2])
    assert not select.select([connection], [], [], 0)[0]


def test_an_answer_waits_for_the_delay() -> None:
    with (
        Meters("tcp", delay_ms=50) as slow,
        socket.create_connection(("127.0.0.1", slow.told["ports"][0])) as asked,
    ):
        began = time.monotonic()
        asked.sendall(request_of(ADDRESSES[1]) + request_of(ADDRESSES[2]))
        assert take(asked, 2 * ANSWER)[4 : 4 + HEAD] == head_of(ADDRESSES[1])
        assert time.monotonic() - began >= 0.05


def test_modbus_registers_are_counted_up() -> None:
    with (
        Meters("tcp", "--modbus") as meters,
        socket.create_connection(("127.0.0.1", meters.told["ports"][0])) as asked,
    ):
        asked.sendall(bytes.fromhex("0102 0000 0006 07 03 0064 0014"))
        answer = take(asked, 49)
    assert answer[:9] == bytes.fromhex("0102 0000 002B 07 03 28")
    assert [int.from_bytes(answer[at : at + 2]) for at in range(9, 49, 2)] == modbus_registers(
        7, 100, 20
    )


def test_terminals_register_beat_and_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hall:
        terminals = Meters("terminals", port=hall.getsockname()[1], count=3, heartbeat_s=1)
        terminals.start()
        connections = [hall.accept() for _ in range(3)]
        terminals.wait()
        try:
            assert terminals.told == {"registered": 3}
            said = {take(connection, 14) for connection, _ in connections}
            assert said == {b"TERM00000000\r\n", b"TERM00000001\r\n", b"TERM00000002\r\n"}
            assert len({address[0] for _, address in connections}) == 3
            assert take(connections[0][0], 14)[:4] == b"BEAT"
            connections[0][0].sendall(request_of(ADDRESSES[1]))
            assert registers_in(take(connections[0][0], ANSWER)) == energies(
                ADDRESSES[1], day_now()
            )
        finally:
            for connection, _ in connections:
                connection.close()
            terminals.stop()


def test_a_serial_line_needs_the_time_of_its_characters_and_the_delay() -> None:
    with Meters("serial", baud=9600, delay_ms=20) as line:
        device = os.open(line.told["devices"][0], os.O_RDWR | os.O_NOCTTY)
        began = time.monotonic()
        os.write(device, request_of(ADDRESSES[1]))
        answer, pieces = b"", 0
        while len(answer) < ANSWER:
            answer += os.read(device, 4096)
            pieces += 1
        took = time.monotonic() - began
        os.close(device)
    assert registers_in(answer) == energies(ADDRESSES[1], day_now())
    assert took >= 60 * 11 / 9600 + 0.020
    assert pieces > 1
