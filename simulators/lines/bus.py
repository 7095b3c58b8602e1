"""The meters on one line: who hears a request, and which bytes come back when. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import and_
from typing import Any, Literal

from protocols.dlt645.frame import BROADCAST, Decoder, Frame, encode
from protocols.exchange import StreamDecoder
from protocols.modbus import frame as modbus
from simulators.lines.faults import Fault, Piece, spoil, spoil_bytes, strike
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.state.meter import SimulatedMeter
from simulators.state.seeded import below, series

NO_DELAY = (0, 0)
ModbusForm = Literal["rtu", "tcp"]


class SimulatedBus:
    """Meters behind one talker, with the faults of the line and of each meter.

    An answer begins after a delay between `reply_delay_ms` (both ends included); `meter_delays_ms`
    and `meter_faults`, by address, come before those of the line. Chance follows from `seed`, the
    address and the number of the request. Meters of several protocols may share a line;
    `modbus_form` is how Modbus requests arrive."""

    def __init__(
        self,
        meters: Iterable[SimulatedMeter],
        *,
        reply_delay_ms: tuple[int, int] = NO_DELAY,
        faults: Sequence[Fault] = (),
        meter_delays_ms: Mapping[str, tuple[int, int]] | None = None,
        meter_faults: Mapping[str, Sequence[Fault]] | None = None,
        modbus_form: ModbusForm = "rtu",
        seed: int = 1,
    ) -> None:
        self.meters = {meter.address: meter for meter in meters}
        self._speakers = [
            meter for meter in self.meters.values() if not isinstance(meter, SimulatedModbusMeter)
        ]
        """Those that know DL/T 645."""
        self.units = {
            meter.unit: meter
            for meter in self.meters.values()
            if isinstance(meter, SimulatedModbusMeter)
        }
        self.modbus_form = modbus_form
        self.faults = tuple(faults)
        self.meter_faults = dict(meter_faults or {})
        self._reply_delay_ms = reply_delay_ms
        self._meter_delays_ms = meter_delays_ms or {}
        self._key = series(seed)
        self._requests: Counter[str] = Counter()
        self._requests_on_line = 0

    def new_decoders(self) -> list[StreamDecoder[Any]]:
        """One for each protocol that is spoken on the line; what they decode is to be heard."""
        decoders: list[StreamDecoder[Any]] = [Decoder()]
        if self.units:
            decoders.append(
                modbus.tcp_requests() if self.modbus_form == "tcp" else modbus.rtu_requests()
            )
        return decoders

    def hear(self, request: Frame | modbus.Frame) -> list[Piece]:
        """What the line says after a request, each piece with its time after the request's end; []
        for silence."""
        if isinstance(request, modbus.Frame):
            return self._hear_modbus(request)
        if request.is_response:
            return []
        self._requests_on_line += 1
        if (meter := self.meters.get(request.address)) is not None:
            return self._ask(meter, request)
        if request.address != BROADCAST and "A" not in request.address:
            return []
        answers = [self._ask(meter, request) for meter in self._speakers]
        talking = [pieces for pieces in answers if pieces]
        return talking[0] if len(talking) == 1 else _collide(talking)

    def _ask(self, meter: SimulatedMeter, request: Frame) -> list[Piece]:
        """One meter's answer. An echo comes from the line, whether or not anybody answers."""
        address = meter.address
        self._requests[address] += 1
        number = self._requests[address]
        key = self._key ^ int(address)
        struck = strike(self.meter_faults.get(address, ()), key, number)
        struck += strike(self.faults, self._key, self._requests_on_line)
        kinds = [fault.kind for fault in struck]
        echo = [Piece(0, encode(request))] if "echo" in kinds else []
        answer = meter.answer(request) if "lost_request" not in kinds else None
        if meter.address != address:  # it was given another one
            self.meters[meter.address] = self.meters.pop(address)
        if answer is None:
            return echo
        least, most = self._meter_delays_ms.get(address, self._reply_delay_ms)
        delay_ms = least + below(key, number, most - least + 1)
        pieces = spoil(
            answer,
            meter.wake_up,
            struck,
            key ^ number << 40,
            self._neighbour(address),
        )
        return echo + [Piece(delay_ms + after, data) for after, data in pieces]

    def _hear_modbus(self, request: modbus.Frame) -> list[Piece]:
        """A request for all units is done by each and answered by none. An echo comes from the
        line."""
        self._requests_on_line += 1
        encode_modbus = modbus.encode_tcp if self.modbus_form == "tcp" else modbus.encode_rtu
        if request.unit == modbus.BROADCAST and self.modbus_form == "rtu":
            for meter in self.units.values():
                meter.answer_modbus(replace(request, unit=meter.unit))
        meter_asked = self.units.get(request.unit)
        if meter_asked is None:
            return []
        address = meter_asked.address
        self._requests[address] += 1
        number, key = self._requests[address], self._key ^ series(address)
        struck = strike(self.meter_faults.get(address, ()), key, number)
        struck += strike(self.faults, self._key, self._requests_on_line)
        kinds = [fault.kind for fault in struck]
        echo = [Piece(0, encode_modbus(request))] if "echo" in kinds else []
        answer = meter_asked.answer_modbus(request) if "lost_request" not in kinds else None
        if answer is None:
            return echo
        if "foreign" in kinds:
            answer = replace(answer, unit=answer.unit % 247 + 1)
        least, most = self._meter_delays_ms.get(address, self._reply_delay_ms)
        delay_ms = least + below(key, number, most - least + 1)
        pieces = spoil_bytes(encode_modbus(answer), struck, key ^ number << 40)
        return echo + [Piece(delay_ms + after, data) for after, data in pieces]

    def _neighbour(self, address: str) -> str:
        """Whose answer a foreign one is."""
        others = (meter.address for meter in self._speakers if meter.address != address)
        return next(others, f"{(int(address) + 1) % 10**12:012d}")


def _collide(answers: list[list[Piece]]) -> list[Piece]:
    """Several meters talk at once: on RS-485 a dominant 0 wins, so the bytes that come out are the
    AND of all."""
    if not answers:
        return []
    voices = [b"".join(piece.data for piece in pieces) for pieces in answers]
    longest = max(map(len, voices))
    padded = (voice.ljust(longest, b"\xff") for voice in voices)
    mixed = bytes(reduce(and_, together) for together in zip(*padded, strict=True))
    return [Piece(min(pieces[0].after_ms for pieces in answers), mixed)]
