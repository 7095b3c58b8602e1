"""Raw rows, slots, links and money compared with what the simulated meters say is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from itertools import pairwise

from tests.acceptance.stage import ADDRESSES, Stage

READINGS = (
    "SELECT address, day, total FROM reading JOIN meter ON meter.id = meter_id WHERE kind = 1"
)
SLOTS = "SELECT number, day, total FROM slot JOIN point ON point.id = point_id WHERE state = 'published' AND kind = 1"
LINKS = "SELECT number, from_day, to_day, (l.begins)[1], end_total, hold FROM link l JOIN point ON point.id = point_id ORDER BY 1, 2"
UNBALANCED = """
SELECT 'transaction ' || transaction_id || ' does not balance' FROM posting GROUP BY transaction_id HAVING sum(amount_fen) <> 0
UNION ALL
SELECT 'balance of ' || a.name || ' is not that of its postings' FROM account_balance a
WHERE balance_fen <> (SELECT coalesce(sum(amount_fen), 0) FROM posting p WHERE p.ledger_account_id = a.id)
UNION ALL
SELECT 'dead letter: ' || reason FROM dead_letter
"""
Value = tuple[str, date, int]
"""Address, day, register in 0.01 kWh."""


def untruths(
    staged: Stage, payments_yuan: Mapping[str, str] | None = None, *, readers: int = 1
) -> list[str]:
    """What the database holds and should not, or lacks, in words; nothing when all is collected and
    true. `payments_yuan`: by account, besides the deposits. `readers`: daemons that read the
    meters: each leaves a raw row."""
    owed = _owed(staged)
    points = {f"P{int(address)}": address for address in ADDRESSES}
    slots = [(points[number], day, total) for number, day, total in staged.ask(SLOTS)]
    return [
        *_compared("reading", staged.ask(READINGS), owed, most=readers),
        *_compared("slot", slots, owed),
        *_broken_chains(staged),
        *(fault for (fault,) in staged.ask(UNBALANCED)),
        *staged.balance_faults(dict(payments_yuan or {})),
    ]


def _owed(staged: Stage) -> set[Value]:
    days = {staged.today - timedelta(days=number) for number in range(staged.days)}
    return {
        (address, day, int(kwh * 100))
        for address, registers in staged.bench.truth().items()
        if address in ADDRESSES
        for day, kwh in registers.items()
        if day in days
    }


def _compared(what: str, found: Iterable[Value], owed: set[Value], most: int = 1) -> list[str]:
    counted = Counter(found)
    return [
        *(f"{what} lost: {value}" for value in sorted(owed - counted.keys())),
        *(f"{what} that no meter told: {value}" for value in sorted(counted.keys() - owed)),
        *(f"{what} {count} times: {value}" for value, count in counted.items() if count > most),
    ]


def _broken_chains(staged: Stage) -> list[str]:
    """Links lie end to end, from the first day to the last, and nothing is on hold."""
    links = staged.ask(LINKS)
    faults = [f"link on hold: {link}" for link in links if link[5] is not None]
    for address in ADDRESSES:
        chain = [link for link in links if link[0] == f"P{int(address)}"]
        first = staged.today - timedelta(days=staged.days - 1)
        if not chain or (chain[0][1], chain[-1][2]) != (first, staged.today):
            faults.append(f"links of {address} do not reach from {first} to {staged.today}")
        faults += [
            f"links of {address} do not lie end to end: {one}, {other}"
            for one, other in pairwise(chain)
            if (one[2], one[4]) != (other[1], other[3])
        ]
    return faults
