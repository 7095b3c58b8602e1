"""A simulated Modbus meter: what its registers hold, by profile. pymodbus's server side serves
requests. No I/O."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar, cast

from pymodbus.constants import ExcCodes
from pymodbus.datastore import ModbusServerContext
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from protocols.errors import FrameError
from protocols.modbus.frame import Frame, parse
from protocols.modbus.profile import TARIFFS, Item, Profile
from protocols.modbus.values import encode
from protocols.reading import Quantity
from simulators.state.meter import SimulatedMeter
from simulators.state.relay import RelayRefused

T = TypeVar("T")

POWER_FACTOR: Final = Decimal("0.95")
REACTIVE_SHARE: Final = Decimal("0.33")
"""Of the active power and energy."""
FREQUENCY: Final = Decimal(50)
_PHASES: Final = ("_a", "_b", "_c")


class SimulatedModbusMeter(SimulatedMeter):
    """A meter that speaks Modbus alone, as `unit` of its line. `address` names it in the bench, on
    no wire.

    It refuses what such meters refuse: more registers than the profile's limit (exception 03),
    registers that the profile neither knows nor calls readable (02). It remembers no freeze that
    could be read; the bench knows them."""

    def __init__(self, address: str, unit: int, profile: Profile, **what: Any) -> None:
        super().__init__(address, **what)
        self.unit, self.profile = unit, profile

    def answer(self, request: object) -> None:
        """It knows no DL/T 645."""

    def answer_modbus(self, request: Frame) -> Frame | None:
        """The answer, None for silence: the request is for another unit, or for all."""
        if request.unit != self.unit:
            return None
        try:
            message = parse(request.pdu, is_request=True)
        except FrameError:
            answer: ModbusPDU = ExceptionResponse(request.function, ExcCodes.ILLEGAL_VALUE)
        else:
            answer = _at_once(
                message.datastore_update(cast(ModbusServerContext, _Registers(self)), self.unit)
            )
        return Frame(
            self.unit,
            bytes((answer.function_code,)) + answer.encode(),
            transaction=request.transaction,
        )

    def tells(self, quantity: Quantity) -> Decimal:
        """What is true of the quantity now, in its unit. A relay that is open leaves no current and
        no power."""
        at = self.now()
        kwh = [Decimal(register).scaleb(-2) for register in self.registers(at)]
        kilowatts = Decimal(self.power_mw(at)).scaleb(-6)
        if quantity in TARIFFS:
            return kwh[1 + TARIFFS.index(quantity)] if self.tariffs else Decimal(0)
        is_phase = quantity.label.endswith(_PHASES)
        share = kilowatts / 3 if is_phase else kilowatts
        amperes = share * 1000 / (self.voltage_v * POWER_FACTOR)
        match quantity.label.removesuffix("_a").removesuffix("_b").removesuffix("_c"):
            case "forward_active_energy" | "combined_active_energy":
                return kwh[0]
            case "forward_reactive_energy":
                return kwh[0] * REACTIVE_SHARE
            case "voltage":
                return self.voltage_v
            case "current":
                return amperes.quantize(Decimal("0.001"))
            case "active_power":
                return share
            case "reactive_power":
                return share * REACTIVE_SHARE
            case "apparent_power":
                return share / POWER_FACTOR
            case "power_factor":
                return POWER_FACTOR if kilowatts else Decimal(1)
            case "frequency":
                return FREQUENCY
        return Decimal(0)


class _Registers:
    """What pymodbus's requests ask for their data and hand what is to be written."""

    def __init__(self, meter: SimulatedModbusMeter) -> None:
        self._meter = meter

    async def async_getValues(  # noqa: N802 - the name is pymodbus's
        self,
        device_id: int,
        function: int,
        address: int,
        count: int = 1,
    ) -> list[int] | list[bool] | ExcCodes:
        self._meter.settle()
        relay = self._meter.profile.relay
        if relay and function in (relay.confirm_function, relay.write_function) and count == 1:
            if address == relay.confirm_register and function == relay.confirm_function:
                return [relay.open if self._meter.relay.is_open else relay.closed]
            if address == relay.write_register and function == relay.write_function:
                return [relay.trip if self._meter.relay.command_open else relay.close]
        return self._registers(function, address, count)

    async def async_setValues(  # noqa: N802
        self,
        device_id: int,
        function: int,
        address: int,
        values: Sequence[int] | Sequence[bool],
    ) -> ExcCodes | None:
        relay = self._meter.profile.relay
        if relay is None or function != relay.write_function:
            return ExcCodes.ILLEGAL_FUNCTION
        if address != relay.write_register or len(values) != 1:
            return ExcCodes.ILLEGAL_ADDRESS
        if values[0] not in (relay.trip, relay.close):
            return ExcCodes.ILLEGAL_VALUE
        try:
            self._meter.switch(to_open=values[0] == relay.trip)
        except RelayRefused:
            return ExcCodes.DEVICE_FAILURE
        return None

    def _registers(self, function: int, address: int, count: int) -> list[int] | ExcCodes:
        meter, profile = self._meter, self._meter.profile
        items = [item for item in profile.items if item.function == function]
        if not items:
            return ExcCodes.ILLEGAL_FUNCTION
        if count > profile.limit:
            return ExcCodes.ILLEGAL_VALUE
        known = {
            register: item for item in items for register in range(item.register, item.last + 1)
        }
        held: dict[int, int] = {}
        for register in range(address, address + count):
            item = known.get(register)
            if item is None and not profile.may_read_along(function, register, register):
                return ExcCodes.ILLEGAL_ADDRESS
            if item is not None and register not in held:
                try:
                    held |= _held(item, meter.tells(item.quantity))
                except FrameError:  # more than its type can tell
                    return ExcCodes.DEVICE_FAILURE
        relay = profile.relay
        if relay and relay.confirm_function == function:
            held[relay.confirm_register] = relay.open if meter.relay.is_open else relay.closed
        return [held.get(register, 0) for register in range(address, address + count)]


def _held(item: Item, value: Decimal) -> dict[int, int]:
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
