"""A site in rows, for the tests of the database: accounts whose points have one meter each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from config.tariff_version import TOTAL, TariffVersion
from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.transactions.archive import tariff_row
from daemon.transactions.collect import process
from daemon.transactions.payment import TopUp, top_up
from protocols.reading import DailyFreeze, Quantity
from storage import archive, ledger
from storage.archive import ArchiveRows, SiteMeter
from storage.owner import claim

ZONE = ZoneInfo("Asia/Shanghai")
OPEN = date(2026, 3, 1)
NOW = datetime.now(UTC)
TODAY = NOW.astimezone(ZONE).date()
DAY = timedelta(days=1)
CUT_AT_ANY_TIME = Policy(
    max_reading_age=timedelta(days=36_500),
    window_start=time(0),
    window_end=time.max,
    working_days_only=False,
    no_trip_on_eve=False,
    written_required=False,
    final_required=False,
    approvals_required=0,
    approvals_of_several=0,
    max_moves_per_hour=10**6,
    max_moves_per_day=10**6,
    max_clocks_apart=timedelta(days=36_500),
    new_tariff_days=0,
)
"""Only what the database knows can forbid a trip: the tests choose the facts, not the day of the
week."""


async def at_now(_: AsyncConnection[Any]) -> datetime:
    """The clock of a database where it is NOW."""
    return NOW


ARMED = Authority(CUT_AT_ANY_TIME, ZONE, shadow_mode=False, running_for=lambda: DAY)
SHADOW = replace(ARMED, shadow_mode=True)
TABLES = (
    "account",
    "account_journal",
    "arrears_episode",
    "point",
    "point_supply",
    "point_account",
    "point_ratio",
    "point_limit",
    "meter",
    "installation",
    "tariff_version",
    "reading",
    "slot",
    "doubt",
    "chain",
    "slot_journal",
    "dead_letter",
    "ledger_account",
    "posting_stream",
    "journal",
    "link",
    "past_link",
    "account_month",
    "command",
    "command_event",
    "guard_verdict",
)
INTACT = {
    "sum_of_balances_fen": 0,
    "unbalanced_transactions": 0,
    "wrong_balances": 0,
    "wrong_months": 0,
    "misdated_charges": 0,
}

UNTRUE_DAYS: Final = """
    WITH asked AS (
        SELECT max(day) + n AS until, greatest(min(day), max(day) + n - 61) AS since
        FROM slot CROSS JOIN generate_series(-3, 3) n GROUP BY n HAVING min(day) <= max(day) + n
    ), there AS (
        SELECT a.until, s.point_id,
               coalesce(bit_or(bit) FILTER (WHERE state IN ('published', 'substituted')), 0),
               coalesce(bit_or(bit) FILTER (WHERE state = 'suspect'), 0),
               coalesce(bit_or(bit) FILTER (WHERE state IN ('rejected', 'lost')), 0)
        FROM asked a JOIN slot s ON s.day BETWEEN a.since AND a.until AND s.kind = 1
        CROSS JOIN LATERAL (SELECT 1::bigint << (a.until - s.day)) b (bit) GROUP BY 1, 2
    ), told AS (
        SELECT a.until, d.* FROM asked a CROSS JOIN LATERAL shown_days(a.since, a.until) d
        WHERE (d.published, d.suspect, d.other) <> (0, 0, 0)
    )
    (SELECT 'untrue', * FROM (TABLE told EXCEPT TABLE there) x)
    UNION ALL
    (SELECT 'not told', * FROM (TABLE there EXCEPT TABLE told) x)"""
"""What `shown_days` says otherwise than a look at each slot, of windows around the newest day."""


@dataclass
class Site:
    """The rows of a configuration; point Pn of account An has meter n on line `line`.

    `tariffs`: versions of flat prices."""

    tariffs: list[tuple[str, date, Decimal]] = field(
        default_factory=lambda: [("T", date(2026, 1, 1), Decimal("0.5"))]
    )
    accounts: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    meters: list[dict[str, Any]] = field(default_factory=list)
    first_registers_are_known: bool = True
    zone: ZoneInfo = ZONE

    @classmethod
    def of(
        cls, count: int = 1, *, first_registers_are_known: bool = True, **changes: Any
    ) -> "Site":
        """`count` accounts with a point each. `changes` are those of `add`."""
        site = cls(first_registers_are_known=first_registers_are_known)
        for number in range(1, count + 1):
            site.add(number, **changes)
        return site

    def add(self, number: int, **changes: Any) -> None:
        """Account A<number> with point P<number>; a change goes to the row that has such a
        column."""
        account = {
            "number": f"A{number}",
            "name": "",
            "tariff_id": "T",
            "agreement": "signed",
            "opened_on": OPEN,
            "warn_fen": 3000,
            "trip_fen": 0,
            "reconnect_fen": 0,
            "credit_limit_fen": 0,
            "address": "",
            "settlement": "daily",
        }
        point = {
            "number": f"P{number}",
            "account": f"A{number}",
            "area": "",
            "ratio": Decimal(1),
            "max_daily_kwh": Decimal(380),
            "limit_basis": "max_daily_kwh",
            "reconnect": "allow_close",
            "protected": False,
            "life_support": False,
            "phases": 1,
            "rates": "sharp peak flat valley",
            "residual_rate": None,
        }
        meter = {
            "address": f"{number:012d}",
            "line": "line",
            "protocol": "dlt645-2007",
            "modulus": 100_000_000,
            "decimals": 2,
            "wire_decimals": 2,
            "point": f"P{number}",
            "installed_on": date(2026, 1, 1),
            "profile": None,
            "serial": None,
            "has_relay": True,
            "relay_type": None,
        }
        rows = (account, point, meter)
        assert set(changes) <= set(account) | set(point) | set(meter)
        for row in rows:
            row.update(
                {key: value for key, value in changes.items() if key in row and key != "number"}
            )
        self.accounts.append(account)
        self.points.append(point)
        self.meters.append(meter)

    async def take_over(
        self, connection: AsyncConnection[Any], today: date = TODAY
    ) -> dict[str, SiteMeter]:
        """Bring the database to this site; its meters by point."""
        await claim(connection, "test", ZONE)
        await archive.take_over(connection, self.rows(), noon(today))
        # Every meter began with 0, and somebody wrote that down: the first value needs no second.
        await connection.execute(
            "UPDATE installation SET initial = %s WHERE initial IS NULL AND %s",
            ([0], self.first_registers_are_known),
        )
        return await meters(connection)

    def rows(self) -> ArchiveRows:
        return ArchiveRows(
            tariffs=[flat_row(*version) for version in self.tariffs],
            accounts=[account_row(row) for row in self.accounts],
            points=[tuple(row.values()) for row in self.points],
            meters=[meter_row(row, self.zone) for row in self.meters],
        )


def flat_row(tariff: str, start: date, yuan_per_kwh: Decimal) -> tuple[Any, ...]:
    """A version with one price of every kWh."""
    return tariff_row(tariff, TariffVersion(f"{tariff}@{start}", start, {TOTAL: yuan_per_kwh}))


def account_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.values())


def meter_row(row: dict[str, Any], zone: ZoneInfo = ZONE) -> tuple[Any, ...]:
    """With the instant at which it was installed, which the files do not know."""
    columns = dict(row)
    told = [columns.pop(name) for name in ("profile", "serial", "has_relay", "relay_type")]
    midnight = datetime.combine(row["installed_on"], time(), zone)
    return (*columns.values(), midnight, *told)


async def meters(connection: AsyncConnection[Any]) -> dict[str, SiteMeter]:
    return {meter.point: meter for meter in await archive.site_meters(connection)}


async def connect(url: str) -> AsyncConnection[Any]:
    return await AsyncConnection.connect(url, autocommit=True)


def as_owner(database_url: str) -> str:
    """Who can switch triggers off, as the owner of the tables can."""
    return make_conninfo(database_url, user="postgres")


def noon(day: date) -> datetime:
    """A moment of a day of the site."""
    return datetime.combine(day, time(12), ZONE)


def on(url: str, story: Callable[[AsyncConnection[Any]], Awaitable[object]]) -> None:
    """Run a test's story with a connection.

    Whatever it was, in the end the days that runs and their breaks tell of are those that are
    there."""

    async def tell() -> None:
        async with await connect(url) as connection:
            await story(connection)
            if (
                not connection.closed
                and connection.info.transaction_status == TransactionStatus.IDLE
            ):
                assert await rows(connection, UNTRUE_DAYS) == []

    asyncio.run(tell())


def freeze(
    meter: SiteMeter,
    day: date,
    kwh: str | Decimal | int,
    *,
    rates: Sequence[Decimal | None] = (),
    skew: timedelta | None = None,
    at: time = time(),
) -> Arrival:
    """What a line hands on when the meter told its freeze of this day."""
    registers = (Decimal(kwh), *rates)
    stamp = datetime.combine(day, at)
    return Arrival(
        meter,
        DailyFreeze(meter.address, Quantity.FORWARD_ACTIVE_ENERGY, stamp, registers, NOW, skew),
    )


def polled(arrival: Arrival) -> Arrival | PolledFreeze:
    """The same as a line polls it by the thousand, if it does."""
    freeze = arrival.freeze
    day = freeze.frozen_at.date()
    is_plain = freeze.frozen_at.time() == time() and freeze.host_offset is None
    if not is_plain or freeze.serial is not None or not freeze.registers:
        return arrival
    steps = [None if it is None else int(it.scaleb(2)) for it in freeze.registers]
    return PolledFreeze(arrival.meter, day, tuple(steps), freeze.arrived_at, freeze.clock_skew)


async def store(
    connection: AsyncConnection[Any],
    *batch: Arrival,
    authority: Authority = ARMED,
    now: datetime = NOW,
) -> list[tuple[int, date]]:
    return await process(connection, batch, authority, now)


async def pay(
    connection: AsyncConnection[Any],
    account: str,
    fen: int,
    reference: str = "1",
    now: datetime = NOW,
) -> TopUp:
    done = await top_up(connection, account, fen, channel="counter", reference=reference, now=now)
    assert done is not None
    return done


async def balance(connection: AsyncConnection[Any], account: str) -> int:
    found = await archive.account(connection, account)
    assert found is not None
    return int(found["balance_fen"])


async def intact(connection: AsyncConnection[Any]) -> bool:
    found = await ledger.integrity(connection)
    return {kind: found[kind] for kind in INTACT} == INTACT


async def rows(connection: AsyncConnection[Any], query: str, *values: Any) -> list[Any]:
    """All rows; the bare values where there is one column."""
    found = await (await connection.execute(query.encode(), values)).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


async def everything(connection: AsyncConnection[Any]) -> dict[str, list[Any]]:
    """All that the database keeps of readings, money and supply, to see that nothing changed."""
    return {
        table: await rows(connection, f"SELECT t::text FROM {table} t ORDER BY 1")
        for table in TABLES
    }


async def links(connection: AsyncConnection[Any], point: str) -> list[tuple[date, date, str]]:
    query = (
        "SELECT from_day, to_day, CASE WHEN hold IS NULL THEN 'billed' ELSE 'held' END "
        "FROM link l JOIN point p ON p.id = l.point_id WHERE p.number = %s ORDER BY 1"
    )
    return await rows(connection, query, point)


async def slots(
    connection: AsyncConnection[Any], point: str
) -> dict[date, tuple[str, int, list[str]]]:
    query = (
        "SELECT s.day, s.state::text, s.total, coalesce(d.codes, '{}') FROM slot s "
        "JOIN point p ON p.id = s.point_id "
        "LEFT JOIN doubt d ON (d.point_id, d.day, d.kind) = (s.point_id, s.day, s.kind) "
        "WHERE p.number = %s ORDER BY 1"
    )
    return {
        day: (state, total, codes)
        for day, state, total, codes in await rows(connection, query, point)
    }
