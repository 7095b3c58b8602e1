"""A short way to make a simulated meter: the keywords of all its records at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from simulators.dlt645.access import AccessSpec
from simulators.dlt645.meter import SimulatedMeter
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.state.meter import MeterState
from simulators.state.spec import MeterSpec

M = TypeVar("M", bound=SimulatedMeter)

OF_THE_SPEC = tuple(field.name for field in fields(MeterSpec))
OF_THE_ACCESS = tuple(field.name for field in fields(AccessSpec))
OF_THE_STATE = ("clock", "relay", "journal")


def simulated_meter(
    address: str, *, now: Callable[[], datetime], **what: Any
) -> SimulatedMeter2007:
    """A DL/T 645-2007 meter; `what` is any keyword of its spec, access, state or of itself."""
    return simulated_meter_of(SimulatedMeter2007, address, now=now, **what)


def simulated_meter_of(
    kind: type[M], address: str, *, now: Callable[[], datetime], **what: Any
) -> M:
    """Likewise, of another kind."""

    def taken(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: what.pop(name) for name in names if name in what}

    spec = MeterSpec(**taken(OF_THE_SPEC))
    access = AccessSpec(**taken(OF_THE_ACCESS))
    state = MeterState(address, now=now, spec=spec, **taken(OF_THE_STATE))
    return kind(state, access, **what)
