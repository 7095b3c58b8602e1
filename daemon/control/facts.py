"""What control must know of a point, and how the guard is told of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from daemon.control.authority import Authority
from daemon.control.guard import MAX_TRIPS_PER_MINUTE, Facts
from daemon.control.sources import FarEnd, LineSource, has_changed


@dataclass(frozen=True, slots=True)
class PointFacts:
    """A point with all that control must know of it, its meter and its account.

    The fields are the columns of the statement that loads them, in one look with the account row
    locked. Times are aware."""

    point_id: int
    point: str
    account_id: int
    account: str
    supply_state: str
    relay_observed: str
    keep_power_observed: bool
    protected: bool
    life_support: bool
    reconnect: str
    meter_id: int
    address: str
    line: str
    account_state: str
    has_agreement: bool
    trip_fen: int
    credit_limit_fen: int
    reconnect_fen: int
    credit_state: str
    episode_started_at: datetime | None
    balance_fen: int
    newest_state: str | None
    last_published_day: date | None
    span_grace_until: datetime | None
    reconnect_pending: bool
    trips_last_minute: int
    source_identity: str | None
    sources: Sequence[Sequence[int]]
    """Of each line of the account, as LineSource has it."""


def facts_for_guard(
    point: PointFacts, authority: Authority, now: datetime, far_end: FarEnd | None = None
) -> Facts:
    """What the database says, in the guard's words.

    Local wall time, published readings, this site's mode. `far_end`: who would get the frame."""
    zone = authority.zone
    return Facts(
        now=_local(now, zone),
        balance_fen=point.balance_fen,
        trip_threshold_fen=point.trip_fen,
        credit_limit_fen=point.credit_limit_fen,
        account_state=point.account_state,
        has_agreement=point.has_agreement,
        # R25: the newest value, published or not; a suspect one leads to no trip.
        reading_state=point.newest_state or "missing",
        last_reading_at=_midnight(point.last_published_day),
        span_grace_until=_local_or_none(point.span_grace_until, zone),
        episode_started_at=_local_or_none(point.episode_started_at, zone),
        protected=point.protected,
        life_support=point.life_support,
        reconnect_pending=point.reconnect_pending,
        relay_open=point.relay_observed == "open",
        source_changed=is_source_changed(point, far_end),
        device_keep_power=point.keep_power_observed,
        # Over the whole site; the release counts again under a lock, so that lines can not
        # overtake each other.
        breaker_open=point.trips_last_minute >= MAX_TRIPS_PER_MINUTE,
        shadow_mode=authority.shadow_mode,
        # A clock that was set back must not make the start lie in the future.
        running_for=max(now - authority.started_at, timedelta(0)),
    )


def is_source_changed(point: PointFacts, far_end: FarEnd | None) -> bool:
    """SOURCE_CHANGED, of a point and of whoever is at the far end of its line now."""
    sources = [LineSource(proof, bool(new), bool(other)) for proof, new, other in point.sources]
    return has_changed(sources, point.source_identity, far_end)


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time())


def _local_or_none(at: datetime | None, zone: ZoneInfo) -> datetime | None:
    return None if at is None else _local(at, zone)


def _local(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None)
