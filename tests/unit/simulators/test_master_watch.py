"""What a bench says of its masters: each mistake is named, and a good master makes none."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from protocols.dlt645.bcd import encode_time
from protocols.dlt645.frame import BROADCAST, Frame
from protocols.exchange import Skipped
from simulators.bench.diagnosis import TOLD_OF_A_KIND, Diagnosis
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import KINDS, Fault
from simulators.lines.master_watch import ADVICE, MasterWatch, Mistake
from simulators.lines.uart import heard_at
from simulators.state.meter import MeterState
from simulators.state.spec import MeterSpec, Outages
from tests.simulated_meters import simulated_meter

METER, OTHER = "000000000006", "000000000007"
NOON = datetime(2026, 5, 2, 12)
CHARACTER_S = 11 / 2400
ENERGY, FREEZE, STAMP = b"\x00\x00\x01\x00", b"\x01\x01\x06\x05", b"\x01\x00\x06\x05"
SECRET = bytes.fromhex("02000000 00000000")


class Watched:
    """Two meters, and what is said of those who ask them. The first was without power at the last
    midnight."""

    def __init__(self, **bus: Any) -> None:
        self.told: list[Mistake] = []
        spec = MeterSpec(outages=Outages(dates=[NOON.date()]))
        shifted = SimulatedMeter2007(MeterState(METER, now=lambda: NOON, spec=spec))
        self.bus = SimulatedBus([shifted, simulated_meter(OTHER, now=lambda: NOON)], **bus)
        self.watch = MasterWatch(self.told.append, CHARACTER_S)
        self.bus.watch = self.watch
        self.at_s = 100.0

    def ask(self, *frames: Frame, master: object = "m", pause_s: float = 0.1) -> list[str]:
        """One after the other, each after its answer; the kinds of the mistakes."""
        for frame in frames:
            self.watch.request(master, frame, self.at_s)
            ends_s = self.at_s + 0.1
            answers = self.bus.answer(frame)
            self.at_s = ends_s + (0.2 if answers else 1.0)
            if answers:
                self.watch.answer_under_way(ends_s, self.at_s)
            self.at_s += pause_s
        return self.kinds()

    def kinds(self) -> list[str]:
        return [mistake.kind for mistake in self.told]


def read(identifier: bytes = ENERGY, address: str = METER) -> Frame:
    return Frame(address, 0x11, identifier)


def trip(expires: datetime, secret: bytes = SECRET) -> Frame:
    text = b"\x1a\x00" + encode_time(expires, "ss mm hh DD MM YY")
    return Frame(METER, 0x1C, secret + text)


GOOD: dict[str, list[Frame]] = {
    "reads": [read(), read(address=OTHER), read(b"\x00\xff\x01\x00")],
    "its address": [Frame("AAAAAAAAAAAA", 0x13)],
    "time to all": [Frame(BROADCAST, 0x08, bytes.fromhex("000012020526"))],
    "a freeze to all": [Frame(BROADCAST, 0x16, b"\x99" * 4)],
    "a trip in time": [trip(NOON + timedelta(minutes=5))],
    "the stamp before": [read(STAMP), read(FREEZE), read()],
    "the stamp behind": [read(FREEZE), read(STAMP), read()],
    "the whole block": [read(b"\x01\xff\x06\x05"), read(FREEZE), read()],
    "a freeze whose number is its day": [read(FREEZE, OTHER), read()],
    "the older version": [Frame(METER, 0x01, b"\x10\x90")],
}


@pytest.mark.parametrize("case", GOOD)
def test_nothing_is_said_of_what_is_right(case: str) -> None:
    watched = Watched()
    assert watched.ask(*GOOD[case]) == []
    watched.watch.finish()
    assert watched.kinds() == []


WRONG: dict[str, tuple[list[Frame], str]] = {
    "a code of no version": ([Frame(METER, 0x1F)], "unknown_control"),
    "a request with D6": ([Frame(METER, 0x51, ENERGY)], "unknown_control"),
    "an answer": ([Frame(METER, 0x91, ENERGY)], "sent_an_answer"),
    "a short identifier": ([Frame(METER, 0x11, b"\x00\x00")], "wrong_data_length"),
    "an address with data": ([Frame(METER, 0x13, b"\x00")], "wrong_data_length"),
    "another meter": ([read(address="000000000099")], "no_such_meter"),
    "a read of all": ([read(address=BROADCAST)], "broadcast_misused"),
    "a trip of any": (
        [Frame("AAAAAAAAAAAA", 0x1C, trip(NOON).data)],
        "broadcast_misused",
    ),
    "another password": (
        [trip(NOON + timedelta(minutes=5), bytes.fromhex("02111111 00000000"))],
        "wrong_password",
    ),
    "too late a trip": ([trip(NOON - timedelta(seconds=1))], "expired_control"),
    "a number for a day": ([read(FREEZE), read()], "index_for_a_day"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_named_once_and_with_its_bytes(case: str) -> None:
    frames, kind = WRONG[case]
    watched = Watched()
    assert watched.ask(*frames) == [kind]
    assert watched.told[0].example.startswith("68 ")


def test_a_number_for_a_day_is_told_at_the_end_where_nothing_follows() -> None:
    watched = Watched()
    assert watched.ask(read(FREEZE)) == []
    watched.watch.gone("m")
    (mistake,) = watched.told
    assert mistake.detail == f"{METER}: freeze 1 is of 2026-05-01, not of 2026-05-02"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("noise", "noise"),
        ("bad_checksum", "wrong_checksum"),
        ("bad_length", "wrong_length"),
        ("bad_end", "wrong_length"),
        ("truncated", "broken_off"),
    ],
)
def test_bytes_that_are_no_frame_are_named_by_what_is_wrong_with_them(
    reason: str, kind: str
) -> None:
    watched = Watched()
    watched.watch.skipped(Skipped(b"\x68\x01", reason))
    assert watched.told == [Mistake(kind, "2 bytes", "68 01")]


PAUSES: dict[str, tuple[Callable[[Watched], object], list[str]]] = {
    "while the answer comes": (lambda it: it.ask(read(), read(), pause_s=-0.1), ["not_awaited"]),
    "at once": (lambda it: it.ask(read(), read(), pause_s=CHARACTER_S * 3), ["gap_too_short"]),
    "after a rest": (lambda it: it.ask(read(), read(), pause_s=CHARACTER_S * 4), []),
}


@pytest.mark.parametrize("case", PAUSES)
def test_the_pause_between_an_answer_and_the_next_request(case: str) -> None:
    doing, kinds = PAUSES[case]
    watched = Watched()
    doing(watched)
    assert watched.kinds() == kinds


def test_whoever_gave_up_after_the_time_that_a_meter_has_did_wait() -> None:
    """An answer that is late by seconds is the meter's mistake."""
    watched = Watched()
    watched.watch.request("m", read(), 0.0)
    watched.watch.answer_under_way(0.1, 4.0)
    watched.watch.request("m", read(), 0.7)
    assert watched.kinds() == []


def test_two_who_ask_at_the_same_time_are_two_masters() -> None:
    watched = Watched()
    watched.ask(read(), master="first")
    assert watched.ask(read(), master="second") == ["two_masters"]


@pytest.mark.parametrize("leaves", [True, False])
def test_one_who_comes_after_another_is_none(leaves: bool) -> None:
    watched = Watched()
    watched.ask(read(), master="first")
    if leaves:
        watched.watch.gone("first")
    else:
        watched.at_s += 10
    assert watched.ask(read(), master="second") == []


def test_faults_of_the_bench_are_no_mistakes_of_the_master() -> None:
    for kind in KINDS:
        watched = Watched(faults=[Fault(kind)])
        watched.ask(read(), read(address=OTHER))
        assert watched.kinds() == [], kind


def test_what_happens_often_is_told_often_enough_and_counted() -> None:
    told: list[tuple[str, Mistake]] = []
    diagnosis = Diagnosis(lambda: NOON, lambda line, mistake: told.append((line, mistake)))
    for _ in range(TOLD_OF_A_KIND + 7):
        diagnosis.note("gate", Mistake("noise", "1 bytes", "00"))
    diagnosis.note("bus", Mistake("not_awaited", "3 ms", ""))
    assert len(told) == TOLD_OF_A_KIND + 1
    found = [(it.line, it.kind, it.count) for it in diagnosis.findings()]
    assert found == [("bus", "not_awaited", 1), ("gate", "noise", TOLD_OF_A_KIND + 7)]
    assert all(it.as_json()["advice"] == ADVICE[it.kind] for it in diagnosis.findings())


@pytest.mark.parametrize("heard_baud", [300, 600, 1200, 4800, 9600, 19200])
def test_at_another_speed_a_frame_is_not_heard(heard_baud: int) -> None:
    data = bytes.fromhex("68 060000000000 68 13 00 E9 16")
    assert heard_at(data, 2400, 2400) == data
    assert data not in heard_at(data, 2400, heard_baud)
    assert heard_at(data, 2400, heard_baud)


def test_a_port_of_twice_the_speed_takes_half_a_start_bit_for_a_zero() -> None:
    """FF is a 0, eight 1, the 0 of its parity and a 1 on the wire: each 0 is a start bit and a
    lowest bit to the hearer."""
    assert heard_at(b"\xff", 2400, 4800) == b"\xfe\xfe"
