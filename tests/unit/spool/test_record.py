"""A reading keeps all that is known of it on disk, and a torn or damaged file tells what is whole."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.arrival import Arrival, PolledFreeze, Teller
from daemon.spool.record import (
    MAGIC,
    VERSION,
    UnknownRecord,
    WaitingReading,
    arrival_of,
    decode,
    framed,
    spans,
    waiting,
)
from daemon.transactions.collect import raw_reading
from protocols.peer import Peer, Proof
from protocols.reading import DailyFreeze, Quantity
from tests.spooled import a_meter

ZONE = ZoneInfo("Asia/Shanghai")
durations = st.none() | st.timedeltas(timedelta(days=-40), timedelta(days=40))
registers = st.lists(
    st.none()
    | st.decimals(0, 10**10, places=4, allow_nan=False)
    | st.integers(0, 999).map(Decimal),
    min_size=1,
    max_size=5,
).map(tuple)
freezes = st.builds(
    DailyFreeze,
    address=st.from_regex(r"[0-9]{12}|gate-[0-9]{1,3}/[0-9]{1,3}|表-七/[1-9]", fullmatch=True),
    quantity=st.sampled_from(Quantity),
    frozen_at=st.datetimes(),
    registers=registers,
    arrived_at=st.datetimes(timezones=st.just(UTC)),
    clock_skew=durations,
    host_offset=durations,
    serial=st.none() | st.text(max_size=20),
)


def arrival(freeze: DailyFreeze) -> Arrival:
    return Arrival(a_meter(freeze.address), freeze)


def reading(number: int) -> WaitingReading:
    midnight = datetime(2026, 3, 2)
    total = Decimal(number).scaleb(-2)
    freeze = DailyFreeze(
        f"{number:012d}", Quantity.FORWARD_ACTIVE_ENERGY, midnight, (total,), datetime.now(UTC)
    )
    return waiting(arrival(freeze))


def payloads(data: bytes) -> list[bytes | None]:
    return [span.payload for span in spans(data)]


@given(freezes)
def test_what_comes_back_is_what_was_written(freeze: DailyFreeze) -> None:
    (payload,) = payloads(framed(waiting(arrival(freeze))))
    assert payload is not None
    assert decode(payload).freeze == freeze


def test_a_polled_freeze_comes_back_as_the_same_in_full() -> None:
    polled = PolledFreeze(
        a_meter("000000000001"),
        date(2026, 3, 2),
        (123456, None, 0),
        datetime(2026, 3, 2, 0, 7, 0, 123456, tzinfo=UTC),
        timedelta(seconds=-3),
    )
    (payload,) = payloads(framed(waiting(polled)))
    assert payload is not None
    assert decode(payload).freeze == polled.freeze


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=6), st.data())
def test_any_beginning_of_a_file_gives_the_whole_records_before_the_tear(
    numbers: list[int], data: st.DataObject
) -> None:
    frames = [framed(reading(number)) for number in numbers]
    file = b"".join(frames)
    length = data.draw(st.integers(0, len(file)))
    whole = []
    end = 0
    for frame in frames:
        end += len(frame)
        if end <= length:
            whole.append(frame)
    found = list(spans(file[:length]))
    assert [file[span.start : span.end] for span in found] == whole
    assert all(span.payload is not None for span in found), "a torn tail is no damage"


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_damaged_byte_costs_at_most_the_record_in_which_it_is(at: int, change: int) -> None:
    frames = [framed(reading(number)) for number in range(1, 6)]
    file = bytearray(b"".join(frames))
    at %= len(file)
    file[at] ^= change
    hit = 0
    while at >= len(frames[hit]):
        at -= len(frames[hit])
        hit += 1
    found = payloads(bytes(file))
    whole = [payload for payload in found if payload is not None]
    assert whole == [payloads(frame)[0] for frame in frames if frame is not frames[hit]]


def test_room_that_a_power_cut_left_empty_is_a_torn_tail() -> None:
    frame = framed(reading(1))
    (span,) = spans(frame + bytes(4096))
    assert span.end == len(frame)


def test_a_last_record_that_is_all_there_and_wrong_is_damage() -> None:
    frame = framed(reading(1))
    assert payloads(frame + frame[:-1] + b"\xff")[1:] == [None]


@pytest.mark.parametrize("payload", [bytes([VERSION + 1]) + b"\x90", bytes([VERSION]) + b"\x90"])
def test_what_another_program_wrote_is_refused_in_words(payload: bytes) -> None:
    with pytest.raises(UnknownRecord, match=r"version|no reading"):
        decode(payload)


def test_a_quantity_that_is_not_ours_is_refused() -> None:
    strange = WaitingReading(
        "1", "phase_of_the_moon", datetime(2026, 3, 2), 2, (1,), datetime.now(UTC)
    )
    with pytest.raises(UnknownRecord, match="phase_of_the_moon"):
        strange.freeze.registers  # noqa: B018 - it is made to be refused
    (payload,) = payloads(framed(strange))
    assert payload is not None
    with pytest.raises(UnknownRecord, match="phase_of_the_moon"):
        decode(payload)


midnights = st.dates(date(2000, 1, 1)).map(lambda day: datetime.combine(day, time()))
hundredths = st.decimals(0, 10**6, places=2, allow_nan=False)
peers = st.builds(
    Peer,
    address=st.text(min_size=1, max_size=20),
    proof=st.sampled_from(Proof),
    terminal=st.text(max_size=20),
    certificate=st.text("0123456789abcdef", max_size=64),
    session_at=st.none() | st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),
)
tellers = st.none() | st.builds(
    Teller, line=st.text(min_size=1, max_size=20), peer=peers, id=st.just(0)
)
energies = st.builds(
    DailyFreeze,
    address=st.just("000000000001"),
    quantity=st.just(Quantity.FORWARD_ACTIVE_ENERGY),
    frozen_at=midnights | st.datetimes(datetime(2000, 1, 1)),
    registers=st.lists(st.none() | hundredths, min_size=1, max_size=7).map(tuple),
    arrived_at=st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),
    clock_skew=durations,
    host_offset=st.none() | durations,
    serial=st.none() | st.text(max_size=20),
)
polled = st.builds(
    PolledFreeze,
    meter=st.just(a_meter("000000000001")),
    day=st.dates(date(2000, 1, 1)),
    registers=st.lists(st.none() | st.integers(0, 10**8), min_size=1, max_size=7).map(tuple),
    arrived_at=st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),
    clock_skew=durations,
    told_by=tellers,
)


@given(energies.map(arrival) | polled)
def test_what_waited_becomes_the_same_raw_row(arrived: Arrival | PolledFreeze) -> None:
    meter = arrived.meter
    (payload,) = payloads(framed(waiting(arrived)))
    assert payload is not None
    again = arrival_of(decode(payload), meter)
    assert raw_reading(again, ZONE) == raw_reading(arrived, ZONE)
    assert again.freeze == arrived.freeze
    assert told(again) == told(arrived)


def told(arrived: Arrival | PolledFreeze) -> tuple[str, Peer] | None:
    teller = arrived.told_by
    return None if teller is None else (teller.line, teller.peer)


@given(polled)
def test_what_was_polled_by_the_thousand_leaves_the_disk_as_integers(
    arrived: PolledFreeze,
) -> None:
    again = arrival_of(waiting(arrived), arrived.meter)
    assert isinstance(again, PolledFreeze)
    assert again._replace(told_by=None) == arrived._replace(told_by=None)
    assert told(again) == told(arrived)


def test_the_format_is_the_one_on_disks_in_the_field() -> None:
    """A change of these bytes needs a new version, and a decoder for the old one."""
    old = WaitingReading(
        "000000000001",
        "forward_active_energy",
        datetime(2026, 3, 2),
        2,
        (123456, None),
        datetime(2026, 3, 1, 16, 7, tzinfo=UTC),
        -3_000_000,
        None,
        "SN7",
    )
    assert framed(old).hex() == FIELD
    assert framed(old).startswith(MAGIC)
    (payload,) = payloads(bytes.fromhex(FIELD))
    assert payload is not None
    assert decode(payload) == old


def test_a_record_from_before_a_field_was_added_is_read_without_it() -> None:
    fields = msgspec.to_builtins(reading(1))
    shorter = bytes([VERSION]) + msgspec.msgpack.encode(fields[:6])
    assert decode(shorter).registers == reading(1).registers
    assert decode(shorter).serial is None


FIELD = (
    "b54d545252000000801f5dd8019aac303030303030303030303031b5666f72776172645f6163746976655f65"
    "6e65726779b3323032362d30332d30325430303a30303a30300292ce0001e240c0d6ff69a46424d2ffd23940"
    "c0a3534e37c0"
)
