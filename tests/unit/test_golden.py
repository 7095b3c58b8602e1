"""Worked cases of the money and control rules, event by event through the pure rules.

`golden_open.json` is the project's own file of worked cases (domain/golden_open.json, schema
version 1.0), copied unchanged; its results were computed exactly and independently of this program.
The same cases go through pipeline and database in tests/database/transactions/test_golden_cases.py;
all of the file's cases go through `meterd tariff try` in tests/unit/cli/test_tariff_try.py.
"""

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pytest

from daemon.billing.links import Link, chain_links
from daemon.billing.settlement import PricedLink, Stream, StreamState, price_link, settle, to_fen
from daemon.control.guard import Facts, Notice, Policy, evaluate
from daemon.quality import facts
from daemon.quality.judge import judge
from daemon.quality.register import ChainPoint
from tests.unit.golden_cases import CASES, SETTLED_FLAT, FlatCase, flat_case, steps

GUARDED = ("O25", "O26", "O27", "O28", "O29", "O30")
SUSPECT = {"V07": "suspect:backward", "V27": "suspect:backward", "V08": "suspect:spike"}


@pytest.mark.parametrize("name", SETTLED_FLAT)
def test_settling_reading_by_reading_moves_what_the_case_says(name: str) -> None:
    case = flat_case(name)
    chain: dict[date, int] = {}
    streams: dict[Stream, StreamState] = {}
    balance = case.opening_fen
    told = []
    reads: list[facts.Read] = []
    for day, total in case.readings:
        status, posted = "accepted", 0
        reads.append(read(case, day, total))
        shown = judge(replace(told_by(case), reads=tuple(reads))).days[day]
        if shown.state == "suspect":
            (status,) = {SUSPECT[code] for code in shown.codes if code in SUSPECT}
        else:
            was = links_of(case, chain)
            chain[day] = total
            now = links_of(case, chain)
            settlement = settle(
                streams,
                removed=[priced(case, link) for link in was if link not in now],
                added=[priced(case, link) for link in now if link not in was],
            )
            streams |= settlement.streams
            posted = sum(fen for postings in settlement.postings for fen in postings.fen.values())
            balance -= posted
            if any(link.rolled_over for link in now if day in (link.from_day, link.to_day)):
                status = "accepted:rollover"
        told.append((status, -posted, balance))
    assert told == case.steps
    by_period: dict[str, dict[str, int]] = {}
    for stream, state in streams.items():
        by_period.setdefault(f"{stream.period:%Y-%m}", {})[stream.component] = state.posted_fen
    assert by_period == case.final["charges_fen_by_period"]
    assert sum(state.posted_fen for state in streams.values()) == case.final["total_charges_fen"]
    assert {"P1": datetime.combine(max(chain), time()).isoformat("T", "minutes")} == case.final[
        "billed_through"
    ]


def told_by(case: FlatCase) -> facts.Facts:
    """The documents of a case: the meter's first register is known, so the first value counts."""
    day, total = case.readings[0]
    register = case.register
    installation = facts.Installation(
        at=datetime.combine(day, time(), case.zone),
        serial="m",
        modulus=Decimal(register.modulus).scaleb(-register.decimals),
        decimals=register.decimals,
        wire_decimals=register.decimals,
        initial=read(case, day, total).registers,
    )
    most = Decimal(register.max_daily).scaleb(-register.decimals)
    return facts.Facts(case.zone, (installation,), (facts.Limit(day, most),))


def read(case: FlatCase, day: date, total: int) -> facts.Read:
    kwh = Decimal(total).scaleb(-case.register.decimals)
    at = datetime.combine(day, time(1), case.zone)
    return facts.Read(day, facts.Registers(kwh), at)


def test_a_register_that_passes_its_modulus_is_a_rollover() -> None:
    given, expected = CASES["O24"]["input"], CASES["O24"]["expected"]
    first = date(2026, 3, 1)
    days = (first, first + timedelta(days=given["days"]))
    totals = [steps(given[name], 2) for name in ("prev", "next")]
    chain = [ChainPoint(*item) for item in zip(days, totals, strict=True)]
    (link,) = chain_links(1, chain, steps(given["modulus"], 2))
    assert link.rolled_over == (expected["status"] == "ok:rollover")
    assert Decimal(link.delta).scaleb(-2) * Decimal(given["ratio"]) == Decimal(expected["kwh"])


def test_cumulative_rounding_of_31_equal_days_does_not_drift() -> None:
    given, expected = CASES["O02"]["input"], CASES["O02"]["expected"]
    exact = [Decimal(yuan) for yuan in given["exact_yuan"]]
    sums = [to_fen(sum(exact[: count + 1], Decimal(0))) for count in range(len(exact))]
    posted = [now - before for before, now in zip([0, *sums], sums, strict=False)]
    assert posted == expected["posted_fen"]
    assert sums[-1] == expected["total_fen"]
    assert sum(to_fen(yuan) for yuan in exact) == expected["naive_per_day_total_fen"]


@pytest.mark.parametrize("name", GUARDED)
def test_the_guard_decides_as_the_case_says(name: str) -> None:
    given, expected = CASES[name]["input"], CASES[name]["expected"]
    config, facts = given["config"], dict(given["facts"])
    policy = Policy(
        max_reading_age=timedelta(hours=config["max_reading_age_h"]),
        window_start=time.fromisoformat(config["window"]["start"]),
        window_end=time.fromisoformat(config["window"]["end"]),
        holidays=frozenset(map(date.fromisoformat, config["holidays"])),
        makeup_workdays=frozenset(map(date.fromisoformat, config.get("makeup_workdays", []))),
        no_trip_on_eve=config["no_trip_on_eve"],
        written_required=config["written_required"],
        written_min=timedelta(hours=config["written_min_h"]),
        written_max=timedelta(hours=config["written_max_h"]),
        final_min=timedelta(minutes=config["final_min_min"]),
        final_max=timedelta(hours=config["final_max_h"]),
        approvals_required=config["approvals_required"],
    )
    for moment in ("now", "last_reading_at", "episode_started_at"):
        facts[moment] = datetime.fromisoformat(facts[moment])
    facts["notices"] = tuple(
        Notice(
            notice["kind"],
            datetime.fromisoformat(notice["delivered_at"]) if "delivered_at" in notice else None,
        )
        for notice in facts["notices"]
    )
    verdict = evaluate(policy, Facts(**facts))
    assert (verdict.decision, list(verdict.reasons)) == (expected["decision"], expected["reasons"])


def links_of(case: FlatCase, chain: dict[date, int]) -> list[Link]:
    return chain_links(
        1, [ChainPoint(*item) for item in sorted(chain.items())], case.register.modulus
    )


def priced(case: FlatCase, link: Link) -> PricedLink:
    return price_link(
        link, ratio=case.ratio, decimals=case.register.decimals, tariff=case.tariff, zone=case.zone
    )
