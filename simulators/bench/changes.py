"""What each change does to a bench."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from simulators.bench import change_tables as tables
from simulators.bench.building import MICRO, wire_faults
from simulators.bench.facts import meter_facts
from simulators.bench.stage import BadRequest, Stage
from simulators.bench.tables import STUCK_RELAY
from simulators.lines.dialled_terminals import SimulatedTerminal
from simulators.lines.faults import Fault
from simulators.lines.mqtt_gateway import SimulatedGateway
from simulators.lines.stream_lines import TcpLine
from simulators.state.meter import MeterState
from simulators.state.relay import RelayRefused

Facts = dict[str, Any]


async def apply(stage: Stage, change: tables.Change) -> Facts:
    """Do it now, and tell what is true of the meter after it. BadRequest; OSError of a line."""
    try:
        await _HOW[type(change)](stage, change)
    except RelayRefused:
        raise BadRequest("this meter has no relay") from None
    address = getattr(change, "address", None)
    if address is None or address not in stage.meters:
        return {}
    return meter_facts(stage.meters[address], stage.now())


async def _cut(stage: Stage, change: tables.Cut) -> None:
    line = stage.line(change.line)
    hangs_up = isinstance(line, TcpLine | SimulatedTerminal)
    if change.how == "hang_up" or (change.how is None and hangs_up):
        await line.cut("hang_up")
    else:
        await line.cut("silence")


async def _mend(stage: Stage, change: tables.Mend) -> None:
    await stage.line(change.line).mend()


async def _press_button(stage: Stage, change: tables.PressButton) -> None:
    stage.meter(change.address).press_button()


async def _force_relay(stage: Stage, change: tables.ForceRelay) -> None:
    stage.meter(change.address).force_relay(to_open=change.state == "open")


async def _exchange(stage: Stage, change: tables.Exchange) -> None:
    meter = stage.meter(change.address)
    if len(change.serial) != len(meter.serial) or not change.serial.isdigit():
        raise BadRequest(f"serial must be {len(meter.serial)} digits in quotes")
    meter.exchange(change.serial, change.initial_kwh)


async def _fault_on(stage: Stage, change: tables.FaultOn) -> None:
    if change.kind == STUCK_RELAY:
        _stick(stage, change, is_stuck=True)
        return
    line = stage.line(change.line or stage.line_of(change.address or ""))
    if change.kind == "retained" and not isinstance(line, SimulatedGateway):
        raise BadRequest("only a message over mqtt can be retained")
    others = _without(_faults_at(stage, change), change.kind)
    _put_faults(stage, change, (*others, *wire_faults([change.table()])))


async def _fault_off(stage: Stage, change: tables.FaultOff) -> None:
    if change.address is not None and change.kind in (None, STUCK_RELAY):
        _stick(stage, change, is_stuck=False)
    _put_faults(stage, change, _without(_faults_at(stage, change), change.kind))


def _stick(stage: Stage, change: tables.OfPlace, *, is_stuck: bool) -> None:
    if change.address is None:
        raise BadRequest("stuck_relay is a fault of meters: name an address")
    stage.meter(change.address).relay.is_stuck = is_stuck


def _faults_at(stage: Stage, place: tables.OfPlace) -> tuple[Fault, ...]:
    if place.line is not None:
        return stage.line(place.line).bus.faults
    meter = stage.meter(place.address or "")
    bus = stage.wired_bus(stage.line_of(place.address or ""))
    return tuple(bus.meter_faults.get(meter.address, ()))


def _put_faults(stage: Stage, place: tables.OfPlace, faults: tuple[Fault, ...]) -> None:
    if place.line is not None:
        stage.line(place.line).bus.faults = faults
        return
    meter = stage.meter(place.address or "")
    stage.wired_bus(stage.line_of(place.address or "")).meter_faults[meter.address] = faults


def _without(faults: tuple[Fault, ...], kind: str | None) -> tuple[Fault, ...]:
    """Without that kind; without one, none at all."""
    return tuple(fault for fault in faults if kind is not None and fault.kind != kind)


async def _clock(stage: Stage, change: tables.Clock) -> None:
    meter = stage.meter(change.address)
    at = stage.now()
    if change.drift_s_per_day is not None:
        meter.set_drift(at, int(change.drift_s_per_day * MICRO))
    if change.by_s is not None:
        by = timedelta(microseconds=int(change.by_s * MICRO))
        meter.set_clock(at, meter.clock.shows(at) + by, how="bench")
    if change.set is not None:
        meter.set_clock(at, change.set, how="bench")


async def _register(stage: Stage, change: tables.Register) -> None:
    meter = stage.meter(change.address)
    at = meter.settle()
    if change.set_kwh is not None:
        meter.counter.set(at, change.set_kwh)
        return
    jump_kwh = change.jump_kwh or Decimal(0)
    if meter.true_register(at) + jump_kwh < 0:
        raise BadRequest(f"the register shows {meter.true_register(at)} kWh: it cannot fall so far")
    meter.counter.jump(at, jump_kwh)


async def _power(stage: Stage, change: tables.Power) -> None:
    for meter in _meters_at(stage, change):
        meter.switch_power(is_on=change.state == "on")


async def _reply_delay(stage: Stage, change: tables.ReplyDelay) -> None:
    if change.line is not None:
        stage.wired_bus(change.line).reply_delay_ms = change.ms
        return
    meter = stage.meter(change.address or "")
    bus = stage.wired_bus(stage.line_of(change.address or ""))
    bus.meter_delays_ms[meter.address] = change.ms


def _meters_at(stage: Stage, place: tables.OfPlace) -> list[MeterState]:
    if place.address is not None:
        stage.wired_bus(stage.line_of(place.address))
        return [stage.meter(place.address)]
    return [meter.state for meter in stage.wired_bus(place.line or "").meters.values()]


async def _add(stage: Stage, change: tables.AddMeter | tables.AddModbusMeter) -> None:
    stage.add(change)


async def _remove(stage: Stage, change: tables.RemoveMeter) -> None:
    stage.remove(change.address)


_How = Callable[[Stage, Any], Coroutine[Any, Any, None]]
_HOW: Final[dict[type[tables.Change], _How]] = {
    tables.Cut: _cut,
    tables.Mend: _mend,
    tables.PressButton: _press_button,
    tables.ForceRelay: _force_relay,
    tables.Exchange: _exchange,
    tables.FaultOn: _fault_on,
    tables.FaultOff: _fault_off,
    tables.Clock: _clock,
    tables.Register: _register,
    tables.Power: _power,
    tables.ReplyDelay: _reply_delay,
    tables.AddMeter: _add,
    tables.AddModbusMeter: _add,
    tables.RemoveMeter: _remove,
}
