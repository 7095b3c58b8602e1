"""What a line must know of a meter's protocol to do its jobs.

One line may have meters of several protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from config.secret import Secret
from daemon.acquisition.driver import Driver
from daemon.acquisition.meter_port import NotSent
from daemon.acquisition.signing import SigningHook
from protocols.dlt645 import exchanges, exchanges_1997
from protocols.dlt645.exchanges import CODEC_2007, RelayAction
from protocols.dlt645.settings import read_settings
from protocols.exchange import Exchange
from protocols.modbus.profile import Profile
from protocols.reading import RelayState
from storage.archive import SiteMeter


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a control frame needs to be executed: DL/T 645-2007, function 1CH.

    `password`: None where another signs for all meters."""

    level: str
    operator: str
    password: Secret | None
    signing: SigningHook | None = None


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
            # With the first such meter: pymodbus takes long to load, and few sites need it.
            from daemon.acquisition.modbus_driver import modbus_driver

            return modbus_driver(meter, profiles[meter.profile])
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
        signing=credentials.signing if credentials else None,
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
    return RelayState(word.relay_open, word.command_open, word.keep_power, word.pre_trip_alarm)


def _control_2007(
    address: str,
    credentials: Credentials | None,
    action: RelayAction,
    expires: datetime,
) -> Exchange[Any, None]:
    assert credentials is not None, "control authority without credentials"
    if credentials.password is None:
        raise NotSent("nobody signed for the meter, and control.password is not set")
    return exchanges.control(
        address,
        action,
        level=credentials.level,
        password=credentials.password.reveal(),
        operator=credentials.operator,
        expires=expires,
    )
