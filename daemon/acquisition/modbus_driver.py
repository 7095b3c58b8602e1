"""What a line must know of Modbus meters, by the register profile of each."""

from __future__ import annotations

from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import Any, Literal

from daemon.acquisition.driver import Driver
from daemon.acquisition.meter_port import Registers
from protocols.dlt645.exchanges import RelayAction
from protocols.errors import FrameError
from protocols.exchange import Exchange
from protocols.modbus import exchanges as modbus
from protocols.modbus.blocks import Learnt
from protocols.modbus.plausibility import implausible
from protocols.modbus.profile import Profile
from protocols.reading import MeterIdentity, Quantity, RelayState
from storage.archive import SiteMeter


def modbus_driver(meter: SiteMeter, profile: Profile) -> Driver:
    """A meter without memory, clock or password.

    Its relay, if the profile has one, is read back elsewhere."""
    codec = modbus.codec_tcp if meter.protocol == "modbus-tcp" else modbus.codec_rtu
    unit = int(meter.address.rpartition("/")[2])
    learnt = Learnt()
    read_relay = None
    control = None
    if profile.relay:
        read_relay = partial(
            _relay_modbus,
            unit,
            profile,
            learnt,
        )
        control = partial(_control_modbus, unit, profile)
    read_identity = None
    if profile.serial:
        read_identity = partial(
            _identity_modbus,
            unit,
            profile,
            learnt,
        )
    return Driver(
        codec,
        read_registers=partial(
            _registers_modbus,
            meter,
            unit,
            profile,
            learnt,
        ),
        read_doubts=partial(
            _doubts_modbus,
            unit,
            profile,
            learnt,
        ),
        read_relay=read_relay,
        read_identity=read_identity,
        control=control,
        is_stateless=False,
    )


def _registers_modbus(
    meter: SiteMeter,
    unit: int,
    profile: Profile,
    learnt: Learnt,
) -> Exchange[Any, Registers]:
    """What the meter shows, cut (never rounded up) to the steps that are billed."""
    step = Decimal(1).scaleb(-meter.decimals)
    registers = yield from modbus.read_registers(unit, profile, learnt)
    modulus_kwh = Decimal(meter.modulus).scaleb(-meter.decimals)
    for value in registers:
        if value is not None and not 0 <= value < modulus_kwh:
            raise FrameError(
                f"meter {meter.address} tells {value:.6g} kWh, no register of it reaches"
                f" {modulus_kwh}: wrong profile?"
            )
    return tuple(None if value is None else value.quantize(step, ROUND_DOWN) for value in registers)


def _doubts_modbus(
    unit: int,
    profile: Profile,
    learnt: Learnt,
) -> Exchange[Any, list[str]]:
    found = yield from modbus.read_quantities(unit, profile, profile.quantities(), learnt)
    if found[Quantity.FORWARD_ACTIVE_ENERGY] is None:
        return ["forward_active_energy: the meter has no value"]
    return implausible(found)


def _identity_modbus(
    unit: int,
    profile: Profile,
    learnt: Learnt,
) -> Exchange[Any, MeterIdentity]:
    serial = yield from modbus.read_serial(unit, profile, learnt)
    return MeterIdentity(serial)


def _relay_modbus(
    unit: int,
    profile: Profile,
    learnt: Learnt,
) -> Exchange[Any, RelayState]:
    is_open = yield from modbus.read_relay(unit, profile, learnt)
    # A coil shows one state, for what was ordered and for what is.
    return RelayState(is_open, is_open)


def _control_modbus(
    unit: int,
    profile: Profile,
    action: RelayAction,
    _: datetime,
) -> Exchange[Any, None]:
    """Neither password nor expiry: any device on the line can write the register."""
    wanted: Literal["trip", "close"] = "trip" if action is RelayAction.TRIP else "close"
    yield from modbus.set_relay(unit, profile, wanted)
