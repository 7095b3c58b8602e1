"""What is wrong with supply, looked for in the tables: cases for persons, and alarms (A10, A12)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import structlog
from psycopg import AsyncConnection

from daemon.control.alarms import SILENT, TRIP_LATE, UNSEEN
from daemon.control.cases import CASE_LASTS, HeldSupply, case_of, is_proven_dark
from daemon.control.commands import RECONNECT_LATE
from storage import ledger, supply_cases
from storage.supply_cases import AlarmAges, NewCase

log = structlog.get_logger("control")
AGES: Final = AlarmAges(reconnect=RECONNECT_LATE, trip=TRIP_LATE, silent=SILENT, unseen=UNSEEN)


async def open_cases(connection: AsyncConnection[Any], now: datetime) -> None:
    """Open a case for each supply that is not as we hold it, and keep what is proven by now."""
    held = await supply_cases.held_supplies(connection, HeldSupply)
    for it in held:
        case = case_of(it)
        if case is None:
            continue
        new = NewCase(
            case.kind,
            it.point_id,
            it.account_id,
            it.address,
            it.line,
            case.cause,
            case.seen_at,
            now,
            CASE_LASTS,
        )
        number = await supply_cases.open_case(connection, new)
        if number is not None:
            log.error(case.kind, point=it.point, line=it.line, cause=case.cause, job=number)
    proven = [it for it in held if is_proven_dark(it)]
    if proven:
        async with connection.transaction():
            accounts = [it.account_id for it in proven if it.account_id is not None]
            await ledger.lock_accounts(connection, accounts)
            await supply_cases.prove_dark(connection, [it.point_id for it in proven])


async def supply_alarms(
    connection: AsyncConnection[Any], lines: Iterable[str], now: datetime, *, shadow_mode: bool
) -> list[dict[str, Any]]:
    """What a person has to know of supply now, one by one: kind, point, account, line, since,
    detail, area, has_job. `lines`: those that run."""
    return await supply_cases.alarms(connection, lines, AGES, now, shadow_mode=shadow_mode)
