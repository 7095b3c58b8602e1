"""What a line must know of a meter's protocol to do its jobs. One line may carry meters of several protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from config.secret import Secret
from protocols.dlt645 import exchanges
from protocols.dlt645.exchanges import CODEC_2007, FrozenRegisters, RelayAction, StatusWord3
from protocols.exchange import Codec, Exchange
from storage.archive import SiteMeter

Registers = tuple[Decimal | None, ...]
"""Total, tariff 1, tariff 2, ... in kWh; None where the meter has no data."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a control frame carries to be obeyed."""

    level: str
    operator: str
    password: Secret


@dataclass(frozen=True, slots=True)
class Driver:
    """One meter in its own language. What the meter cannot do is None."""

    codec: Codec[Any]
    read_registers: Callable[[], Exchange[Any, Registers]]
    """The registers of this moment."""
    read_daily_freeze: Callable[..., Exchange[Any, FrozenRegisters | None]] | None = None
    """(index, confirm=...); None for a meter without memory: the host must freeze it at midnight."""
    read_clock: Callable[[], Exchange[Any, datetime]] | None = None
    read_relay: Callable[[], Exchange[Any, StatusWord3]] | None = None
    control: Callable[[RelayAction, Credentials, datetime], Exchange[Any, None]] | None = None
    """(action, credentials, expiry by the meter's clock)."""

    @property
    def has_memory(self) -> bool:
        return self.read_daily_freeze is not None


def driver_of(meter: SiteMeter) -> Driver:
    """The driver of a meter by its protocol."""
    match meter.protocol:
        case "dlt645-2007":
            return _dlt645_2007(meter.address)
    raise AssertionError(f"meter {meter.address}: the archive let protocol {meter.protocol} through")


def _dlt645_2007(address: str) -> Driver:
    return Driver(
        CODEC_2007,
        read_registers=partial(exchanges.read_registers, address),
        read_daily_freeze=partial(exchanges.read_daily_freeze, address),
        read_clock=partial(exchanges.read_clock, address),
        read_relay=partial(exchanges.read_status_word_3, address),
        control=partial(_control_2007, address),
    )


def _control_2007(
    address: str, action: RelayAction, credentials: Credentials, expires: datetime
) -> Exchange[Any, None]:
    return exchanges.control(
        address,
        action,
        level=credentials.level,
        password=credentials.password.reveal(),
        operator=credentials.operator,
        expires=expires,
    )
