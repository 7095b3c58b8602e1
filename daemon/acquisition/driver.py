"""One meter in its own language, as a line speaks with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from daemon.acquisition.meter_port import Registers
from daemon.acquisition.signing import SigningHook
from protocols.dlt645.exchanges import FrozenRegisters, RelayAction
from protocols.dlt645.settings import MeterSettings
from protocols.exchange import Codec, Exchange
from protocols.reading import MeterIdentity, RelayState


@dataclass(frozen=True, slots=True)
class Driver:
    """What the meter cannot do is None."""

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
    signing: SigningHook | None = None
    clock_setters: tuple[Callable[[datetime], Exchange[Any, None]], ...] = ()
    """Ways to set the clock without a password, the most careful first; none is answered."""
    is_stateless: bool = True
    """False for a driver that learns about its meter and must be kept."""

    @property
    def has_memory(self) -> bool:
        """True if the meter keeps freezes, so that a day that was missed can be read later."""
        return self.read_daily_freeze is not None
