"""A meter without memory is read when its line begins, and what is wrong is told before midnight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from config.profiles import load_profile
from daemon.acquisition.drivers import driver_of
from daemon.acquisition.first_looks import look_at_one
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import Urgency
from protocols.errors import FrameError, NoReply
from protocols.modbus.blocks import Block
from protocols.modbus.frame import Frame
from tests.line_parts import line_parts
from tests.unit.acquisition.test_jobs import Port, _meter
from tests.wire.modbus.test_exchanges import play

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)
INSTALLED = NOON.date()


@dataclass
class Looked(Port):
    """A port that counts how often it is looked at; `doubts` says what comes of it."""

    doubts: Callable[[], list[str]] = list
    looks: int = 0

    async def read_doubts(self) -> list[str]:
        self.looks += 1
        return self.doubts()


def look(*ports: Looked, memory: bool = False, rounds: int = 5) -> list[Any]:
    """What is logged while a line goes round."""
    meters = [_meter(number, INSTALLED) for number in range(len(ports))]
    parts = line_parts("looks", meters, now=lambda: NOON)
    jobs = Jobs(parts, has_memory=[memory] * len(ports), longest_wait_s=1.0)

    def port(number: int, urgency: Urgency) -> Looked:
        return ports[number]

    async def all_rounds() -> None:
        for _ in range(rounds):
            await look_at_one(jobs, port)

    with capture_logs() as logged:
        asyncio.run(all_rounds())
    return logged


def raising(error: Exception) -> Callable[[], list[str]]:
    def doubts() -> list[str]:
        raise error

    return doubts


def test_each_meter_is_looked_at_once() -> None:
    ports = [Looked(), Looked()]
    assert look(*ports) == []
    assert [port.looks for port in ports] == [1, 1]


def test_a_meter_with_memory_is_not() -> None:
    port = Looked()
    look(port, memory=True)
    assert port.looks == 0


@pytest.mark.parametrize("error", [NoReply("no reply from unit 5"), FrameError("not BCD: 12AB")])
def test_one_that_cannot_be_read_is_told_once_and_left_for_later(error: Exception) -> None:
    port = Looked(doubts=raising(error))
    (told,) = look(port)
    assert (told["event"], told["error"]) == (
        "cannot be read, would be lost at midnight",
        str(error),
    )
    assert port.looks == 1


def test_values_that_cannot_be_meant_are_told() -> None:
    (told,) = look(Looked(doubts=lambda: ["voltage -1 V: must be from 0", "current"]))
    assert told["log_level"] == "error"
    assert told["values"] == "voltage -1 V: must be from 0; current"
    assert told["event"] == "values cannot be meant, wrong profile?"


def test_one_that_cannot_be_asked_is_left() -> None:
    port = Looked(unread="pushes alone")
    look(port)
    assert port.looks == 0


def doubts_of(registers: dict[int, int]) -> list[str]:
    """What the driver of an SDM630 doubts of a meter with these registers, the others 0."""

    def answer(request: Frame) -> Frame:
        block = Block(
            request.function,
            int.from_bytes(request.pdu[1:3], "big"),
            int.from_bytes(request.pdu[3:5], "big"),
        )
        words = [registers.get(at, 0) for at in range(block.register, block.end)]
        data = b"".join(word.to_bytes(2, "big") for word in words)
        return Frame(request.unit, bytes((request.function, len(data))) + data)

    meter = replace(_meter(7, INSTALLED), profile="eastron-sdm630")
    profiles = {"eastron-sdm630": load_profile("eastron-sdm630")}
    driver = driver_of(meter, profiles, has_relay=False)
    assert driver.read_doubts is not None
    return play(driver.read_doubts(), answer)


def test_a_modbus_meter_is_looked_at_with_all_of_its_profile() -> None:
    assert doubts_of({0x48: 0x4701, 0x49: 0xBE00}) == []
    (told,) = doubts_of({0x00: 0xC2C8})
    assert told.startswith("voltage_a -100 V")


def test_one_without_a_value_of_its_energy_is_doubted() -> None:
    (told,) = doubts_of({0x48: 0x7FC0})
    assert told == "forward_active_energy: the meter has no value"
