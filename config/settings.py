"""The settings of a site, `meterd.toml`: typed, frozen, unknown keys refused."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from config.persons import NOBODY, Role, person
from config.point_limit import ONE_PHASE_60_A_KWH
from config.policies import STRICT, shipped_policies
from config.values import (
    Answer,
    Clock,
    Country,
    DatabaseUrl,
    Days,
    Endpoint,
    EscalationMinutes,
    HeartbeatAnswer,
    HeartbeatForm,
    Hours,
    Minutes,
    Name,
    Networks,
    OperatorCode,
    PasswordLevel,
    ReconnectSeconds,
    RegistrationForm,
    RetrySeconds,
    SecretValue,
    SerialDevice,
    ShellyComponent,
    SitePath,
    TasmotaTotal,
    TopicLevel,
    TopicPart,
    YuanAsFen,
    Zone,
)

ApprovalMode = Literal["shadow", "manual", "assisted", "auto"]
WIRE_KEYS = frozenset({"baud", "parity", "data_bits", "stop_bits"})
"""Of a line: how its serial port is opened."""
SHORTEST_SILENCE_S = 10
"""Mobile links pause so long now and then; heartbeats come twice a minute at most."""
MOST_PAUSE_MS = 5000
"""Of silence before each question, for meters and converters that need it to turn round."""
MOST_PIPELINED = 16
"""So many questions at once; more than a concentrator can have in its buffer."""


MOST_LEVELS = 5
"""Of who is on call: the last one is told 40 minutes after the first."""


DunningDay = Annotated[int, Field(ge=0, le=365)]
"""Since arrears began."""


class Part(BaseModel):
    """Some keys of a section, for commands that need no more: the others may be wrong."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        arbitrary_types_allowed=True,
        strict=True,
        # A command builds the validators of the sections that it needs, not of all that there are.
        defer_build=True,
    )


class Section(Part):
    """All keys of a section: one that is not known is refused."""

    model_config = ConfigDict(extra="forbid")


class ZonePart(Part):
    """Where the site's days begin."""

    zone: Zone


class ActorsPart(Part):
    """Who may say something there.

    `actors`: by which names persons act. "names": whatever they type; "logins": each by the login
    of the machine, so that two persons are two logins."""

    actors: Literal["names", "logins"] = "names"


class SitePart(ZonePart, ActorsPart):
    """And where its data are."""

    data_directory: SitePath


class NamedSitePart(SitePart):
    """And who it is."""

    name: str = Field(min_length=1)


class SiteSection(NamedSitePart, Section):
    """Who the site is, and the files of its archive."""

    archive: SitePath
    tariffs: SitePath
    clock_must_be_synchronised: bool = False


class DatabasePart(Section):
    """Without a URL the embedded PostgreSQL in the data directory is used.

    Who only asks the database needs no `migration_url`, and may not be able to read it."""

    url: DatabaseUrl | None = None
    migration_url: object = None


class DatabaseSection(DatabasePart):
    """`migration_url`: as the role that the tables belong to; `url` is then of a lesser one."""

    migration_url: DatabaseUrl | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.migration_url is not None and self.url is None:
            raise ValueError(
                "migration_url needs url, of the daemon's own role; an embedded database has both "
                "roles by itself"
            )
        return self


class BrokerSection(Section):
    """An MQTT broker and who we are there.

    `client_id` must be ours alone: of two with one name only one stays."""

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
    """A transparent DTU: the bytes of a serial line, `down` to it and `up` from it.

    They travel as they are or as hex in JSON."""

    down: str = Field(min_length=1)
    up: str = Field(min_length=1)
    wrapping: Literal["raw", "hex"] = "raw"
    field: str = "data"


class NamedSection(Section):
    """One of several: a line, a gateway or a listener. No two of them have the same name."""

    name: Name


class GatewaySection(NamedSection):
    """A concentrator, or devices of one family, behind a broker.

    It pushes readings and is asked by token. `family` "meterd" is our own form under
    `prefix`/`name`; the others are named by their devices in meters.csv. `registers`: what a
    State Grid terminal calls the total and the tariffs; `app`: who we are there. `component`: what
    measures in a Shelly; `total`: table and name of the energy in a message of Tasmota."""

    broker: BrokerSection
    family: Literal["meterd", "tasmota", "shelly", "zigbee2mqtt", "state-grid"] = "meterd"
    prefix: TopicPart = "meterd"
    component: ShellyComponent = "emdata:0"
    total: TasmotaTotal = "ENERGY.Total"
    app: TopicLevel = "meterd"
    registers: tuple[str, ...] = Field(default=(), strict=False)
    reporters: tuple[str, ...] = Field(default=(), strict=False)
    reply_timeout_s: float = Field(
        default=10.0,
        ge=0.5,
        le=120,
    )
    enabled: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.family == "state-grid") != bool(self.registers):
            raise ValueError(
                'registers = ["name of the total", ...] belongs to family = "state-grid", '
                "and only there"
            )
        return self


class LineSection(NamedSection):
    """One route with one talker: `tcp`, `serial` or `mqtt`."""

    tcp: Endpoint | None = None
    serial: SerialDevice | None = None
    mqtt: MqttLine | None = None
    baud: Literal[300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 2400
    parity: Literal["E", "O", "N"] = "E"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1
    pause_ms: int = Field(default=0, ge=0, le=MOST_PAUSE_MS)
    reply_timeout_s: float = Field(
        default=1.0,
        ge=0.05,
        le=30,
    )
    retries: int = Field(default=1, ge=0, le=10)
    pipelined: int = Field(default=1, ge=1, le=MOST_PIPELINED)
    enabled: bool = True

    @model_validator(mode="after")
    def _has_one_channel(self) -> Self:
        if [self.tcp, self.serial, self.mqtt].count(None) != 2:
            raise ValueError(
                'give one of tcp = "HOST:PORT", serial = "/dev/serial/by-id/..." '
                "or mqtt = { host = ... }"
            )
        if self.tcp is not None and not self.tcp[1]:
            raise ValueError("tcp: nobody answers at port 0")
        if self.pause_ms and self.pipelined > 1:
            raise ValueError("pause_ms is between questions, pipelined has several at once")
        if self.pipelined > 1 and self.tcp is None:
            raise ValueError("pipelined is for tcp: on a wire, two questions at once are none")
        return self


class ListenerSection(NamedSection):
    """A port at which terminals dial in. Each terminal of the CSV file `terminals` is a line."""

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
    )
    silent_s: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
    )
    accept_per_s: float = Field(
        default=500.0,
        ge=1,
        le=10_000,
    )
    most_per_address: int = Field(default=64, ge=1, le=100_000)
    tls_certificate: SitePath | None = None
    tls_key: SitePath | None = None
    tls_client_ca: SitePath | None = None
    permitted_networks: Networks = ()
    reply_timeout_s: float = Field(
        default=5.0,
        ge=0.05,
        le=120,
    )
    pause_ms: int = Field(default=0, ge=0, le=MOST_PAUSE_MS)
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


class CollectionPart(Part):
    """`backfill_days` counts midnights, today's included; a DL/T 645-2007 meter remembers 62."""

    backfill_days: int = Field(default=62, ge=1, le=62)


class LineCollectionSection(CollectionPart, Section):
    """The keys of `[collection]` that every line is built of."""

    retry: RetrySeconds = Field(default=timedelta(minutes=30), alias="retry_s")
    reconnect: ReconnectSeconds = Field(default=timedelta(seconds=60), alias="reconnect_s")
    set_clocks: bool = False


class CollectionSection(LineCollectionSection):
    """All of `[collection]`: what lines are built of, and the size of what is stored at once."""

    batch_readings: int = Field(default=1000, ge=1, le=10_000)


class SpoolSection(Section):
    """Most that readings which wait for the database may take on disk."""

    max_mb: int = Field(default=256, ge=1, le=1_000_000)

    @property
    def max_bytes(self) -> int:
        """The same in bytes."""
        return self.max_mb * 1_000_000


class ControlPart(Part):
    """With `mode = "shadow"` supply is computed and reported only.

    No control frame leaves the process."""

    mode: ApprovalMode = "shadow"


class PolicyPart(Part):
    """When, and after which notices, somebody may be cut.

    `profile`: what is not said is as this shipped one says it."""

    profile: str = STRICT
    window_start: Clock = time(9)
    window_end: Clock = time(15)
    working_days_only: bool = True
    no_trip_on_eve: bool = True
    calendar: Country | None = None
    holidays: Days = frozenset()
    makeup_workdays: Days = frozenset()
    max_reading_age: Hours = Field(default=timedelta(hours=36), alias="max_reading_age_h")
    max_relay_age: Hours = Field(default=timedelta(hours=36), alias="max_relay_age_h")
    written_notice_required: bool = True
    written_notice_min: Hours = Field(default=timedelta(hours=72), alias="written_notice_min_h")
    written_notice_max: Hours = Field(default=timedelta(hours=168), alias="written_notice_max_h")
    final_notice_required: bool = True
    final_notice_min: Minutes = Field(default=timedelta(minutes=30), alias="final_notice_min_min")
    final_notice_max: Hours = Field(default=timedelta(hours=24), alias="final_notice_max_h")
    approvals_required: int = Field(default=1, ge=0, le=5)
    min_debt_fen: YuanAsFen = Field(default=500, alias="min_debt_yuan")

    @model_validator(mode="before")
    @classmethod
    def _as_its_profile_says(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        name = table.get("profile", STRICT)
        shipped = shipped_policies()
        if not isinstance(name, str) or name not in shipped:
            raise ValueError(f"no policy {name!r} is shipped: write one of {', '.join(shipped)}")
        return {**shipped[name], **table}

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.window_start >= self.window_end:
            raise ValueError("window_start must be before window_end")
        return self


class ControlSection(ControlPart, PolicyPart, Section):
    """Supply control: who may be cut, when, and after which notices."""

    password: SecretValue | None = None
    level: PasswordLevel = "02"
    operator: OperatorCode = "00000000"
    signer: SitePath | None = None
    startup_hold: Minutes = Field(default=timedelta(minutes=15), alias="startup_hold_min")
    meter_alarm: bool = False
    trips_over_plain_text: tuple[str, ...] = Field(default=(), strict=False)
    left_dark_by: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode != "shadow" and self.password is None and self.signer is None:
            raise ValueError(
                f'mode = "{self.mode}" needs the meters\' control password: '
                'password = { file = "PATH" }, or a signer'
            )
        return self


class PolicySection(PolicyPart, NamedSection):
    """A policy of accounts that are not cut by the site's: `meterd account policy`."""

    mode: ApprovalMode = "auto"


class NoticesPart(Part):
    """`texts`: a folder whose zh.toml and en.toml override what customers are told."""

    texts: SitePath | None = None


class NoticesSection(NoticesPart, Section):
    """What customers are told of their supply.

    `warn_days`: a balance that lasts no longer is warned of. `cycle`: for which customers pay in,
    and are reminded `remind_days` before it ends. `dunning_days`: when those in arrears are told
    of them, in days since they began; on the last a cut may be announced. `personal_contact`:
    somebody goes there then with the written notice; if nothing is said so, where there are
    `dunning_days`. The others are words of the site that notices have to have."""

    warn_days: int = Field(default=5, ge=0, le=60)
    cycle: Literal["month", "quarter", "year"] | None = None
    remind_days: int = Field(default=5, ge=0, le=20)
    dunning_days: tuple[DunningDay, ...] = Field(default=(), strict=False)
    personal_contact: bool | None = None
    how_to_pay_zh: str | None = Field(default=None, min_length=1)
    how_to_pay_en: str | None = Field(default=None, min_length=1)
    how_to_complain_zh: str | None = Field(default=None, min_length=1)
    how_to_complain_en: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.personal_contact and not self.dunning_days:
            raise ValueError(
                "personal_contact has no day: somebody goes there on the last of dunning_days, "
                "such as dunning_days = [0, 5, 10]"
            )
        return self

    @property
    def goes_there(self) -> bool:
        """On the last of the dunning days somebody goes there."""
        return bool(self.dunning_days) and self.personal_contact is not False


class NoticeChannelSection(NamedSection):
    """A way for notices: a URL of the library apprise, or a webhook that is signed with `key`.

    `{address}` in the URL of apprise is the customer's. `key` signs receipts too."""

    apprise: SecretValue | None = None
    webhook: SecretValue | None = None
    key: SecretValue | None = None
    timeout_s: float = Field(default=10.0, ge=1, le=60)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.apprise is None) == (self.webhook is None):
            raise ValueError(
                'give one of apprise = { file = "PATH" } or webhook = { file = "PATH" }'
            )
        if self.webhook is not None and self.key is None:
            raise ValueError('a webhook is signed: key = { file = "PATH" }')
        if self.webhook is not None and not self.webhook.reveal().startswith(
            ("https://", "http://")
        ):
            raise ValueError("webhook is no URL that begins with https://")
        if self.apprise is not None and "{address}" not in self.apprise.reveal():
            raise ValueError("the URL of apprise has no {address}: nobody would be reached by it")
        return self


class OnCallSection(Section):
    """Somebody of the staff who is told of alarms. `areas`: of points.csv, without any: of all.

    `level`: the lower is told first, the next one when nobody says that he has it."""

    name: str = Field(min_length=1)
    areas: tuple[str, ...] = Field(default=(), strict=False)
    level: int = Field(default=1, ge=1, le=MOST_LEVELS)
    channel: str
    address: str = Field(min_length=1, repr=False)
    language: Literal["zh", "en"] = "zh"

    def is_for(self, area: str) -> bool:
        """What is of no area is for everybody."""
        return not (area and self.areas) or area in self.areas


class AlarmsSection(Section):
    """How soon what nobody acknowledges is told the next level."""

    escalate_after: EscalationMinutes = Field(
        default=timedelta(minutes=10), alias="escalate_after_min"
    )


class QualitySection(Section):
    """What a site may say of how its readings are judged.

    `max_daily_kwh`: of one phase of a point of which nothing else is told. `max_auto_span_days`:
    over so many days use is billed and outliers are outvoted without a person. The others: from
    where on use is reported, which withholds nothing."""

    max_daily_kwh: int = Field(default=ONE_PHASE_60_A_KWH, ge=1, le=1_000_000)
    max_auto_span_days: int = Field(default=7, ge=1, le=31)
    stopped_days: int = Field(default=7, ge=2, le=31)
    stopped_mean_kwh: int = Field(default=1, ge=0, le=1_000_000)
    share_days: int = Field(default=3, ge=1, le=14)
    high_factor: int = Field(default=3, ge=2, le=1000)
    low_factor: int = Field(default=4, ge=2, le=1000)
    difference_kwh: int = Field(default=5, ge=0, le=1_000_000)
    season_factor: int = Field(default=3, ge=2, le=1000)


class PersonSection(Section):
    """Who works for the site, and what as. Whoever has a say in money has none in cuts (R95)."""

    name: str = Field(min_length=1)
    roles: tuple[Role, ...] = Field(min_length=1, strict=False)

    @field_validator("name")
    @classmethod
    def _is_somebody(cls, name: str) -> str:
        if person(name) in NOBODY:
            raise ValueError(f"{name} is the name of no person")
        return name

    @model_validator(mode="after")
    def _keeps_money_and_cuts_apart(self) -> Self:
        if {"finance", "control"} <= {*self.roles}:
            raise ValueError(
                "finance and control are never one person's: who takes money in does not cut"
            )
        return self


class PaymentSection(Section):
    """For more than `ask_above_fen` `meterd topup` asks on a terminal."""

    ask_above_fen: YuanAsFen = Field(default=200_000, alias="ask_above_yuan")


class HealthSection(Section):
    """When the daemon is not well although it works."""

    standstill_days: int = Field(default=3, ge=1, le=3650)


class BackupSection(Section):
    """Where `meterd backup` keeps what it makes, and how many of them."""

    directory: SitePath | None = None
    keep: int | None = Field(default=None, ge=1, le=10_000)


class HttpSection(Section):
    """Where health and metrics are served."""

    listen: Endpoint = ("127.0.0.1", 9645)


class LogSection(Section):
    """How the log is written. `trace_lines`: lines whose bytes are logged too."""

    format: Literal["logfmt", "json", "journal"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"
    trace_lines: tuple[str, ...] = Field(default=(), strict=False)


class Site(Section):
    """The whole of `meterd.toml`."""

    site: SiteSection
    database: DatabaseSection = Field(default_factory=DatabaseSection)
    line: tuple[LineSection, ...] = Field(default=(), strict=False)
    gateway: tuple[GatewaySection, ...] = Field(default=(), strict=False)
    listener: tuple[ListenerSection, ...] = Field(default=(), strict=False)
    collection: CollectionSection = Field(default_factory=CollectionSection)
    spool: SpoolSection = Field(default_factory=SpoolSection)
    quality: QualitySection = Field(default_factory=QualitySection)
    control: ControlSection = Field(default_factory=ControlSection)
    notices: NoticesSection = Field(default_factory=NoticesSection)
    policy: tuple[PolicySection, ...] = Field(default=(), strict=False)
    notice_channel: tuple[NoticeChannelSection, ...] = Field(default=(), strict=False)
    on_call: tuple[OnCallSection, ...] = Field(default=(), strict=False)
    alarms: AlarmsSection = Field(default_factory=AlarmsSection)
    person: tuple[PersonSection, ...] = Field(default=(), strict=False)
    payment: PaymentSection = Field(default_factory=PaymentSection)
    health: HealthSection = Field(default_factory=HealthSection)
    backup: BackupSection = Field(default_factory=BackupSection)
    http: HttpSection = Field(default_factory=HttpSection)
    log: LogSection = Field(default_factory=LogSection)


class DatabaseSettings(Part):
    """What a command needs that asks the database, whether the daemon runs or not."""

    site: SitePart
    database: DatabasePart = Field(default_factory=DatabasePart)
    control: ControlPart = Field(default_factory=ControlPart)
    payment: PaymentSection = Field(default_factory=PaymentSection)


class NoticeTextSettings(DatabaseSettings):
    """What whoever tells customers something needs besides: in which words."""

    notices: NoticesPart = Field(default_factory=NoticesPart)
    control: ControlPart = Field(default_factory=ControlPart)


class OnCallSettings(DatabaseSettings):
    """What a command needs besides that tells who of the staff answers for a cut."""

    on_call: tuple[OnCallSection, ...] = Field(default=(), strict=False)


class ActingSettings(Part):
    """What a command needs that changes something: who may."""

    site: ActorsPart
    person: tuple[PersonSection, ...] = Field(default=(), strict=False)


class ZoneSettings(Part):
    """What a command needs that talks to meters without a daemon."""

    site: ZonePart


class PolicySettings(DatabaseSettings):
    """What a rehearsal needs besides: who is cut when."""

    control: ControlSection = Field(default_factory=ControlSection)
    policy: tuple[PolicySection, ...] = Field(default=(), strict=False)


class PolicyFile(Part):
    """A file of which only `[control]` counts."""

    control: ControlSection


class MigrationSettings(DatabaseSettings):
    """What `meterd migrate` needs besides: the role that the tables belong to."""

    database: DatabaseSection = Field(default_factory=DatabaseSection)


class BackupSettings(MigrationSettings):
    """What `meterd backup` and `meterd restore` need besides."""

    site: NamedSitePart
    backup: BackupSection = Field(default_factory=BackupSection)


class GapSettings(DatabaseSettings):
    """What the list of gaps needs besides: how far back days are owed."""

    collection: CollectionPart = Field(default_factory=CollectionPart)


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
