"""The tables of a scenario file: the keys, what they may hold and what they are when left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic_core import ErrorDetails

from config.problems import did_you_mean
from protocols.dial_in.registration import fixed_bytes
from simulators.dlt645.deviating import DEVIATIONS
from simulators.dlt645.meter import FRAME_LIMIT, WAKE_UP
from simulators.lines.faults import KINDS
from simulators.modbus.meter import HIGHEST_UNIT
from simulators.state.load import SHAPES
from simulators.state.spec import EmptyFreeze

DEFAULT_HOST: Final = "127.0.0.1"
MOST_METERS: Final = 100_000
"""In one fleet; a slip of the hand should not fill the memory."""
STUCK_RELAY: Final = "stuck_relay"
FAULT_KINDS: Final = (*KINDS, STUCK_RELAY)
MQTT_FLAVOURS: Final = ("own", "transparent", "tasmota", "shelly")
MODBUS: Final = "modbus"
DLT645_1997: Final = "dlt645-1997"
PROTOCOLS: Final = ("dlt645-2007", DLT645_1997, MODBUS)
METER_TYPES: Final = ("postpaid", "energy", "money")
"""Bits 8-9 of status word 3, in the order of their values."""


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"must be a number, not {value!r}")
    return Decimal(value)


def _range(value: object) -> tuple[Decimal, Decimal]:
    """One number, or [least, most]."""
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2:
        raise ValueError(f"must be a number or [least, most], not {value!r}")
    least, most = map(_number, ends)
    if least > most:
        raise ValueError(f"least {least} is above most {most}")
    return least, most


def _delay(value: object) -> tuple[int, int]:
    """[least, most] whole milliseconds."""
    ends = _range(value)
    if any(end != int(end) or end < 0 for end in ends):
        raise ValueError("must be whole milliseconds, not negative")
    return int(ends[0]), int(ends[1])


def _digits(count: int) -> BeforeValidator:
    def check(value: object) -> object:
        if not isinstance(value, str) or not re.fullmatch(rf"[0-9]{{{count}}}", value):
            raise ValueError(f"must be {count} digits in quotes, not {value!r}")
        return value

    return BeforeValidator(check)


def one_of(*words: str) -> BeforeValidator:
    """A key that is one of these words."""

    def check(value: object) -> object:
        if value not in words:
            hint = did_you_mean(str(value), words)
            raise ValueError(f"{value!r} is none of {', '.join(words)}{hint}")
        return value

    return BeforeValidator(check)


def _said(value: object) -> bytes:
    """`{ text = "..." }` or `{ hex = "..." }`."""
    match value:
        case {"text": str(words), **others} if not others:
            return fixed_bytes("text", words)
        case {"hex": str(words), **others} if not others:
            return fixed_bytes("hex", words)
    raise ValueError(f'must be {{ text = "..." }} or {{ hex = "..." }}, not {value!r}')


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{4}([0-9A-Fa-f]{4})?", value):
        raise ValueError(f"must be identifiers of 8 digits (1997: of 4) in quotes, not {value!r}")
    return value.upper()


Said = Annotated[bytes, BeforeValidator(_said)]
Number = Annotated[Decimal, BeforeValidator(_number)]
RegisterKwh = Annotated[Number, Field(ge=0, lt=1_000_000, decimal_places=2)]
Range = Annotated[tuple[Decimal, Decimal], BeforeValidator(_range)]
Delay = Annotated[tuple[int, int], BeforeValidator(_delay)]
Identifier = Annotated[str, BeforeValidator(_identifier)]
Positive = Annotated[StrictInt, Field(ge=1)]
NotNegative = Annotated[StrictInt, Field(ge=0)]


class Table(BaseModel):
    """A table of a scenario: a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FaultTable(Table):
    """One fault; STUCK_RELAY is a matter of the meter, the others of the way to it."""

    kind: Annotated[str, one_of(*FAULT_KINDS)]
    every_meter: Positive = 1
    every_request: Positive = 1
    chance: Number = Field(
        Decimal(1),
        gt=0,
        le=1,
    )
    delay_ms: NotNegative | None = None


class MqttTable(Table):
    """Where the broker is, and how the meters behind it speak.

    Topics are `{prefix}/{name}/...`; name is the line's."""

    host: StrictStr = DEFAULT_HOST
    port: Annotated[StrictInt, Field(ge=1, le=65535)] = 1883
    version: Literal["3.1.1", "5"] = "5"
    user: StrictStr | None = None
    password: StrictStr | None = None
    flavour: Annotated[str, one_of(*MQTT_FLAVOURS)] = "own"
    prefix: StrictStr = "meterd"
    wrapping: Literal["raw", "hex"] = "raw"


class DialTable(Table):
    """Where a terminal calls, and what it says when it comes and to show that it is alive."""

    host: StrictStr = DEFAULT_HOST
    port: Annotated[StrictInt, Field(ge=1, le=65535)]
    registration: Said
    heartbeat: Said = b""
    heartbeat_s: Number = Field(Decimal(30), gt=0)
    reconnect_s: Number = Field(Decimal(5), ge=0)


class LineTable(Table):
    """One line: a `port`, a `link`, `mqtt` or `dial`.

    A TCP port, the link of a pseudo-terminal, a broker, or a terminal that dials in."""

    host: StrictStr = DEFAULT_HOST
    port: Annotated[StrictInt, Field(ge=0, le=65535)] | None = None
    link: StrictStr | None = None
    mqtt: MqttTable | None = None
    dial: DialTable | None = None
    reply_delay_ms: Delay = (20, 60)
    baud: Positive | None = None
    modbus: Literal["rtu", "tcp"] = "rtu"
    faults: list[FaultTable] = Field(default_factory=list)


class MeterTable(Table):
    """What can be said of one meter or of a fleet.

    A range gives each meter its own value, decided by the seed."""

    kwh_per_day: Range = (Decimal(3), Decimal(15))
    shape: Annotated[str, one_of(*SHAPES)] = "home"
    daily_spread: Number = Field(
        Decimal("0.2"),
        ge=0,
        le=Decimal("0.5"),
    )
    initial_kwh: Range = (Decimal(0), Decimal(20000))
    installed: date = date(2024, 1, 1)
    tariffs: Literal[0, 4] = 4
    phases: Literal[1, 3] = 1
    voltage_v: Number = Field(
        Decimal(220),
        gt=0,
        lt=800,
    )
    clock_offset_s: Range = (Decimal(0), Decimal(0))
    drift_s_per_day: Range = (Decimal(0), Decimal(0))
    clock_set_on: date | None = None
    relay: Literal["internal", "external", "none"] = "internal"
    button: Literal["customer", "auto"] = "customer"
    trip_delay_s: NotNegative = 0
    keep_power: StrictBool = False
    serial: Annotated[str, _digits(12)] | None = None
    meter_type: Annotated[str, one_of(*METER_TYPES)] = "postpaid"
    level: Annotated[str, _digits(2)] = "02"
    password: Annotated[str, _digits(6)] = "000000"  # noqa: S105 - what a meter has whose password was never set
    programming_key: StrictBool = False
    security_module: StrictBool = False
    remaining_yuan: Number | None = Field(
        None,
        gt=Decimal(-1_000_000),
        lt=Decimal(1_000_000),
        decimal_places=2,
    )
    remaining_kwh: Number | None = Field(
        None,
        gt=Decimal(-1_000_000),
        lt=Decimal(1_000_000),
        decimal_places=2,
    )
    skipped_freezes: list[date] = Field(default_factory=list)
    skipped_freeze_chance: Number = Field(
        Decimal(0),
        ge=0,
        lt=1,
    )
    wrong_freezes: dict[date, RegisterKwh] = Field(default_factory=dict)
    refused: list[Identifier] = Field(default_factory=list)
    empty_freeze: EmptyFreeze = "zeros"
    frame_limit: Annotated[StrictInt, Field(ge=16, le=FRAME_LIMIT)] = FRAME_LIMIT
    wake_up: Annotated[StrictInt, Field(ge=0, le=32)] = WAKE_UP
    deviations: list[Annotated[str, one_of(*DEVIATIONS)]] = Field(default_factory=list)
    reply_delay_ms: Delay | None = None
    faults: list[FaultTable] = Field(default_factory=list)


class FleetTable(MeterTable):
    """`count` meters on one line, with addresses from `address` on."""

    protocol: Annotated[str, one_of(*PROTOCOLS)] = PROTOCOLS[0]
    line: StrictStr
    address: Annotated[str, _digits(12)]
    count: Annotated[StrictInt, Field(ge=1, le=MOST_METERS)] = 1

    def addresses(self) -> Iterator[str]:
        """The addresses of the fleet, in order."""
        first = int(self.address)
        return (f"{number:012d}" for number in range(first, first + self.count))


class ModbusFleetTable(MeterTable):
    """`count` Modbus meters on one line, with units from `unit` on.

    They answer by a register profile."""

    protocol: Literal["modbus"]
    line: StrictStr
    profile: StrictStr
    unit: Annotated[StrictInt, Field(ge=1, le=HIGHEST_UNIT)]
    count: Annotated[StrictInt, Field(ge=1, le=HIGHEST_UNIT)] = 1

    def units(self) -> Iterator[tuple[int, str]]:
        """Each unit and what it is called in the bench: LINE/UNIT, as in the archive."""
        return ((unit, f"{self.line}/{unit}") for unit in range(self.unit, self.unit + self.count))

    def addresses(self) -> Iterator[str]:
        """The names of the fleet's meters, in order."""
        return (name for _, name in self.units())


class TruthTable(Table):
    """One [[truth]]: what `meter` and `truth` of the control port say at a time after the start."""

    after_s: Annotated[Number, Field(ge=0)]
    address: StrictStr
    register_kwh: StrictStr | None = None
    relay: Annotated[str, one_of("open", "closed")] | None = None
    power: Annotated[str, one_of("on", "off")] | None = None
    serial: StrictStr | None = None
    clock: StrictStr | None = None
    frozen: dict[str, StrictStr] = Field(default_factory=dict)
    """By day, the register in kWh."""
    missing: list[str] = Field(default_factory=list)
    """Days that it did not freeze, or does not remember."""


def in_words(detail: ErrorDetails, model: type[Table]) -> str:
    """A mistake as the author of the table needs it."""
    place = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            hint = did_you_mean(str(place[-1]), _keys_at(place, model))
            return f"unknown key{hint}"
        case "missing":
            return "missing"
        case "value_error":
            return str(detail["ctx"]["error"])
        case _:
            reason = detail["msg"].removeprefix("Input ")
            return f"{reason}, not {detail['input']!r}"


def _keys_at(place: tuple[str | int, ...], model: type[Table]) -> Iterable[str]:
    table = FaultTable if "faults" in place[:-1] else model
    return table.model_fields
