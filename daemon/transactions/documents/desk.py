"""Where a document is worked on: what is known of its point, and how one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.cells import address, unit
from config.meters import MODBUS
from daemon.quality.acceptance import refusal
from daemon.quality.facts import Facts, Installation, Ratio, Registers
from daemon.transactions.chain_facts import load_facts, registers
from protocols.errors import MeterdError
from storage import installations
from storage.holdings import HoldingRow, holdings
from storage.installations import InstallationRow, InstalledMeter

Reason = Literal[
    "unknown_point",
    "unknown_account",
    "no_meter",
    "in_the_future",
    "overlapping_installation",
    "meter_serves_another_point",
    "not_an_address",
    "has_readings",
    "not_a_register",
    "final_below_published",
    "contradicts_published",
    "closed_period",
    "nothing_changes",
    "no_version",
    "version_is_used",
    "account_closed",
    "account_pending",
    "no_price",
    "no_freeze",
    "command_open",
    "no_document",
    "not_waiting",
    "same_person",
    "said_already",
    "conflict",
    "no_entry",
    "no_payment",
    "reversed_already",
]
"""Why a document is refused; programs may rely on these names."""
Kwh = tuple[Decimal, ...]
"""Registers as they are read off a meter: the total, then the rates in their order."""


class DocumentRefused(MeterdError):
    """Somebody said what cannot be so; nothing was changed. The message ends with the way out."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass(frozen=True)
class Desk:
    """The point of a document, locked, and all that is known of it before.

    `number`: of the document that is written."""

    connection: AsyncConnection[Any]
    point: str
    point_id: int
    zone: ZoneInfo
    now: datetime
    number: int
    facts: Facts
    installations: Sequence[InstallationRow]
    holdings: Sequence[HoldingRow]

    @property
    def today(self) -> date:
        """The site's."""
        return self.now.astimezone(self.zone).date()

    @property
    def holders(self) -> frozenset[int]:
        """The accounts that have the point from now on: one at most but for days to come."""
        return frozenset(it.account_id for it in self.holdings if it.to_day is None)

    def midnight(self, day: date) -> datetime:
        """When a day of the site begins."""
        return datetime.combine(day, time(), self.zone)

    def serving_at(self, at: datetime) -> InstallationRow | None:
        """The meter that served the point at that moment."""
        begun = [it for it in self.installations if it.from_at <= at]
        return begun[-1] if begun else None

    def first_freeze(self, at: datetime) -> date:
        """The first day whose midnight is at or after a moment."""
        day = at.astimezone(self.zone).date()
        return day if self.midnight(day) >= at else date.fromordinal(day.toordinal() + 1)

    def refuse_future(self, at: date | datetime) -> None:
        """A document says what is or was so."""
        is_ahead = at > self.now if isinstance(at, datetime) else at > self.today
        if is_ahead:
            refuse(
                "in_the_future",
                f"{shown(at, self.zone)} has not come yet; give the document when it has",
            )

    def refuse_closed(self, day: date) -> None:
        """What a closed period says of days up to its end stays so."""
        through = max((it.through for it in self.facts.closings), default=None)
        if through is not None and day <= through:
            refuse(
                "closed_period",
                f"the period up to {through} is closed for {self.point}; a day after it can be "
                "given, and what is wrong before it is corrected in money",
            )

    def steps(self, registers: Kwh, decimals: int, modulus: int, what: str) -> list[int]:
        """Registers in their smallest step; refused where the meter cannot show them."""
        steps = []
        for kwh in registers:
            scaled = kwh.scaleb(decimals)
            if scaled != scaled.to_integral_value() or not 0 <= scaled < modulus:
                top = Decimal(modulus).scaleb(-decimals)
                refuse(
                    "not_a_register",
                    f"{what} {kwh}: a register of {self.point} has {decimals} decimals and is "
                    f"below {top}; read it off the meter again, or say --decimals or --modulus "
                    "of another meter",
                )
            steps.append(int(scaled))
        return steps


def refuse(reason: Reason, message: str) -> NoReturn:
    """End a document; nothing of it is kept."""
    raise DocumentRefused(reason, message)


def shown(at: date | datetime, zone: ZoneInfo) -> str:
    """A day, or a moment in the site's time, as a person types it."""
    if isinstance(at, datetime):
        return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"
    return at.isoformat()


def refuse_overturned(desk: Desk, facts: Facts, told: Installation | Ratio) -> None:
    """What was published is not overturned by a side door (judgement.md 4.2)."""
    found = refusal(facts, told)
    if found == "final_below_published":
        refuse(
            found,
            f"{desk.point} has a published register above that final one. Read the old meter "
            f"again; if the published value is the wrong one, look at it (meterd readings "
            f"{desk.point}) and take it back first: meterd quality withdraw {desk.point} DAY TOTAL "
            "--reason WHY",
        )
    if found is not None:
        refuse(
            "closed_period",
            f"that would take back a day of {desk.point} with which a period was closed; tell a "
            "later moment, and correct what is wrong before it in money",
        )


def registers_of(steps: Sequence[int] | None, decimals: int) -> Registers | None:
    """Total and rates in steps as what the meter shows; None where nobody read them."""
    return None if steps is None else registers(steps, decimals)


def meter_address(typed: str, like: InstalledMeter) -> str:
    """The name of a meter on the line of another one, as meters.csv would have it."""
    try:
        if like.protocol in MODBUS:
            return unit(typed.removeprefix(f"{like.line}/"), like.line, like.protocol)
        return address(typed)
    except ValueError as error:
        refuse("not_an_address", str(error))


async def desk_of(
    connection: AsyncConnection[Any], point: str, point_id: int, now: datetime, number: int
) -> Desk:
    """All that is known of a point, which the caller has locked."""
    facts = await load_facts(connection, point_id)
    return Desk(
        connection=connection,
        point=point,
        point_id=point_id,
        zone=facts.zone,
        now=now,
        number=number,
        facts=facts,
        installations=await installations.of_point(connection, point_id),
        holdings=await holdings(connection, point_id),
    )
