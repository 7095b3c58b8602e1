"""meterd meter: what became of the meter at a point."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from daemon.cli.documented import run_document
from daemon.cli.gathered import gathered
from daemon.cli.saying import saying_options
from daemon.cli.typed import Day, Moment, Ratio, RegisterList, Text, Whole, in_zone, typed
from daemon.quality.facts import Clock
from daemon.transactions.documents.correction import (
    AddressCorrection,
    ClockCorrection,
    DateCorrection,
)
from daemon.transactions.documents.crossing import Crossing
from daemon.transactions.documents.exchange import Exchange
from daemon.transactions.documents.filing import Document
from daemon.transactions.documents.ratio_change import RatioChange

Registers = tuple[Decimal, ...]
AS_READ: Final = "in kWh as the meter shows them: the total, then the rates, with commas between"


@dataclass(frozen=True, slots=True)
class OldMeter:
    """What is said of the meter that went."""

    old_final: Registers | None
    old_final_lost: bool


@dataclass(frozen=True, slots=True)
class NewMeter:
    """What is said of the one that came."""

    new_address: str | None
    same_serial: bool
    new_initial: Registers | None
    ratio: Decimal | None
    modulus: Registers | None
    decimals: int | None


@click.group()
def meter() -> None:
    """What became of the meter at a point.

    Each command writes a document: who says it, why, and by what it can be proved. What moves days
    that are billed waits for a second person (meterd document approve)."""


@meter.command()
@click.argument("point")
@click.option(
    "--at",
    "moment",
    type=Moment(),
    required=True,
    help='When, in the time of the site: "2026-03-12 10:15".',
)
@click.option("--new-address", type=Text(), help="Of the meter that came, from its label.")
@click.option("--same-serial", is_flag=True, help="The same meter: its register starts anew.")
@click.option("--old-final", type=RegisterList(), help=f"Last registers of the old one, {AS_READ}.")
@click.option("--old-final-lost", is_flag=True, help="Nobody can read them any more.")
@click.option(
    "--new-initial",
    type=RegisterList(),
    help="First registers of the new one; without them its first two readings begin it.",
)
@click.option("--ratio", type=Ratio(), help="CT x PT from then on, if it changed too.")
@click.option("--modulus", type=RegisterList(), help="kWh at which the new register starts again.")
@click.option("--decimals", type=Whole(0, 4), help="Of the new register.")
@saying_options
@gathered("old", OldMeter)
@gathered("new", NewMeter)
def exchange(*, point: str, moment: datetime, old: OldMeter, new: NewMeter, **saying: Any) -> None:
    """Another meter serves POINT, or the same one starts anew.

    The use of that day is what the old one showed last, and what the new one shows from its first
    registers on."""
    if new.same_serial == (new.new_address is not None):
        raise click.UsageError("say either --new-address or --same-serial")
    old_final = old.old_final
    if old.old_final_lost and old_final is not None:
        raise click.UsageError("say either --old-final or --old-final-lost")
    if old_final is None and not old.old_final_lost:
        old_final = typed(
            "Last registers of the old meter, in kWh",
            RegisterList(),
            "--old-final or --old-final-lost",
        )

    def document(zone: ZoneInfo) -> Document:
        return Exchange(
            point=point,
            at=in_zone(moment, zone, "--at"),
            address=new.new_address,
            old_final=old_final,
            new_initial=new.new_initial,
            ratio=new.ratio,
            modulus=new.modulus[0] if new.modulus else None,
            decimals=new.decimals,
        )

    run_document(document, saying)


@meter.command()
@click.argument("point")
@click.option("--from", "from_day", type=Day(), required=True, help="The first day, from 00:00.")
@click.option("--ratio", type=Ratio(), required=True, help="CT x PT from then on.")
@click.option(
    "--register",
    type=RegisterList(),
    help=f"What it showed at that midnight, {AS_READ}; without it that day's freeze tells.",
)
@saying_options
def ratio(
    point: str, from_day: date, ratio: Decimal, register: Registers | None, **saying: Any
) -> None:
    """What the register of POINT is multiplied with from a day on.

    A ratio that was wrong from the beginning is mended from the meter's first day on."""

    def document(_: ZoneInfo) -> Document:
        return RatioChange(point, from_day, ratio, register)

    run_document(document, saying)


@meter.command()
@click.argument("point")
@click.option(
    "--installed-at",
    type=Moment(may_be_day=True),
    help="When the meter that is there began: a day, or the moment of its exchange.",
)
@click.option("--address", type=Text(), help="What its label says; only while nothing was read.")
@click.option(
    "--clock",
    type=click.Choice(["zone", "standard"]),
    help="The time that it keeps: the zone's, or standard time all year.",
)
@saying_options
def correct(
    point: str,
    installed_at: datetime | None,
    address: str | None,
    clock: Clock | None,
    **saying: Any,
) -> None:
    """What was written down of the meter at POINT was wrong: one thing at a time."""
    if sum(value is not None for value in (installed_at, address, clock)) != 1:
        raise click.UsageError("say one of --installed-at, --address, --clock")

    def document(zone: ZoneInfo) -> Document:
        if installed_at is not None:
            return DateCorrection(point, in_zone(installed_at, zone, "--installed-at"))
        if address is not None:
            return AddressCorrection(point, address)
        assert clock is not None, "one of them was said"
        return ClockCorrection(point, clock)

    run_document(document, saying)


@meter.command()
@click.argument("point")
@click.argument("other")
@click.option(
    "--from",
    "from_day",
    type=Day(),
    help="Since 00:00 of this day, whose freezes both told; default: as long as they are there.",
)
@saying_options
def crossed(point: str, other: str, from_day: date | None, **saying: Any) -> None:
    """The meters of POINT and OTHER were crossed: each measures what the other is said to.

    Both points are mended at once, with what their customers were billed."""

    def document(_: ZoneInfo) -> Document:
        return Crossing(point, other, from_day)

    run_document(document, saying)
