#!/usr/bin/env python3
"""Verify an electricity bill, from the registers of the meter to the sealed ledger, offline.

    python3 verify.py BILL.zip [BILL.zip ...] [--published BLOCK:HASH] [--language zh]

Python 3.8 or newer and nothing else; no line of it is shared with the program that made the bill.
README.txt says what the files hold. Each check prints a line; the last one is VALID, or INVALID
with the first file and line that is wrong, and why. Exit code 0 or 1."""

from __future__ import annotations

import argparse
import calendar
import hashlib
import json
import os
import re
import struct
import sys
import zlib
from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any, Callable, Dict, Iterable, NamedTuple, Tuple

BILL = "bill.jsonl"
TRANSACTIONS = "transactions.jsonl"
SEALS = "seals.jsonl"
MANIFEST = "manifest.jsonl"
NAMES = ("README.txt", "__main__.py", "verify.py", BILL, TRANSACTIONS, SEALS, MANIFEST)
FORMAT = 1
TOTAL = "total"
ZERO = Fraction(0)
DAY_US = 86_400_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIRST_DAY = date(1970, 1, 1)
Y2000 = date(2000, 1, 1)
Y2000_US = (Y2000 - FIRST_DAY).days * DAY_US
INT8, INT4, BYTEA, DATE, TIMESTAMP, INT4S, INT8S = 20, 23, 17, 1082, 1184, 1007, 1016
YEARS = range(1970, 2200)
MOST_DECIMALS = 8
NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
ADJUSTMENT = re.compile(r"adjustment:((?!0000)[0-9]{4})-(0[1-9]|1[0-2]):(.+)")
HASH = re.compile(r"[0-9a-f]{64}")
Say = Callable[..., None]
Registers = Dict[str, Fraction]
Stream = Tuple[date, str]  # the first day of a month, and a component of the charge


class Wrong(Exception):
    """What is wrong, and where: a file and its line."""

    def __init__(self, place: str, message: str, *values: object) -> None:
        super().__init__(place, message, values)
        self.place = place
        self.message = message
        self.values = values


# The container: a zip without compression, so that each of its bytes has one right value.


def unpacked(raw: bytes) -> dict[str, bytes]:
    """The files of a zip as far as it can be read; `packed` tells whether that was all of it."""
    files: dict[str, bytes] = {}
    at = 0
    while raw[at : at + 4] == b"PK\3\4" and len(raw) >= at + 30:
        size, again, name_size = struct.unpack("<2LH", raw[at + 18 : at + 28])
        if size != again:
            break  # packed, or damaged
        name_ends = at + 30 + name_size
        name = raw[at + 30 : name_ends].decode("ascii", "replace")
        at = name_ends + size
        files[name] = raw[name_ends:at]
    return files


def packed(files: dict[str, bytes]) -> bytes:
    """The one zip of these files: stored as they are, dated 1980-01-01, in this order."""
    local = []
    directory = []
    offset = 0
    for name, content in files.items():
        told = name.encode("ascii", "replace")
        crc = zlib.crc32(content)
        head = struct.pack(
            "<5H3L2H", 20, 0, 0, 0, 33, crc, len(content), len(content), len(told), 0
        )
        place = struct.pack("<3H2L", 0, 0, 0, 0o100644 << 16, offset)
        directory.append(b"PK\1\2\x14\3" + head + place + told)
        local.append(b"PK\3\4" + head + told + content)
        offset += len(local[-1])
    listed = b"".join(directory)
    count = len(files)
    end = struct.pack("<4H2LH", 0, 0, count, count, len(listed), offset, 0)
    return b"".join(local) + listed + b"PK\5\6" + end


def check_container(place: str, raw: bytes, files: dict[str, bytes]) -> None:
    """Wrong at the first byte of the zip that is not as it was made."""
    right = packed(files)
    if raw == right:
        return
    most = min(len(raw), len(right))
    differ = int.from_bytes(raw[:most], "big") ^ int.from_bytes(right[:most], "big")
    same = most - (differ.bit_length() + 7) // 8
    raise Wrong(place, "byte {} is damaged, or the zip was packed anew", same)


def lines_of(content: bytes) -> list[bytes]:
    """Without the ends of the lines; what follows the last end is a line too."""
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def check_manifest(files: dict[str, bytes]) -> int:
    """Compare every line of every file with its hash; returns how many lines that were."""
    listed = lines_of(files[MANIFEST])
    count = 0
    for number, name in enumerate(NAMES[:-1], 1):
        place = f"{MANIFEST}:{number}"
        if number > len(listed):
            raise Wrong(place, "the line is missing")
        told, _, check = listed[number - 1].partition(b', "check": ')
        if check != b'"' + short_hash(told, 16) + b'"}':
            raise Wrong(place, "the line is damaged")
        entry = Fact(place, parsed(place, told + b"}"))
        if entry.text("file") != name:
            raise Wrong(place, "must be about {}", name)
        count += check_lines(name, files[name], entry)
    if len(listed) >= len(NAMES) or not files[MANIFEST].endswith(b"\n"):
        raise Wrong(f"{MANIFEST}:{len(listed)}", "the line is damaged")
    return count


def check_lines(name: str, content: bytes, entry: Fact) -> int:
    """Wrong at the first line whose hash is not that of the manifest."""
    hashes = entry.text("lines").encode("ascii", "replace")
    lines = lines_of(content)
    for number, line in enumerate(lines):
        if short_hash(line, 8) != hashes[number * 8 : number * 8 + 8]:
            raise Wrong(f"{name}:{number + 1}", "the line is damaged")
    whole = hashlib.sha256(content).hexdigest()
    if len(hashes) != 8 * len(lines) or whole != entry.text("sha256"):
        raise Wrong(f"{name}:{len(lines)}", "the file is damaged here, or cut off")
    return len(lines)


def short_hash(line: bytes, digits: int) -> bytes:
    """The first digits of the hash of a line."""
    return hashlib.sha256(line).hexdigest()[:digits].encode()


# Facts: one line of JSON each.


def parsed(place: str, line: bytes) -> Any:
    """The value that a line of JSON holds."""
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):
        raise Wrong(place, "is not a line of JSON") from None


class Fact:
    """An object of JSON with its place; what is asked for is there and of its kind, or Wrong."""

    def __init__(self, place: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise Wrong(place, "is not an object of JSON")
        self.place = place
        self.values = values

    def has(self, key: str) -> bool:
        """Whether something is told of it."""
        return self.values.get(key) is not None

    def of_kind(self, key: str, kind: type) -> Any:
        """Of this type and of no other."""
        found = self.values.get(key)
        if type(found) is not kind:
            raise Wrong(self.place, "{} is missing, or not what it must be", key)
        return found

    def text(self, key: str) -> str:
        """A text."""
        return str(self.of_kind(key, str))

    def whole(self, key: str) -> int:
        """An integer; fen and counts are."""
        return int(self.of_kind(key, int))

    def flag(self, key: str) -> bool:
        """False where it is not told."""
        return self.has(key) and bool(self.of_kind(key, bool))

    def table(self, key: str) -> Fact:
        """An object inside."""
        return Fact(self.place, self.of_kind(key, dict))

    def tables(self, key: str) -> list[Fact]:
        """Objects in a list; none where it is not told."""
        return [Fact(self.place, it) for it in self.of_kind(key, list)] if self.has(key) else []

    def number(self, key: str) -> Fraction:
        """An exact number, which stands in a text."""
        text = self.text(key)
        if not NUMBER.fullmatch(text):
            raise Wrong(self.place, "{} is not a number", key)
        return Fraction(text)

    def numbers(self, key: str) -> list[Fraction]:
        """A list of them."""
        found = self.of_kind(key, list)
        return [Fact(self.place, {key: it}).number(key) for it in found]

    def registers(self, key: str) -> Registers:
        """Numbers by the names of registers."""
        table = self.table(key)
        return {name: table.number(name) for name in table.values}

    def day(self, key: str) -> date:
        """A local date."""
        try:
            day = date.fromisoformat(self.text(key))
        except ValueError:
            day = date.min
        if day.year not in YEARS:
            raise Wrong(self.place, "{} is not a date", key)
        return day

    def month(self, key: str) -> date:
        """The first day of a month."""
        return Fact(self.place, {key: self.text(key) + "-01"}).day(key)

    def instant(self, key: str) -> int:
        """Microseconds since 1970."""
        try:
            instant = datetime.fromisoformat(self.text(key))
            since = (instant - EPOCH) // timedelta(microseconds=1)
        except (ValueError, TypeError, OverflowError):
            raise Wrong(self.place, "{} is not an instant with its offset from UTC", key) from None
        return since


# The tariff, in the words of the file in which it is written.


class Ladder:
    """Steps by the use of a month or a year."""

    def __init__(self, told: Fact) -> None:
        self.place = told.place
        self.is_yearly = told.text("cycle") == "year"
        self.method = told.text("method")
        self.bounds = told.numbers("bounds_kwh")
        if self.method not in ("price", "adder", "matrix", "slab"):
            raise Wrong(told.place, "{} is no method of a ladder", self.method)
        self.scales_at_close = told.has("partial_year") and told.text("partial_year") == "months"
        self.prices: list[Fraction] = []
        self.matrix: list[Registers] = []
        if self.method == "matrix":
            rows = told.of_kind("matrix", list)
            self.matrix = [Fact(told.place, {"matrix": it}).registers("matrix") for it in rows]
        else:
            self.prices = told.numbers("adders" if self.method == "adder" else "prices")
        self.whole_above = told.number("whole_above_kwh") if self.method == "slab" else None
        if len(self.prices or self.matrix) != len(self.bounds) + 1:
            raise Wrong(
                told.place, "{} bounds make {} steps", len(self.bounds), len(self.bounds) + 1
            )
        if self.whole_above and self.whole_above not in self.bounds:
            raise Wrong(told.place, "whole_above_kwh is none of the bounds")

    def cycle(self, month: date) -> str:
        """The name of the year or month that holds a month."""
        return month.strftime("%Y" if self.is_yearly else "%Y-%m")


class Version:
    """What a kWh, a day and a month cost from `start` on."""

    def __init__(self, told: Fact) -> None:
        self.place = told.place
        self.start = told.day("effective_from")
        self.energy: Registers = {}
        if told.has("energy"):
            energy = told.table("energy")
            is_flat = energy.text("mode") == "flat"
            self.energy = {TOTAL: energy.number("price")} if is_flat else energy.registers("prices")
        self.ladder = Ladder(told.table("ladder")) if told.has("ladder") else None
        self.surcharges = [
            (it.text("code"), it.number("per_kwh"))
            for it in told.tables("surcharges")
            if not it.flag("included")
        ]
        self.fixed = told.table("fixed") if told.has("fixed") else None
        self.minimum = told.table("minimum").number("monthly_yuan") if told.has("minimum") else None
        is_taxed = told.has("tax") and told.table("tax").text("mode") == "exclusive"
        self.tax_rate = told.table("tax").number("rate") if is_taxed else ZERO

    def rates(self) -> list[str]:
        """The registers that it prices besides the total."""
        priced = self.energy
        if self.ladder is not None and self.ladder.method != "adder":
            priced = self.ladder.matrix[0] if self.ladder.matrix else {}
        return [rate for rate in priced if rate != TOTAL]


# The bill.


class Meter(NamedTuple):
    """A meter at a point, with one ratio; its register rolls over at `modulus` steps."""

    point: str
    ratio: Fraction
    decimals: int
    modulus: int


class Link(NamedTuple):
    """Two registers that are billed together, or kWh that were agreed; `held`: not billed yet."""

    place: str
    point: str
    start: int
    end: int
    kwh_of_step: Fraction
    steps: dict[str, int]
    held: bool


class Part(NamedTuple):
    """Of a link, what lies in one month and under one version: kWh by register."""

    month: date
    version: int
    start: int
    kwh: Registers


class Bill:
    """The facts of bill.jsonl."""

    def __init__(self, facts: list[Fact]) -> None:
        self.by_kind: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            self.by_kind[fact.text("fact")].append(fact)
        self.head = self.only("bill")
        if self.head.whole("format") != FORMAT:
            raise Wrong(self.head.place, "is not of format {}", FORMAT)
        self.account = self.head.text("account")
        self.month = self.head.month("month")
        self.phases = self.head.whole("phases")
        self.opened = self.head.day("opened") if self.head.has("opened") else None
        self.last_day = self.head.day("last_day") if self.head.has("last_day") else None
        self.offsets = [
            (it.instant("from"), it.whole("seconds") * 1_000_000)
            for it in self.by_kind["utc_offset"]
        ]
        if not self.offsets or sorted(self.offsets) != self.offsets:
            raise Wrong(self.head.place, "the offsets of the zone are missing, or out of order")
        self.versions = [Version(it.table("version")) for it in self.by_kind["tariff"]]
        starts = [it.start for it in self.versions]
        if sorted(set(starts)) != starts:
            raise Wrong(self.versions[0].place, "the versions of the tariff are out of order")
        self.closed_days = set(self.days("closed_days"))
        self.months = [it.month("month") for it in self.by_kind["rated_month"]]

    def only(self, kind: str) -> Fact:
        """The one line of its kind."""
        found = self.by_kind[kind]
        if len(found) != 1:
            raise Wrong(f"{BILL}:1", "must hold one line of the kind {}", kind)
        return found[0]

    def days(self, kind: str) -> Iterable[date]:
        """All days of lines from a day to a day."""
        for fact in self.by_kind[kind]:
            day = fact.day("from")
            while day <= fact.day("to"):
                yield day
                day += timedelta(days=1)

    def offset(self, instant: int) -> int:
        """What is added to UTC at an instant."""
        return [self.offsets[0], *(it for it in self.offsets if it[0] <= instant)][-1][1]

    def day_of(self, instant: int) -> date:
        """The local day of an instant."""
        return FIRST_DAY + timedelta(days=(instant + self.offset(instant)) // DAY_US)

    def midnight(self, day: date) -> int:
        """The instant of 00:00 of a local day; where the clocks leave it out, when they jump."""
        local = (day - FIRST_DAY).days * DAY_US
        instants = [local - offset for _, offset in self.offsets]
        changes = [begin for begin, _ in self.offsets[1:]]
        for before, after, change in zip(instants, instants[1:], changes):
            if before < change or after < change:
                return before
        return instants[-1]

    def version_on(self, day: date) -> int | None:
        """The number of the version in force on a day; None before the first one."""
        begun = sum(it.start <= day for it in self.versions)
        return begun - 1 if begun else None

    def serves(self, day: date) -> bool:
        """Whether the account is in service on a day."""
        is_open = self.opened is None or self.opened <= day
        return is_open and (self.last_day is None or day <= self.last_day)

    def days_in_service(self, month: date) -> list[date]:
        """Those of a month."""
        return [day for day in days_of(month) if self.serves(day)]

    def cycles_elsewhere(self) -> list[str]:
        """The cycles of which others billed some use."""
        return [it.text("cycle") for it in self.by_kind["used_elsewhere"]]

    def elsewhere(self, cycle: str) -> Fraction:
        """kWh of a cycle that others billed."""
        told = self.by_kind["used_elsewhere"]
        return sum((it.number("kwh") for it in told if it.text("cycle") == cycle), ZERO)

    def bonus(self, months: Iterable[date]) -> Fraction:
        """kWh that a household has more in each step: of a month what is in force on its 1st."""
        entries = sorted(
            (it.day("from"), it.number("kwh_per_month")) for it in self.by_kind["bonus"]
        )
        kwh = ZERO
        for month in months:
            kwh += [ZERO, *(it[1] for it in entries if it[0] <= month)][-1]
        return kwh

    def bounds(self, ladder: Ladder, month: date) -> list[Fraction]:
        """The bounds of the cycle that holds the month."""
        if not ladder.is_yearly:
            return [bound + self.bonus([month]) for bound in ladder.bounds]
        months = [date(month.year, number, 1) for number in range(1, 13)]
        is_closed = self.last_day is not None and self.last_day.year == month.year
        if is_closed and ladder.scales_at_close:
            months = [it for it in months if self.days_in_service(it)]
        return [bound * len(months) / 12 + self.bonus(months) for bound in ladder.bounds]


def days_of(month: date) -> list[date]:
    """All days of a month."""
    count = calendar.monthrange(month.year, month.month)[1]
    return [month.replace(day=number + 1) for number in range(count)]


# Use: from registers to kWh by month and version.


def meters_of(bill: Bill) -> dict[int, Meter]:
    """The meters by the numbers that they have in the bill."""
    meters = {}
    for fact in bill.by_kind["meter"]:
        decimals = fact.whole("decimals")
        if not 0 <= decimals <= MOST_DECIMALS:
            raise Wrong(fact.place, "{} is missing, or not what it must be", "decimals")
        modulus = in_steps(fact, fact.number("modulus"), decimals)
        told = Meter(fact.text("point"), fact.number("ratio"), decimals, modulus)
        meters[fact.whole("meter")] = told
    return meters


def in_steps(fact: Fact, register: Fraction, decimals: int) -> int:
    """A register in its smallest step."""
    steps = register * Fraction(10) ** decimals
    if steps.denominator != 1 or steps < 0:
        raise Wrong(fact.place, "{} is no register with {} decimals", float(register), decimals)
    return steps.numerator


def told_registers(bill: Bill) -> dict[tuple[int, int], Registers]:
    """By meter and instant what was read, or what a document says."""
    told: dict[tuple[int, int], Registers] = {}
    for fact in bill.by_kind["reading"]:
        registers = fact.registers("registers")
        key = fact.whole("meter"), fact.instant("at")
        if told.setdefault(key, registers) != registers:
            raise Wrong(fact.place, "the meter told something else at the same instant")
    return told


def links_of(bill: Bill) -> list[Link]:
    """The links; both ends of each are what the meter told, and none lies over another."""
    meters = meters_of(bill)
    told = told_registers(bill)
    points = {it.text("point"): it for it in bill.by_kind["point"]}
    links = []
    ends: dict[str, int] = {}
    for fact in bill.by_kind["link"]:
        start, end = fact.instant("from"), fact.instant("to")
        if fact.has("agreed_kwh"):
            link = agreed(fact, points.get(fact.text("point"), fact), start, end)
        else:
            number = fact.whole("meter")
            if number not in meters:
                raise Wrong(fact.place, "there is no meter {}", number)
            for at, key in ((start, "begins"), (end, "ends")):
                if not fact.registers(key).items() <= told.get((number, at), {}).items():
                    raise Wrong(fact.place, "{} is not what the meter told then", key)
            link = advanced(fact, meters[number], start, end)
        if start > end or start < ends.get(link.point, start):
            raise Wrong(fact.place, "begins before the link before it ends")
        ends[link.point] = end
        links.append(link)
    return links


def agreed(fact: Fact, point: Fact, start: int, end: int) -> Link:
    """kWh that no register shows; where there is a residual rate, all are of that."""
    kwh = fact.number("agreed_kwh")
    decimals = len(fact.text("agreed_kwh").partition(".")[2])
    rates = point.of_kind("rates", list) if point.has("residual_rate") else []
    steps = {**{str(rate): 0 for rate in rates}, TOTAL: in_steps(fact, kwh, decimals)}
    of_step = 1 / Fraction(10) ** decimals
    return Link(fact.place, fact.text("point"), start, end, of_step, steps, fact.has("held"))


def advanced(fact: Fact, meter: Meter, start: int, end: int) -> Link:
    """How far each register went, over its end where it rolled over."""
    begins, ends = fact.registers("begins"), fact.registers("ends")
    if TOTAL not in begins or begins.keys() != ends.keys():
        raise Wrong(fact.place, "begins and ends do not hold the same registers")
    steps = {}
    for name, begin in begins.items():
        went = in_steps(fact, ends[name], meter.decimals) - in_steps(fact, begin, meter.decimals)
        steps[name] = went if went >= 0 else went + meter.modulus
        if steps[name] < 0:
            raise Wrong(fact.place, "the register {} went back", name)
    of_step = meter.ratio / Fraction(10) ** meter.decimals
    return Link(fact.place, meter.point, start, end, of_step, steps, fact.has("held"))


def parts_of(bill: Bill, links: list[Link]) -> list[Part]:
    """The links cut where a month or a version starts, in order of time.

    Each register is shared out by elapsed time, half up on its own grid; the ratio comes after."""
    residual = {
        it.text("point"): it.text("residual_rate") if it.has("residual_rate") else None
        for it in bill.by_kind["point"]
    }
    starts = {it.start for it in bill.versions}
    parts = []
    for link in links:
        if link.held:
            continue
        first, last = bill.day_of(link.start), bill.day_of(link.end)
        inside = [first + timedelta(days=number) for number in range(1, (last - first).days + 1)]
        cuts = [day for day in inside if day.day == 1 or day in starts]
        cuts = [day for day in cuts if link.start < bill.midnight(day) < link.end]
        edges = [link.start, *map(bill.midnight, cuts), link.end]
        before = dict.fromkeys(link.steps, 0)
        for day, begin, end in zip([first, *cuts], edges, edges[1:]):
            upto = {name: share(it, link, end) for name, it in link.steps.items()}
            steps = {name: it - before[name] for name, it in upto.items()}
            before = upto
            version = bill.version_on(day)
            if version is None:
                raise Wrong(link.place, "no version of the tariff is in force on {}", day)
            kwh = priced_registers(link, steps, bill.versions[version], residual.get(link.point))
            parts.append(Part(day.replace(day=1), version, begin, kwh))
    return sorted(parts, key=lambda part: part[:3])


def share(steps: int, link: Link, upto: int) -> int:
    """What of the steps lies before an instant, half up."""
    if upto == link.end:
        return steps
    whole = link.end - link.start
    return (2 * steps * (upto - link.start) + whole) // (2 * whole)


def priced_registers(
    link: Link, steps: dict[str, int], version: Version, residual: str | None
) -> Registers:
    """kWh of the total and of each rate; the residual rate is the total without the others."""
    kwh = {name: it * link.kwh_of_step for name, it in steps.items()}
    rates = version.rates()
    told = {rate: kwh[rate] for rate in rates if rate in kwh and rate != residual}
    if rates and residual is not None:
        told[residual] = kwh[TOTAL] - sum(told.values())
    missing = set(rates) - set(told)
    left = set(kwh) - {TOTAL, *rates} if rates and residual is None else set()
    for rate in sorted(missing | left | set(told) - set(rates)):
        raise Wrong(link.place, "the rate {} has no register, or no price", rate)
    return {TOTAL: kwh[TOTAL], **told}


# Prices: exact yuan by month, version and component.

Lines = Dict[Tuple[date, int, str], Fraction]


def charged(bill: Bill, parts: list[Part]) -> dict[Stream, Fraction]:
    """What is owed, by month and component."""
    lines: Lines = defaultdict(Fraction)
    used = ladder_use(bill, parts)
    price_use(bill, parts, used, lines)
    for part in parts:
        for code, per_kwh in bill.versions[part.version].surcharges:
            lines[part.month, part.version, code] += per_kwh * part.kwh[TOTAL]
    served = {day for day in bill.closed_days if bill.serves(day)}
    for month in sorted({day.replace(day=1) for day in served}):
        price_days(bill, month, served, used, lines)
    for (month, version, _), yuan in list(lines.items()):
        if bill.versions[version].tax_rate:
            lines[month, version, "tax"] += bill.versions[version].tax_rate * yuan
    streams: dict[Stream, Fraction] = defaultdict(Fraction)
    for (month, _, component), yuan in lines.items():
        streams[month, component] += yuan
    return streams


def ladder_use(bill: Bill, parts: list[Part]) -> dict[str, Fraction]:
    """kWh by cycle, with what others billed of it."""
    used = {cycle: bill.elsewhere(cycle) for cycle in bill.cycles_elsewhere()}
    for part in parts:
        ladder = bill.versions[part.version].ladder
        if ladder is not None:
            cycle = ladder.cycle(part.month)
            used[cycle] = used.get(cycle, ZERO) + part.kwh[TOTAL]
    return used


def price_use(bill: Bill, parts: list[Part], used: dict[str, Fraction], lines: Lines) -> None:
    """Components energy and tier."""
    position: dict[str, Fraction] = {}
    for part in parts:
        version = bill.versions[part.version]
        ladder = version.ladder
        energy = (part.month, part.version, "energy")
        if ladder is None or ladder.method == "adder":
            lines[energy] += at_prices(version.place, version.energy, part.kwh)
        if ladder is None:
            continue
        cycle = ladder.cycle(part.month)
        is_first = cycle not in position
        before = position.get(cycle, bill.elsewhere(cycle))
        after = position[cycle] = before + part.kwh[TOTAL]
        bounds = bill.bounds(ladder, part.month)
        if ladder.method == "matrix":
            lines[energy] += at_matrix(ladder, bounds, before, after, part.kwh)
        elif ladder.method == "slab":
            standing = used[cycle]
            cost = slab_cost(ladder, bounds, after, standing) - slab_cost(
                ladder, bounds, before, standing
            )
            if is_first:
                # Use billed elsewhere is priced anew with the rest of the month.
                cost += slab_cost(ladder, bounds, before, standing) - slab_cost(
                    ladder, bounds, before, before
                )
            lines[energy] += cost
        else:
            component = "tier" if ladder.method == "adder" else "energy"
            cost = by_steps(ladder, bounds, after) - by_steps(ladder, bounds, before)
            lines[part.month, part.version, component] += cost


def at_prices(place: str, prices: Registers, kwh: Registers) -> Fraction:
    """Registers at a price each."""
    if not set(prices) <= set(kwh):
        raise Wrong(place, "the rate {} has no register, or no price", min(set(prices) - set(kwh)))
    return sum((price * kwh[name] for name, price in prices.items()), ZERO)


def overlaps(bounds: list[Fraction], before: Fraction, after: Fraction) -> list[Fraction]:
    """How much of the way from one use to another lies in each step."""
    below = [ZERO, *bounds]
    above = [*bounds, after]
    return [max(ZERO, min(after, to) - max(before, at)) for at, to in zip(below, above)]


def by_steps(ladder: Ladder, bounds: list[Fraction], used: Fraction) -> Fraction:
    """What so much use costs from nothing on, each step at its own price."""
    return sum(
        (price * kwh for price, kwh in zip(ladder.prices, overlaps(bounds, ZERO, used))), ZERO
    )


def step_of(bounds: list[Fraction], used: Fraction) -> int:
    """The step that was reached; a bound hit exactly is the lower one."""
    return sum(used > bound for bound in bounds)


def at_matrix(
    ladder: Ladder, bounds: list[Fraction], before: Fraction, after: Fraction, kwh: Registers
) -> Fraction:
    """Each rate is shared out over the steps as the total is."""
    way = after - before
    if not way:
        return at_prices(ladder.place, ladder.matrix[step_of(bounds, before)], kwh)
    parts = zip(ladder.matrix, overlaps(bounds, before, after))
    return sum((at_prices(ladder.place, row, kwh) * it / way for row, it in parts), ZERO)


def slab_cost(
    ladder: Ladder, bounds: list[Fraction], used: Fraction, standing: Fraction
) -> Fraction:
    """What the first kWh cost while the month stands at a use: above a bound all at one price."""
    whole_above = ladder.whole_above or ZERO
    if whole_above:
        whole_above = bounds[ladder.bounds.index(whole_above)]
    if standing <= whole_above:
        return by_steps(ladder, bounds, used)
    return ladder.prices[step_of(bounds, standing)] * used


def price_days(
    bill: Bill, month: date, served: set[date], used: dict[str, Fraction], lines: Lines
) -> None:
    """Components fixed and minimum, by the closed days in service."""
    in_service = bill.days_in_service(month)
    days = len(days_of(month))
    by_version: dict[int, int] = defaultdict(int)
    for day in in_service:
        version = bill.version_on(day)
        if version is not None and day in served:
            by_version[version] += 1
    for number, closed in by_version.items():
        fixed = bill.versions[number].fixed
        if fixed is None:
            continue
        if fixed.has("daily_yuan"):
            yuan = fixed.number("daily_yuan") * closed
        else:
            is_broken = len(in_service) < days and fixed.text("proration") == "thirtieth"
            yuan = monthly_fee(bill, number, month, used) * closed / (30 if is_broken else days)
        lines[month, number, "fixed"] += yuan
    if served.issuperset(in_service):
        price_minimum(bill, month, in_service, lines)


def monthly_fee(bill: Bill, number: int, month: date, used: dict[str, Fraction]) -> Fraction:
    """The fee of a month, or that of the slab which it reached."""
    version = bill.versions[number]
    fixed, ladder = version.fixed, version.ladder
    assert fixed is not None
    if fixed.has("monthly_yuan"):
        return fixed.number("monthly_yuan")
    if ladder is None:
        raise Wrong(version.place, "a fee by slab needs a ladder")
    fees = fixed.table("by_slab").numbers(str(bill.phases))
    reached = step_of(bill.bounds(ladder, month), used.get(ladder.cycle(month), ZERO))
    if len(fees) != len(ladder.bounds) + 1:
        raise Wrong(
            version.place, "{} bounds make {} steps", len(ladder.bounds), len(ladder.bounds) + 1
        )
    return fees[reached]


def price_minimum(bill: Bill, month: date, in_service: list[date], lines: Lines) -> None:
    """What is missing to the minimum of a month whose days are all closed."""
    versions = [bill.version_on(day) for day in in_service]
    fees = [bill.versions[it].minimum for it in versions if it is not None]
    least = sum((fee for fee in fees if fee is not None), ZERO) / len(days_of(month))
    last = versions[-1]
    if last is None or all(fee is None for fee in fees):
        return
    counted = ("energy", "tier", "fixed")
    known = sum((it for of, it in lines.items() if of[0] == month and of[2] in counted), ZERO)
    lines[month, last, "minimum"] += max(ZERO, least - known)


def fen(yuan: Fraction) -> int:
    """To the nearest fen, a half away from zero."""
    nearest = (200 * abs(yuan.numerator) + yuan.denominator) // (2 * yuan.denominator)
    return nearest if yuan >= 0 else -nearest


# The ledger: what was sealed, and the way from each line to one hash (RFC 6962).


class Leg(NamedTuple):
    """Positive where the holder of the account gains; of a charge with its month and component."""

    account: str
    fen: int
    stream: Stream | None


class Transaction(NamedTuple):
    """What was posted at once."""

    place: str
    value_date: date
    legs: list[Leg]


def sent(fact: Fact, form: str, number: int | None) -> bytes | None:
    """A number as PostgreSQL sends it."""
    try:
        return None if number is None else struct.pack(form, number)
    except struct.error:
        raise Wrong(fact.place, "{} is too large", number) from None


def sent_text(fact: Fact, key: str) -> bytes | None:
    """A text as it was hashed; None where there is none."""
    return fact.text(key).encode("utf-8", "replace") if fact.has(key) else None


def sent_list(fact: Fact, key: str, form: str, kind: int) -> bytes | None:
    """Numbers of one kind as PostgreSQL sends an array; an empty place in it is a NULL."""
    if not fact.has(key):
        return None
    found = fact.of_kind(key, list)
    items = [
        sent(fact, form, it if it is None else Fact(fact.place, {key: it}).whole(key))
        for it in found
    ]
    head = struct.pack(">3l2l", 1, int(None in items), kind, len(items), 1)
    return head + b"".join(with_length(it) for it in items)


def with_length(value: bytes | None) -> bytes:
    """Behind its length; -1 stands for NULL."""
    return struct.pack(">l", -1) if value is None else struct.pack(">l", len(value)) + value


def record(*fields: tuple[int, bytes | None]) -> bytes:
    """A record as PostgreSQL sends it; each field with the number of its type."""
    told = (struct.pack(">l", kind) + with_length(value) for kind, value in fields)
    return struct.pack(">l", len(fields)) + b"".join(told)


def leaf_of(fact: Fact) -> bytes:
    """The bytes that were hashed of a transaction, of an account's name or of a stream's."""
    place = (INT8, sent(fact, ">q", fact.whole("place")))
    if fact.has("account"):
        name = (BYTEA, sent_text(fact, "name"))
        return record(place, (INT4, sent(fact, ">l", fact.whole("account"))), name)
    if fact.has("stream"):
        month = (DATE, sent(fact, ">l", (fact.month("month") - Y2000).days))
        component = (BYTEA, sent_text(fact, "component"))
        return record(place, (INT4, sent(fact, ">l", fact.whole("stream"))), month, component)
    document = fact.whole("document") if fact.has("document") else None
    reverses = fact.whole("reverses") if fact.has("reverses") else None
    return record(
        place,
        (TIMESTAMP, sent(fact, ">q", fact.instant("recorded_at") - Y2000_US)),
        (DATE, sent(fact, ">l", (fact.day("value_date") - Y2000).days)),
        (BYTEA, sent_text(fact, "kind")),
        (INT4S, sent_list(fact, "accounts", ">l", INT4)),
        (INT8S, sent_list(fact, "fen", ">q", INT8)),
        (INT4S, sent_list(fact, "streams", ">l", INT4)),
        (BYTEA, sent_text(fact, "actor")),
        (BYTEA, sent_text(fact, "key")),
        (BYTEA, sent_text(fact, "channel")),
        (BYTEA, sent_text(fact, "content")),
        (INT4, sent(fact, ">l", document)),
        (INT8, sent(fact, ">q", reverses)),
    )


def node(left: bytes, right: bytes) -> bytes:
    """The node above two others."""
    return hashlib.sha256(b"\1" + left + right).digest()


def leaf(content: bytes) -> bytes:
    """The leaf of bytes."""
    return hashlib.sha256(b"\0" + content).digest()


def hash_in(fact: Fact, key: str) -> bytes:
    """A hash in hex."""
    found = fact.text(key)
    if not HASH.fullmatch(found):
        raise Wrong(fact.place, "{} is not a hash", key)
    return bytes.fromhex(found)


def root_from(reached: bytes, fact: Fact) -> bytes:
    """Where the path of a line leads from a hash; `<` stands before a hash on the left of it."""
    for told in fact.of_kind("path", list):
        if not isinstance(told, str) or told[:1] not in ("<", ">") or not HASH.fullmatch(told[1:]):
            raise Wrong(fact.place, "{} is missing, or not what it must be", "path")
        beside = bytes.fromhex(told[1:])
        reached = node(beside, reached) if told[0] == "<" else node(reached, beside)
    return reached


def blocks_of(facts: list[Fact]) -> dict[int, bytes]:
    """The hashes of blocks by number. The last line is the head, which stands for all before it."""
    if not facts:
        return {}
    head = facts[-1]
    number = head.whole("head")
    told = ["block", number, head.whole("after"), head.whole("through")]
    told += [hash_in(head, "previous").hex(), hash_in(head, "history").hex()]
    found = hash_in(head, "hash")
    if root_from(leaf(json.dumps([*told, head.whole("sealed_at_us")]).encode()), head) != found:
        raise Wrong(head.place, "is not the head of the block with this hash")
    blocks = {}
    for fact in facts[:-1]:
        block = blocks[fact.whole("block")] = hash_in(fact, "hash")
        if fact.whole("block") >= number or root_from(block, fact) != hash_in(head, "history"):
            raise Wrong(
                fact.place,
                "block {} is not among those before block {}",
                fact.whole("block"),
                number,
            )
    return {**blocks, number: found}


def sealed(files: dict[str, bytes]) -> tuple[list[Transaction], dict[int, bytes]]:
    """Line n of seals.jsonl proves line n of transactions.jsonl; the blocks come behind."""
    lines = facts_of(TRANSACTIONS, files[TRANSACTIONS])
    seals = facts_of(SEALS, files[SEALS])
    blocks = blocks_of(seals[len(lines) :])
    if len(seals) < len(lines):
        raise Wrong(lines[len(seals)].place, "has no seal")
    before = None
    for line, seal in zip(lines, seals):
        block = seal.whole("block")
        if root_from(leaf(leaf_of(line)), seal) != blocks.get(block):
            raise Wrong(line.place, "is not what was sealed in block {}", block)
        if before is not None and line.whole("place") <= before:
            raise Wrong(line.place, "is out of order, or comes twice")
        before = line.whole("place")
    return transactions_of(lines), blocks


def transactions_of(lines: list[Fact]) -> list[Transaction]:
    """The transactions, with the names of their accounts and streams."""
    accounts = {it.whole("account"): it.text("name") for it in lines if it.has("account")}
    streams = {
        it.whole("stream"): (it.month("month"), it.text("component"))
        for it in lines
        if it.has("stream")
    }
    transactions = []
    for line in lines:
        if line.has("account") or line.has("stream"):
            continue
        fen = line.of_kind("fen", list)
        numbers = line.of_kind("accounts", list)
        of_streams = line.of_kind("streams", list) if line.has("streams") else [None] * len(fen)
        if None in fen or not len(fen) == len(numbers) == len(of_streams) or sum(fen):
            raise Wrong(line.place, "the legs do not sum to zero")
        if not set(numbers) <= set(accounts) or not set(of_streams) - {None} <= set(streams):
            raise Wrong(line.place, "an account or a stream of it has no name here")
        legs = [
            Leg(accounts[account], amount, streams.get(stream))
            for account, amount, stream in zip(numbers, fen, of_streams)
        ]
        transactions.append(Transaction(line.place, line.day("value_date"), legs))
    return transactions


def facts_of(name: str, content: bytes) -> list[Fact]:
    """The lines of a file."""
    places = (f"{name}:{number}" for number in range(1, sys.maxsize))
    return [Fact(place, parsed(place, line)) for place, line in zip(places, lines_of(content))]


# Money: what registers make is what was posted, and the balance follows.


def check_postings(
    bill: Bill, owed: dict[Stream, Fraction], transactions: list[Transaction], say: Say
) -> None:
    """Of each month that the bill rates, every component to the fen."""
    posted = posted_fen(bill, transactions)
    claimed = set()
    for fact in bill.by_kind["charge"]:
        stream = fact.month("month"), fact.text("component")
        claimed.add(stream)
        is_rated = stream[0] in bill.months
        right = fen(owed.get(stream, ZERO)) if is_rated else fact.whole("fen")
        if fact.whole("fen") != right:
            raise Wrong(
                fact.place,
                "the registers make {} yuan of it, not {}",
                yuan(right),
                yuan(fact.whole("fen")),
            )
        if posted.get(stream, 0) != right:
            raise Wrong(
                fact.place,
                "{} yuan were posted of it, not {}",
                yuan(posted.get(stream, 0)),
                yuan(right),
            )
        if is_rated:
            exact = decimal(owed.get(stream, ZERO))
            say(
                "{} {}: the registers make {} yuan, {} were posted",
                stream[0].strftime("%Y-%m"),
                stream[1],
                exact,
                yuan(right),
            )
    for stream in sorted({*posted, *owed}):
        if (
            stream[0] in bill.months
            and stream not in claimed
            and (posted.get(stream) or fen(owed.get(stream, ZERO)))
        ):
            raise Wrong(
                bill.head.place,
                "there is no charge {} of {}",
                stream[1],
                stream[0].strftime("%Y-%m"),
            )


def posted_fen(bill: Bill, transactions: list[Transaction]) -> dict[Stream, int]:
    """What was posted of each month and component, whenever it was."""
    posted: dict[Stream, int] = defaultdict(int)
    for transaction in transactions:
        for _, stream, fen in charges_in(bill, transaction):
            posted[stream] += fen
    return posted


def charges_in(bill: Bill, transaction: Transaction) -> list[tuple[date, Stream, int]]:
    """What the customer was charged, on the side of those who get it: for which month it counts,
    the month and component that it is about, and fen."""
    return [
        (leg.stream[0], about(leg.stream), leg.fen)
        for leg in transaction.legs
        if leg.stream is not None and not is_of_customer(bill, leg)
    ]


def is_of_customer(bill: Bill, leg: Leg) -> bool:
    """Whether a leg is on an account of the customer."""
    return leg.account.startswith(f"customer:{bill.account}:")


def about(stream: Stream) -> Stream:
    """Itself; of an adjustment, the closed month and the component that it names."""
    told = ADJUSTMENT.fullmatch(stream[1])
    return (date(int(told[1]), int(told[2]), 1), told[3]) if told else stream


def check_balance(bill: Bill, transactions: list[Transaction], say: Say) -> tuple[int, int]:
    """Charges count for their month, all else for that of its value date."""
    fact = bill.only("balance")
    charged = others = 0
    for it in transactions:
        if not any(is_of_customer(bill, leg) for leg in it.legs):
            raise Wrong(it.place, "is not of account {}", bill.account)
        charges = charges_in(bill, it)
        for month, stream, amount in charges:
            if month == bill.month:
                charged += amount
                if stream[0] not in bill.months:
                    raise Wrong(it.place, "is of a month that the bill does not explain")
        if not charges and it.value_date.replace(day=1) == bill.month:
            prepaid = f"customer:{bill.account}:prepaid"
            others += sum(leg.fen for leg in it.legs if leg.account == prepaid)
    opening, closing = fact.whole("opening_fen"), fact.whole("closing_fen")
    rights = (
        ("charged_fen", charged),
        ("others_fen", others),
        ("closing_fen", opening + others - charged),
    )
    for key, right in rights:
        if fact.whole(key) != right:
            raise Wrong(fact.place, "{} must be {}, is {}", key, right, fact.whole(key))
    amounts = map(yuan, (opening, others, charged, closing))
    say("balance {} + {} paid - {} charged = {} yuan", *amounts)
    return opening, closing


def yuan(amount_fen: int) -> str:
    """Fen as money is written."""
    sign = "-" if amount_fen < 0 else ""
    return "{}{}.{:02d}".format(sign, *divmod(abs(amount_fen), 100))


def decimal(exact: Fraction) -> str:
    """All its decimals, or eight where they do not end."""
    digits = next((it for it in range(2, 40) if (exact * 10**it).denominator == 1), None)
    if digits is None:
        return f"{float(exact):.8f}..."
    steps = abs((exact * 10**digits).numerator)
    whole, rest = divmod(steps, 10**digits)
    return "{}{}.{:0{}d}".format("-" if exact < 0 else "", whole, rest, digits)


# All of it.


class Verified(NamedTuple):
    """A bill that is right."""

    account: str
    month: date
    opening_fen: int
    closing_fen: int
    blocks: dict[int, bytes]


def read_bill(path: str) -> tuple[dict[str, bytes], bytes | None]:
    """The files of a zip or a folder, and the bytes of the zip."""
    try:
        if os.path.isdir(path):
            found = {}
            for name in NAMES:
                with open(os.path.join(path, name), "rb") as file:
                    found[name] = file.read()
            return found, None
        with open(path, "rb") as file:
            raw = file.read()
        return unpacked(raw), raw
    except OSError as error:
        raise Wrong(path, "cannot be read: {}", error.strerror) from None


def verify(path: str, say: Say) -> Verified:
    """Wrong at the first thing that is."""
    files, raw = read_bill(path)
    name = os.path.basename(path)
    if tuple(files) != NAMES:
        check_container(name, raw or b"", files)
        raise Wrong(name, "must hold {}", ", ".join(NAMES))
    count = check_manifest(files)
    if raw is not None:
        check_container(name, raw, files)
    say("{} lines of {} files are as they were made", count, len(NAMES))
    return verify_files(files, say)


def verify_files(files: dict[str, bytes], say: Say) -> Verified:
    """Wrong at the first line that contradicts another one."""
    bill = Bill(facts_of(BILL, files[BILL]))
    transactions, blocks = sealed(files)
    if blocks:
        head = max(blocks)
        say("{} transactions are sealed before {}:{}", len(transactions), head, blocks[head].hex())
    links = links_of(bill)
    parts = parts_of(bill, links)
    used = sum((it.kwh[TOTAL] for it in parts if it.month == bill.month), ZERO)
    month = f"{bill.month:%Y-%m}"
    say("{} links join what the meters told; {}: {} kWh", len(links), month, decimal(used))
    check_postings(bill, charged(bill, parts), transactions, say)
    opening, closing = check_balance(bill, transactions, say)
    return Verified(bill.account, bill.month, opening, closing, blocks)


def check_followed(bills: list[Verified], say: Say) -> None:
    """Bills of one account, month after month: each opens with what the one before closed with."""
    for before, after in zip(bills, bills[1:]):
        follows = (before.month + timedelta(days=31)).replace(day=1) == after.month
        if before.account != after.account or not follows:
            continue
        months = before.month.strftime("%Y-%m"), after.month.strftime("%Y-%m")
        if before.closing_fen != after.opening_fen:
            raise Wrong(after.account, "{} does not open with the balance of {}", *reversed(months))
        say("{} opens with the balance of {}", *reversed(months))


def check_published(bill: Verified, published: str, say: Say) -> None:
    """Compare a block with what the utility published."""
    number, _, told = published.partition(":")
    found = {str(block): of.hex() for block, of in bill.blocks.items()}.get(number)
    if found is None:
        raise Wrong(
            SEALS,
            "the chain does not hold block {}",
            number,
        )
    if found != told.lower():
        raise Wrong(SEALS, "block {} has another hash than was published", number)
    say("the hash of block {} is the published one", number)


ZH = {
    "{} is too large": "{} 太大",
    "is not the head of the block with this hash": "不是具有此哈希的区块头",
    "block {} is not among those before block {}": "区块 {} 不在区块 {} 之前的区块中",
    "is out of order, or comes twice": "次序不对或重复",
    "an account or a stream of it has no name here": "其中的科目或费用项目在此没有名称",
    "byte {} is damaged, or the zip was packed anew": "第 {} 字节已损坏，或压缩包被重新打包",
    "the line is missing": "缺少此行",
    "the line is damaged": "此行已损坏",
    "must be about {}": "此行应当关于 {}",
    "the file is damaged here, or cut off": "文件在此处损坏或被截断",
    "is not a line of JSON": "不是一行 JSON",
    "is not an object of JSON": "不是 JSON 对象",
    "{} is missing, or not what it must be": "{} 缺失或类型不对",
    "{} is not a number": "{} 不是数字",
    "{} is not a date": "{} 不是日期",
    "{} is not an instant with its offset from UTC": "{} 不是带时区偏移的时刻",
    "{} is no method of a ladder": "{} 不是阶梯电价的方法",
    "{} bounds make {} steps": "{} 个档界应有 {} 档",
    "whole_above_kwh is none of the bounds": "whole_above_kwh 不是任何一个档界",
    "is not of format {}": "不是格式 {}",
    "the offsets of the zone are missing, or out of order": "时区偏移缺失或次序不对",
    "the versions of the tariff are out of order": "电价版本次序不对",
    "must hold one line of the kind {}": "应当恰有一行 {}",
    "{} is no register with {} decimals": "{} 不是 {} 位小数的示数",
    "the meter told something else at the same instant": "同一时刻电能表有不同的示数",
    "there is no meter {}": "没有 {} 号电能表",
    "begins before the link before it ends": "在上一段结束之前开始",
    "{} is not what the meter told then": "{} 不是电能表当时的示数",
    "begins and ends do not hold the same registers": "起止示数的种类不一致",
    "the register {} went back": "示数 {} 倒走",
    "no version of the tariff is in force on {}": "{} 没有生效的电价版本",
    "the rate {} has no register, or no price": "费率 {} 没有示数或没有电价",
    "a fee by slab needs a ladder": "分档固定费需要阶梯",
    "the legs do not sum to zero": "借贷不平",
    "{} is not a hash": "{} 不是哈希",
    "is not what was sealed in block {}": "与区块 {} 封存的内容不符",
    "has no seal": "没有封存证明",
    "the registers make {} yuan of it, not {}": "按示数计算为 {} 元，不是 {} 元",
    "{} yuan were posted of it, not {}": "已入账 {} 元，不是 {} 元",
    "there is no charge {} of {}": "缺少 {} 费用（{}）",
    "is not of account {}": "不属于户号 {}",
    "is of a month that the bill does not explain": "属于账单没有说明的月份",
    "{} must be {}, is {}": "{} 应为 {}，实为 {}",
    "cannot be read: {}": "无法读取：{}",
    "must hold {}": "应当包含 {}",
    "cannot be understood: {}": "无法理解：{}",
    "{} does not open with the balance of {}": "{} 的期初余额不是 {} 的期末余额",
    "the chain does not hold block {}": "链条中没有区块 {}",
    "block {} has another hash than was published": "区块 {} 的哈希与公布的不同",
    "{} lines of {} files are as they were made": "{} 行、{} 个文件均与制作时一致",
    "{} links join what the meters told; {}: {} kWh": "{} 段用电连接电能表示数；{}：{} 千瓦时",
    "{} transactions are sealed before {}:{}": "{} 笔交易封存于区块 {}:{} 之前（含）",
    "{} {}: the registers make {} yuan, {} were posted": "{} {}：按示数为 {} 元，已入账 {} 元",
    "balance {} + {} paid - {} charged = {} yuan": "期初 {} + 收付 {} - 电费 {} = 期末 {} 元",
    "{} opens with the balance of {}": "{} 的期初余额即 {} 的期末余额",
    "the hash of block {} is the published one": "区块 {} 的哈希与公布的一致",
    "VALID account {}, {}": "有效 户号 {}，{}",
    "INVALID {} {}: {}": "无效 {} {}：{}",
}


def words_in(language: str) -> Callable[..., str]:
    """Makes sentences in a language."""

    def words(message: str, *values: object) -> str:
        return (ZH[message] if language == "zh" else message).format(*values)

    return words


def told_apart(path: str, published: str | None, say: Say) -> Verified:
    """`verify`, and whatever a damaged file may cause is Wrong."""
    try:
        bill = verify(path, say)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Wrong(os.path.basename(path), "cannot be understood: {}", repr(error)) from None
    if published:
        check_published(bill, published, say)
    return bill


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 where every bill is right, 1 where one is not."""
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Verify bills of electricity / 验证电费账单")
    parser.add_argument(
        "bills", nargs="*", metavar="BILL", default=[here], help="zip or folder / 压缩包或文件夹"
    )
    parser.add_argument(
        "--published",
        metavar="BLOCK:HASH",
        help="what the utility published / 供电方公布的区块哈希",
    )
    parser.add_argument("--language", choices=("en", "zh"), default="en", help="language / 语言")
    options = parser.parse_args(arguments)
    words = words_in(options.language)

    def say(message: str, *values: object) -> None:
        # A console that has no Chinese is shown escapes; the bill is as right as it was.
        encoding = sys.stdout.encoding
        told = words(message, *values).encode(encoding, "backslashreplace")
        sys.stdout.write(told.decode(encoding) + "\n")

    def tell(name: str, wrong: Wrong) -> None:
        why = words(wrong.message, *wrong.values)
        say("INVALID {} {}: {}", name, wrong.place, why)

    bills = []
    is_right = True
    for path in options.bills:
        try:
            bills.append(told_apart(path, options.published, say))
            say("VALID account {}, {}", bills[-1].account, f"{bills[-1].month:%Y-%m}")
        except Wrong as wrong:
            is_right = False
            tell(os.path.basename(path), wrong)
    try:
        check_followed(sorted(bills, key=lambda bill: (bill.account, bill.month)), say)
    except Wrong as wrong:
        is_right = False
        tell("", wrong)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
