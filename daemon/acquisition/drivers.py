"""What a line must know of a meter's protocol to do its jobs.

One line may have meters of several protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import Any, Literal

from config.secret import Secret
from daemon.acquisition.meter_port import Registers
from protocols.dlt645 import exchanges, exchanges_1997
from protocols.dlt645.exchanges import CODEC_2007, FrozenRegisters, RelayAction
from protocols.dlt645.settings import MeterSettings, read_settings
from protocols.errors import FrameError
from protocols.exchange import Codec, Exchange
from protocols.modbus import exchanges as modbus
from protocols.modbus.blocks import Learnt
from protocols.modbus.plausibility import implausible
from protocols.modbus.profile import Profile
from protocols.reading import MeterIdentity, Quantity, RelayState
from storage.archive import SiteMeter


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a control frame needs to be executed: DL/T 645-2007, function 1CH."""

    level: str
    operator: str
    password: Secret


@dataclass(frozen=True, slots=True)
class Driver:
    """One meter in its own language. What the meter cannot do is None."""

    codec: Codec[Any]
    read_registers: Callable[[], Exchange[Any, Registers]]
    """The registers of this moment."""
    read_doubts: Callable[[], Exchange[Any, list[str]]] | None = None
    """What of the values of this moment cannot be meant; None where their names come with them."""
    read_daily_freeze: Callable[..., Exchange[Any, FrozenRegisters | None]] | None = None
    """(index, confirm=...); None for a meter without memory: the host must freeze it at
    midnight."""
    read_clock: Callable[[], Exchange[Any, datetime]] | None = None
    read_relay: Callable[[], Exchange[Any, RelayState]] | None = None
    read_identity: Callable[[], Exchange[Any, MeterIdentity]] | None = None
    """None where nothing tells one meter from another."""
    read_settings: Callable[[], Exchange[Any, MeterSettings]] | None = None
    control: Callable[[RelayAction, datetime], Exchange[Any, None]] | None = None
    """(action, expiry by the meter's clock)."""
    clock_setters: tuple[Callable[[datetime], Exchange[Any, None]], ...] = ()
    """Ways to set the clock without a password, the most careful first; none is answered."""
    is_stateless: bool = True
    """False for a driver that learns about its meter and must be kept."""

    @property
    def has_memory(self) -> bool:
        """True if the meter keeps freezes, so that a day that was missed can be read later."""
        return self.read_daily_freeze is not None


def driver_of(
    meter: SiteMeter,
    profiles: Mapping[str, Profile],
    *,
    has_relay: bool,
    credentials: Credentials | None = None,
) -> Driver:
    """The driver of a meter by its protocol.

    `profiles` holds the register map of every Modbus meter by its name. Without `has_relay` the
    relay can neither be moved nor read. `credentials` may be left out where nothing is switched.
    """
    driver = _driver_of(meter, profiles, credentials)
    if has_relay:
        return driver
    return replace(
        driver,
        read_relay=None,
        control=None,
    )


def _driver_of(
    meter: SiteMeter,
    profiles: Mapping[str, Profile],
    credentials: Credentials | None,
) -> Driver:
    match meter.protocol:
        case "dlt645-2007":
            return _dlt645_2007(meter.address, credentials)
        case "dlt645-1997":
            return _dlt645_1997(meter.address)
        case "modbus-rtu" | "modbus-tcp":
            assert meter.profile is not None, "the database keeps no Modbus meter without a profile"
            codec = modbus.codec_tcp if meter.protocol == "modbus-tcp" else modbus.codec_rtu
            return _modbus(meter, profiles[meter.profile], codec)
    raise AssertionError(
        f"meter {meter.address}: the archive let protocol {meter.protocol} through"
    )


def _dlt645_2007(address: str, credentials: Credentials | None) -> Driver:
    return Driver(
        CODEC_2007,
        read_registers=partial(exchanges.read_registers, address),
        read_daily_freeze=partial(exchanges.read_daily_freeze, address),
        read_clock=partial(exchanges.read_clock, address),
        read_relay=partial(_relay_2007, address),
        read_identity=partial(exchanges.read_identity, address),
        read_settings=partial(read_settings, address),
        control=partial(_control_2007, address, credentials),
        # Broadcast time (08H), to the meter's own address first: a neighbour's clock is left alone.
        clock_setters=(partial(exchanges.set_clock, address=address), exchanges.set_clock),
    )


def _dlt645_1997(address: str) -> Driver:
    """The old standard knows neither daily freezes nor a relay."""
    return Driver(
        exchanges_1997.CODEC_1997,
        read_registers=partial(exchanges_1997.read_registers, address),
        read_clock=partial(exchanges_1997.read_clock, address),
        read_identity=partial(exchanges_1997.read_identity, address),
        clock_setters=(exchanges_1997.broadcast_time,),
    )


def _relay_2007(address: str) -> Exchange[Any, RelayState]:
    # Status word 3 (04 00 05 03): bit 4 is the relay, bit 6 what it is ordered to be.
    word = yield from exchanges.read_status_word_3(address)
    return RelayState(word.relay_open, word.command_open, word.keep_power)


def _control_2007(
    address: str,
    credentials: Credentials | None,
    action: RelayAction,
    expires: datetime,
) -> Exchange[Any, None]:
    assert credentials is not None, "control authority without credentials"
    return exchanges.control(
        address,
        action,
        level=credentials.level,
        password=credentials.password.reveal(),
        operator=credentials.operator,
        expires=expires,
    )


def _modbus(
    meter: SiteMeter,
    profile: Profile,
    codec: Codec[Any],
) -> Driver:
    """A meter without memory, clock or password.

    Its relay, if the profile has one, is read back elsewhere."""
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
