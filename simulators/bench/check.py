"""Finds every mistake of a scenario at once, each with its line and a hint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from config.problems import Problem, did_you_mean
from config.profiles import load_profile
from config.toml_lines import line_of
from protocols.dlt645.frame import BROADCAST
from protocols.errors import MeterdError
from protocols.modbus.profile import Profile
from simulators.bench.change_tables import Action, change_of
from simulators.bench.tables import (
    DEFAULT_HOST,
    MODBUS,
    MOST_METERS,
    STUCK_RELAY,
    FleetTable,
    LineTable,
    MeterTable,
    ModbusFleetTable,
    Table,
    TruthTable,
    in_words,
)
from simulators.modbus.meter import HIGHEST_UNIT

Place = tuple[str | int, ...]
Tables = dict[str | int, Any]
"""As they were written, by name or number."""
T = TypeVar("T", bound=Table)

TOP_KEYS: Final = (
    "about",
    "zone",
    "seed",
    "start",
    "speed",
    "lines",
    "meters",
    "overrides",
    "actions",
    "truth",
)
FASTEST: Final = 100_000
"""A day in less than a second."""
LONGEST_S: Final = 10 * 366 * 86_400
DEFAULT_ZONE: Final = "Asia/Shanghai"
DEFAULT_SEED: Final = 1
_ADDRESS: Final = re.compile(r"[0-9]{12}")
_PLACES: Final = ("port", "link", "mqtt", "dial")
"""A line has one of them."""
_NEEDED: Final = {
    "lines": "[lines.NAME] with a port, a link, mqtt or dial",
    "meters": "[[meters]] with a line and an address",
}
"""What to write when there are no such tables."""


class Checker:
    """Reads the tables of one file and collects their mistakes."""

    def __init__(self, file: str, line_numbers: Mapping[Place, int]) -> None:
        self.mistakes: list[Problem] = []
        self.zone = ZoneInfo("UTC")
        self.seed = DEFAULT_SEED
        self.lines: dict[str, LineTable] = {}
        self.fleets: dict[int, FleetTable | ModbusFleetTable] = {}
        self.overrides: dict[str, MeterTable] = {}
        self.profiles: dict[str, Profile] = {}
        self.start: datetime | None = None
        self.speed = Decimal(1)
        self.actions: list[Action] = []
        self.truth: list[TruthTable] = []
        self.about = ""
        self._file = file
        self._line_numbers = line_numbers

    def read(self, content: dict[str, Any]) -> None:
        """Fill in zone, seed, start, speed, lines, fleets, overrides and actions.

        What is wrong is left out and stands in `mistakes`."""
        for key in content:
            if key not in TOP_KEYS:
                self._add((key,), f"unknown key{did_you_mean(key, TOP_KEYS)}")
        self._read_zone(content.get("zone", DEFAULT_ZONE))
        self._read_seed(content.get("seed", DEFAULT_SEED))
        self._read_time(content)
        lines = self._tables(content, "lines")
        fleets = self._tables(content, "meters")
        self.lines = self._valid_by_name(LineTable, "lines", lines)
        self._read_fleets(fleets)
        overrides = self._tables(content, "overrides")
        self.overrides = self._valid_by_name(MeterTable, "overrides", overrides)
        # Over the tables as they were written: one mistake must not hide another.
        line_names = {str(name) for name in lines}
        self._check_lines(lines)
        owners = self._check_fleets(fleets, line_names)
        self._check_units()
        if len(self.fleets) == len(fleets):
            self._check_that_lines_are_used(line_names)
            self._check_overrides(owners)
        for number, table in self._tables(content, "actions").items():
            self._read_action(number, table, line_names)
        self._read_truth(content)

    def _read_time(self, content: dict[str, Any]) -> None:
        start = content.get("start")
        if start is None or (type(start) is datetime and start.tzinfo is None):
            self.start = start
        else:
            self._add(("start",), f"must be a time without zone, 2026-11-30T08:00:00, not {start}")
        speed = _as_number(content.get("speed", 1))
        if speed is not None and 1 <= speed <= FASTEST:
            self.speed = speed
        else:
            told = content["speed"]
            self._add(("speed",), f"must be a number from 1 to {FASTEST}, not {told!r}")

    def _read_truth(self, content: dict[str, Any]) -> None:
        about = content.get("about", "")
        if isinstance(about, str):
            self.about = about
        else:
            self._add(("about",), f"must be a sentence in quotes, not {about!r}")
        for number, table in self._tables(content, "truth").items():
            truth = self._validated(TruthTable, ("truth", number), table)
            if truth is not None:
                self.truth.append(truth)
        if self.truth and self.start is None:
            self._add(("start",), "is missing: what is true then depends on when it begins")

    def _read_action(self, number: str | int, table: object, line_names: set[str]) -> None:
        place = ("actions", number)
        if not isinstance(table, dict):
            return
        after_s = _as_number(table.get("after_s"))
        if after_s is None or not 0 <= after_s <= LONGEST_S:
            told = table.get("after_s")
            self._add((*place, "after_s"), f"must be seconds after the start, not {told!r}")
            return
        keys = {key: value for key, value in table.items() if key not in ("after_s", "do")}
        do = str(table.get("do"))
        line = keys.get("line")
        if isinstance(line, str) and line not in line_names:
            hint = did_you_mean(line, line_names)
            self._add((*place, "line"), f"there is no line {line!r}{hint}")
        try:
            change = change_of(do, keys)
        except ValueError as error:
            self._add(place, str(error))
            return
        after = timedelta(microseconds=int(after_s * 1_000_000))
        self.actions.append(Action(after, do, keys, change))

    def _read_zone(self, name: object) -> None:
        try:
            self.zone = ZoneInfo(str(name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self._add(("zone",), f"{name!r} is no IANA time zone (such as Asia/Shanghai)")

    def _read_seed(self, seed: object) -> None:
        if isinstance(seed, int) and not isinstance(seed, bool):
            self.seed = seed
        else:
            self._add(("seed",), f"must be a whole number, not {seed!r}")

    def _read_fleets(self, tables: Tables) -> None:
        for number, table in tables.items():
            place = ("meters", number)
            fleet: FleetTable | ModbusFleetTable | None
            if isinstance(table, dict) and table.get("protocol") == MODBUS:
                fleet = self._validated(ModbusFleetTable, place, table)
            else:
                fleet = self._validated(FleetTable, place, table)
            if fleet is not None:
                self.fleets[int(number)] = fleet

    def _tables(self, content: dict[str, Any], name: str) -> Tables:
        tables = content.get(name)
        if not tables:
            if name in _NEEDED:
                self._add((name,), f"there are none; write {_NEEDED[name]}")
            return {}
        is_array = name in ("meters", "actions", "truth")
        if is_array and isinstance(tables, list):
            return dict(enumerate(tables))
        if not is_array and isinstance(tables, dict):
            return dict(tables)
        written = f"[[{name}]]" if is_array else f"[{name}.NAME]"
        self._add((name,), f"must be tables, written {written}")
        return {}

    def _valid_by_name(
        self,
        model: type[T],
        kind: str,
        tables: Tables,
    ) -> dict[str, T]:
        valid = {}
        for name, table in tables.items():
            value = self._validated(model, (kind, name), table)
            if value is not None:
                valid[str(name)] = value
        return valid

    def _validated(
        self,
        model: type[T],
        place: Place,
        table: object,
    ) -> T | None:
        try:
            return model.model_validate(table)
        except ValidationError as error:
            for detail in error.errors():
                self._add((*place, *detail["loc"]), in_words(detail, model))
        return None

    def _check_lines(self, tables: Tables) -> None:
        taken: dict[Place, str | int] = {}
        for name, table in tables.items():
            if isinstance(table, dict):
                self._check_place(name, table)
                self._check_that_it_is_free(name, table, taken)
        for name, line in self.lines.items():
            kinds = [fault.kind for fault in line.faults]
            if line.mqtt is None and "retained" in kinds:
                self._add(("lines", name, "faults"), "only a message over mqtt can be retained")
            if STUCK_RELAY in kinds:
                message = "stuck_relay is a fault of meters, not of a line"
                self._add(("lines", name, "faults"), message)

    def _check_place(self, name: str | int, table: dict[str, Any]) -> None:
        places = [key for key in _PLACES if key in table]
        if len(places) > 1:
            message = f"a line has a {' or a '.join(places)}, not both"
            self._add(("lines", name, places[-1]), message)
        elif not places and name in self.lines:
            message = (
                "needs a port (TCP, 0 = a free one), a link (pseudo-terminal), mqtt (a broker) "
                "or dial (a call)"
            )
            self._add(("lines", name), message)

    def _check_that_it_is_free(
        self,
        name: str | int,
        table: dict[str, Any],
        taken: dict[Place, str | int],
    ) -> None:
        port = table.get("port")
        host = table.get("host", DEFAULT_HOST)
        link = table.get("link")
        for key, value, place in (
            ("port", port, ("port", str(host), str(port))),
            ("link", link, ("link", str(link))),
        ):
            # Port 0 is a free one: several lines may ask for it.
            if value and taken.setdefault(place, name) != name:
                self._add(("lines", name, key), f"{value} is taken by line {taken[place]}")

    def _check_fleets(self, tables: Tables, line_names: set[str]) -> dict[int, str | int]:
        """Returns which table owns each address."""
        owners: dict[int, str | int] = {}
        for number, table in tables.items():
            if not isinstance(table, dict):
                continue
            line = table.get("line")
            if isinstance(line, str) and line not in line_names:
                hint = did_you_mean(line, line_names)
                self._add(("meters", number, "line"), f"there is no line {line!r}{hint}")
            addresses = _claimed_addresses(table)
            if addresses.stop > int(BROADCAST):
                many = f"{len(addresses)} meters from {table['address']} on"
                self._add(("meters", number, "count"), f"{many} do not fit below {BROADCAST}")
            else:
                self._check_addresses(number, addresses, owners)
        return owners

    def _check_addresses(
        self,
        number: str | int,
        addresses: range,
        owners: dict[int, str | int],
    ) -> None:
        for address in addresses:
            owner = owners.setdefault(address, number)
            if owner != number:
                clash = f"meter {address:012d} is {self._owned_by(owner)}"
                self._add(("meters", number, "address"), clash)
                return

    def _check_units(self) -> None:
        """Units and profiles of the Modbus meters."""
        owners: dict[str, int] = {}
        for number, fleet in self.fleets.items():
            if not isinstance(fleet, ModbusFleetTable):
                continue
            if fleet.unit + fleet.count - 1 > HIGHEST_UNIT:
                self._add(("meters", number, "count"), f"units end at {HIGHEST_UNIT}")
            for name in fleet.addresses():
                owner = owners.setdefault(name, number)
                if owner != number:
                    clash = f"{name} is {self._owned_by(owner)}"
                    self._add(("meters", number, "unit"), clash)
                    break
            try:
                self.profiles[fleet.profile] = load_profile(fleet.profile)
            except MeterdError as error:
                first_mistake = str(error).splitlines()[0]
                self._add(("meters", number, "profile"), first_mistake)

    def _check_that_lines_are_used(self, line_names: set[str]) -> None:
        used = {fleet.line for fleet in self.fleets.values()}
        for name in line_names - used:
            self._add(("lines", name), "has no meters; give it some [[meters]] or remove it")

    def _check_overrides(self, owners: dict[int, str | int]) -> None:
        units: set[str] = set()
        for fleet in self.fleets.values():
            if isinstance(fleet, ModbusFleetTable):
                units.update(fleet.addresses())
        for address in self.overrides:
            is_of_dlt645 = _ADDRESS.fullmatch(address) and int(address) in owners
            if address not in units and not is_of_dlt645:
                message = "there is no such meter (12 digits, one of the [[meters]])"
                self._add(("overrides", address), message)

    def _owned_by(self, number: str | int) -> str:
        line = line_of(self._line_numbers, ("meters", number))
        return f"also one of the [[meters]] in line {line}"

    def _add(self, place: Place, message: str) -> None:
        where = ".".join(map(str, place))
        line = line_of(self._line_numbers, place)
        self.mistakes.append(
            Problem(
                self._file,
                line,
                where,
                message,
            )
        )


def _as_number(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    return Decimal(value)


def _claimed_addresses(table: dict[str, Any]) -> range:
    """The addresses of a [[meters]] table as it was written.

    None when they cannot be understood."""
    address = table.get("address")
    count = table.get("count", 1)
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        return range(0)
    if type(count) is not int:  # a bool is an int, and no count
        return range(0)
    first = int(address)
    return range(first, first + min(max(count, 0), MOST_METERS))
