"""The meters on one line: which of them hears a request, and which bytes come back when. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_
from typing import Any, Literal, NamedTuple

from protocols.dlt645.frame import BROADCAST, Decoder, Frame, encode
from protocols.exchange import StreamDecoder
from protocols.modbus import frame as modbus
from simulators.dlt645.meter import SimulatedMeter
from simulators.lines.faults import Fault, Piece, spoil, spoil_bytes, strike
from simulators.lines.master_watch import MasterWatch, Mistake
from simulators.modbus.meter import HIGHEST_UNIT, SimulatedModbusMeter
from simulators.state.seeded import below, series

AnyMeter = SimulatedMeter | SimulatedModbusMeter
DelayMs = tuple[int, int]
"""Least and most, both included."""
ModbusForm = Literal["rtu", "tcp"]

NO_DELAY: DelayMs = (0, 0)
_WILDCARD = "A"
# Random numbers of one request begin that far apart, so that its noise has a series of its own.
_REQUEST_SHIFT = 40


def _ignore(mistake: Mistake) -> None:
    """Nobody wants to know."""


class _Passage(NamedTuple):
    """One request on its way to one meter."""

    faults: tuple[Fault, ...]
    delay_ms: int
    key: int
    """Series of random numbers for the noise."""

    def has(self, kind: str) -> bool:
        return any(fault.kind == kind for fault in self.faults)

    def echo_of(self, request: bytes) -> list[Piece]:
        return [Piece(0, request)] if self.has("echo") else []

    def delayed(self, pieces: Iterable[Piece]) -> list[Piece]:
        return [Piece(self.delay_ms + after_ms, data) for after_ms, data in pieces]


class SimulatedBus:
    """Meters behind one talker, with the faults of the line and of each meter.

    An answer begins after a delay between `reply_delay_ms` (both ends included); `meter_delays_ms`
    and `meter_faults`, by address, come before those of the line. Faults follow from `seed`, the
    address and the number of the request. Meters of several protocols may share a line;
    `modbus_form` is how Modbus requests arrive."""

    def __init__(
        self,
        meters: Iterable[AnyMeter],
        *,
        reply_delay_ms: DelayMs = NO_DELAY,
        faults: Sequence[Fault] = (),
        meter_delays_ms: Mapping[str, DelayMs] | None = None,
        meter_faults: Mapping[str, Sequence[Fault]] | None = None,
        modbus_form: ModbusForm = "rtu",
        seed: int = 1,
    ) -> None:
        self.meters: dict[str, AnyMeter] = {meter.address: meter for meter in meters}
        """By the address that each has now."""
        self.units: dict[int, SimulatedModbusMeter] = {}
        self.faults = tuple(faults)
        self.meter_faults = dict(meter_faults or {})
        self.modbus_form = modbus_form
        self.watch = MasterWatch(_ignore)
        """Looks at those who ask."""
        self.reply_delay_ms = reply_delay_ms
        self.meter_delays_ms = dict(meter_delays_ms or {})
        self._dlt645_meters: list[SimulatedMeter] = []
        self._key = series(seed)
        self._requests: Counter[str] = Counter()
        self.requests_on_line = 0
        """Heard so far, understood and meant for anybody."""
        for meter in list(self.meters.values()):
            self.add(meter)

    def add(self, meter: AnyMeter) -> None:
        """One more meter, which hears from now on."""
        self.meters[meter.address] = meter
        if isinstance(meter, SimulatedModbusMeter):
            self.units[meter.unit] = meter
        else:
            self._dlt645_meters.append(meter)

    def remove(self, address: str) -> None:
        """Take a meter off the line, with what was said of it alone."""
        meter = self.meters.pop(address)
        if isinstance(meter, SimulatedModbusMeter):
            del self.units[meter.unit]
        else:
            self._dlt645_meters.remove(meter)
        self.meter_delays_ms.pop(address, None)
        self.meter_faults.pop(address, None)

    def new_decoders(self) -> list[StreamDecoder[Any]]:
        """One for each protocol that is spoken on the line; what they decode is to be answered."""
        decoders: list[StreamDecoder[Any]] = [Decoder()]
        if self.units and self.modbus_form == "tcp":
            decoders.append(modbus.tcp_requests())
        elif self.units:
            decoders.append(modbus.rtu_requests())
        return decoders

    def answer(self, request: Frame | modbus.Frame) -> list[Piece]:
        """The pieces that come back after a request, [] for silence.

        Each has its time after the request's end."""
        if isinstance(request, modbus.Frame):
            self.requests_on_line += 1
            return self._answer_modbus(request)
        if request.is_response:
            return []
        self.requests_on_line += 1
        meter = self.meters.get(request.address)
        if isinstance(meter, SimulatedMeter):
            return self._ask(meter, request)
        is_for_many = request.address == BROADCAST or _WILDCARD in request.address
        if not is_for_many:
            self.watch.exchange(None, request, None)
        answers = [
            self._ask(meter, request)
            for meter in self._dlt645_meters
            if is_for_many or meter.hears_others
        ]
        talking = [pieces for pieces in answers if pieces]
        return talking[0] if len(talking) == 1 else _collide(talking)

    def _ask(self, meter: SimulatedMeter, request: Frame) -> list[Piece]:
        """One meter's answer. An echo comes from the line, whether or not anybody answers."""
        address = meter.address
        passage = self._passage(address, self._key ^ int(address))
        echo = passage.echo_of(encode(request))
        if passage.has("lost_request") or not meter.state.has_power:
            return echo
        # An answer that is lost on the way back has had its effect all the same.
        answer = meter.answer(request)
        self.watch.exchange(meter, request, answer)
        if meter.address != address:  # the request gave it another one
            self._rename(address, meter.address)
        if answer is None:
            return echo
        neighbour = self._neighbour(address)
        pieces = spoil(
            answer,
            meter.wake_up,
            passage.faults,
            passage.key,
            neighbour,
        )
        return echo + passage.delayed(pieces)

    def _rename(self, address: str, to: str) -> None:
        """What was said of a meter is said of it under its new address."""
        self.meters[to] = self.meters.pop(address)
        if address in self.meter_delays_ms:
            self.meter_delays_ms[to] = self.meter_delays_ms.pop(address)
        if address in self.meter_faults:
            self.meter_faults[to] = self.meter_faults.pop(address)

    def _answer_modbus(self, request: modbus.Frame) -> list[Piece]:
        """A request for all units is done by each and answered by none.

        An echo comes from the line."""
        is_tcp = self.modbus_form == "tcp"
        encode_modbus = modbus.encode_tcp if is_tcp else modbus.encode_rtu
        if request.unit == modbus.BROADCAST and not is_tcp:
            for meter in self.units.values():
                if meter.state.has_power:
                    meter.answer_modbus(replace(request, unit=meter.unit))
        asked = self.units.get(request.unit)
        if asked is None:
            return []
        passage = self._passage(asked.address, self._key ^ series(asked.address))
        echo = passage.echo_of(encode_modbus(request))
        if passage.has("lost_request") or not asked.state.has_power:
            return echo
        answer = asked.answer_modbus(request)
        if answer is None:
            return echo
        if passage.has("foreign"):
            answer = replace(answer, unit=answer.unit % HIGHEST_UNIT + 1)
        pieces = spoil_bytes(encode_modbus(answer), passage.faults, passage.key)
        return echo + passage.delayed(pieces)

    def _passage(self, address: str, key: int) -> _Passage:
        """What happens to the next request for a meter; `key` is the meter's series."""
        self._requests[address] += 1
        number = self._requests[address]
        of_meter = strike(
            self.meter_faults.get(address, ()),
            key,
            number,
        )
        of_line = strike(self.faults, self._key, self.requests_on_line)
        least, most = self.meter_delays_ms.get(address, self.reply_delay_ms)
        return _Passage(
            faults=of_meter + of_line,
            delay_ms=least + below(key, number, most - least + 1),
            key=key ^ number << _REQUEST_SHIFT,
        )

    def _neighbour(self, address: str) -> str:
        """Whose answer a foreign one is."""
        for meter in self._dlt645_meters:
            if meter.address != address:
                return meter.address
        return f"{(int(address) + 1) % 10**12:012d}"


def _collide(answers: list[list[Piece]]) -> list[Piece]:
    """Several meters talk at once."""
    if not answers:
        return []
    voices = [b"".join(piece.data for piece in pieces) for pieces in answers]
    longest = max(map(len, voices))
    padded = (voice.ljust(longest, b"\xff") for voice in voices)
    # On RS-485 a dominant 0 wins: the bytes that come out are the AND of all.
    mixed = bytes(reduce(and_, together) for together in zip(*padded, strict=True))
    first_ms = min(pieces[0].after_ms for pieces in answers)
    return [Piece(first_ms, mixed)]
