"""Restoring supply: for which points, and what has to be done. Pure.

Control, reconnect: no guard, no window, no approval, day and night."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

from daemon.control.commands import RECONNECT_EXPIRY, RECONNECT_LATE
from daemon.control.facts import ORDERS, SupplyFacts, depends_on_supply, is_protected

RestoreStep = Literal["cancel", "wait", "reconnect"]


def is_to_be_restored(point: SupplyFacts) -> bool:
    """A cut point whose balance is back at the reconnect threshold, or that must not be cut, or
    that was ordered off and is no more; and one that somebody else opened although money is no
    reason for it. None that is ordered off."""
    if point.ordered is not None:
        return False
    # I9: protection or life support that was added after the cut restores without money.
    must_be_on = is_protected(point) or depends_on_supply(point)
    is_paid = point.balance_fen >= point.reconnect_fen
    if point.supply_state in ("disconnected", "trip_commanded"):
        return must_be_on or is_paid or point.cut_for != "arrears"
    # Whoever opened it may be at work there: not even who must not be cut is closed over his head.
    is_worked_on = "planned_outage" in point.said.marks
    is_owed = must_be_on or _is_owed_supply(point, is_paid=is_paid)
    return is_opened_by_others(point) and not is_worked_on and is_owed


def is_locked_off(marks: Container[str]) -> bool:
    """Whether somebody works there, or two persons ordered it off: no reconnect leaves, whatever
    was paid (LOCKED_OUT)."""
    return any(it in marks for it in ("keep_off", *ORDERS))


def is_opened_by_others(point: SupplyFacts) -> bool:
    """FOREIGN_OPEN: the relay was seen open, and not by a trip of ours."""
    is_open = point.supply_state == "energised" and point.relay_observed == "open"
    return is_open and point.has_relay


def _is_owed_supply(point: SupplyFacts, *, is_paid: bool) -> bool:
    """Not in arrears, nor is the account of one who moved out."""
    is_in_arrears = point.episode_started_at is not None and not is_paid
    return point.account_state == "active" and not is_in_arrears


def restore_step(
    point: SupplyFacts, *, trip_sends: int | None, was_just_tried: bool
) -> RestoreStep:
    """What restores a point whose trips were ended just now.

    `trip_sends`: how often the trip had been sent that was ended, None if there was none. `cancel`:
    no frame of it ever left, so the supply was never cut. Whatever may have reached the meter is
    followed by a reconnect (I3), but not at once after one that failed for good, nor while somebody
    works there."""
    # None although a trip was commanded: what became of it is not known, so it counts as sent.
    if point.supply_state == "trip_commanded" and trip_sends == 0:
        return "cancel"
    return "wait" if was_just_tried or is_locked_off(point.said.marks) else "reconnect"


def restorations(
    cut: Iterable[SupplyFacts], trip_sends: Mapping[int, int], just_tried: Container[int]
) -> tuple[list[SupplyFacts], list[SupplyFacts]]:
    """(points that were never cut, points to be reconnected) of those that are to be restored.

    `trip_sends`: point -> how often its trip had been sent, of the trips that were ended."""
    never_cut: list[SupplyFacts] = []
    reconnect: list[SupplyFacts] = []
    for point in cut:
        step = restore_step(
            point,
            trip_sends=trip_sends.get(point.point_id),
            was_just_tried=point.point_id in just_tried,
        )
        if step == "cancel":
            never_cut.append(point)
        elif step == "reconnect":
            reconnect.append(point)
    return never_cut, reconnect


def renewed_expiry(expires_at: datetime, now: datetime) -> datetime:
    """When a reconnect expires that is sent now.

    Control, command life cycle: a reconnect is renewed after 24 h, never silently dropped."""
    return now + RECONNECT_EXPIRY if expires_at <= now else expires_at


def needs_job(supply_state: str, waited: timedelta) -> bool:
    """Whether somebody has to go where a reconnect has waited so long (R89a).

    What waits for its customer's button is done."""
    return supply_state != "wait_customer_button" and waited >= RECONNECT_LATE


def missing_fen(points: Iterable[SupplyFacts]) -> int:
    """What is still to be paid until the account's cut points are restored; 0 if none is cut for
    arrears alone."""
    missing = [
        point.reconnect_fen - point.balance_fen
        for point in points
        if point.supply_state != "energised" and (point.cut_for, point.ordered) == ("arrears", None)
    ]
    return max([0, *missing])
