"""What the bytes that come to a question of a scan mean."""

from __future__ import annotations

import pytest

from daemon.field.scan import Outcome, judge
from protocols.dlt645 import functions
from protocols.dlt645.frame import WAKE_UP, Frame, encode

ADDRESS = "000000000112"
PATTERN = "AAAAAAAAAA12"
ENERGY = bytes.fromhex("00000100")
READ = Frame(PATTERN, functions.READ, ENERGY)
READ_ADDRESS = Frame(PATTERN, functions.READ_ADDRESS)
ADDRESS_ON_THE_WIRE = bytes.fromhex(ADDRESS)[::-1]


def answer(request: Frame, address: str, data: bytes) -> bytes:
    return WAKE_UP + encode(Frame(address, request.control | 0x80, data))


def test_a_read_that_is_answered_from_the_pattern_is_a_meter_without_address() -> None:
    said = answer(READ, PATTERN, ENERGY + bytes(4))
    assert judge(said, READ, PATTERN) == (Outcome.METER, None)


def test_an_address_that_is_answered_from_the_pattern_is_the_one_in_the_data() -> None:
    said = answer(READ_ADDRESS, PATTERN, ADDRESS_ON_THE_WIRE)
    assert judge(said, READ_ADDRESS, PATTERN) == (Outcome.METER, ADDRESS)


def test_an_address_that_is_the_pattern_in_the_data_too_is_nobodys() -> None:
    said = answer(READ_ADDRESS, PATTERN, bytes.fromhex(PATTERN)[::-1])
    assert judge(said, READ_ADDRESS, PATTERN) == (Outcome.COLLISION, None)


def test_an_answer_from_another_pattern_is_a_collision() -> None:
    said = answer(READ, "AAAAAAAAAA13", ENERGY + bytes(4))
    assert judge(said, READ, PATTERN) == (Outcome.COLLISION, None)


def test_a_read_of_one_address_is_answered_by_that_meter() -> None:
    alone = Frame(ADDRESS, functions.READ, ENERGY)
    said = answer(alone, ADDRESS, ENERGY + bytes(4))
    assert judge(said, alone, ADDRESS) == (Outcome.METER, ADDRESS)


@pytest.mark.parametrize("data", [b"", 3 * WAKE_UP])
def test_nothing_but_wake_up_bytes_is_silence(data: bytes) -> None:
    assert judge(data, READ, PATTERN) == (Outcome.SILENCE, None)


def test_two_good_answers_are_a_collision() -> None:
    said = answer(READ, ADDRESS, ENERGY + bytes(4))
    assert judge(said + said, READ, PATTERN) == (Outcome.COLLISION, None)
