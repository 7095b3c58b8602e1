"""The golden money cases through pipeline and database, in the order in which the events arrive."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.transactions.collect import process
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.payment_reversal import approve_reversal, file_reversal
from storage.documents import Said
from storage.ledger import Outcome
from tests.database.small_site import (
    ARMED,
    NOW,
    Site,
    balance,
    freeze,
    intact,
    links,
    on,
    pay,
    rows,
    slots,
)
from tests.unit.golden_cases import CASES, SETTLED_FLAT, flat_case

STATUS = {
    "V07": "suspect:backward",
    "V27": "suspect:backward",
    "V08": "suspect:spike",
}


@pytest.mark.parametrize("name", SETTLED_FLAT)
def test_each_reading_moves_what_the_case_says(database_url: str, name: str) -> None:
    case = flat_case(name)

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(
            opened_on=case.opening_day,
            ratio=case.ratio,
            max_daily_kwh=case.register.max_daily.scaleb(-case.register.decimals),
            modulus=case.register.modulus,
            decimals=case.register.decimals,
        )
        site.tariffs = [
            (v.tariff_id, v.effective_from, v.price_yuan_per_kwh) for v in case.tariff.versions
        ]
        meter = (await site.take_over(connection))["P1"]
        first = min(case.readings)[1]
        await connection.execute("UPDATE installation SET initial = %s", ([first],))
        await pay(connection, "A1", case.opening_fen)
        told = []
        for day, total in case.readings:
            before = await balance(connection, "A1")
            batch = [freeze(meter, day, Decimal(total).scaleb(-case.register.decimals))]
            await process(connection, batch, ARMED, NOW)
            after = await balance(connection, "A1")
            told.append((await status(connection, day), after - before, after))
        assert told == case.steps
        periods = "SELECT to_char(period, 'YYYY-MM'), component, posted_fen FROM charge_stream"
        by_period: dict[str, dict[str, int]] = {}
        for period, component, fen in await rows(connection, periods):
            by_period.setdefault(period, {})[component] = fen
        assert by_period == case.final["charges_fen_by_period"]
        assert case.opening_fen - await balance(connection, "A1") == case.final["total_charges_fen"]
        billed = (await links(connection, "P1"))[-1]
        assert f"{billed[1]}T00:00" == case.final["billed_through"]["P1"]
        assert await intact(connection)

    on(database_url, story)


async def status(connection: AsyncConnection[Any], day: date) -> str:
    state, _, reasons = (await slots(connection, "P1"))[day]
    if state == "suspect":
        (found,) = {STATUS[reason] for reason in reasons if reason in STATUS}
        return found
    rolled = "SELECT count(*) FROM link WHERE %s IN (from_day, to_day) AND ends[1] < begins[1] AND state <> 'replaced'"
    return "accepted:rollover" if await rows(connection, rolled, day) != [0] else "accepted"


def test_payments_of_o19_are_posted_once_and_reversed_once(database_url: str) -> None:
    given, expected = CASES["O19"]["input"], CASES["O19"]["expected"]

    async def status_of(connection: AsyncConnection[Any], event: dict[str, Any]) -> str:
        if event["type"] == "topup":
            done = await pay(connection, "A1", event["amount_fen"], event["key"])
            return "accepted" if done.outcome is Outcome.POSTED else "duplicate"
        maker, checker = Said("li", "bounced"), Said("wang", "seen")
        try:
            number = await file_reversal(
                connection, f"pay:counter:{event['key']}", "bounced", maker
            )
            await approve_reversal(connection, number, checker, NOW)
        except DocumentRefused as refused:
            return {"reversed_already": "duplicate"}[refused.reason]
        return "accepted"

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of().take_over(connection)
        for event, step in zip(given["events"], expected["steps"], strict=True):
            before = await balance(connection, "A1")
            assert await status_of(connection, event) == step["status"]
            after = await balance(connection, "A1")
            assert (after - before, after) == (step["delta_fen"], step["balance_fen"])
        assert await intact(connection)

    on(database_url, story)
