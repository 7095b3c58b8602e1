"""What is asked of a Modbus meter: few reads, no hole read over, no late answer taken for
another."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from config.profiles import load_profile, shipped_profiles
from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Exchange, run_on_script
from protocols.modbus.blocks import REFUSALS_BELIEVED, Block, Learnt, block_of, plan
from protocols.modbus.exchanges import (
    is_answer,
    read_block,
    read_quantities,
    read_registers,
    read_relay,
    read_serial,
    set_relay,
)
from protocols.modbus.frame import Frame
from protocols.modbus.plausibility import implausible
from protocols.modbus.profile import Item, Profile, Relay, Span
from protocols.modbus.values import FLOATS
from protocols.reading import Quantity
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.state.meter import MeterState
from simulators.state.spec import MeterSpec

T = TypeVar("T")
NOON = datetime(2026, 5, 2, 12)
UNIT = 7
FC = 3


def meter_of(profile: Profile) -> SimulatedModbusMeter:
    spec = MeterSpec(initial_kwh=Decimal("1234.56"))
    return SimulatedModbusMeter(MeterState("bus-1/7", now=lambda: NOON, spec=spec), UNIT, profile)


def play(
    exchange: Exchange[Frame, T],
    answer: Callable[[Frame], Frame | None],
    sent: list[str] | None = None,
) -> T:
    """Run an exchange; `sent` takes the requests in hex, without unit."""
    try:
        request = next(exchange)
        while True:
            if sent is not None:
                sent.append(request.pdu.hex().upper())
            reply = answer(request)
            assert reply is not None
            assert is_answer(request, reply)
            request = exchange.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


def item(quantity: Quantity, register: int, type_: Any = "uint16") -> Item:
    return Item(quantity, FC, register, type_, "ABCD")


def profile_of(*items: Item, **what: Any) -> Profile:
    return Profile("test", "test", ("test",), items, **{"limit": 20, **what})


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_shipped_profile_reads_the_true_registers(name: str) -> None:
    profile = load_profile(name)
    meter = meter_of(profile)
    registers = play(read_registers(UNIT, profile), meter.answer_modbus)
    true = [Decimal(register).scaleb(-2) for register in meter.state.registers(NOON)]
    # A meter cuts off what its registers have no digits for.
    energy = profile.item(Quantity.FORWARD_ACTIVE_ENERGY)
    assert energy is not None
    step = Decimal("0.01") if energy.type in FLOATS else max(energy.factor, Decimal("0.01"))
    assert list(registers) == [kwh // step * step for kwh in true[: len(registers)]]
    found = play(read_quantities(UNIT, profile, profile.quantities()), meter.answer_modbus)
    assert set(found) == set(profile.quantities())
    assert all(isinstance(value, Decimal) for value in found.values())
    volts = [value for quantity, value in found.items() if quantity.unit == "V"]
    assert volts == [Decimal(220)] * len(volts)
    assert implausible(found) == []


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_plan_keeps_to_the_limit_and_to_what_may_be_read(name: str) -> None:
    profile = load_profile(name)
    blocks = [block_of(group) for group in plan(profile, profile.items)]
    assert len(blocks) <= len(profile.items)
    for block in blocks:
        assert block.count <= profile.limit
        for register in range(block.register, block.register + block.count):
            assert profile.may_read_along(block.function, register, register)


def test_neighbours_are_read_together_and_gaps_only_where_they_are_readable() -> None:
    items = [
        item(Quantity.VOLTAGE_A, 10),
        item(Quantity.VOLTAGE_B, 11),
        item(Quantity.VOLTAGE_C, 15),
    ]
    assert [block_of(group) for group in plan(profile_of(*items), items)] == [
        Block(FC, 10, 2),
        Block(FC, 15, 1),
    ]
    readable = profile_of(*items, readable=(Span(10, 15),))
    assert [block_of(group) for group in plan(readable, items)] == [Block(FC, 10, 6)]
    holed = replace(readable, holes=(Span(13, 13),))
    assert [block_of(group) for group in plan(holed, items)] == [Block(FC, 10, 2), Block(FC, 15, 1)]
    limited = replace(readable, limit=5)
    assert [block_of(group) for group in plan(limited, items)] == [
        Block(FC, 10, 2),
        Block(FC, 15, 1),
    ]


def test_a_block_that_the_meter_refuses_is_halved_and_the_places_are_kept() -> None:
    """The profile promises 80 registers; this meter stops at 50, as one in the field did."""
    profile = load_profile("eastron-sdm630")
    meter = meter_of(replace(profile, limit=50))
    learnt = Learnt()
    first: list[str] = []
    second: list[str] = []
    quantities = profile.quantities()
    found = play(read_quantities(UNIT, profile, quantities, learnt), meter.answer_modbus, first)
    again = play(read_quantities(UNIT, profile, quantities, learnt), meter.answer_modbus, second)
    assert (
        found
        == again
        == play(read_quantities(UNIT, meter.profile, quantities), meter.answer_modbus)
    )
    assert first[0] == "0400000050"
    assert len(first) > len(second) == 3
    assert "0400000050" not in second


@pytest.mark.parametrize("code", [2, 3])
def test_an_item_that_the_meter_does_not_have_is_none_and_soon_not_asked_for(code: int) -> None:
    items = [
        item(Quantity.VOLTAGE_A, 10),
        item(Quantity.VOLTAGE_B, 11),
        item(Quantity.VOLTAGE_C, 12),
    ]
    profile, learnt = profile_of(*items), Learnt()

    def answer(request: Frame) -> Frame:
        first, count = int.from_bytes(request.pdu[1:3], "big"), request.pdu[4]
        if first <= 12 < first + count:
            return Frame(UNIT, bytes((0x83, code)))
        return Frame(
            UNIT,
            bytes((3, 2 * count))
            + b"".join(n.to_bytes(2, "big") for n in range(first, first + count)),
        )

    quantities = profile.quantities()
    expected = {
        Quantity.VOLTAGE_A: Decimal(10),
        Quantity.VOLTAGE_B: Decimal(11),
        Quantity.VOLTAGE_C: None,
    }
    for _ in range(REFUSALS_BELIEVED):
        assert play(read_quantities(UNIT, profile, quantities, learnt), answer) == expected
    sent: list[str] = []
    assert play(read_quantities(UNIT, profile, quantities, learnt), answer, sent) == expected
    assert sent == ["03000A0001", "03000B0001"]


def test_a_meter_that_has_none_of_it_refuses_and_is_asked_again_each_time() -> None:
    profile, learnt = profile_of(item(Quantity.VOLTAGE_A, 10)), Learnt()
    for _ in range(REFUSALS_BELIEVED + 1):
        sent: list[str] = []
        with pytest.raises(
            MeterRefused, match=r"unit 7 refused register 000A \(function 3\): illegal data address"
        ):
            play(
                read_quantities(UNIT, profile, [Quantity.VOLTAGE_A], learnt),
                lambda _: Frame(UNIT, b"\x83\x02"),
                sent,
            )
        assert sent == ["03000A0001"]


def test_another_exception_ends_the_exchange() -> None:
    profile = load_profile("eastron-sdm630")
    with pytest.raises(MeterRefused, match="device busy") as caught:
        play(read_registers(UNIT, profile), lambda _: Frame(UNIT, b"\x84\x06"))
    assert caught.value.word == 6


def test_what_the_profile_does_not_have_is_an_error() -> None:
    profile = load_profile("eastron-sdm120")
    with pytest.raises(FrameError, match="has no voltage_a"):
        next(read_quantities(UNIT, profile, [Quantity.VOLTAGE_A]))
    with pytest.raises(FrameError, match="has no relay"):
        next(read_relay(UNIT, profile))
    with pytest.raises(FrameError, match="has no relay"):
        next(set_relay(UNIT, profile, "trip"))


def test_no_value_is_none_and_never_a_number() -> None:
    profile = load_profile("schneider-iem3000")
    nothing = Frame(UNIT, b"\x03\x08" + b"\x80" + bytes(7))
    (total, *_) = play(
        read_quantities(UNIT, profile, [Quantity.FORWARD_ACTIVE_ENERGY]), lambda _: nothing
    ).values()
    assert total is None
    nan = Frame(UNIT, bytes.fromhex("0304FFC00000"))
    assert play(read_quantities(UNIT, profile, [Quantity.FREQUENCY]), lambda _: nan) == {
        Quantity.FREQUENCY: None
    }


# The relay


def test_a_relay_is_written_with_function_16_and_read_back_with_function_3() -> None:
    profile = load_profile("hiking-dds238-4w")
    write = Frame(UNIT, bytes.fromhex("10001A0001020000"), is_request=True)
    run_on_script(
        set_relay(UNIT, profile, "trip"), [(write, Frame(UNIT, bytes.fromhex("10001A0001")))]
    )
    read = Frame(UNIT, bytes.fromhex("03001A0001"), is_request=True)
    assert (
        run_on_script(read_relay(UNIT, profile), [(read, Frame(UNIT, bytes.fromhex("03020000")))])
        is True
    )
    assert (
        run_on_script(read_relay(UNIT, profile), [(read, Frame(UNIT, bytes.fromhex("03020001")))])
        is False
    )
    with pytest.raises(FrameError, match="relay register 001A holds 7: open is 0, closed is 1"):
        run_on_script(read_relay(UNIT, profile), [(read, Frame(UNIT, bytes.fromhex("03020007")))])
    with pytest.raises(
        MeterRefused, match=r"unit 7 refused trip \(function 16, register 001A\): illegal function"
    ):
        run_on_script(set_relay(UNIT, profile, "trip"), [(write, Frame(UNIT, b"\x90\x01"))])


@pytest.mark.parametrize(
    ("function", "trip", "written"),
    [(5, 0, "0500030000"), (5, 1, "050003FF00"), (6, 0x55, "0600030055")],
)
def test_coils_and_single_registers_can_be_written_too(
    function: int, trip: int, written: str
) -> None:
    relay = Relay(function, 3, trip, 1 - trip if function == 5 else 0xAA, 2, 9, 1, 0)
    profile = profile_of(item(Quantity.VOLTAGE_A, 10), relay=relay)
    write = Frame(UNIT, bytes.fromhex(written), is_request=True)
    run_on_script(set_relay(UNIT, profile, "trip"), [(write, Frame(UNIT, write.pdu))])
    read = Frame(UNIT, bytes.fromhex("0200090001"), is_request=True)
    assert (
        run_on_script(read_relay(UNIT, profile), [(read, Frame(UNIT, bytes.fromhex("020101")))])
        is True
    )


def test_a_simulated_relay_moves_its_customer_out_of_the_current() -> None:
    profile = load_profile("hiking-dds238-4w")
    meter = meter_of(profile)
    assert play(read_relay(UNIT, profile), meter.answer_modbus) is False
    play(set_relay(UNIT, profile, "trip"), meter.answer_modbus)
    assert play(read_relay(UNIT, profile), meter.answer_modbus) is True
    found = play(
        read_quantities(UNIT, profile, [Quantity.CURRENT, Quantity.ACTIVE_POWER]),
        meter.answer_modbus,
    )
    assert set(found.values()) == {Decimal(0)}
    play(set_relay(UNIT, profile, "close"), meter.answer_modbus)
    assert not meter.state.relay.is_open
    assert [event.detail["action"] for event in meter.state.events if event.kind == "control"] == [
        "trip",
        "close",
    ]


def test_a_simulated_meter_refuses_what_such_meters_refuse() -> None:
    profile = load_profile("hiking-dds238-4w")
    meter = meter_of(profile)
    for pdu, answer in {
        "0300000000": "8303",
        "030000001C": "8303",
        "03001B0001": "8302",
        "0400000001": "8401",
        "060000AAAA": "8601",
        "10001B0001020000": "9002",
        "10001A0001020007": "9003",
    }.items():
        assert meter.answer_modbus(Frame(UNIT, bytes.fromhex(pdu), is_request=True)) == Frame(
            UNIT, bytes.fromhex(answer)
        )
    assert (
        meter.answer_modbus(Frame(UNIT + 1, bytes.fromhex("0300000002"), is_request=True)) is None
    )


# Late answers


class ForgetfulLine:
    """A meter that answers in order but sometimes late or never, and a reader that takes the first
    that fits.

    It listens to no silence in between, as the real reader does: only the shape of the questions
    can save it."""

    def __init__(self, meter: SimulatedModbusMeter, chance: random.Random) -> None:
        self._meter, self._chance = meter, chance
        self._under_way: list[Frame] = []

    def run(self, exchange: Exchange[Frame, T], retries: int) -> T | None:
        """None when a question stayed without an answer."""
        request = next(exchange)
        try:
            while True:
                answer = self._ask(request, retries)
                if answer is None:
                    exchange.close()
                    return None
                request = exchange.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _ask(self, request: Frame, retries: int) -> Frame | None:
        for _ in range(1 + retries):
            reply = self._meter.answer_modbus(request)
            assert reply is not None
            fate = self._chance.random()
            if fate > 0.1:
                self._under_way.append(reply)
            arrives = len(self._under_way)
            if fate < 0.55:
                arrives = self._chance.randint(0, max(0, arrives - 1))
            arrived, self._under_way = self._under_way[:arrives], self._under_way[arrives:]
            for frame in arrived:
                if is_answer(request, frame):
                    return frame
        return None


LATE_RUNS = 200
LATE_SEEDS = (816, 2706, 3942, 8249)
"""Once an old answer was taken for the proof that nothing old was under way."""


@pytest.mark.parametrize(
    "name", ["eastron-sdm630", "chint-dtsu666", "hiking-dds238-4w", "schneider-iem3000"]
)
def test_no_late_answer_is_ever_booked_on_another_item(name: str) -> None:
    assert late_answers_booked_wrong(name, [*range(LATE_RUNS), *LATE_SEEDS]) == []


class DistinctValues(SimulatedModbusMeter):
    """No two quantities of it show the same registers."""

    def value_named(self, label: str) -> Decimal:
        place, quantity = next(
            ((place, it) for place, it in enumerate(Quantity) if it.label == label), (-1000, None)
        )
        item = None if quantity is None else self.profile.item(quantity)
        return (1000 + place) * (Decimal(1) if item is None else item.factor)


def late_answers_booked_wrong(name: str, seeds: Iterable[int]) -> list[int]:
    """The seeds of the runs in which a value came out that is not the meter's."""
    profile = load_profile(name)
    meter = DistinctValues(MeterState("bus-1/7", now=lambda: NOON), UNIT, profile)
    plain = play(read_quantities(UNIT, profile, profile.quantities()), meter.answer_modbus)
    assert len(set(plain.values())) == len(plain)
    wrong = []
    for seed in seeds:
        chance, learnt = random.Random(seed), Learnt()
        line = ForgetfulLine(meter, chance)
        for _ in range(6):
            wanted = chance.sample(profile.quantities(), chance.randint(1, 3))
            found = line.run(
                read_quantities(UNIT, profile, wanted, learnt), retries=chance.randint(0, 1)
            )
            if found is not None and any(found[quantity] != plain[quantity] for quantity in wanted):
                wrong.append(seed)
    return wrong


def test_two_questions_of_one_shape_do_not_follow_each_other() -> None:
    profile = load_profile("chint-dtsu666")
    learnt = Learnt()
    sent: list[str] = []
    meter = meter_of(profile)
    for quantity in (
        Quantity.VOLTAGE_A,
        Quantity.VOLTAGE_C,
        Quantity.FREQUENCY,
        Quantity.FREQUENCY,
    ):
        play(read_quantities(UNIT, profile, [quantity], learnt), meter.answer_modbus, sent)
    assert sent == [
        "0320060002",
        "0320080004",  # with its neighbour
        "0320440002",
        "0320440002",  # the same question may be repeated as it is
    ]
    play(read_quantities(UNIT, profile, [Quantity.POWER_FACTOR], learnt), meter.answer_modbus, sent)
    assert sent[4:] == [
        "0320060004",
        "03202A0002",
    ]  # it has no neighbour: something else comes between


def test_a_widened_read_that_is_refused_leaves_its_item_readable() -> None:
    items = [
        item(Quantity.VOLTAGE_A, 10),
        item(Quantity.VOLTAGE_B, 20),
        item(Quantity.VOLTAGE_C, 21),
    ]
    profile, learnt = profile_of(*items), Learnt(unsettled=[Block(FC, 10, 1)])

    def answer(request: Frame) -> Frame:
        if request.pdu[4] != 1:
            return Frame(UNIT, b"\x83\x02")
        return Frame(UNIT, b"\x03\x02\x00" + request.pdu[2:3])

    for expected in (["0300140002", "0300140001"], ["0300140001"]):
        sent: list[str] = []
        found = play(read_quantities(UNIT, profile, [Quantity.VOLTAGE_B], learnt), answer, sent)
        assert found == {Quantity.VOLTAGE_B: Decimal(20)}
        assert sent == expected
        learnt.unsettled = [Block(FC, 10, 1)]
    assert not learnt.refusals


@pytest.mark.parametrize(
    ("data", "is_one"), [("06001A0001", True), ("06001A0000", False), ("06001B0001", False)]
)
def test_the_answer_to_a_write_repeats_register_and_value(data: str, is_one: bool) -> None:
    sent = Frame(UNIT, bytes.fromhex("06001A0001"), is_request=True)
    assert is_answer(sent, Frame(UNIT, bytes.fromhex(data))) is is_one


def test_bits_come_as_0_and_1() -> None:
    read = Frame(UNIT, bytes.fromhex("010013000A"), is_request=True)
    answer = Frame(UNIT, bytes.fromhex("0102CD01"))
    assert run_on_script(read_block(UNIT, Block(1, 0x13, 10)), [(read, answer)]) == (
        1,
        0,
        1,
        1,
        0,
        0,
        1,
        1,
        1,
        0,
    )


# --- which meter it is


def test_a_serial_number_is_read_where_the_profile_says_it_stands() -> None:
    """Registers 130 and 131 of an iEM3000 count from 1 in the maker's list: 0081 on the wire."""
    sent: list[str] = []

    def answer(request: Frame) -> Frame:
        return Frame(UNIT, bytes.fromhex("0304 0012D687"))

    serial = play(read_serial(UNIT, load_profile("schneider-iem3000")), answer, sent)
    assert sent == ["0300810002"]
    assert serial == "1234567"


def test_a_simulated_meter_tells_its_serial_number() -> None:
    profile = load_profile("schneider-iem3000")
    spec = MeterSpec(serial="000000004711")
    state = MeterState("bus-1/7", now=lambda: NOON, spec=spec)
    meter = SimulatedModbusMeter(state, UNIT, profile)
    assert play(read_serial(UNIT, profile), meter.answer_modbus) == "4711"


def test_a_profile_without_serial_number_is_not_asked_for_one() -> None:
    with pytest.raises(FrameError, match="has no serial number"):
        next(read_serial(UNIT, load_profile("eastron-sdm630")))
