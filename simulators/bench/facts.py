"""What is true of a meter, as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from simulators.state.meter import MeterState


def meter_facts(meter: MeterState, at: datetime) -> dict[str, Any]:
    """What is true of a meter now: register, relay, power, clock."""
    meter.settle()
    return {
        "address": meter.address,
        "serial": meter.serial,
        "register": str(meter.true_register(at)),
        "relay": relay_word(meter),
        "command": "open" if meter.relay.command_open else "closed",
        "power": "on" if meter.has_power else "off",
        "clock": meter.clock.shows(at).isoformat(),
        "moves": len(meter.relay.moves),
    }


def frozen_registers(meter: MeterState, at: datetime) -> dict[str, str]:
    """The daily freezes that the meter remembers.

    Date of the stamp -> forward active total in kWh."""
    registers = {}
    for freeze in meter.daily_freezes(at):
        day = freeze.stamp.date().isoformat()
        registers[day] = str(meter.true_register(freeze.at))
    return registers


def relay_word(meter: MeterState) -> str:
    """Where the relay is."""
    return "open" if meter.relay.is_open else "closed"
