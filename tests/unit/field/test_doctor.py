"""What is wrong with a line, from what was heard on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from config.translation import words_of
from daemon.field.doctor.causes import TITLES, Cause
from daemon.field.doctor.diagnosis import diagnose
from daemon.field.read_only import is_read
from protocols.dlt645 import exchanges, functions
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.dlt645.messages import encode_request
from protocols.modbus import frame as modbus
from tests.doctored_lines import SCENES, Scene, duplicate_address

SEEDS = 30
NEEDED = 0.95
CHINESE = re.compile("[\u4e00-\u9fff]")


def found(scene: Scene) -> list[Cause]:
    evidence = scene.line.heard_in(scene.subject)
    return [diagnosis.cause for diagnosis in diagnose(scene.subject, evidence)]


def name_of(scene: Callable[[int], Scene]) -> str:
    return scene.__name__


@pytest.mark.parametrize("scene", SCENES, ids=name_of)
def test_the_first_diagnosis_of_a_line_is_its_fault(scene: Callable[[int], Scene]) -> None:
    wrong = {}
    for seed in range(SEEDS):
        made = scene(seed)
        causes = found(made)
        if causes[0] is not made.cause:
            wrong[seed] = causes
    assert len(wrong) <= (1 - NEEDED) * SEEDS, wrong


NEEDS_NAMES = {
    "dead_meter",
    "host_clock",
    "wrong_address",
    "wrong_protocol",
    "other_meter_answers",
    "other_meter_at_times",
    "two_masters",
    "duplicate_address",
    "silent_beginning",
    "late_twin",
    "several_at_another_speed",
    "wrong_unit",
    "cut_modbus",
}
"""What is found only by whoever knows which meters there are, or who may talk."""


@pytest.mark.parametrize(
    "scene", [it for it in SCENES if name_of(it) not in NEEDS_NAMES], ids=name_of
)
def test_the_only_meter_of_a_line_need_not_be_named(scene: Callable[[int], Scene]) -> None:
    wrong = {}
    alone = [made for made in map(scene, range(100)) if len(made.subject.meters) == 1][:10]
    assert alone
    for number, made in enumerate(alone):
        made.subject = replace(made.subject, meters=())
        causes = found(made)
        if causes[0] is not made.cause:
            wrong[number] = causes
    assert len(wrong) <= 1, wrong


def test_two_meters_that_answer_anybody_are_several() -> None:
    """The question to anybody is answered by both; that one address is meant is not known."""
    causes = []
    for seed in range(10):
        made = duplicate_address(seed)
        made.subject = replace(made.subject, meters=())
        causes.append(found(made)[0])
    assert {Cause.SEVERAL_METERS, Cause.DUPLICATE_ADDRESS} & set(causes)
    assert Cause.NOTHING not in causes


@pytest.mark.parametrize("scene", SCENES, ids=name_of)
def test_nothing_but_reads_is_asked(scene: Callable[[int], Scene]) -> None:
    made = scene(1)
    made.line.heard_in(made.subject)
    assert made.line.sent
    assert all(map(is_read, made.line.sent))


@pytest.mark.parametrize("scene", SCENES, ids=name_of)
def test_every_word_of_a_diagnosis_is_there_in_chinese(scene: Callable[[int], Scene]) -> None:
    made = scene(2)
    say = words_of("zh")
    for diagnosis in diagnose(made.subject, made.line.heard_in(made.subject)):
        for text in (TITLES[diagnosis.cause], diagnosis.because, diagnosis.next_step):
            assert CHINESE.search(say(text)), text


def test_every_cause_has_a_title_in_both_languages() -> None:
    assert set(TITLES) == set(Cause)
    assert all(CHINESE.search(words_of("zh")(title)) for title in TITLES.values())


@pytest.mark.parametrize(
    "data",
    [
        encode_request(Frame("000000001600", functions.READ, bytes.fromhex("00000100"))),
        encode_request(Frame("AAAAAAAAAAAA", functions.READ_ADDRESS)),
        modbus.encode_rtu(modbus.Frame(1, bytes.fromhex("0300000002"), is_request=True)),
        modbus.encode_tcp(modbus.Frame(1, bytes.fromhex("0400000002"), is_request=True)),
    ],
)
def test_reads_may_leave(data: bytes) -> None:
    assert is_read(data)


WRITES = [
    Frame("000000001600", function, bytes(20))
    for function in functions.FUNCTION_NAMES
    if function not in (functions.READ, functions.READ_FOLLOW, functions.READ_ADDRESS)
    and function not in (0x01, 0x02)  # the reads of 1997, in 2007 nothing
]


@pytest.mark.parametrize("frame", WRITES, ids=lambda frame: f"{frame.function:02X}")
def test_no_other_function_of_the_standard_may(frame: Frame) -> None:
    assert not is_read(encode_request(frame))


@pytest.mark.parametrize("pdu", ["0500010000", "0600010001", "0F0000000801FF", "1000000001020001"])
def test_no_modbus_write_may(pdu: str) -> None:
    frame = modbus.Frame(1, bytes.fromhex(pdu), is_request=True)
    assert not is_read(modbus.encode_rtu(frame))
    assert not is_read(modbus.encode_tcp(frame))


@pytest.mark.parametrize("data", [b"", b"\xfe\xfe", b"hello", b"\x68\x16"])
def test_what_is_no_frame_may_not(data: bytes) -> None:
    assert not is_read(data)


def test_a_read_that_carries_a_write_behind_it_may_not() -> None:
    read = encode_request(Frame("000000001600", functions.READ, bytes.fromhex("00000100")))
    write = encode_request(Frame(BROADCAST, functions.FREEZE, exchanges.FREEZE_NOW.encode()[:4]))
    assert not is_read(read + write)
