"""What can be asked of a running bench, as it is written on the control port and in a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, StrictStr, ValidationError, model_validator

from config.problems import did_you_mean
from simulators.bench.tables import (
    FAULT_KINDS,
    MODBUS,
    Delay,
    FaultTable,
    FleetTable,
    ModbusFleetTable,
    Number,
    Table,
    in_words,
    one_of,
)


def _quoted_kwh(value: object) -> Decimal:
    """Energy in quotes, as it is told everywhere else; a plain number is taken too."""
    try:
        kwh = Decimal(value) if isinstance(value, str | int | Decimal) else None
    except ArithmeticError:
        kwh = None
    if kwh is None or isinstance(value, bool) or not kwh.is_finite() or abs(kwh) >= 1_000_000:
        raise ValueError(f'must be kWh below 1000000 in quotes, such as "12.34", not {value!r}')
    return kwh


def _moment(value: object) -> datetime:
    """A time of the site's wall clock: TOML's own, or ISO 8601 in a text, without zone."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        at = None
    if at is None or at.tzinfo is not None:
        raise ValueError(f"must be a time without zone, such as 2026-11-30T08:00:00, not {value!r}")
    return at


Kwh = Annotated[Decimal, BeforeValidator(_quoted_kwh)]
NotNegativeKwh = Annotated[Kwh, Field(ge=0)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
DriftSeconds = Annotated[Number, Field(gt=-40_000, lt=40_000)]
"""A clock that lost more than a day each day would go backwards."""


class OfLine(Table):
    """Something done to a line."""

    line: StrictStr


class OfMeter(Table):
    """Something done to a meter."""

    address: StrictStr


class OfPlace(Table):
    """Something done to a line or to a meter: one of them is named."""

    line: StrictStr | None = None
    address: StrictStr | None = None

    @model_validator(mode="after")
    def _names_one(self) -> OfPlace:
        if (self.line is None) == (self.address is None):
            raise ValueError("needs a line or an address, and not both")
        return self


class Cut(OfLine):
    """The line is taken away, as usual for its kind or `how`."""

    how: Annotated[str, one_of("hang_up", "silence")] | None = None


class Mend(OfLine):
    """The line works again."""


class PressButton(OfMeter):
    """The customer holds the button of the relay."""


class ForceRelay(OfMeter):
    """Another tool moves the relay."""

    state: Annotated[str, one_of("open", "closed")]


class Exchange(OfMeter):
    """Another meter takes the place of this one."""

    serial: StrictStr
    initial_kwh: NotNegativeKwh = Decimal(0)


class FaultOn(OfPlace):
    """From now on this goes wrong, with the keys of a fault of the scenario."""

    kind: Annotated[str, one_of(*FAULT_KINDS)]
    every_request: Annotated[int, Field(ge=1)] = 1
    chance: Annotated[Number, Field(gt=0, le=1)] = Decimal(1)
    delay_ms: Annotated[int, Field(ge=0)] | None = None

    def table(self) -> FaultTable:
        """As a scenario writes it."""
        written = self.model_dump(exclude={"line", "address"}, exclude_none=True)
        return FaultTable.model_validate(written)


class FaultOff(OfPlace):
    """This, or without `kind` nothing, goes wrong any more."""

    kind: Annotated[str, one_of(*FAULT_KINDS)] | None = None


class Clock(OfMeter):
    """The meter's clock is set, is moved by some seconds, or drifts otherwise."""

    set: Moment | None = None
    by_s: Number | None = None
    drift_s_per_day: DriftSeconds | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Clock:
        if self.set is not None and self.by_s is not None:
            raise ValueError("set and by_s are two ways to say one thing: write one of them")
        if self.set is None and self.by_s is None and self.drift_s_per_day is None:
            raise ValueError("needs set, by_s or drift_s_per_day")
        return self


class Register(OfMeter):
    """The forward active register is set, or jumps."""

    set_kwh: NotNegativeKwh | None = None
    jump_kwh: Kwh | None = None

    @model_validator(mode="after")
    def _says_one(self) -> Register:
        if (self.set_kwh is None) == (self.jump_kwh is None):
            raise ValueError("needs set_kwh or jump_kwh, and not both")
        return self


class Power(OfPlace):
    """The supply of a meter, or of all meters of a line, comes or goes."""

    state: Annotated[str, one_of("on", "off")]


class ReplyDelay(OfPlace):
    """How long a meter, or every meter of a line, thinks."""

    ms: Delay


class RemoveMeter(OfMeter):
    """The meter is taken away."""


class AddMeter(FleetTable):
    """Meters as [[meters]] writes them."""


class AddModbusMeter(ModbusFleetTable):
    """Likewise."""


Change = (
    Cut
    | Mend
    | PressButton
    | ForceRelay
    | Exchange
    | FaultOn
    | FaultOff
    | Clock
    | Register
    | Power
    | ReplyDelay
    | RemoveMeter
    | AddMeter
    | AddModbusMeter
)

CHANGES: Final[dict[str, type[Change]]] = {
    "cut": Cut,
    "mend": Mend,
    "press_button": PressButton,
    "force_relay": ForceRelay,
    "exchange": Exchange,
    "fault_on": FaultOn,
    "fault_off": FaultOff,
    "clock": Clock,
    "register": Register,
    "power": Power,
    "reply_delay": ReplyDelay,
    "add_meter": AddMeter,
    "remove_meter": RemoveMeter,
}
"""By what stands in `do`."""


def change_of(do: str, keys: dict[str, Any]) -> Change:
    """The change that is asked for; ValueError with every mistake in words."""
    try:
        model = CHANGES[do]
    except KeyError:
        names = ", ".join(CHANGES)
        raise ValueError(f"do must be one of {names}{did_you_mean(do, CHANGES)}") from None
    if model is AddMeter and keys.get("protocol") == MODBUS:
        model = AddModbusMeter
    try:
        return model.model_validate(keys)
    except ValidationError as error:
        raise ValueError("; ".join(_told(detail, model) for detail in error.errors())) from None


def _told(detail: Any, model: type[Change]) -> str:
    words = in_words(detail, model)
    where = ".".join(map(str, detail["loc"]))
    return f"{where}: {words}" if where else words


@dataclass(frozen=True, slots=True)
class Action:
    """A change, so many seconds after the start of the bench by its own time."""

    after: timedelta
    do: str
    keys: Mapping[str, Any]
    """As they were written."""
    change: Change
