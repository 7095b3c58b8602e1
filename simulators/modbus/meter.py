"""A simulated Modbus meter: what its registers hold, by profile. No I/O.

pymodbus's server side serves requests."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar, cast

from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusServerContext
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from protocols.errors import FrameError
from protocols.modbus.frame import Frame, parse
from protocols.modbus.functions import OUR_FUNCTIONS
from protocols.modbus.profile import Item, Profile, Relay, SerialNumber
from protocols.modbus.values import encode, encode_serial
from simulators.modbus.more_registers import Told, more_registers
from simulators.state.meter import MeterState
from simulators.state.relay import RelayRefused

T = TypeVar("T")

HIGHEST_UNIT: Final = 247
POWER_FACTOR: Final = Decimal("0.95")
REACTIVE_SHARE: Final = Decimal("0.33")
"""Of the active power and energy."""
FREQUENCY_HZ: Final = Decimal(50)
SQUARE_ROOT_OF_3: Final = Decimal("1.7320508")
PHASE_ANGLE: Final = Decimal("18.19")
"""In degrees, of this power factor."""
_PHASES: Final = ("a", "b", "c")
_RATES: Final = ("t1", "t2", "t3", "t4")
_ZERO: Final = Decimal(0)


class SimulatedModbusMeter:
    """A meter that speaks Modbus alone, as `unit` of its line.

    The address of its state names it in the bench, on no wire.

    It refuses what such meters refuse: more registers than the profile's limit (exception 03),
    registers that neither the profile nor more_registers.csv knows, nor the profile calls readable
    (02). It remembers no freeze that
    could be read; the bench knows them."""

    def __init__(
        self,
        state: MeterState,
        unit: int,
        profile: Profile,
    ) -> None:
        self.state = state
        self.unit = unit
        self.profile = profile

    @property
    def address(self) -> str:
        """How the bench calls it: LINE/UNIT."""
        return self.state.address

    def answer_modbus(self, request: Frame) -> Frame | None:
        """The answer, None for silence: the request is for another unit, or for all."""
        if request.unit != self.unit:
            return None
        answer = self._answer(request)
        return Frame(
            self.unit,
            bytes((answer.function_code,)) + answer.encode(),
            transaction=request.transaction,
        )

    def _answer(self, request: Frame) -> ModbusPDU:
        if request.function not in OUR_FUNCTIONS:
            return ExceptionResponse(request.function, ExcCodes.ILLEGAL_FUNCTION)
        try:
            message = parse(request.pdu, is_request=True)
        except FrameError:
            return ExceptionResponse(request.function, ExcCodes.ILLEGAL_VALUE)
        context = cast(ModbusServerContext, _Registers(self))
        return _at_once(message.datastore_update(context, self.unit))

    def value_named(self, label: str) -> Decimal:
        """What is true now of a quantity, or of a phase or rate that none names, in its unit.

        A relay that is open leaves no current and no power; nothing flows back, and nothing is
        distorted."""
        at = self.state.now()
        name, _, last = label.rpartition("_")
        if last in _RATES:
            return self._of_rate(name, self.state.registers_kwh(at), int(last[1:]))
        is_of_phase = last in _PHASES
        total_kwh = self.state.registers_kwh(at)[0]
        power_kw = Decimal(self.state.power_mw(at)).scaleb(-6)
        share_kw = power_kw / 3 if is_of_phase else power_kw
        share_kwh = total_kwh / 3 if is_of_phase else total_kwh
        volts = self.state.spec.voltage_v
        # All phases carry the same; a total current is that of one phase with all the power.
        amperes = share_kw * 1000 / (volts * POWER_FACTOR)
        values = {
            "forward_active_energy": share_kwh,
            "combined_active_energy": share_kwh,
            "forward_reactive_energy": share_kwh * REACTIVE_SHARE,
            "combined_reactive_energy": share_kwh * REACTIVE_SHARE,
            "voltage": volts,
            "line_voltage": (volts * SQUARE_ROOT_OF_3).quantize(Decimal("0.1")),
            "current": amperes.quantize(Decimal("0.001")),
            "active_power": share_kw,
            "reactive_power": share_kw * REACTIVE_SHARE,
            "apparent_power": share_kw / POWER_FACTOR,
            "power_factor": POWER_FACTOR if power_kw else Decimal(1),
            "phase_angle": PHASE_ANGLE if power_kw else _ZERO,
            "frequency": FREQUENCY_HZ,
        }
        return values.get(name if is_of_phase else label, _ZERO)

    def _of_rate(self, name: str, registers_kwh: Sequence[Decimal], rate: int) -> Decimal:
        if not self.state.spec.tariffs:
            return _ZERO
        shares = {
            "forward_active_energy": Decimal(1),
            "combined_active_energy": Decimal(1),
            "forward_reactive_energy": REACTIVE_SHARE,
            "combined_reactive_energy": REACTIVE_SHARE,
        }
        return registers_kwh[rate] * shares.get(name, _ZERO)


class _Registers:
    """What pymodbus's requests ask for their data and hand what is to be written."""

    def __init__(self, meter: SimulatedModbusMeter) -> None:
        self._meter = meter
        self._state = meter.state
        self._profile = meter.profile

    async def async_getValues(  # noqa: N802 - the name is pymodbus's
        self,
        device_id: int,
        function: int,
        address: int,
        count: int = 1,
    ) -> list[int] | list[bool] | ExcCodes:
        self._state.settle()
        relay = self._profile.relay
        if relay and count == 1:
            held = self._relay_register(relay, function, address)
            if held is not None:
                return [held]
        serial = self._profile.serial
        if serial and (function, address, count) == _place_of(serial):
            return list(encode_serial(serial, self._state.serial))
        return self._items(function, address, count)

    async def async_setValues(  # noqa: N802
        self,
        device_id: int,
        function: int,
        address: int,
        values: Sequence[int] | Sequence[bool],
    ) -> ExcCodes | None:
        relay = self._profile.relay
        if relay is None or function != relay.write_function:
            return ExcCodes.ILLEGAL_FUNCTION
        if address != relay.write_register or len(values) != 1:
            return ExcCodes.ILLEGAL_ADDRESS
        if values[0] not in (relay.trip, relay.close):
            return ExcCodes.ILLEGAL_VALUE
        try:
            self._state.switch(to_open=values[0] == relay.trip)
        except RelayRefused:
            return ExcCodes.DEVICE_FAILURE
        return None

    def _relay_register(
        self,
        relay: Relay,
        function: int,
        address: int,
    ) -> int | None:
        """Its position, or its command, where that register is asked for alone."""
        if (function, address) == (relay.confirm_function, relay.confirm_register):
            return self._relay_position(relay)
        if (function, address) == (relay.write_function, relay.write_register):
            return relay.trip if self._state.relay.command_open else relay.close
        return None

    def _relay_registers(self, function: int) -> dict[int, int]:
        """Its position, where it is read among others."""
        relay = self._profile.relay
        if relay is None or relay.confirm_function != function:
            return {}
        return {relay.confirm_register: self._relay_position(relay)}

    def _relay_position(self, relay: Relay) -> int:
        return relay.open if self._state.relay.is_open else relay.closed

    def _items(
        self,
        function: int,
        address: int,
        count: int,
    ) -> list[int] | ExcCodes:
        known = self._told_by_register(function)
        if not known:
            return ExcCodes.ILLEGAL_FUNCTION
        if count > self._profile.limit:
            return ExcCodes.ILLEGAL_VALUE
        held: dict[int, int] = {}
        asked = range(address, address + count)
        for register in asked:
            told = known.get(register, [])
            if not told and not self._profile.may_read_along(function, register, register):
                return ExcCodes.ILLEGAL_ADDRESS
            if register in held:
                continue
            try:
                for item, label in told:
                    _put(held, _encoded(item, self._meter.value_named(label)))
            except FrameError:  # more than its type can hold
                return ExcCodes.DEVICE_FAILURE
        held |= self._relay_registers(function)
        return [held.get(register, 0) for register in asked]

    def _told_by_register(self, function: int) -> dict[int, list[Told]]:
        """A register may hold the bits of several items. Scales are 10 ** 0: they hold 0."""
        found: dict[int, list[Told]] = {}
        own = [Told(item, item.quantity.label) for item in self._profile.items]
        for told in (*own, *more_registers(self._profile.name)):
            item = told.item
            if item.function == function:
                for register in range(item.register, item.register + item.count):
                    found.setdefault(register, []).append(told)
        return found


def _place_of(serial: SerialNumber) -> tuple[int, int, int]:
    return serial.function, serial.register, serial.count


def _put(held: dict[int, int], registers: dict[int, int]) -> None:
    for register, word in registers.items():
        held[register] = held.get(register, 0) | word


def _encoded(item: Item, value: Decimal) -> dict[int, int]:
    """The registers of one item; a counter wraps where its modulus says."""
    if item.modulus is not None:
        value %= item.modulus
    return dict(enumerate(encode(item, value), item.register))


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a simulated register made its reader wait")
