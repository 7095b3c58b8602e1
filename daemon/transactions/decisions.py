"""What persons say of values becomes a fact, where it may and where enough of them say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, cast

from psycopg import AsyncConnection, errors

from config.persons import is_same_person
from daemon.quality.acceptance import refusal, with_seen
from daemon.quality.codes import NOT_SHOWN
from daemon.quality.facts import Action, Decision, Facts, Installation, SeenUse, with_fact
from daemon.quality.judge import judge
from daemon.quality.substitution import approvals_needed, fits_current, refused_substitute
from daemon.quality.uses import Use, uses_of
from daemon.quality.verdict import DayState, changed_days
from daemon.transactions.chain_facts import load_facts, rates_of, seen_content
from daemon.transactions.documents.filing import judge_again
from protocols.errors import MeterdError
from storage import decisions
from storage.chains import act_as, lock_chains
from storage.decisions import DecisionRow, NewDecision
from storage.settling import Days, mark_points

WORDS: Final = {
    "unknown_point": "there is no point {point}",
    "no_meter": "no meter served {point} on {day}",
    "not_a_register": "a register of {point} has {decimals} decimals, and rolls over at {modulus}",
    "no_such_value": "{total} was never read for {day}; see meterd readings {point} --raw",
    "not_this_day": "what was read is no value of {day}: of another meter, of another time, or no "
    "register; the day is read again",
    "contradicts_published": "a later day is published with less; if that is the wrong one, reject "
    "it first (meterd quality show {point} {day})",
    "backward_needs_document": "the day before it is published with more; if the register rolled "
    "over say --rolled-over, if it was exchanged write a document (meterd meter exchange), if that "
    "value is the wrong one reject it (meterd quality show {point} {day})",
    "closed_period": "the period is closed; correct it in the open one",
    "final_below_published": "a document says less than what is published",
    "has_reading": "{day} has a published reading; a substitute takes no reading's place",
    "reading_waits": "the reading of {day} waits for a second one, which confirms it; if it is "
    "wrong, meterd quality reject it first",
    "no_neighbours": "the method needs a published value before {day}, S4 one behind it too",
    "no_basis": "S5 needs --basis: contract, or prevented",
    "does_not_fit": "{total}, or a rate of it, is below the value before it or above the one "
    "behind it",
    "rates_do_not_add_up": "the rates do not add up to {total}",
    "no_current_reading": "S3 is worked out from registers that were read on {day} (meterd collect "
    "{point} --what registers); say their number of meterd readings {point} --raw (--reading)",
    "not_read_then": "no registers of {point} were read on demand on {day} under that number; see "
    "meterd readings {point} --raw",
    "above_current": "the register showed {current} later that day, less than {total}",
    "no_held_link": "no use from {from_day} to {day} is held",
    "other_use": "the use from {from_day} to {day} is no longer {total} kWh: refuse "
    "the decision, and look anew (meterd quality show {point} {day})",
    "released_already": "the use from {from_day} to {day} was released already",
    "no_energy": "no register shows that use; say what was agreed upon "
    "(--agreed KWH --evidence WHAT)",
    "has_energy": "registers show that use; release it as it is, or correct what is wrong",
    "no_decision": "there is no such decision",
    "not_waiting": "the decision does not wait for anybody: {state}",
    "same_person": "{actor} made it or approved it; somebody else has to",
}
"""Why a decision is refused, by the name that programs may rely on."""


class DecisionRefused(MeterdError):
    """Somebody decided what may not be so; nothing was changed."""

    def __init__(self, reason: str, **told: object) -> None:
        super().__init__(f"{reason}: {WORDS[reason].format(**told)}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants. `total` and `rates` in kWh of the register.

    `reading`: the id of the registers that S3 is worked out from. `from_day`: where the use begins
    that is released; it ends at `day`. `agreed_kwh`: what is billed for it, as no register shows it
    (S6). `shown_kwh`: what registers showed of it when that was decided. `seen`: what was used up
    to a value when that was released. `basis`: of S5."""

    point: str
    day: date
    action: Action | Literal["release_link"]
    maker: str
    reason: str
    total: Decimal | None = None
    rates: tuple[Decimal, ...] = ()
    rolled_over: bool = False
    method: str | None = None
    evidence: str = ""
    basis: str | None = None
    reading: int | None = None
    from_day: date | None = None
    agreed_kwh: Decimal | None = None
    shown_kwh: Decimal | None = None
    seen: SeenUse | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of it. `waits_for`: so many other persons still have to agree.

    `changes`: the days that are judged otherwise because it counts."""

    number: int
    waits_for: int
    changes: Mapping[date, DayState]


async def decide(connection: AsyncConnection[Any], order: Order) -> Decided:
    """Write a decision down; where nobody else has to agree it counts at once.

    The same again, from somebody who got no answer, changes nothing, and nor does
    DecisionRefused."""
    async with connection.transaction():
        await lock_chains(connection)
        point_id = await decisions.lock_point(connection, order.point)
        if point_id is None:
            raise DecisionRefused("unknown_point", point=order.point)
        desk = await _desk(connection, order.point, point_id, order.day)
        total = desk.steps(order.total)
        rates = tuple(desk.steps(rate) or 0 for rate in order.rates)
        if rates and not desk.add_up(total or 0, rates):
            raise DecisionRefused("rates_do_not_add_up", total=order.total)
        if order.method == "S3":
            order = await _with_current(connection, desk, order)
        if order.action == "release_link":
            order = replace(order, shown_kwh=_held_kwh(desk, order))
        if order.action == "release":
            order = replace(order, seen=with_seen(desk.facts, _decision(desk, order)).seen)
        waits_for = approvals_needed(order.action, order.method)
        new = NewDecision(
            point_id=point_id,
            day=order.day,
            action=order.action,
            total=total,
            maker=order.maker,
            reason=order.reason,
            takes_effect=not waits_for,
            rates=rates,
            rolled_over=order.rolled_over,
            method=order.method,
            evidence=order.evidence,
            content=_content(order),
        )
        said = await decisions.repeated(connection, new)
        if said is not None:
            left = waits_for - len(said.approvers) if said.state == "waits" else 0
            return Decided(said.number, left, {})
        if order.action == "release_link" and order.agreed_kwh is None:
            _refuse_again(desk, order)
        decision = _refuse(desk, order)
        number = await decisions.add_decision(connection, new)
        changes = {}
        if not waits_for:
            changes = await _take_effect(connection, desk, decision, order.maker)
    return Decided(number, waits_for, changes)


async def approve(
    connection: AsyncConnection[Any], number: int, actor: str, reason: str = ""
) -> Decided:
    """Another person agrees; with the last one that it waits for, the decision counts.

    It is looked at again: what was published meanwhile may forbid it."""
    async with connection.transaction():
        await lock_chains(connection)
        found = await _waiting(connection, number)
        if any(is_same_person(actor, other) for other in (found.maker, *found.approvers)):
            raise DecisionRefused("same_person", actor=actor)
        await decisions.lock_point(connection, found.point)
        desk = await _desk(connection, found.point, found.point_id, found.day)
        order = _order(found, desk)
        if order.action == "release_link" and _held_kwh(desk, order) != order.shown_kwh:
            told = {"point": order.point, "from_day": order.from_day, "day": order.day}
            raise DecisionRefused("other_use", **told, total=order.shown_kwh)
        decision = _refuse(desk, order)
        await decisions.review(connection, number, actor, "approved", reason)
        approvals = len(found.approvers) + 1
        waits_for = approvals_needed(found.action, found.method) - approvals
        changes = {}
        if waits_for <= 0:
            await decisions.take_effect(connection, number, actor)
            changes = await _take_effect(connection, desk, decision, actor)
    return Decided(number, max(0, waits_for), changes)


async def refuse(
    connection: AsyncConnection[Any], number: int, actor: str, reason: str
) -> DecisionRow:
    """A decision that waits is not to count; who made it may take it back so."""
    async with connection.transaction():
        found = await _waiting(connection, number)
        try:
            async with connection.transaction():
                await decisions.review(connection, number, actor, "refused", reason)
        except errors.UniqueViolation:
            raise DecisionRefused("same_person", actor=actor) from None
    return found


@dataclass(frozen=True, slots=True)
class _Desk:
    """All that is known of a point on the day of a decision."""

    point: str
    point_id: int
    facts: Facts
    register: Installation

    def steps(self, kwh: Decimal | None) -> int | None:
        """A register in its smallest step."""
        if kwh is None:
            return None
        scaled = kwh.scaleb(self.register.decimals)
        if scaled != scaled.to_integral_value() or not 0 <= kwh < self.register.modulus:
            raise DecisionRefused(
                "not_a_register",
                point=self.point,
                decimals=self.register.decimals,
                modulus=self.register.modulus,
            )
        return int(scaled)

    def add_up(self, total: int, rates: Sequence[int]) -> bool:
        """Whether rates are those of a total, each of which is cut off by itself and turns over."""
        modulus = int(self.register.modulus.scaleb(self.register.decimals))
        apart = (total - sum(rates)) % modulus
        return min(apart, modulus - apart) <= len(rates)


async def _desk(connection: AsyncConnection[Any], point: str, point_id: int, day: date) -> _Desk:
    facts = await load_facts(connection, point_id)
    midnight = datetime.combine(day, time(), facts.zone)
    begun = [it for it in facts.installations if it.at <= midnight]
    if not begun:
        raise DecisionRefused("no_meter", point=point, day=day)
    return _Desk(point, point_id, facts, max(begun, key=lambda it: it.at))


async def _with_current(connection: AsyncConnection[Any], desk: _Desk, order: Order) -> Order:
    """S3 names what the meter told on demand that day; who approves it sees that as evidence."""
    told = {"point": order.point, "day": order.day, "total": order.total}
    if order.reading is None:
        raise DecisionRefused("no_current_reading", **told)
    current = await decisions.current_reading(connection, desk.point_id, order.day, order.reading)
    if current is None:
        raise DecisionRefused("not_read_then", **told)
    shown = Decimal(current.total).scaleb(-current.decimals)
    if not fits_current(desk.steps(order.total) or 0, current.total, current.modulus):
        raise DecisionRefused("above_current", **told, current=shown)
    at = current.at.astimezone(desk.facts.zone)
    return replace(order, evidence=f"{order.evidence}; the meter told {shown} at {at:%F %T}")


async def _waiting(connection: AsyncConnection[Any], number: int) -> DecisionRow:
    found = await decisions.decisions(connection, number=number)
    if not found:
        raise DecisionRefused("no_decision")
    if found[0].state != "waits":
        raise DecisionRefused("not_waiting", state=found[0].state)
    return found[0]


def _refuse_again(desk: _Desk, order: Order) -> None:
    """What was released is released; only what was agreed upon may be agreed upon otherwise."""
    told = (order.from_day, order.day, order.shown_kwh)
    if any((it.start, it.end, it.kwh) == told for it in desk.facts.link_releases):
        raise DecisionRefused("released_already", from_day=order.from_day, day=order.day)


def _refuse(desk: _Desk, order: Order) -> Decision | None:
    """The fact that it is, if it is one of the judgement. DecisionRefused where it may not be so
    (judgement.md 4.2)."""
    told = {
        "point": order.point,
        "day": order.day,
        "total": order.total,
        "from_day": order.from_day,
    }
    decision = None
    if order.action == "release_link":
        found = _refused_link(desk, order)
    else:
        decision = _decision(desk, order)
        found = refusal(desk.facts, decision)
        if found is None and order.action == "substitute":
            found = refused_substitute(desk.facts, decision, has_basis=order.basis is not None)
    if found is not None:
        raise DecisionRefused(found, **told)
    return decision


def _decision(desk: _Desk, order: Order) -> Decision:
    """What an order says of a value, as the last word."""
    assert order.action != "release_link", "that is said of the use between two values"
    return Decision(
        action=order.action,
        day=order.day,
        total=order.total or Decimal(0),
        number=max((it.number for it in desk.facts.decisions), default=0) + 1,
        rolled_over=order.rolled_over,
        method=order.method,
        rates=rates_of(order.rates),
        seen=order.seen,
    )


def _refused_link(desk: _Desk, order: Order) -> str | None:
    """Only use that is held can be released: as registers show it, or else as agreed upon."""
    held = _held(desk, order)
    if held is None:
        return "no_held_link"
    is_shown = held.hold not in NOT_SHOWN
    if order.agreed_kwh is None:
        return None if is_shown else "no_energy"
    return "has_energy" if is_shown else None


def _held(desk: _Desk, order: Order) -> Use | None:
    """The use that ends with the day, if it is held unless somebody releases it, and begins where
    the order says."""
    verdict = judge(replace(desk.facts, link_releases=()))
    use = uses_of(verdict, desk.facts.zone).get(order.day)
    is_it = use is not None and order.day - timedelta(days=use.days) == order.from_day
    return use if use is not None and use.hold is not None and is_it else None


def _held_kwh(desk: _Desk, order: Order) -> Decimal | None:
    """What registers show of it, so that who approves it agrees to no other use."""
    held = _held(desk, order)
    return None if held is None else held.shown_kwh


async def _take_effect(
    connection: AsyncConnection[Any], desk: _Desk, decision: Decision | None, actor: str
) -> dict[date, DayState]:
    """Let slots, journal and money follow; returns the days that are judged otherwise."""
    await act_as(connection, actor)
    await judge_again(connection, [desk.point_id])
    if decision is None:
        return {}
    if decision.action == "substitute":
        # Its rates may be others though the total, which is what is judged, stays.
        changed = {desk.point_id: Days(decision.day, decision.day)}
        await mark_points(connection, changed, "decision")
    return changed_days(judge(desk.facts), judge(with_fact(desk.facts, decision)))


def _content(order: Order) -> dict[str, Any]:
    content = {
        "from": order.from_day and order.from_day.isoformat(),
        "kwh": None if order.agreed_kwh is None else str(order.agreed_kwh),
        "shown_kwh": None if order.shown_kwh is None else f"{order.shown_kwh:f}",
        "seen": order.seen and seen_content(order.seen),
        "basis": order.basis,
        "reading": order.reading,
    }
    return {name: value for name, value in content.items() if value is not None}


def _order(found: DecisionRow, desk: _Desk) -> Order:
    """What was wanted, from its row."""
    begins = found.content.get("from")
    agreed = found.content.get("kwh")
    shown = found.content.get("shown_kwh")
    decimals = desk.register.decimals
    return Order(
        point=found.point,
        day=found.day,
        action=cast(Action, found.action),
        maker=found.maker,
        reason=found.reason,
        total=None if found.total is None else Decimal(found.total).scaleb(-decimals),
        rates=tuple(Decimal(it).scaleb(-decimals) for it in found.rates),
        rolled_over=found.rolled_over,
        method=found.method,
        evidence=found.evidence,
        basis=found.content.get("basis"),
        reading=found.content.get("reading"),
        from_day=None if begins is None else date.fromisoformat(begins),
        agreed_kwh=None if agreed is None else Decimal(agreed),
        shown_kwh=None if shown is None else Decimal(shown),
    )
