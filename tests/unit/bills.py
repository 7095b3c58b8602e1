"""Worked cases as bills of a month, with a ledger in memory that is sealed as the real one."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from daemon.billing.account_case import _EVENTS, _Account, _opened
from daemon.billing.block_tree import peak_of, root_of, way
from daemon.billing.case_point import Meter, Point
from daemon.billing.posting import Stream
from daemon.billing.pricing import postings
from daemon.billing.proof import verify
from daemon.billing.proof.bill import (
    AgreedFact,
    BillFacts,
    BlockFact,
    HeadFact,
    LinkFact,
    Measured,
    MeterFact,
    Money,
    PointFact,
    ReadingFact,
    SealedLine,
    Seals,
)
from daemon.billing.sealing import FIRST, Head, leaf, path, root
from daemon.quality.case_fields import Fields
from tests.unit.golden_cases import CASES

ACCOUNT = "10010301"
PREPAID = f"customer:{ACCOUNT}:prepaid"
SETTLED = [name for name, case in CASES.items() if case["kind"] == "settle"]
SEALED_AT = datetime(2026, 12, 31, 16, tzinfo=UTC)


@dataclass
class Ledger:
    """What has a place in a journal, in order; what was posted of each by stream, and paid.

    The lines of names have neither."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    posted: list[dict[Stream, int]] = field(default_factory=list)
    paid: list[tuple[date, int]] = field(default_factory=list)
    numbers: dict[object, int] = field(default_factory=dict)

    def post(
        self, day: date, charged: dict[Stream, int], paid_fen: int = 0, kind: str = "charge"
    ) -> None:
        if not charged and not paid_fen:
            return
        streams: list[int | None] | None = None
        if charged:
            accounts = [PREPAID, *(f"revenue:{stream.about.component}" for stream in charged)]
            fen = [-sum(charged.values()), *charged.values()]
            streams = [None, *(self._stream(stream) for stream in charged)]
        else:
            accounts, fen = [PREPAID, "clearing:counter"], [paid_fen, -paid_fen]
        told = {
            "kind": kind,
            "value_date": day.isoformat(),
            "recorded_at": datetime(
                day.year, day.month, day.day, 9, 30, 15, 123456, UTC
            ).isoformat(),
            "accounts": [self._account(name) for name in accounts],
            "fen": fen,
            "streams": streams,
            "actor": None if charged else "person:收费员",
            "key": None if charged else f"pay:counter:{len(self.lines)}",
            "channel": None if charged else "counter",
            "content": None if charged else '{"account": "10010301"}',
            "document": None,
            "reverses": None,
        }
        self._add({"place": 0, **told}, charged, (day, paid_fen))

    def sealed(self, of_block: int = 4) -> tuple[list[SealedLine], list[BlockFact], HeadFact]:
        """Blocks of so many lines; the last one is the head."""
        hashes: dict[int, bytes] = {}
        peaks: dict[int, bytes] = {}
        lines: list[SealedLine] = []
        after = 0
        for number, start in enumerate(range(0, len(self.lines), of_block), 1):
            told = self.lines[start : start + of_block]
            through = told[-1]["place"]
            head = Head(
                number=number,
                after=after,
                through=through,
                previous=hashes.get(number - 1, FIRST),
                history=root_of(number - 1, peaks),
                sealed_at=SEALED_AT,
            )
            leaves = [verify.leaf_of(verify.Fact("", it)) for it in told]
            tree = [head.leaf(), *map(leaf, leaves)]
            hashes[number] = root(tree)
            peaks[number] = peak_of(number, hashes[number], peaks)
            lines += [SealedLine(it, number, path(tree, place)) for place, it in enumerate(told, 1)]
            last = HeadFact(head, hashes[number], path(tree, 0))
            after = through
        before = last.head.number - 1
        blocks = [
            BlockFact(it, hashes[it], way(it, before, hashes, peaks)) for it in range(1, before + 1)
        ]
        return lines, blocks, last

    def _add(
        self, told: dict[str, Any], charged: dict[Stream, int], paid: tuple[date, int]
    ) -> None:
        self.lines.append({**told, "place": 3 * len(self.lines) + 7})
        self.posted.append(charged)
        self.paid.append(paid)

    def _account(self, name: str) -> int:
        if name not in self.numbers:
            self.numbers[name] = (1 if name == PREPAID else -1) * (len(self.numbers) + 1)
            told = {"place": 0, "account": self.numbers[name], "name": name}
            self._add(told, {}, (date.min, 0))
        return self.numbers[name]

    def _stream(self, stream: Stream) -> int:
        if stream not in self.numbers:
            self.numbers[stream] = len(self.numbers) + 1
            told = {"place": 0, "stream": self.numbers[stream], "month": f"{stream.period:%Y-%m}"}
            self._add({**told, "component": stream.component}, {}, (date.min, 0))
        return self.numbers[stream]


def settled_case(given: dict[str, Any]) -> tuple[_Account, Ledger]:
    """The account at the end of a case, and what was posted on the way."""
    fields = Fields(given, "input")
    account = _opened(fields)
    ledger = Ledger()
    for number, event in enumerate(fields.each("events")):
        before = dict(account.posted_fen)
        balance_fen = account.balance_fen
        _EVENTS[event.text("type")](account, event)
        day = date(2026, 1, 1) + timedelta(days=number)
        ledger.post(day, {}, account.balance_fen - balance_fen)
        charged = postings(account.amounts().charged, before)
        account.post()
        ledger.post(day, charged)
    return account, ledger


def bills_of(given: dict[str, Any]) -> list[BillFacts]:
    """The bills of every month in which something was charged."""
    account, ledger = settled_case(given)
    months = sorted({stream.period for stream in account.posted_fen} or {date(2026, 1, 1)})
    return [
        bill_of(account, ledger, month, given.get("opening_balance_fen", 0)) for month in months
    ]


def bill_of(account: _Account, ledger: Ledger, month: date, first_balance_fen: int) -> BillFacts:
    lines, blocks, head = ledger.sealed()
    charged_by_month: dict[date, int] = defaultdict(int)
    others_by_month: dict[date, int] = defaultdict(int)
    told = list(zip(ledger.posted, ledger.paid, ledger.lines, strict=True))
    for charged, (day, paid_fen), _ in told:
        for stream, fen in charged.items():
            charged_by_month[stream.period] += fen
        if paid_fen:
            others_by_month[day.replace(day=1)] += paid_fen
    before = [it for it in {*charged_by_month, *others_by_month} if it < month]
    opening_fen = first_balance_fen + sum(
        others_by_month[it] - charged_by_month[it] for it in before
    )
    streams = {stream for charged, _, _ in told for stream in charged}
    rated = {month} | {it.about.period for it in streams if it.period == month}
    of_bill = [
        "kind" not in line
        or any(it.about.period in rated for it in charged)
        or (paid_fen != 0 and day.replace(day=1) == month)
        for charged, (day, paid_fen), line in told
    ]
    total = _sum(ledger.posted)
    held = [it for it, is_of_bill in zip(lines, of_bill, strict=True) if is_of_bill]
    needed = {it.block for it in held}
    return BillFacts(
        account=ACCOUNT,
        month=month,
        zone=account.zone,
        terms=account.terms,
        closed_days=account.closed_days,
        measured=_measured(account),
        money=Money(
            rated_months=sorted(rated),
            charged={
                stream: fen for stream, fen in total.items() if stream.period in rated and fen
            },
            opening_fen=opening_fen,
            charged_fen=charged_by_month[month],
            others_fen=others_by_month[month],
        ),
        seals=Seals(held, [it for it in blocks if it.number in needed], head),
    )


def _sum(posted: list[dict[Stream, int]]) -> dict[Stream, int]:
    total: dict[Stream, int] = defaultdict(int)
    for charged in posted:
        for stream, fen in charged.items():
            total[stream.about] += fen
    return total


def _measured(account: _Account) -> Measured:
    meters: list[MeterFact] = []
    readings: dict[tuple[int, datetime], ReadingFact] = {}
    links: list[LinkFact | AgreedFact] = []
    for name, point in account.points.items():
        before = len(meters) + 1
        meters += _meters_of(name, point, before)
        for link in point.links():
            if not account._is_of_account(link.start, link.end):
                continue
            number = before + sum(change.at <= link.start for change in point.changes)
            ends = _steps(link.before, link.meter), _steps(link.after, link.meter)
            links.append(LinkFact(number, link.start, link.end, *ends))
            for at, registers in zip((link.start, link.end), ends, strict=True):
                source = "document" if any(it.at == at for it in point.changes) else "freeze"
                readings[number, at] = ReadingFact(number, at, registers, source)
    links.sort(key=lambda link: link.start)
    points = [
        PointFact(name, list(it.rates), it.residual_rate) for name, it in account.points.items()
    ]
    return Measured(points, meters, list(readings.values()), links)


def _meters_of(name: str, point: Point, number: int) -> list[MeterFact]:
    held = [point.meter, *(point._meter_at(it.at) for it in point.changes)]
    return [
        MeterFact(
            number + place,
            name,
            f"{place:012d}",
            meter.ratio,
            meter.in_steps(meter.modulus),
            meter.decimals,
        )
        for place, meter in enumerate(held)
    ]


def _steps(registers: Any, meter: Meter) -> dict[str, int]:
    return {name: meter.in_steps(Decimal(value)) for name, value in registers.items()}
