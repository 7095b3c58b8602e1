"""Bills of a site of the tests, read from the database and looked at by the program inside them."""

from collections.abc import Collection
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.proof import verify
from daemon.billing.proof.bill import BillFacts, bill_files
from daemon.transactions.proofs.bills import bills
from daemon.transactions.sealing import seal
from storage import proofs
from tests.database.small_site import NOW, TODAY, ZONE, rows


async def proven(
    connection: AsyncConnection[Any], zone: ZoneInfo = ZONE, numbers: Collection[str] = ()
) -> list[BillFacts]:
    """The bills of these accounts, or of all, of all months with a charge; each follows the one
    before it that is there."""
    await seal(connection, NOW)
    await seal(connection, NOW)
    told: list[BillFacts] = []
    looked_at: list[verify.Verified] = []
    for month in await months(connection):
        accounts = [
            account
            for account in await proofs.in_service(connection, month)
            if not numbers or account.number in numbers
        ]
        for bill in await bills(connection, accounts, month, zone):
            told.append(bill)
            looked_at.append(verify.verify_files(bill_files(bill), lambda *_: None))
    looked_at.sort(key=lambda bill: (bill.account, bill.month))
    verify.check_followed(looked_at, lambda *_: None)
    return told


async def months(connection: AsyncConnection[Any]) -> list[date]:
    """In which something was charged, and the one of today, in which adjustments are made."""
    found = await rows(connection, "SELECT DISTINCT month FROM account_month ORDER BY 1")
    return sorted({*found, TODAY.replace(day=1)})
