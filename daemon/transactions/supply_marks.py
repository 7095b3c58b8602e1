"""Persons say who is not to be cut, and when that is over."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import structlog
from psycopg import AsyncConnection

from config.persons import is_same_person
from daemon.control.ramp import Ramp
from protocols.errors import MeterdError
from storage import archive, marks
from storage.documents import Said
from storage.marks import Scope

log = structlog.get_logger("control")
TWO_PERSONS: Final = frozenset({"protected", "life_support", "keep_power"})
"""Whoever is protected by these stays so until two persons say otherwise."""


class MarkRefused(MeterdError):
    """A mark that cannot be set or lifted so. Who typed it acts."""


@dataclass(frozen=True, slots=True)
class Marked:
    """Of whom a mark is to be, by the names that persons use; of nobody: of the whole site."""

    area: str | None = None
    line: str | None = None
    account: str | None = None
    point: str | None = None


async def set_mark(
    connection: AsyncConnection[Any],
    kind: str,
    marked: Marked,
    said: Said,
    *,
    from_at: datetime | None = None,
    to_at: datetime | None = None,
    ramp: Ramp | None = None,
) -> int:
    """Set a mark; returns its number. MarkRefused: there is nobody of that name, or it would be
    over already.

    `ramp`: of an amnesty, how fast those who are cut come back."""
    if ramp is not None and not ramp.points_per_minute:
        raise MarkRefused(
            f"with {ramp.kw_per_minute} kW a minute and {ramp.kw_per_point} kW a point nobody "
            "would come back"
        )
    scope = await _scope(connection, marked)
    number = await marks.add_mark(
        connection,
        kind,
        scope,
        said,
        from_at=from_at,
        to_at=to_at,
        ramp=None if ramp is None else (ramp.kw_per_minute, ramp.kw_per_point),
    )
    if number is None:
        raise MarkRefused(f"{to_at} is over already; nothing was set")
    log.info("supply mark", kind=kind, number=number, actor=said.actor)
    return number


async def lift_mark(
    connection: AsyncConnection[Any], number: int, kinds: Collection[str], said: Said
) -> Literal["lifted", "waits"]:
    """Lift a mark; what protects waits for a second person. MarkRefused: it is none of these kinds:
    all are numbered together, and a slip would end the hold of a whole site."""
    async with connection.transaction():
        kind, asked_by = await _locked(connection, number)
        if kind not in kinds:
            raise MarkRefused(f"mark {number} is of another kind: {kind}; nothing was lifted")
        if asked_by is not None:
            raise MarkRefused(
                f"{asked_by} asked already to lift mark {number}; another has to agree"
            )
        at_once = kind not in TWO_PERSONS
        await marks.ask_to_lift(connection, number, said, at_once=at_once)
    log.info("supply mark lifted" if at_once else "supply mark is to be lifted", number=number)
    return "lifted" if at_once else "waits"


async def agree_to_lift(connection: AsyncConnection[Any], number: int, actor: str) -> None:
    """The second person agrees. MarkRefused: nobody asked, or this very person did."""
    async with connection.transaction():
        _, asked_by = await _locked(connection, number)
        if asked_by is None:
            raise MarkRefused(f"nobody asked to lift mark {number}")
        if is_same_person(asked_by, actor):
            raise MarkRefused(
                f"{asked_by} asked to lift mark {number}; another person has to agree"
            )
        await marks.agree_to_lift(connection, number, actor)
    log.info("supply mark lifted", number=number, actor=actor)


async def _locked(connection: AsyncConnection[Any], number: int) -> tuple[str, str | None]:
    found = await marks.lock_mark(connection, number)
    if found is None:
        raise MarkRefused(f"there is no mark {number}")
    kind, asked_by, is_lifted = found
    if is_lifted:
        raise MarkRefused(f"mark {number} is lifted already")
    return kind, asked_by


async def _scope(connection: AsyncConnection[Any], marked: Marked) -> Scope:
    if marked.area is not None and not await marks.is_known(connection, area=marked.area):
        raise MarkRefused(f"no point is in area {marked.area}")
    if marked.line is not None and not await marks.is_known(connection, line=marked.line):
        raise MarkRefused(f"no meter is on line {marked.line}")
    account_id = point_id = None
    if marked.account is not None:
        account_id = await archive.account_id(connection, marked.account)
        if account_id is None:
            raise MarkRefused(f"no account {marked.account}")
    if marked.point is not None:
        point_id = await archive.point_id(connection, marked.point)
        if point_id is None:
            raise MarkRefused(f"no point {marked.point}")
    return Scope(marked.area, marked.line, account_id, point_id)
