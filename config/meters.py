"""meters.csv: which meter stands on which line and serves which point."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from config.cells import (
    address,
    day,
    decimals,
    modulus,
    one_of,
    unit,
    word,
    yes_no,
)
from config.known_rows import NotPlain, all_differ
from config.problems import ConfigError, Mistakes, did_you_mean
from config.profiles import load_profile, shipped_profiles
from config.table import REQUIRED, Columns, Keys, read_table
from protocols.modbus.profile import Profile
from protocols.mqtt.zigbee2mqtt import OWN_LEVELS
from protocols.reading import Quantity

DLT645: Final = ("dlt645-2007", "dlt645-1997")
MODBUS: Final = ("modbus-rtu", "modbus-tcp")
MQTT: Final = "mqtt"
MILLION_KWH: Final = Decimal(1_000_000)
"""Where a DL/T 645 register rolls over: it has six digits before the point."""
BILLION_KWH: Final = Decimal(1_000_000_000)
DLT645_DIGITS: Final = 12
"""Of a meter number."""
MOST_CHARACTERS: Final = 32
"""Of a serial: an asset number of DL/T 645-2007 has so many."""
LEAST_DECIMALS: Final = 2
"""Of a DL/T 645 register: both standards give energies in 0.01 kWh."""

COLUMNS: Final[Columns] = {
    "address": (word, REQUIRED),
    "line": (word, REQUIRED),
    "point": (word, REQUIRED),
    "installed_on": (day, REQUIRED),
    "protocol": (one_of(*DLT645, *MODBUS, MQTT), DLT645[0]),
    "modulus_kwh": (modulus, None),
    "decimals": (decimals, None),
    "profile": (word, None),
    "relay": (yes_no, None),
    "relay_type": (one_of("internal", "external"), None),
    "device": (word, None),
    "serial": (word, None),
}


@dataclass(frozen=True, slots=True)
class Meter:
    """One row of meters.csv with its defaults.

    `modulus_kwh`: where the register rolls over; `decimals`: of its smallest step.
    `installed_on`: its freezes count from this day on. `profile`: the registers of a Modbus
    meter, whose `address` is LINE/UNIT. `relay`: it may be switched; of a Modbus meter that must
    be said, because its profile may fit models without relay too. `relay_type`: internal or
    external, where it is told. `device`: what a gateway calls
    it. `serial`: what it tells of itself when it is asked who it is, if that is registered."""

    address: str
    line: str
    point: str
    installed_on: date
    protocol: str
    modulus_kwh: Decimal
    decimals: int
    profile: str | None
    relay: bool
    device: str
    serial: str | None = None
    relay_type: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """What a row of meters.csv may name: lines, gateways with the family of each, and the points of
    points.csv."""

    lines: Collection[str]
    gateways: Mapping[str, str]
    points: Keys


@dataclass
class Meters:
    """The rows that were read, with what tells whether the next one fits to them."""

    base: Path
    named: Named
    mistakes: Mistakes
    by_address: dict[str, Meter] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    """Register maps by the name in the table; each is loaded once."""
    _serving: dict[str, str] = field(default_factory=dict)
    """Point -> address of its meter."""
    _devices: dict[tuple[str, str], str] = field(default_factory=dict)
    """(gateway, what it calls a meter) -> address."""

    _serials: dict[str, str] = field(default_factory=dict)
    """Registered serial -> address."""

    def read(self, text: bytes | None) -> None:
        """Take in every row of the table; what is wrong is appended to the mistakes."""
        for row in read_table(text, COLUMNS, self.mistakes, Keys()):
            self.take(row)

    def take(self, row: dict[str, Any]) -> Meter:
        """The meter of one row."""
        profile = self._profile(row)
        meter = _meter(row, self._address(row), profile)
        self._check_line(meter)
        self._check_point(meter)
        self._check_device(meter, row["device"])
        self._check_serial(meter, profile)
        self._check_abilities(meter, profile)
        self.by_address[meter.address] = meter
        return meter

    def _address(self, row: dict[str, Any]) -> str:
        try:
            if row["protocol"] in MODBUS:
                found = unit(row["address"], row["line"], row["protocol"])
            else:
                found = address(row["address"])
        except ValueError as error:
            self.mistakes.tell("address", str(error), row["address"])
            found = row["address"]
        if found in self.by_address:
            self.mistakes.tell("address", f"{found} stands twice")
        return found

    def _profile(self, row: dict[str, Any]) -> Profile | None:
        """The register map of a Modbus meter; None for the others, and for one that is wrong."""
        protocol = row["protocol"]
        name = row["profile"]
        if protocol not in MODBUS:
            if name is not None:
                message = f"a {protocol} meter has no register profile; leave it empty"
                self.mistakes.tell("profile", message)
            return None
        if name is None:
            known = ", ".join(shipped_profiles())
            self.mistakes.tell("profile", f"a {protocol} meter needs one: {known} or a path")
            return None
        if name not in self.profiles:
            try:
                self.profiles[name] = _named_profile(name, self.base)
            except ConfigError as error:
                self.mistakes.tell("profile", f"{name} cannot be used: {error.problems[0]}")
                return None
        return self.profiles[name]

    def _check_line(self, meter: Meter) -> None:
        named = self.named
        if meter.protocol == MQTT:
            kind = "[[gateway]]"
            kinds = kind
            fitting: Collection[str] = named.gateways
            others: Collection[str] = named.lines
        else:
            kind = "[[line]]"
            kinds = f"{kind} or terminal"
            fitting = named.lines
            others = named.gateways
        if meter.line in others:
            message = f"{meter.line} is no {kind}, and a {meter.protocol} meter needs one"
            self.mistakes.tell("line", message)
        elif meter.line not in fitting:
            hint = did_you_mean(meter.line, fitting)
            self.mistakes.tell("line", f"no {kinds} named {meter.line}{hint}")

    def _check_point(self, meter: Meter) -> None:
        point = meter.point
        points = self.named.points
        if points.lack(point):
            hint = did_you_mean(point, points.seen)
            self.mistakes.tell("point", f"no point {point} in points.csv{hint}", point)
        if point in self._serving:
            self.mistakes.tell("point", f"{point} is served by {self._serving[point]} already")
        self._serving[point] = meter.address

    def _check_device(self, meter: Meter, written: str | None) -> None:
        """`written`: what stands in the column; a gateway calls the others by their address."""
        if meter.protocol != MQTT:
            if written is not None:
                message = (
                    "only a gateway calls its meters by names of its own; "
                    f"a {meter.protocol} meter has none"
                )
                self.mistakes.tell("device", message)
            return
        device = (meter.line, meter.device)
        if device in self._devices:
            message = f"{meter.device} is {self._devices[device]} already on {meter.line}"
            self.mistakes.tell("device", message)
        self._devices[device] = meter.address
        self._check_topic(meter)

    def _check_topic(self, meter: Meter) -> None:
        """What a gateway calls a meter stands in topics."""
        levels = meter.device.split("/")
        if not set("+#").isdisjoint(meter.device):
            self.mistakes.tell("device", "is part of a topic: it must not hold + or #")
        elif self.named.gateways.get(meter.line) == "zigbee2mqtt":
            if not {"", *OWN_LEVELS}.isdisjoint(levels):
                own = ", ".join(OWN_LEVELS)
                message = f"is the end of a topic: no level may be empty or one of {own}"
                self.mistakes.tell("device", message)
        elif len(levels) > 1:
            message = (
                "is one level of a topic: it must not hold /, which only the friendly names of "
                'family = "zigbee2mqtt" may'
            )
            self.mistakes.tell("device", message)

    def _check_serial(self, meter: Meter, profile: Profile | None) -> None:
        serial = meter.serial
        if serial is None:
            return
        if len(serial) > MOST_CHARACTERS:
            self.mistakes.tell("serial", f"has {len(serial)} characters, at most {MOST_CHARACTERS}")
        if profile is not None and profile.serial is None:
            message = f"profile {meter.profile} says nothing of a serial number; leave it empty"
            self.mistakes.tell("serial", message)
        if serial in self._serials:
            message = f"{serial} is that of {self._serials[serial]} already"
            self.mistakes.tell("serial", message)
        self._serials[serial] = meter.address

    def _check_abilities(self, meter: Meter, profile: Profile | None) -> None:
        if meter.protocol in DLT645 and meter.decimals < LEAST_DECIMALS:
            message = "a DL/T 645 meter tells 0.01 kWh: leave it empty, or write 2 or more"
            self.mistakes.tell("decimals", message)
        if not meter.relay:
            if meter.relay_type is not None:
                self.mistakes.tell("relay_type", "is of a meter without a relay: leave it empty")
            return
        # Control code 1C, which trips and closes, came with DL/T 645-2007.
        if meter.protocol == DLT645[1]:
            self.mistakes.tell("relay", "the standard of 1997 knows no relay")
        if profile is not None and profile.relay is None:
            self.mistakes.tell("relay", f"profile {meter.profile} says nothing of a relay")


def check_together(meters: Sequence[Meter], named: Named) -> None:
    """NotPlain if meters whose rows are good do not fit together, or to what they name."""
    all_differ(map(attrgetter("address"), meters))
    served = all_differ(map(attrgetter("point"), meters))
    all_differ(filter(None, map(attrgetter("serial"), meters)))
    ways = set(map(attrgetter("protocol", "line"), meters))
    gateways = {line for protocol, line in ways if protocol == MQTT}
    lines = {line for protocol, line in ways if protocol != MQTT}
    if gateways:
        all_differ((meter.line, meter.device) for meter in meters if meter.protocol == MQTT)
    has_strangers = not served <= named.points.seen
    on_other_kind = not (lines.isdisjoint(named.gateways) and gateways.isdisjoint(named.lines))
    on_none = not (lines <= {*named.lines} and gateways <= {*named.gateways})
    if has_strangers or on_other_kind or on_none:
        raise NotPlain


def followed_profiles(
    meters: Iterable[Meter], known: Mapping[str, Profile], base: Path
) -> dict[str, Profile]:
    """The register maps that they name; NotPlain if one says something else than it did."""
    found = {}
    for name in filter(None, set(map(attrgetter("profile"), meters))):
        try:
            found[name] = _named_profile(name, base)
        except ConfigError:
            raise NotPlain from None
        if known.get(name, found[name]) != found[name]:
            raise NotPlain
    return found


def _named_profile(name: str, base: Path) -> Profile:
    return load_profile(base / name if name.endswith(".toml") else name)


def _meter(row: dict[str, Any], address: str, profile: Profile | None) -> Meter:
    """A row with its defaults: those of the profile, or those of DL/T 645."""
    return Meter(
        address=address,
        line=row["line"],
        point=row["point"],
        installed_on=row["installed_on"],
        protocol=row["protocol"],
        modulus_kwh=row["modulus_kwh"] or _modulus_kwh(profile),
        decimals=_decimals(profile) if row["decimals"] is None else row["decimals"],
        profile=row["profile"],
        relay=row["protocol"] == DLT645[0] if row["relay"] is None else row["relay"],
        device=row["device"] or address,
        serial=_serial(row["serial"], row["protocol"]),
        relay_type=row["relay_type"],
    )


def _serial(written: str | None, protocol: str) -> str | None:
    """As the meter tells it: the numbers of DL/T 645 have 12 digits, those of Modbus no zeros."""
    if written is None or not (written.isascii() and written.isdigit()):
        return written
    if protocol in DLT645:
        return written.zfill(DLT645_DIGITS)
    if protocol in MODBUS:
        return written.lstrip("0") or "0"
    return written


def _modulus_kwh(profile: Profile | None) -> Decimal:
    """Where the register starts again, as the profile says.

    Without a word of the profile so far that it never does in a meter's life."""
    if profile is None:
        return MILLION_KWH
    item = profile.item(Quantity.FORWARD_ACTIVE_ENERGY)
    return min(BILLION_KWH, item.modulus) if item and item.modulus else BILLION_KWH


def _decimals(profile: Profile | None) -> int:
    """The register's own resolution where it is an integer; 0.01 kWh otherwise."""
    item = profile.item(Quantity.FORWARD_ACTIVE_ENERGY) if profile else None
    if item is None or item.type.startswith("float") or item.scale_register is not None:
        return LEAST_DECIMALS
    return min(4, max(0, -int(item.factor.normalize().as_tuple().exponent)))
