"""What a line of simulated meters says, with and without faults. No I/O."""

from datetime import datetime
from typing import Any

import pytest

from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.exchange import Skipped
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import KINDS, LATE_MS, LONGEST_NOISE, Fault, FaultKind, Piece, noise
from tests.simulated_meters import simulated_meter

FIRST, SECOND = "000000000006", "000000000007"
READ_ADDRESS = Frame(FIRST, 0x13)
ANSWER = bytes.fromhex("FEFEFEFE 68 060000000000 68 93 06 39 33 33 33 33 33 A7 16")
FOREIGN = bytes.fromhex("FEFEFEFE 68 070000000000 68 93 06 39 33 33 33 33 33 A8 16")


def bus_of(*addresses: str, **what: Any) -> SimulatedBus:
    return SimulatedBus(
        [simulated_meter(address, now=lambda: datetime(2026, 5, 2, 12)) for address in addresses],
        **what,
    )


def said(*faults: Fault, asked: int = 1) -> list[Piece]:
    """What the line says to the last of some equal requests."""
    bus = bus_of(FIRST, SECOND, faults=faults)
    return [bus.answer(READ_ADDRESS) for _ in range(asked)][-1]


def test_without_faults_the_answer_comes_whole_and_at_once() -> None:
    assert said() == [Piece(0, ANSWER)]


SPOILT: dict[FaultKind, list[Piece]] = {
    "lost_request": [],
    "lost_answer": [],
    "wrong_checksum": [Piece(0, ANSWER[:-2] + b"\xfd\x16")],
    "late": [Piece(LATE_MS, ANSWER)],
    "foreign": [Piece(0, FOREIGN)],
    "duplicate": [Piece(0, ANSWER), Piece(0, ANSWER)],
    "split": [Piece(0, ANSWER[:7]), Piece(40, ANSWER[7:14]), Piece(80, ANSWER[14:])],
    "echo": [Piece(0, encode(READ_ADDRESS)), Piece(0, ANSWER)],
}


@pytest.mark.parametrize("kind", SPOILT)
def test_each_fault_does_what_its_name_says(kind: FaultKind) -> None:
    assert said(Fault(kind)) == SPOILT[kind]


def test_noise_goes_where_it_is_told_to() -> None:
    before, after, instead = (
        said(Fault(kind)) for kind in ("noise_before", "noise_after", "noise_instead")
    )
    assert before[1:] == [Piece(0, ANSWER)]
    assert after[:-1] == [Piece(0, ANSWER)]
    assert len(instead) == 1
    for piece in (before[0], after[-1], instead[0]):
        assert 1 <= len(piece.data) <= LONGEST_NOISE
    assert len({before[0].data, said(Fault("noise_before"), asked=2)[0].data}) == 2


def test_every_kind_of_fault_is_tested() -> None:
    of_messages = {"retained"}
    assert set(SPOILT) | {"noise_before", "noise_after", "noise_instead"} | of_messages == set(
        KINDS
    )


def test_noise_never_is_a_frame_and_never_hides_the_answer() -> None:
    for number in range(2000):
        data = noise(12345, number)
        assert not any(isinstance(item, Frame) for item in Decoder().feed(data))
        decoder = Decoder()
        found = decoder.feed(data + ANSWER) + decoder.flush()
        assert [item for item in found if not isinstance(item, Skipped)] == [
            Frame(FIRST, 0x93, b"\x06" + bytes(5))
        ]


def test_noise_is_full_of_what_frames_are_made_of() -> None:
    together = b"".join(noise(12345, number) for number in range(200))
    for byte in (0x68, 0x16, 0xFE):
        assert together.count(byte) > len(together) / 40


def test_faults_work_in_their_order_and_together() -> None:
    late_and_wrong = said(Fault("wrong_checksum"), Fault("late", delay_ms=700), Fault("echo"))
    assert late_and_wrong == [Piece(0, encode(READ_ADDRESS)), Piece(700, ANSWER[:-2] + b"\xfd\x16")]


def test_an_echo_comes_even_when_nobody_answers() -> None:
    assert said(Fault("echo"), Fault("lost_request")) == [Piece(0, encode(READ_ADDRESS))]


def test_a_lost_request_is_not_done_and_a_lost_answer_is() -> None:
    trip = Frame(FIRST, 0x1C, bytes.fromhex("02000000 01000000 1A00 000000311299"))
    cases: list[tuple[FaultKind, bool]] = [("lost_request", False), ("lost_answer", True)]
    for kind, is_open in cases:
        bus = bus_of(FIRST, faults=[Fault(kind)])
        assert bus.answer(trip) == []
        assert bus.meters[FIRST].state.relay.is_open is is_open


def test_every_third_request_is_exactly_every_third() -> None:
    bus = bus_of(FIRST, faults=[Fault("lost_answer", every=3)])
    assert [bool(bus.answer(READ_ADDRESS)) for _ in range(9)] == [True, True, False] * 3


def test_chance_is_kept_and_repeats_with_its_seed() -> None:
    def heard(seed: int) -> list[bool]:
        bus = bus_of(FIRST, seed=seed, faults=[Fault("lost_answer", permille=200)])
        return [bool(bus.answer(READ_ADDRESS)) for _ in range(5000)]

    assert heard(1) == heard(1) != heard(2)
    assert 900 < heard(1).count(False) < 1100


def test_two_chances_strike_independently() -> None:
    faults = [Fault("lost_answer", permille=500), Fault("noise_before", permille=500)]
    bus = bus_of(FIRST, faults=faults)
    pieces = [len(bus.answer(READ_ADDRESS)) for _ in range(4000)]
    assert 900 < pieces.count(0) < 1100
    assert 900 < pieces.count(2) < 1100


def test_a_fault_of_one_meter_leaves_the_others_alone() -> None:
    bus = bus_of(FIRST, SECOND, meter_faults={FIRST: [Fault("lost_answer")]})
    assert bus.answer(READ_ADDRESS) == []
    assert bus.answer(Frame(SECOND, 0x13)) == [
        Piece(0, FOREIGN.replace(b"\x39", b"\x3a").replace(b"\xa8", b"\xa9"))
    ]


def test_delays_lie_between_their_ends_and_reach_both() -> None:
    bus = bus_of(FIRST, SECOND, reply_delay_ms=(20, 23), meter_delays_ms={SECOND: (500, 500)})
    assert {bus.answer(READ_ADDRESS)[0].after_ms for _ in range(200)} == {20, 21, 22, 23}
    assert bus.answer(Frame(SECOND, 0x13))[0].after_ms == 500


def test_nobody_answers_for_a_meter_that_is_not_there() -> None:
    assert bus_of(FIRST).answer(Frame(SECOND, 0x13)) == []


def test_the_only_meter_answers_to_any_address_and_two_garble_each_other() -> None:
    asked = Frame("AAAAAAAAAAAA", 0x13)
    assert bus_of(FIRST).answer(asked) == [Piece(0, ANSWER)]
    (garbled,) = bus_of(FIRST, SECOND).answer(asked)
    assert not any(isinstance(item, Frame) for item in Decoder().feed(garbled.data))


def test_a_broadcast_reaches_all_and_nobody_answers() -> None:
    bus = bus_of(FIRST, SECOND)
    assert bus.answer(Frame("999999999999", 0x16, b"\x99" * 4)) == []
    assert all(meter.state.instant_freezes for meter in bus.meters.values())
