"""Facts at the edges of every rule, in all combinations: what the two guards say of each.

Each dimension has values for some fields; one place of the table is one value of each. The document
that the second guard reads is put together from those that production makes of the values one by
one, because to write millions of them anew would take longer than to judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import prod
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from daemon.audit.second_guard import second_opinion
from daemon.control.guard import Approval, Facts, Notice, Policy, evaluate, snapshot

ZONE: Final = ZoneInfo("Asia/Shanghai")
NEXT: Final = timedelta(microseconds=1)
HOUR: Final = timedelta(hours=1)
POLICY: Final = Policy(
    holidays=frozenset({date(2026, 3, 20)}),
    makeup_workdays=frozenset({date(2026, 3, 14)}),
    approvals_of_several=2,
    min_debt_fen=500,
    startup_hold=timedelta(minutes=15),
    max_relay_age=24 * HOUR,
)
MOMENTS: Final = [
    datetime(2026, 3, 11, 8, 59, 59, 999_999, ZONE),
    datetime(2026, 3, 11, 9, tzinfo=ZONE),
    datetime(2026, 3, 11, 14, 59, 59, 999_999, ZONE),
    datetime(2026, 3, 11, 15, tzinfo=ZONE),
    datetime(2026, 3, 13, 10, tzinfo=ZONE),  # before a Saturday that is worked
    datetime(2026, 3, 14, 10, tzinfo=ZONE),  # that Saturday
    datetime(2026, 3, 19, 10, tzinfo=ZONE),  # before a holiday
    datetime(2026, 3, 20, 10, tzinfo=ZONE),  # the holiday
]
Fields = dict[str, Any]
Dimensions = Callable[[datetime], list[list[Fields]]]


class Difference(NamedTuple):
    """Facts of which the guards say different things."""

    facts: Facts
    first: tuple[str, Sequence[str]]
    second: tuple[str, Sequence[str]]


def of_arrears(now: datetime) -> list[list[Fields]]:
    """The values of the facts, by dimension, at a moment: of those who owe."""
    early, late = Notice("written", now - 72 * HOUR + NEXT), Notice("written", now - 168 * HOUR)
    good = now - 100 * HOUR
    return [
        [{"balance_fen": fen} for fen in (-1100, -900, -500, -499, 0, 1)],
        _readings(now),
        [
            {"written": written}
            for written in (
                (),
                (Notice("written"),),
                (early,),
                (Notice("written", now - 72 * HOUR),),
                (late,),
                (Notice("written", now - 168 * HOUR - NEXT), early),
                (Notice("written", now - 169 * HOUR),),
                (Notice("written", good, now + NEXT),),
                (Notice("written", good, now - 4 * HOUR),),
                (Notice("written", good, now - 4 * HOUR - NEXT),),
            )
        ],
        [
            {"final": final}
            for final in (
                (),
                (Notice("final", now - HOUR / 2 + NEXT),),
                (Notice("final", now - HOUR / 2),),
                (Notice("final", now - 24 * HOUR),),
                (Notice("final", now - 24 * HOUR - NEXT),),
            )
        ],
        _approvals(now),
        [
            *_one_by_one(now),
            {"requested_by": "li"},
            # After what was agreed to, and none.
            {"episode_started_at": now - 4 * HOUR + 2 * NEXT},
            {"episode_started_at": None},
        ],
        _clocks(now),
    ]


def of_orders(now: datetime) -> list[list[Fields]]:
    """The same of what is ordered off: no notice, and every fact with every cause."""
    return [
        [{"cause": cause} for cause in ("safety", "theft", "customer_request")],
        [{"requested_by": name} for name in ("zhao", "LI", "daemon", " ")],
        [{"balance_fen": fen} for fen in (-1100, 1)],
        _readings(now),
        _approvals(now),
        _one_by_one(now),
        _clocks(now),
    ]


def _readings(now: datetime) -> list[Fields]:
    times = None, now - 36 * HOUR, now - 36 * HOUR - NEXT, now + NEXT
    return [{"last_reading_at": at} for at in times]


def _approvals(now: datetime) -> list[Fields]:
    approval = Approval("li", now - 4 * HOUR + NEXT, now + NEXT, 1000)
    return [
        {"approvals": approvals}
        for approvals in (
            (),
            (approval,),
            (replace(approval, approver=" \uff24aemon"),),
            (replace(approval, approved_at=now - 4 * HOUR),),
            (replace(approval, approved_at=now + NEXT),),
            (replace(approval, expires_at=now),),
            (replace(approval, debt_fen=999),),
        )
    ]


def _one_by_one(now: datetime) -> list[Fields]:
    return [
        {},
        {"account_state": "closing"},
        {"has_agreement": False},
        {"reading_state": "suspect"},
        {"span_grace_until": now + NEXT},
        {"tariff_from": now.astimezone(ZONE).date() - timedelta(days=1)},
        {"use_jump": True, "correction_open": True},
        {"protected": True},
        {"life_support": True},
        {"held": True, "locked": True},
        {"dispute_open": True, "payment_in_flight": True},
        {"weather_hold": True, "breaker_open": True},
        {"reconnect_pending": True, "failed_restores": 6},
        {"has_relay": False, "relay_open": True},
        {"device_keep_power": True, "planned_outage": True},
        {"relay_seen_at": now - 24 * HOUR - NEXT},
        {"relay_moves": (now - HOUR + NEXT,) * 2},
        {"source_changed": True},
        {"shadow_mode": True},
        {"meters": 2},
        {"running_for": timedelta(minutes=15) - NEXT},
    ]


def _clocks(now: datetime) -> list[Fields]:
    return [
        {},
        {"clocks_apart": timedelta(seconds=5)},
        {"clocks_apart": timedelta(seconds=-5) - NEXT},
        {"clock_stepped_at": now - HOUR},
        {"clock_stepped_at": now - HOUR + NEXT},
    ]


class _Table:
    """The values of one moment, as facts and as they stand in a document."""

    def __init__(self, now: datetime, dimensions: Dimensions) -> None:
        utc = now.astimezone(UTC)
        self.facts: Fields = {
            "now": utc,
            "zone": ZONE,
            "balance_fen": 0,
            "trip_threshold_fen": 0,
            "episode_started_at": utc - 168 * HOUR,
            "relay_seen_at": utc - 24 * HOUR,
            "running_for": timedelta(minutes=15),
        }
        known = Facts(**self.facts)
        kept: Any = snapshot(POLICY, known, evaluate(POLICY, known))
        self.policy: Fields = kept["policy"]
        self.document: Fields = kept["facts"]
        self.values = [
            [(value, self._document_of(value)) for value in values] for values in dimensions(utc)
        ]
        self.size = prod(map(len, self.values))

    def at(self, place: int) -> tuple[Facts, Fields]:
        """The facts of a place, and the document of them."""
        facts: Fields = {"written": (), "final": (), **self.facts}
        document: Fields = {"written": [], "final": [], **self.document}
        for values in self.values:
            place, index = divmod(place, len(values))
            of_facts, of_document = values[index]
            facts.update(of_facts)
            document.update(of_document)
        facts["notices"] = facts.pop("written") + facts.pop("final")
        document["notices"] = document.pop("written") + document.pop("final")
        return Facts(**facts), {"policy": self.policy, "facts": document}

    def _document_of(self, value: Fields) -> Fields:
        """What production writes of these fields."""
        ((name, _),) = value.items() if len(value) == 1 else ((None, None),)
        renamed = {"notices": value[name]} if name in ("written", "final") else value
        facts = Facts(**self.facts | renamed)
        kept: Any = snapshot(POLICY, facts, evaluate(POLICY, facts))
        if name in ("written", "final"):
            return {name: kept["facts"]["notices"]}
        return {key: kept["facts"][key] for key in value}


_tables: Final = [
    _Table(moment, dimensions) for dimensions in (of_arrears, of_orders) for moment in MOMENTS
]
SIZE: Final = sum(table.size for table in _tables)


def differences(first: int = 0, step: int = 1) -> Iterator[Difference]:
    """Of every `step`-th place of all tables from `first` on, those on which they do not agree."""
    for table in _tables:
        for place in range(first, table.size, step):
            facts, document = table.at(place)
            one, two = evaluate(POLICY, facts), second_opinion(document)
            if (one.decision, one.reasons) != (two.decision, two.reasons):
                yield Difference(facts, (one.decision, one.reasons), (two.decision, two.reasons))


if __name__ == "__main__":
    import sys
    from concurrent.futures import ProcessPoolExecutor

    def part(first: int) -> list[Difference]:
        """What one process finds."""
        return list(differences(first, PROCESSES))

    PROCESSES: Final = 2
    with ProcessPoolExecutor(PROCESSES) as pool:
        found = [it for listed in pool.map(part, range(PROCESSES)) for it in listed]
    for it in found[:10]:
        print(it)
    print(f"{SIZE - len(found):,} of {SIZE:,} combinations: both guards say the same")
    sys.exit(bool(found))
