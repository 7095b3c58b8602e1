"""The bill of a month as files that prove it: facts -> lines -> zip. Pure.

`verify.py` beside this is part of every bill. It is another program, which recomputes the bill from
these lines and knows nothing of ours; README.txt tells a reader what the lines say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from functools import cache, lru_cache
from hashlib import sha256
from importlib.resources import files as resources
from io import BytesIO
from itertools import groupby
from typing import Any, Final, NamedTuple
from zipfile import ZipFile, ZipInfo
from zoneinfo import ZoneInfo

from config.tariff_canonical import canonical_form
from daemon.billing.posting import Stream
from daemon.billing.pricing import Terms
from daemon.billing.sealing import EPOCH, Head

FORMAT: Final = 1
FIRST_FILES: Final = ("README.txt", "__main__.py", "verify.py")
LINE_DIGITS: Final = 8
"""Of the hash of a line in the manifest: it tells where a damage is, the file's that there is."""
CHECK_DIGITS: Final = 16
MAIN: Final = b"""\
import sys

from verify import main

sys.exit(main())
"""
"""So that `python3 BILL.zip` verifies it."""
Registers = Mapping[str, int]
Path = Sequence[tuple[bool, bytes]]
"""The hashes beside the way to a root, each with whether it stands to the left."""


class PointFact(NamedTuple):
    """A metering point: the names of its rate registers, and which of them is the residual."""

    number: str
    rates: Sequence[str]
    residual_rate: str | None


class MeterFact(NamedTuple):
    """A meter at a point with one ratio, by a number of the bill's own.

    `modulus`: where its register rolls over, in its smallest step."""

    number: int
    point: str
    address: str
    ratio: Decimal
    modulus: int
    decimals: int


class ReadingFact(NamedTuple):
    """What a meter showed at an instant, in steps.

    `source`: how that is known. `stamp`: the meter's own time, None: that instant to the second.
    `arrived_at`: when it was told here."""

    meter: int
    at: datetime
    registers: Registers
    source: str
    stamp: datetime | None = None
    arrived_at: datetime | None = None


class LinkFact(NamedTuple):
    """Two registers of a meter that are billed together. `held`: why not yet."""

    meter: int
    start: datetime
    end: datetime
    begins: Registers
    ends: Registers
    held: str | None = None


class AgreedFact(NamedTuple):
    """kWh of a point that no register shows. `held`: why they are not billed yet."""

    point: str
    start: datetime
    end: datetime
    kwh: Decimal
    held: str | None = None


class SealedLine(NamedTuple):
    """What has a place in the journal: a transaction, or a name that one refers to.

    `told`: what was hashed of it, by the words of transactions.jsonl. `block`, `path`: where it was
    sealed, and the way to the hash of that block."""

    told: Mapping[str, Any]
    block: int
    path: Path


class BlockFact(NamedTuple):
    """A block before the head, and the way from its hash to the history that the head names."""

    number: int
    hash: bytes
    path: Path


class HeadFact(NamedTuple):
    """The block that stands for all before it, and the way from its first leaf to its hash."""

    head: Head
    hash: bytes
    path: Path


class Measured(NamedTuple):
    """What use is made of. Links of a point are in order of time."""

    points: Sequence[PointFact]
    meters: Sequence[MeterFact]
    readings: Sequence[ReadingFact]
    links: Sequence[LinkFact | AgreedFact]


class Money(NamedTuple):
    """What was posted, in fen.

    `charged`: by stream of the `rated_months`, which the bill explains, wherever it was posted.
    `charged_fen`, `others_fen`: what counts for the bill's month, charges and all else."""

    rated_months: Sequence[date]
    charged: Mapping[Stream, int]
    opening_fen: int
    charged_fen: int
    others_fen: int


class Seals(NamedTuple):
    """Lines in order of their places, the blocks that hold them, and one that stands for all."""

    lines: Sequence[SealedLine]
    blocks: Sequence[BlockFact]
    head: HeadFact


@dataclass(frozen=True, slots=True)
class BillFacts:
    """All that a bill says."""

    account: str
    month: date
    zone: ZoneInfo
    terms: Terms
    closed_days: Iterable[date]
    measured: Measured
    money: Money
    seals: Seals


def bill_files(bill: BillFacts) -> dict[str, bytes]:
    """The files of a bill by name, in their order; the manifest is the last one."""
    files = {
        **_first_files(),
        "bill.jsonl": _lines(_facts(bill)),
        "transactions.jsonl": _lines(it.told for it in bill.seals.lines),
        "seals.jsonl": _lines(_seals(bill.seals)),
    }
    return {**files, "manifest.jsonl": manifest(files)}


def packed(files: Mapping[str, bytes]) -> bytes:
    """A zip in which nothing depends on who makes it and when: the verifier makes it again."""
    whole = BytesIO()
    with ZipFile(whole, "w") as archive:
        for name, content in files.items():
            entry = ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return whole.getvalue()


def manifest(files: Mapping[str, bytes]) -> bytes:
    """A line for each file: its hash, and the first digits of the hash of each of its lines."""
    return b"".join(_manifest_line(name, content) for name, content in files.items())


@cache
def _first_files() -> Mapping[str, bytes]:
    room = resources(__package__)
    return {
        name: MAIN if name == "__main__.py" else room.joinpath(name).read_bytes()
        for name in FIRST_FILES
    }


def _manifest_line(name: str, content: bytes) -> bytes:
    lines = content.removesuffix(b"\n").split(b"\n")
    hashes = "".join(sha256(line).hexdigest()[:LINE_DIGITS] for line in lines)
    entry = {"file": name, "sha256": sha256(content).hexdigest(), "lines": hashes}
    told = json.dumps(entry).encode().removesuffix(b"}")
    check = sha256(told).hexdigest()[:CHECK_DIGITS]
    return told + f', "check": "{check}"}}\n'.encode()


def _lines(facts: Iterable[Mapping[str, Any]]) -> bytes:
    return _text(json.dumps(fact, ensure_ascii=False) for fact in facts)


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _facts(bill: BillFacts) -> Iterator[dict[str, Any]]:
    terms = bill.terms
    money = bill.money
    yield {
        "fact": "bill",
        "format": FORMAT,
        "account": bill.account,
        "month": _month(bill.month),
        "zone": bill.zone.key,
        "phases": terms.phases,
        "opened": _day(terms.opened),
        "last_day": _day(terms.last_day),
    }
    yield from ({"fact": "rated_month", "month": _month(it)} for it in money.rated_months)
    yield from _offsets(bill)
    yield from ({"fact": "tariff", "version": canonical_form(it)} for it in terms.versions.all)
    for bonus in terms.bonuses:
        kwh = str(bonus.kwh_per_month)
        yield {"fact": "bonus", "from": _day(bonus.start), "kwh_per_month": kwh}
    for cycle, used in terms.used_elsewhere.items():
        yield {"fact": "used_elsewhere", "cycle": cycle, "kwh": str(used)}
    for first, last in _runs(sorted(set(bill.closed_days))):
        yield {"fact": "closed_days", "from": _day(first), "to": _day(last)}
    yield from _measured(bill.measured, bill.zone)
    for stream, fen in sorted(money.charged.items()):
        month = _month(stream.period)
        yield {"fact": "charge", "month": month, "component": stream.component, "fen": fen}
    yield {
        "fact": "balance",
        "opening_fen": money.opening_fen,
        "others_fen": money.others_fen,
        "charged_fen": money.charged_fen,
        "closing_fen": money.opening_fen + money.others_fen - money.charged_fen,
    }


def _measured(told: Measured, zone: ZoneInfo) -> Iterator[dict[str, Any]]:
    """Points, meters, what they showed, and what is billed together."""
    for point in told.points:
        yield {"fact": "point", **point._asdict(), "point": point.number}
    meters = {meter.number: meter for meter in told.meters}
    for meter in told.meters:
        yield {
            "fact": "meter",
            "meter": meter.number,
            "point": meter.point,
            "address": meter.address,
            "ratio": str(meter.ratio),
            "modulus": _register(meter.modulus, meter.decimals),
            "decimals": meter.decimals,
        }
    for reading in told.readings:
        yield {
            "fact": "reading",
            "meter": reading.meter,
            "at": _instant(reading.at, zone),
            "registers": _registers(reading.registers, meters[reading.meter]),
            "source": reading.source,
            "stamp": _instant(reading.stamp, zone),
            "arrived_at": _instant(reading.arrived_at, zone),
        }
    for link in told.links:
        span = {"from": _instant(link.start, zone), "to": _instant(link.end, zone)}
        if isinstance(link, AgreedFact):
            use: dict[str, Any] = {"point": link.point, **span, "agreed_kwh": f"{link.kwh:f}"}
        else:
            meter = meters[link.meter]
            use = {
                "meter": link.meter,
                **span,
                "begins": _registers(link.begins, meter),
                "ends": _registers(link.ends, meter),
            }
        yield {"fact": "link", **use, "held": link.held}


def _offsets(bill: BillFacts) -> Iterator[dict[str, Any]]:
    """What the zone is ahead of UTC, from which instant on: a reader may have no table of zones."""
    days = [it.date() for link in bill.measured.links for it in (link.start, link.end)]
    days += bill.money.rated_months
    for at, seconds in _offsets_between(bill.zone, min(days), max(days)):
        yield {"fact": "utc_offset", "from": _instant(at, UTC), "seconds": seconds}


@lru_cache(maxsize=64)
def _offsets_between(zone: ZoneInfo, first: date, last: date) -> Sequence[tuple[datetime, int]]:
    """With some days more on both sides."""
    at = datetime.combine(first, time(), UTC) - timedelta(days=2)
    found = [(at, _offset_s(at, zone))]
    for _ in range((last - first).days + 40):
        following = at + timedelta(days=1)
        if _offset_s(following, zone) != found[-1][1]:
            found.append(_changed_between(at, following, zone))
        at = following
    return found


def _changed_between(before: datetime, after: datetime, zone: ZoneInfo) -> tuple[datetime, int]:
    """The first second with the new offset."""
    old, new = _offset_s(before, zone), _offset_s(after, zone)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if _offset_s(middle, zone) == old:
            before = middle
        else:
            after = middle
    return after, new


def _offset_s(at: datetime, zone: ZoneInfo) -> int:
    offset = at.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _seals(seals: Seals) -> Iterator[dict[str, Any]]:
    """Line n proves line n of the transactions; the blocks come behind, the head last."""
    for line in seals.lines:
        yield {"block": line.block, "path": _path(line.path)}
    for block in seals.blocks:
        path = _path(block.path)
        yield {"block": block.number, "hash": block.hash.hex(), "path": path}
    head = seals.head.head
    yield {
        "head": head.number,
        "after": head.after,
        "through": head.through,
        "previous": head.previous.hex(),
        "history": head.history.hex(),
        "sealed_at_us": (head.sealed_at - EPOCH) // timedelta(microseconds=1),
        "hash": seals.head.hash.hex(),
        "path": _path(seals.head.path),
    }


def _path(path: Path) -> list[str]:
    return [("<" if is_left else ">") + beside.hex() for is_left, beside in path]


def _runs(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """Days without a gap between them as one."""
    numbered = enumerate(days)
    for _, run in groupby(numbered, key=lambda it: it[1].toordinal() - it[0]):
        held = [day for _, day in run]
        yield held[0], held[-1]


def _registers(registers: Registers, meter: MeterFact) -> dict[str, str]:
    return {name: _register(steps, meter.decimals) for name, steps in registers.items()}


def _register(steps: int, decimals: int) -> str:
    return f"{Decimal(steps).scaleb(-decimals):f}"


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _month(month: date) -> str:
    return f"{month:%Y-%m}"


def _instant(at: datetime | None, zone: tzinfo) -> str | None:
    return None if at is None else at.astimezone(zone).isoformat()
