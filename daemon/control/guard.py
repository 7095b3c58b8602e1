"""The guard: may this supply be cut now? Pure: (policy, facts) -> verdict.

The verdict names every failing reason, not only the first. It is heard when a trip is asked for
and again, on fresh facts, inside the transaction that releases it to the line (I1, I2). Times are
naive local wall time of the site."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal

Decision = Literal["allow", "deny", "needs_approval"]
MAX_TRIPS_PER_MINUTE = 10
"""Hard cap on the whole site; no configuration raises it."""
SPAN_GRACE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Policy:
    """When and after which notices a supply may be cut.

    The defaults are the strict profile `cn_strict`. `window_end` is exclusive and may be 24:00,
    written as time.max; all ages are inclusive at both limits (R81)."""

    max_reading_age: timedelta = timedelta(hours=36)
    window_start: time = time(9)
    window_end: time = time(15)
    working_days_only: bool = True
    holidays: frozenset[date] = frozenset()
    makeup_workdays: frozenset[date] = frozenset()
    no_trip_on_eve: bool = True
    written_required: bool = True
    written_min: timedelta = timedelta(hours=72)
    written_max: timedelta = timedelta(hours=168)
    final_required: bool = True
    final_min: timedelta = timedelta(minutes=30)
    final_max: timedelta = timedelta(hours=24)
    approvals_required: int = 1
    min_debt_fen: int = 0
    startup_hold: timedelta = timedelta(0)

    def is_working_day(self, day: date) -> bool:
        """Weekends and holidays are not, make-up workdays are."""
        # A make-up workday is a weekend day that is worked for a holiday elsewhere in the week.
        if day in self.makeup_workdays:
            return True
        return day.weekday() < 5 and day not in self.holidays


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice to the customer.

    `delivered_at` comes from a positive receipt, None while there is none: sent is not
    delivered."""

    kind: Literal["written", "final"]
    delivered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the guard looks at, read in one transaction with the account row locked."""

    now: datetime
    balance_fen: int
    trip_threshold_fen: int
    credit_limit_fen: int = 0
    emergency_available_fen: int = 0
    account_state: str = "active"
    has_agreement: bool = True
    reading_state: str = "published"
    last_reading_at: datetime | None = None
    span_grace_until: datetime | None = None
    """Days covered by the longest charged link that was made within SPAN_GRACE."""
    episode_started_at: datetime | None = None
    notices: tuple[Notice, ...] = ()
    protected: bool = False
    life_support: bool = False
    dispute_open: bool = False
    payment_in_flight: bool = False
    reconnect_pending: bool = False
    relay_open: bool = False
    source_changed: bool = False
    """Who told the readings, or would get the command, is somebody new or unproven."""
    device_keep_power: bool = False
    weather_hold: bool = False
    breaker_open: bool = False
    shadow_mode: bool = False
    running_for: timedelta | None = None
    """How long the daemon has been running; None when no daemon asks."""
    requested_by: str = "daemon"
    approved_by: Collection[str] = ()

    @property
    def floor_fen(self) -> int:
        """The balance below which a trip is allowed; credit only lowers it."""
        return self.trip_threshold_fen - self.credit_limit_fen - self.emergency_available_fen


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reasons`: the codes of every rule that failed, sorted; empty when the decision is allow."""

    decision: Decision
    reasons: tuple[str, ...]


def evaluate(policy: Policy, facts: Facts) -> Verdict:
    """needs_approval when nothing but approvals is missing; deny for any other failing rule."""
    reasons = sorted(
        {
            *_money(policy, facts),
            *_holds(policy, facts),
            *_calendar(policy, facts),
            *_notices(policy, facts),
        }
    )
    # I13, O30: a requester does not approve his own trip.
    approvers = set(facts.approved_by) - {facts.requested_by}
    if len(approvers) < policy.approvals_required:
        if not reasons:
            return Verdict("needs_approval", ("APPROVAL_MISSING",))
        reasons = sorted([*reasons, "APPROVAL_MISSING"])
    return Verdict("deny" if reasons else "allow", tuple(reasons))


def snapshot(policy: Policy, facts: Facts, verdict: Verdict) -> dict[str, object]:
    """All inputs and the verdict as plain values.

    Stored with the command, and replayed by an auditor (I2)."""
    return {
        "policy": _plain(asdict(policy)),
        "facts": _plain(asdict(facts)),
        **_plain(asdict(verdict)),
    }


def _money(policy: Policy, facts: Facts) -> Iterator[str]:
    # O26: a balance exactly at the floor does not trip.
    if facts.balance_fen >= facts.floor_fen:
        yield "BALANCE_OK"
    elif facts.floor_fen - facts.balance_fen < policy.min_debt_fen:
        yield "DEBT_TOO_SMALL"
    if facts.account_state != "active":
        yield "ACCOUNT_NOT_ACTIVE"
    # R42: nobody is forced into prepayment; without a signed agreement there is no trip.
    if not facts.has_agreement:
        yield "NO_AGREEMENT"
    # R25: a suspect or stale reading never leads to a trip.
    if facts.reading_state not in ("published", "substituted_approved"):
        yield "READING_NOT_PUBLISHED"
    if _is_stale(policy, facts):
        yield "STALE_READING"
    # A large sum at once may hit a customer who paid day by day: there is a day to look at it.
    if facts.span_grace_until is not None and facts.now < facts.span_grace_until:
        yield "SPAN_GRACE"


def _is_stale(policy: Policy, facts: Facts) -> bool:
    if facts.last_reading_at is None:
        return True
    return facts.now - facts.last_reading_at > policy.max_reading_age


def _holds(policy: Policy, facts: Facts) -> Iterator[str]:
    # R99: after a start payments are caught up with before anybody is cut.
    is_starting = facts.running_for is not None and facts.running_for < policy.startup_hold
    for code, holds in (
        # I9: never tripped by the daemon in any state.
        ("PROTECTED", facts.protected),
        ("LIFE_SUPPORT", facts.life_support),
        ("DISPUTE", facts.dispute_open),
        ("PAYMENT_IN_FLIGHT", facts.payment_in_flight),
        ("RECONNECT_PENDING", facts.reconnect_pending),
        ("ALREADY_OPEN", facts.relay_open),
        # A1: whoever takes a terminal's place neither causes a cut nor gets the password of one.
        ("SOURCE_CHANGED", facts.source_changed),
        ("DEVICE_KEEP_POWER", facts.device_keep_power),
        ("WEATHER", facts.weather_hold),
        ("BREAKER_OPEN", facts.breaker_open),
        ("SHADOW_MODE", facts.shadow_mode),
        ("STARTUP_HOLD", is_starting),
    ):
        if holds:
            yield code


def _calendar(policy: Policy, facts: Facts) -> Iterator[str]:
    # R83: no cut at night nor before rest days, when no counter is open to pay at.
    today = facts.now.date()
    if not _is_in_window(policy, facts.now.time()):
        yield "WINDOW_CLOSED"
    if policy.working_days_only and not policy.is_working_day(today):
        yield "NONWORKING_DAY"
    if policy.no_trip_on_eve and not policy.is_working_day(today + timedelta(days=1)):
        yield "EVE_OF_NONWORKING"


def _is_in_window(policy: Policy, clock: time) -> bool:
    # 24:00 is no time of day: time.max stands for it, and the last microsecond belongs to the day.
    is_before_end = clock < policy.window_end or policy.window_end == time.max
    return policy.window_start <= clock and is_before_end


def _notices(policy: Policy, facts: Facts) -> Iterator[str]:
    """R81: a written notice and a final one, each delivered long enough ago and not too long."""
    if policy.written_required:
        ages = _notice_ages(facts, "written")
        yield from _notice_faults("NOTICE", ages, policy.written_min, policy.written_max)
    if policy.final_required:
        ages = _notice_ages(facts, "final")
        yield from _notice_faults("FINAL_NOTICE", ages, policy.final_min, policy.final_max)


def _notice_ages(facts: Facts, kind: str) -> list[timedelta]:
    """Only delivered notices of the present episode count."""
    # O29: a notice from an earlier episode was about a debt that was paid.
    start = facts.episode_started_at
    if start is None:
        return []
    delivered = [notice.delivered_at for notice in facts.notices if notice.kind == kind]
    return [
        facts.now - delivered_at
        for delivered_at in delivered
        if delivered_at is not None and start <= delivered_at <= facts.now
    ]


def _notice_faults(
    prefix: str,
    ages: Sequence[timedelta],
    youngest: timedelta,
    oldest: timedelta,
) -> Iterator[str]:
    if not ages:
        yield f"{prefix}_MISSING"
    elif any(youngest <= age <= oldest for age in ages):
        return
    # All too old: the customer may have forgotten. Otherwise one is too recent, and will do later.
    elif all(age > oldest for age in ages):
        yield f"{prefix}_EXPIRED"
    else:
        yield f"{prefix}_TOO_RECENT"


def _plain(value: object) -> dict[str, object]:
    plain = _plain_value(value)
    assert isinstance(plain, dict)
    return plain


def _plain_value(value: object) -> object:
    # What JSON can hold, so that the snapshot can be read without this program.
    match value:
        case dict():
            return {str(key): _plain_value(item) for key, item in value.items()}
        case timedelta():
            return value.total_seconds()
        case date() | time():
            return value.isoformat()
        case set() | frozenset():
            return [_plain_value(item) for item in sorted(value)]
        case list() | tuple():
            return [_plain_value(item) for item in value]
        case _:
            return value
