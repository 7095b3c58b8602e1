"""The settings of a site, `meterd.toml`: typed, frozen, unknown keys refused."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from config.secret import Secret, read_secret
from protocols.dial_in.registration import (
    Heartbeat,
    Kind,
    Registration,
    fixed_bytes,
    heartbeat,
    registration,
)

LONGEST = timedelta(days=3650)
"""No setting means a longer time."""


SHORTEST_SILENCE_S = 10
"""Mobile links pause so long now and then; heartbeats come twice a minute at most."""
MOST_PIPELINED = 16
"""So many questions at once; more than a concentrator can have in its buffer."""


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        strict=True,
    )


def _zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no IANA time zone (for example Asia/Shanghai)") from None


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    return (_base(info) / value).absolute()


def _secret(value: object, info: ValidationInfo) -> Secret:
    return read_secret(value, _base(info))


def _base(info: ValidationInfo) -> Path:
    base = info.context["base"] if info.context else Path()
    assert isinstance(base, Path)
    return base


def _endpoint(value: object) -> tuple[str, int]:
    host, colon, port = str(value).rpartition(":")
    if (
        not isinstance(value, str)
        or not colon
        or not host
        or not port.isdigit()
        or not 0 <= int(port) <= 65535
    ):
        raise ValueError(f"{value!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _clock(value: object) -> time:
    if value == "24:00":
        return time.max
    try:
        if isinstance(value, str):
            clock = time.fromisoformat(value)
            if clock.tzinfo is None:
                return clock
    except ValueError:
        pass
    raise ValueError(f'{value!r} is no time of day, write "09:00"')


def _yuan(value: object) -> int:
    """Money in a file is a string in yuan; inside it is integer fen."""
    try:
        fen = Decimal(value).scaleb(2) if isinstance(value, str) else None
    except ArithmeticError:
        fen = None
    if fen is None or not fen.is_finite() or fen != int(fen) or fen < 0:
        raise ValueError(
            f'{value!r} is no amount in yuan with at most two decimals; write it as a string: "5.00"'
        )
    return int(fen)


def _duration(unit: timedelta, name: str) -> BeforeValidator:
    def parse(value: object) -> timedelta:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value <= LONGEST / unit
        ):
            raise ValueError(f"{value!r} is no number of {name}")
        return value * unit

    return BeforeValidator(parse)


def _days(value: object) -> frozenset[date]:
    if not isinstance(value, list) or not all(type(day) is date for day in value):
        raise ValueError("write days without quotation marks: [2026-10-01, 2026-10-02]")
    return frozenset(value)


def registration_form(value: object) -> Registration:
    """`{ hex = ... }`, `{ text = ... }` or `{ regex = ... }` as a site writes it. ValueError says
    what is wrong."""
    return registration(*_words(value))


def _heartbeat_form(value: object) -> Heartbeat:
    return heartbeat(*_words(value))


def _answer(value: object) -> bytes:
    return fixed_bytes(*_words(value))


def _heartbeat_answer(value: object) -> bytes | Literal["echo"]:
    return "echo" if value == "echo" else _answer(value)


def _words(value: object) -> tuple[Kind, str]:
    match value:
        case {"hex": str(words), **others} if not others:
            return "hex", words
        case {"text": str(words), **others} if not others:
            return "text", words
        case {"regex": str(words), **others} if not others:
            return "regex", words
    raise ValueError('is given as { hex = "..." }, { text = "..." } or { regex = "..." }')


Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
SitePath = Annotated[Path, BeforeValidator(_path)]
SecretValue = Annotated[Secret, BeforeValidator(_secret)]
Endpoint = Annotated[tuple[str, int], BeforeValidator(_endpoint)]
Clock = Annotated[time, BeforeValidator(_clock)]
YuanAsFen = Annotated[int, BeforeValidator(_yuan)]
Seconds = Annotated[timedelta, _duration(timedelta(seconds=1), "seconds")]
Hours = Annotated[timedelta, _duration(timedelta(hours=1), "hours")]
Minutes = Annotated[timedelta, _duration(timedelta(minutes=1), "minutes")]
RegistrationForm = Annotated[Registration, BeforeValidator(registration_form)]
HeartbeatForm = Annotated[Heartbeat, BeforeValidator(_heartbeat_form)]
Answer = Annotated[bytes, BeforeValidator(_answer)]
HeartbeatAnswer = Annotated[bytes | Literal["echo"], BeforeValidator(_heartbeat_answer)]
Days = Annotated[frozenset[date], BeforeValidator(_days)]


class SiteSection(Section):
    name: str = Field(min_length=1)
    zone: Zone
    data_directory: SitePath
    archive: SitePath
    tariffs: SitePath


class DatabaseSection(Section):
    """Without a URL the embedded PostgreSQL in the data directory is used."""

    url: SecretValue | None = None


NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]


class BrokerSection(Section):
    """An MQTT broker and who we are there. `client_id` must be ours alone: of two with one name
    only one stays."""

    host: str = Field(min_length=1)
    port: int = Field(default=1883, ge=1, le=65535)
    version: Literal["3.1.1", "5"] = "5"
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    user: str | None = None
    password: SecretValue | None = None
    tls_ca: SitePath | None = None
    tls_certificate: SitePath | None = None
    tls_key: SitePath | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.tls_ca is None and (self.tls_certificate or self.tls_key):
            raise ValueError(
                "tls_certificate and tls_key need tls_ca, the authority of the broker's certificate"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        return self


class MqttLine(BrokerSection):
    """A transparent DTU: the bytes of a serial line, `down` to it and `up` from it, as they are or
    as hex in JSON."""

    down: str = Field(min_length=1)
    up: str = Field(min_length=1)
    wrapping: Literal["raw", "hex"] = "raw"
    field: str = "data"


class GatewaySection(Section):
    """A concentrator, or devices of one family, behind a broker: it pushes readings and is asked by
    token.

    `family` "meterd" is our own form under `prefix`/`name`; the others are named by their devices
    in meters.csv. `registers`: what a State Grid terminal calls the total and the tariffs; `app`:
    who we are there."""

    name: Name
    broker: BrokerSection
    family: Literal["meterd", "tasmota", "shelly", "state-grid"] = "meterd"
    prefix: str = Field(default="meterd", pattern=r"^[^+#]+$")
    component: Literal["emdata:0", "switch:0"] = "emdata:0"
    app: str = Field(default="meterd", pattern=r"^[^+#/]+$")
    registers: tuple[str, ...] = Field(default=(), strict=False)
    reporters: tuple[str, ...] = Field(default=(), strict=False)
    reply_timeout_s: float = Field(
        default=10.0,
        ge=0.5,
        le=120,
        strict=False,
    )
    enabled: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.family == "state-grid") != bool(self.registers):
            raise ValueError(
                'registers = ["name of the total", ...] belongs to family = "state-grid", and only there'
            )
        return self


class LineSection(Section):
    """One route with one talker: `tcp`, `serial` or `mqtt`."""

    name: Name
    tcp: Endpoint | None = None
    serial: str | None = None
    mqtt: MqttLine | None = None
    baud: Literal[300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 2400
    parity: Literal["E", "O", "N"] = "E"
    reply_timeout_s: float = Field(
        default=1.0,
        ge=0.05,
        le=30,
        strict=False,
    )
    retries: int = Field(default=1, ge=0, le=10)
    pipelined: int = Field(default=1, ge=1, le=MOST_PIPELINED)
    enabled: bool = True

    @model_validator(mode="after")
    def _has_one_channel(self) -> Self:
        if [self.tcp, self.serial, self.mqtt].count(None) != 2:
            raise ValueError(
                'give one of tcp = "HOST:PORT", serial = "/dev/serial/by-id/..." or mqtt = { host = ... }'
            )
        if self.pipelined > 1 and self.tcp is None:
            raise ValueError("pipelined is for tcp: on a wire, two questions at once are none")
        return self


class ListenerSection(Section):
    """A port at which terminals dial in. Each terminal of the CSV file `terminals` is a line."""

    name: Name
    listen: Endpoint
    terminals: SitePath
    registration: RegistrationForm
    registration_answer: Answer | None = None
    heartbeat: HeartbeatForm | None = None
    heartbeat_answer: HeartbeatAnswer | None = None
    registration_timeout_s: float = Field(
        default=30.0,
        ge=1,
        le=600,
        strict=False,
    )
    silent_s: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        strict=False,
    )
    accept_per_s: float = Field(
        default=500.0,
        ge=1,
        le=10_000,
        strict=False,
    )
    most_per_address: int = Field(default=64, ge=1, le=100_000)
    tls_certificate: SitePath | None = None
    tls_key: SitePath | None = None
    tls_client_ca: SitePath | None = None
    reply_timeout_s: float = Field(
        default=5.0,
        ge=0.05,
        le=120,
        strict=False,
    )
    retries: int = Field(default=1, ge=0, le=10)
    pipelined: int = Field(default=1, ge=1, le=MOST_PIPELINED)
    enabled: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.heartbeat_answer is not None and self.heartbeat is None:
            raise ValueError("heartbeat_answer needs heartbeat, which it is the answer to")
        if 0 < self.silent_s < SHORTEST_SILENCE_S:
            raise ValueError(f"silent_s must be 0 (never) or at least {SHORTEST_SILENCE_S}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key, which switch TLS on")
        return self


class LineCollectionSection(Section):
    """The keys of `[collection]` that every line is built of.

    `backfill_days` counts midnights, today's included; a DL/T 645-2007 meter remembers 62."""

    backfill_days: int = Field(default=31, ge=1, le=62)
    retry_s: Seconds = timedelta(minutes=30)
    reconnect_s: Seconds = timedelta(seconds=60)
    set_clocks: bool = False


class CollectionSection(LineCollectionSection):
    """All of `[collection]`: what lines are built of, and the size of what is stored at once."""

    batch_readings: int = Field(default=1000, ge=1, le=10_000)


class ControlSection(Section):
    """Supply control. `mode = "shadow"` computes and reports only; no control frame leaves the
    process."""

    mode: Literal["shadow", "auto"] = "shadow"
    password: SecretValue | None = None
    level: str = Field(default="02", pattern=r"^[0-9]{2}$")
    operator: str = Field(default="00000000", pattern=r"^[0-9]{8}$")
    window_start: Clock = time(9)
    window_end: Clock = time(15)
    working_days_only: bool = True
    no_trip_on_eve: bool = True
    holidays: Days = frozenset()
    makeup_workdays: Days = frozenset()
    max_reading_age_h: Hours = timedelta(hours=36)
    written_notice_required: bool = True
    written_notice_min_h: Hours = timedelta(hours=72)
    written_notice_max_h: Hours = timedelta(hours=168)
    final_notice_required: bool = True
    final_notice_min_min: Minutes = timedelta(minutes=30)
    final_notice_max_h: Hours = timedelta(hours=24)
    approvals_required: int = Field(default=1, ge=0, le=5)
    min_debt_yuan: YuanAsFen = 500
    startup_hold_min: Minutes = timedelta(minutes=15)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode == "auto" and self.password is None:
            raise ValueError(
                'mode = "auto" needs the meters\' control password: password = { file = "PATH" }'
            )
        if self.window_start >= self.window_end:
            raise ValueError("window_start must be before window_end")
        return self


class HttpSection(Section):
    listen: Endpoint = ("127.0.0.1", 9645)


class LogSection(Section):
    format: Literal["logfmt", "json"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"
    trace_lines: tuple[str, ...] = Field(default=(), strict=False)


class Site(Section):
    """The whole of `meterd.toml`."""

    site: SiteSection
    database: DatabaseSection = DatabaseSection()
    line: tuple[LineSection, ...] = Field(default=(), strict=False)
    gateway: tuple[GatewaySection, ...] = Field(default=(), strict=False)
    listener: tuple[ListenerSection, ...] = Field(default=(), strict=False)
    collection: CollectionSection = CollectionSection()
    control: ControlSection = ControlSection()
    http: HttpSection = HttpSection()
    log: LogSection = LogSection()


def file_keys(section: type[BaseModel]) -> dict[str, str]:
    """What each field of a section is called in the file, where units end the names."""
    return {name: field.alias or name for name, field in section.model_fields.items()}


def known_keys(path: tuple[str | int, ...]) -> list[str]:
    """The keys that are allowed in the table at `path`."""
    model: Any = Site
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        arguments = getattr(field.annotation, "__args__", ())
        model = arguments[0] if arguments else field.annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            return []
    return list(file_keys(model).values())
