"""What the forms in which simulated meters speak over MQTT have in common. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from protocols.mqtt.events import Action
from simulators.state.meter import Freeze, MeterState

Switch = Callable[[str, Action], None]
"""Moves the relay of the meter with this address. MeterRefused."""
Meters = Mapping[str, MeterState]
"""By address."""


class Publication(NamedTuple):
    """A message that leaves a gateway or a device."""

    topic: str
    payload: bytes


class Form(Protocol):
    """The topics and payloads of one kind of gateway or device."""

    def topics(self) -> list[str]:
        """Topic filters of what it listens to."""

    def answers(
        self,
        topic: str,
        payload: bytes,
        *,
        retained: bool,
    ) -> list[Publication]:
        """What it publishes after a message; [] for silence."""

    def pushed(self, meter: MeterState, freeze: Freeze) -> list[Publication]:
        """What it publishes by itself after a midnight; `freeze` is the meter's newest."""


def registers_kwh(meter: MeterState, at: datetime) -> tuple[str | None, ...]:
    """Total and each tariff, as strings."""
    return tuple(map(str, meter.registers_kwh(at)))


def clock_skew_s(meter: MeterState, now: datetime) -> int:
    """Its clock minus the true time, in whole seconds."""
    ahead = meter.clock.shows(now) - now
    return round(ahead.total_seconds())
