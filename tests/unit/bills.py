"""Worked cases as bills of a month, with a ledger in memory that is sealed as the real one."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from daemon.billing.account_case import _EVENTS, _Account, _opened
from daemon.billing.adjustment import with_adjustments
from daemon.billing.case_point import Meter, Point
from daemon.billing.pricing import postings
from daemon.billing.proof.bill import (
    BillFacts,
    BlockFact,
    LinkFact,
    Measured,
    MeterFact,
    Money,
    PointFact,
    ReadingFact,
    SealedTransaction,
    Seals,
)
from daemon.billing.sealing import FIRST, Head, leaf, path, root
from daemon.billing.settlement import Stream
from daemon.quality.case_fields import Fields
from tests.unit.golden_cases import CASES

ACCOUNT = "10010301"
PREPAID = f"customer:{ACCOUNT}:prepaid"
SETTLED = [name for name, case in CASES.items() if case["kind"] == "settle"]
SEALED_AT = datetime(2026, 12, 31, 16, tzinfo=UTC)


@dataclass
class Ledger:
    """Transactions in order, as leaves; what they moved by stream of the months they are about."""

    leaves: list[str] = field(default_factory=list)
    posted: list[dict[Stream, int]] = field(default_factory=list)
    paid: list[tuple[date, int]] = field(default_factory=list)

    def post(self, day: date, charged: dict[Stream, int], paid_fen: int = 0) -> None:
        legs: list[list[Any]] = []
        for stream, fen in charged.items():
            of = [f"{stream.period:%Y-%m-%d}", stream.component]
            legs += [
                [len(legs), PREPAID, -fen, *of],
                [len(legs) + 1, f"revenue:{stream.component}", fen, *of],
            ]
        if paid_fen:
            legs += [
                [0, PREPAID, paid_fen, None, None],
                [1, "clearing:counter", -paid_fen, None, None],
            ]
        if not legs:
            return
        number = 3 * len(self.leaves) + 7
        told = [
            "transaction",
            number,
            f"key:{number}",
            "charge",
            {"account": ACCOUNT, "说": "电费"},
            "daemon:settlement",
        ]
        told += [None, day.isoformat(), None, None, 1780000000000000 + number, 900 + number, legs]
        self.leaves.append(json.dumps(told, ensure_ascii=False))
        self.posted.append(charged)
        self.paid.append((day, paid_fen))

    def sealed(self, of_block: int = 4) -> tuple[list[SealedTransaction], list[BlockFact]]:
        transactions, blocks = [], []
        before, after = FIRST, 0
        for number, start in enumerate(range(0, len(self.leaves), of_block), 1):
            texts = self.leaves[start : start + of_block]
            through = json.loads(texts[-1])[1] + 1
            head = Head(number, after, through, before, SEALED_AT)
            hashes = [head.leaf(), *(leaf(text.encode()) for text in texts)]
            blocks.append(
                BlockFact(number, after, through, before, SEALED_AT, root(hashes), path(hashes, 0))
            )
            transactions += [
                SealedTransaction(json.loads(text)[1], text, number, path(hashes, place))
                for place, text in enumerate(texts, 1)
            ]
            before, after = blocks[-1].hash, through
        return transactions, blocks


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
    transactions, blocks = ledger.sealed()
    charged_by_month: dict[date, int] = defaultdict(int)
    others_by_month: dict[date, int] = defaultdict(int)
    for charged, (day, paid_fen) in zip(ledger.posted, ledger.paid, strict=True):
        for stream, fen in charged.items():
            charged_by_month[stream.period] += fen
        others_by_month[day.replace(day=1)] += paid_fen
    before = [it for it in {*charged_by_month, *others_by_month} if it < month]
    opening_fen = first_balance_fen + sum(
        others_by_month[it] - charged_by_month[it] for it in before
    )
    posted = [stream for charged in ledger.posted for stream in charged if stream.period == month]
    rated = {month, *(_about(stream) for stream in posted)}
    is_told = [
        any(stream.period == month or _about(stream) in rated for stream in charged)
        or (paid_fen != 0 and day.replace(day=1) == month)
        for charged, (day, paid_fen) in zip(ledger.posted, ledger.paid, strict=True)
    ]
    total = with_adjustments(_sum(ledger.posted))
    told = [it for it, is_of_bill in zip(transactions, is_told, strict=True) if is_of_bill]
    held = {it.block for it in told}
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
        seals=Seals(told, [it for it in blocks if held and it.number >= min(held)]),
    )


def _about(stream: Stream) -> date:
    ((of, _),) = with_adjustments({stream: 1}).items()
    return of.period


def _sum(posted: list[dict[Stream, int]]) -> dict[Stream, int]:
    total: dict[Stream, int] = defaultdict(int)
    for charged in posted:
        for stream, fen in charged.items():
            total[stream] += fen
    return total


def _measured(account: _Account) -> Measured:
    meters: list[MeterFact] = []
    readings: list[ReadingFact] = []
    links: list[LinkFact] = []
    for name, point in account.points.items():
        first = len(meters)
        meters += _meters_of(name, point, first + 1)
        of_point = meters[first:]
        for link in point.links():
            if not account._is_of_account(link.start, link.end):
                continue
            number = (
                sum(it.start is not None and it.start <= link.start for it in of_point) + first + 1
            )
            links.append(
                LinkFact(
                    number,
                    link.start,
                    link.end,
                    _steps(link.before, link.meter),
                    _steps(link.after, link.meter),
                )
            )
        for at, registers in sorted(point.readings.items()):
            if any(change.at == at for change in point.changes):
                continue
            number = sum(it.start is not None and it.start <= at for it in of_point) + first + 1
            readings.append(
                ReadingFact(number, at, _steps(registers, point._meter_at(at)), "freeze", at)
            )
    links.sort(key=lambda link: link.start)
    points = [
        PointFact(name, list(it.rates), it.residual_rate) for name, it in account.points.items()
    ]
    return Measured(points, meters, readings, links)


def _meters_of(name: str, point: Point, number: int) -> list[MeterFact]:
    changed = [(point._meter_at(it.at), it.at, it.new_initial) for it in point.changes]
    held = [(point.meter, None, None), *changed]
    ends = [*((it.at, it.old_final) for it in point.changes), (None, None)]
    return [
        MeterFact(
            number + place,
            name,
            f"{place:012d}",
            meter.ratio,
            meter.in_steps(meter.modulus),
            meter.decimals,
            start,
            end,
            None if begins is None else _steps(begins, meter),
            None if final is None else _steps(final, meter),
        )
        for place, ((meter, start, begins), (end, final)) in enumerate(zip(held, ends, strict=True))
    ]


def _steps(registers: Any, meter: Meter) -> dict[str, int]:
    return {name: meter.in_steps(Decimal(value)) for name, value in registers.items()}
