"""What control must know of a point, and how the guard is told of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final, Literal
from zoneinfo import ZoneInfo

from config.persons import BY_DAEMON
from daemon.control.authority import Authority
from daemon.control.guard import MAX_TRIPS_PER_MINUTE, Approval, Cause, Facts, Notice, Policy
from daemon.control.sources import FarEnd, LineSource, has_changed

ORDERS: Final[tuple[Cause, ...]] = ("safety", "theft", "customer_request")
"""For what two persons order that a supply is off; what is paid changes nothing of it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What persons said of a point and of its account's present episode.

    `marks`: kinds of the marks that hold now, and of the order that is in force. `requester`: who
    asked for the cut."""

    marks: frozenset[str] = frozenset()
    notices: tuple[Notice, ...] = ()
    requester: str = BY_DAEMON
    approvals: tuple[Approval, ...] = ()


NOTHING_SAID = Said()


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplyFacts:
    """A point with its meter and account, and what decides whether it has to be restored.

    The fields are the columns of the statement that loads them, in one look with the account row
    locked. Times are aware."""

    point_id: int
    point: str
    account_id: int
    account: str
    supply_state: str
    relay_observed: str
    has_relay: bool
    protected: bool
    life_support: bool
    reconnect: str
    meter_id: int
    address: str
    line: str
    account_state: str
    reconnect_fen: int
    balance_fen: int
    episode_started_at: datetime | None
    cut_for: Cause | Literal["former_customer"] = "arrears"
    """For what it was cut last."""
    said: Said = NOTHING_SAID
    """Of facts that are loaded for a restoration only the marks."""

    @property
    def ordered(self) -> Cause | None:
        """For what two persons ordered it off; None while no such order is in force."""
        return next((it for it in ORDERS if it in self.said.marks), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts(SupplyFacts):
    """The same with all that the guard must know, too."""

    relay_observed_at: datetime | None
    keep_power_observed: bool
    relay_moves: Sequence[datetime]
    has_agreement: bool
    trip_fen: int
    credit_limit_fen: int
    credit_state: str
    episode_id: int | None
    profile: str | None
    newest_state: str | None
    last_published_day: date | None
    span_grace_until: datetime | None
    use_jump: bool
    correction_open: bool
    tariff_from: date | None
    reconnect_pending: bool
    breaker_open: bool
    failed_restores: int
    trips_last_minute: int
    source_identity: str | None
    sources: Sequence[Sequence[int]]
    """Of each line of the account, as LineSource has it."""
    meters: int = 1
    """Of the account."""


def facts_for_guard(
    point: PointFacts, authority: Authority, now: datetime, far_end: FarEnd | None = None
) -> Facts:
    """What the database says, in the guard's words: published readings, this site's mode.

    `far_end`: who would get the frame."""
    said = point.said
    return Facts(
        now=now.astimezone(UTC),
        zone=authority.zone,
        balance_fen=point.balance_fen,
        trip_threshold_fen=point.trip_fen,
        credit_limit_fen=point.credit_limit_fen,
        account_state=point.account_state,
        has_agreement=point.has_agreement,
        # R25: the newest value, published or not; a suspect one leads to no trip.
        reading_state=point.newest_state or "missing",
        last_reading_at=_midnight(point.last_published_day, authority.zone),
        span_grace_until=_utc(point.span_grace_until),
        use_jump=point.use_jump,
        correction_open=point.correction_open,
        tariff_from=point.tariff_from,
        episode_started_at=_utc(point.episode_started_at),
        notices=said.notices,
        protected=is_protected(point),
        life_support=depends_on_supply(point),
        held=not said.marks.isdisjoint(("hold", "amnesty")),
        locked="keep_power" in said.marks,
        dispute_open=not said.marks.isdisjoint(("dispute", "wrongful_cut")),
        payment_in_flight="payment_in_flight" in said.marks,
        weather_hold="weather" in said.marks,
        planned_outage="planned_outage" in said.marks,
        reconnect_pending=point.reconnect_pending,
        relay_open=point.relay_observed == "open",
        has_relay=point.has_relay,
        relay_seen_at=_utc(point.relay_observed_at),
        relay_moves=tuple(it.astimezone(UTC) for it in point.relay_moves),
        source_changed=is_source_changed(point, far_end),
        device_keep_power=point.keep_power_observed,
        # Over the whole site; the release counts again under a lock, so that lines can not
        # overtake each other.
        breaker_open=point.breaker_open or point.trips_last_minute >= MAX_TRIPS_PER_MINUTE,
        shadow_mode=authority.shadow_mode,
        running_for=authority.running_for(),
        clocks_apart=authority.clocks.apart,
        clock_stepped_at=_stepped_at(authority, now),
        failed_restores=point.failed_restores,
        meters=point.meters,
        cause=point.ordered or "arrears",
        requested_by=said.requester,
        approvals=said.approvals,
    )


def facts_of_nobody(policy: Policy, authority: Authority, now: datetime) -> Facts:
    """What holds of every point of the site now; the rest as it is when a cut is most in order."""
    now = now.astimezone(UTC)
    written = Notice("written", now - policy.written_min)
    final = Notice("final", now - policy.final_min)
    return Facts(
        now=now,
        zone=authority.zone,
        balance_fen=-max(1, policy.min_debt_fen),
        trip_threshold_fen=0,
        last_reading_at=now,
        relay_seen_at=now,
        episode_started_at=now - max(policy.written_min, policy.final_min),
        notices=(written, final),
        running_for=authority.running_for(),
        clocks_apart=authority.clocks.apart,
        clock_stepped_at=_stepped_at(authority, now),
    )


def is_protected(point: SupplyFacts) -> bool:
    """By the files, or by a mark that somebody set."""
    return point.protected or "protected" in point.said.marks


def depends_on_supply(point: SupplyFacts) -> bool:
    """By the files, or by a mark that somebody set."""
    return point.life_support or "life_support" in point.said.marks


def is_source_changed(point: PointFacts, far_end: FarEnd | None) -> bool:
    """SOURCE_CHANGED, of a point and of whoever is at the far end of its line now."""
    sources = [LineSource(proof, bool(new), bool(other)) for proof, new, other in point.sources]
    return has_changed(sources, point.source_identity, far_end)


def _stepped_at(authority: Authority, now: datetime) -> datetime | None:
    return now.astimezone(UTC) if authority.clocks.doubt() else None


def _midnight(day: date | None, zone: ZoneInfo) -> datetime | None:
    return None if day is None else _utc(datetime.combine(day, time(), zone))


def _utc(at: datetime | None) -> datetime | None:
    # Two times of one zone are subtracted by their wall clocks: over a change of the clocks that is
    # an hour off.
    return None if at is None else at.astimezone(UTC)
