"""The guard: may this supply be cut now? Pure: (policy, facts) -> verdict.

The verdict names every failing reason, not only the first. It is heard when a trip is asked for
and again, on fresh facts, inside the transaction that releases it to the line (I1, I2). Times are
aware, and windows and days are those of the zone that the facts name; without one all times are
naive wall time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from config.persons import BY_DAEMON, NOBODY, person

Decision = Literal["allow", "deny", "needs_approval"]
Cause = Literal["arrears", "safety", "theft", "customer_request"]
"""For what a supply is cut; all but `arrears` are ordered by two persons."""
MAX_TRIPS_PER_MINUTE = 10
"""Hard cap on the whole site; no configuration raises it."""
SPAN_GRACE = timedelta(hours=24)
APPROVAL_LASTS: Final = timedelta(hours=4)
ANNOUNCED_FOR: Final = timedelta(hours=4)
"""R82: so long after the announced moment a cut may still come."""
AFTER_A_STEP: Final = timedelta(hours=1)
"""So long after a step of the wall clock no time is believed."""
_NOT_OF_ORDERS: Final = frozenset(
    {
        "BALANCE_OK",
        "DEBT_TOO_SMALL",
        "ACCOUNT_NOT_ACTIVE",
        "NO_AGREEMENT",
        "READING_NOT_PUBLISHED",
        "STALE_READING",
        "SPAN_GRACE",
        "USE_JUMP",
        "CORRECTION_OPEN",
        "TARIFF_UNAPPROVED",
        "PAYMENT_IN_FLIGHT",
        "NOTICE_MISSING",
        "NOTICE_TOO_RECENT",
        "NOTICE_EXPIRED",
        "FINAL_NOTICE_MISSING",
        "FINAL_NOTICE_TOO_RECENT",
        "FINAL_NOTICE_EXPIRED",
        "RELAY_WEAR",
    }
)
"""What speaks of money, and what an operator may override."""
_NOT_OF_SAFETY: Final = frozenset(
    {"WINDOW_CLOSED", "NONWORKING_DAY", "EVE_OF_NONWORKING", "WEATHER", "DISPUTE", "STARTUP_HOLD"}
)
"""What puts off whatever can be put off."""
_WAIVED: Final[Mapping[Cause, frozenset[str]]] = {
    "arrears": frozenset(),
    "safety": _NOT_OF_ORDERS | _NOT_OF_SAFETY,
    "theft": _NOT_OF_ORDERS,
    "customer_request": _NOT_OF_ORDERS,
}


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
    approvals_of_several: int = 1
    """At least so many of an account with more than one meter: no machine cuts it by itself."""
    shadow: bool = False
    """What would be done is only told."""
    min_debt_fen: int = 0
    startup_hold: timedelta = timedelta(0)
    max_relay_age: timedelta | None = None
    """How old the last look at the relay may be; None: it need not have been looked at."""
    max_failed_restores: int = 5
    """While more reconnects than this are overdue, nobody is cut."""
    max_moves_per_hour: int = 2
    max_moves_per_day: int = 6
    """Relays are latching and wear."""
    max_clocks_apart: timedelta = timedelta(seconds=5)
    new_tariff_days: int = 2
    """The first day of a version, and the one on which the use of that day is charged."""

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
    delivered. `planned_at`: the moment that it announces the cut for, None where it names none."""

    kind: Literal["written", "final"]
    delivered_at: datetime | None = None
    planned_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person agreed to: a cut for `debt_fen`, until `expires_at` (not included)."""

    approver: str
    approved_at: datetime
    expires_at: datetime
    debt_fen: int


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
    """Until when much money for days long past cuts nobody; None where none was posted lately."""
    use_jump: bool = False
    """The deciding day's use is far above the usual, and no later reading confirms it."""
    correction_open: bool = False
    """A document or decision about the account's money or readings waits for a second person."""
    tariff_from: date | None = None
    """The first day of the tariff version in force, None without one."""
    episode_started_at: datetime | None = None
    notices: tuple[Notice, ...] = ()
    """Those of the present episode."""
    protected: bool = False
    life_support: bool = False
    held: bool = False
    """A hold or an amnesty: of the site, the area, the line, the account or the point."""
    locked: bool = False
    """A person said that this supply stays on (keep power)."""
    dispute_open: bool = False
    payment_in_flight: bool = False
    reconnect_pending: bool = False
    relay_open: bool = False
    has_relay: bool = True
    relay_seen_at: datetime | None = None
    """When the relay was read last, None: never."""
    relay_moves: tuple[datetime, ...] = ()
    """When commands were sent to the relay within the last day."""
    planned_outage: bool = False
    source_changed: bool = False
    """Who told the readings, or would get the command, is somebody new or unproven."""
    device_keep_power: bool = False
    weather_hold: bool = False
    breaker_open: bool = False
    shadow_mode: bool = False
    running_for: timedelta | None = None
    """How long the daemon has been running; None when no daemon asks."""
    clocks_apart: timedelta = timedelta(0)
    """How far the host's clock is ahead of the database's."""
    clock_stepped_at: datetime | None = None
    """When the host's wall clock jumped last, None: it did not while the daemon ran."""
    failed_restores: int = 0
    """Reconnects of the site that are overdue."""
    cause: Cause = "arrears"
    requested_by: str = BY_DAEMON
    meters: int = 1
    """Of the account."""
    approvals: tuple[Approval, ...] = ()
    """Of the present request of the present episode, without those withdrawn."""
    zone: ZoneInfo | None = None

    @property
    def floor_fen(self) -> int:
        """The balance below which a trip is allowed; credit only lowers it."""
        return self.trip_threshold_fen - self.credit_limit_fen - self.emergency_available_fen

    @property
    def debt_fen(self) -> int:
        """What is missing to the floor."""
        return self.floor_fen - self.balance_fen

    @property
    def local_now(self) -> datetime:
        """The site's wall time."""
        return self.now if self.zone is None else self.now.astimezone(self.zone)


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
            *_charges(policy, facts),
            *_holds(policy, facts),
            *_relay(policy, facts),
            *_clock(policy, facts),
            *_calendar(policy, facts),
            *_notices(policy, facts),
        }
        - _WAIVED[facts.cause]
    )
    if len(_approvers(facts)) < approvals_needed(policy, facts):
        if not reasons:
            return Verdict("needs_approval", ("APPROVAL_MISSING",))
        reasons = sorted([*reasons, "APPROVAL_MISSING"])
    return Verdict("deny" if reasons else "allow", tuple(reasons))


def snapshot(policy: Policy, facts: Facts, verdict: Verdict) -> dict[str, object]:
    """All inputs and the verdict as plain values.

    Stored with the command, and replayed by an auditor (I2)."""
    # Of the calendar the days that the verdict follows from: years of them would fill the disk.
    today = facts.local_now.date()
    looked_at = {today, today + timedelta(days=1)}
    short = replace(
        policy,
        holidays=policy.holidays & looked_at,
        makeup_workdays=policy.makeup_workdays & looked_at,
    )
    return {
        "policy": _plain_policy(short),
        "facts": _plain(facts),
        **_plain(verdict),
    }


@lru_cache
def _plain_policy(policy: Policy) -> dict[str, object]:
    return _plain(policy)


def _approvers(facts: Facts) -> set[str]:
    """I13, O30: a requester does not approve his own trip; what nobody ordered no second person
    can agree to."""
    requester = person(facts.requested_by)
    if facts.cause != "arrears" and requester in NOBODY:
        return set()
    agreed = {person(it.approver) for it in facts.approvals if _holds_still(it, facts)}
    return agreed - {requester} - NOBODY


def _holds_still(approval: Approval, facts: Facts) -> bool:
    """It ends with its time; that to a debt also with its episode, and with an amount that is
    another by more than a tenth."""
    at, start = approval.approved_at, facts.episode_started_at
    if not at <= facts.now < min(approval.expires_at, at + APPROVAL_LASTS):
        return False
    if facts.cause != "arrears":
        return True
    return (start is None or start <= at) and is_same_debt(approval.debt_fen, facts.debt_fen)


def approvals_needed(policy: Policy, facts: Facts) -> int:
    """How many persons have to agree to this cut; an order is one person's word and another's."""
    if facts.cause != "arrears":
        return 1
    several = policy.approvals_of_several if facts.meters > 1 else 0
    return max(policy.approvals_required, several)


def is_same_debt(approved_fen: int, debt_fen: int) -> bool:
    """An approval holds while the debt differs by at most a tenth of what was approved."""
    return 10 * abs(debt_fen - approved_fen) <= abs(approved_fen)


def _money(policy: Policy, facts: Facts) -> Iterator[str]:
    # O26: a balance exactly at the floor does not trip.
    if facts.balance_fen >= facts.floor_fen:
        yield "BALANCE_OK"
    elif facts.debt_fen < policy.min_debt_fen:
        yield "DEBT_TOO_SMALL"
    if facts.account_state != "active":
        yield "ACCOUNT_NOT_ACTIVE"
    # R42: nobody is forced into prepayment; without a signed agreement there is no trip.
    if not facts.has_agreement:
        yield "NO_AGREEMENT"


def _charges(policy: Policy, facts: Facts) -> Iterator[str]:
    """Whether what emptied the account is certain."""
    # R25: a suspect or stale reading never leads to a trip.
    if facts.reading_state not in ("published", "substituted_approved"):
        yield "READING_NOT_PUBLISHED"
    if _is_stale(policy, facts):
        yield "STALE_READING"
    # A large sum at once may hit a customer who paid day by day: there is a day to look at it.
    if facts.span_grace_until is not None and facts.now < facts.span_grace_until:
        yield "SPAN_GRACE"
    if facts.use_jump:
        yield "USE_JUMP"
    if facts.correction_open:
        yield "CORRECTION_OPEN"
    if _is_tariff_new(policy, facts):
        yield "TARIFF_UNAPPROVED"


def _is_tariff_new(policy: Policy, facts: Facts) -> bool:
    # What a wrong price makes of all accounts shows when its first day was charged.
    first = facts.tariff_from
    return first is not None and (facts.local_now.date() - first).days < policy.new_tariff_days


def _is_stale(policy: Policy, facts: Facts) -> bool:
    if facts.last_reading_at is None:
        return True
    return facts.now - facts.last_reading_at > policy.max_reading_age


def _holds(policy: Policy, facts: Facts) -> Iterator[str]:
    # R99: after a start payments are caught up with before anybody is cut, for money or not.
    is_starting = facts.running_for is not None and facts.running_for < policy.startup_hold
    for code, holds in (
        # I9: never tripped by the daemon in any state.
        ("PROTECTED", facts.protected),
        ("LIFE_SUPPORT", facts.life_support),
        ("HOLD", facts.held),
        ("LOCKED", facts.locked),
        ("DISPUTE", facts.dispute_open),
        ("PAYMENT_IN_FLIGHT", facts.payment_in_flight),
        ("RECONNECT_PENDING", facts.reconnect_pending),
        # A1: whoever takes a terminal's place neither causes a cut nor gets the password of one.
        ("SOURCE_CHANGED", facts.source_changed),
        ("WEATHER", facts.weather_hold),
        ("BREAKER_OPEN", facts.breaker_open),
        ("SHADOW_MODE", facts.shadow_mode or policy.shadow),
        ("STARTUP_HOLD", is_starting),
        ("RESTORE_CAPACITY", facts.failed_restores > policy.max_failed_restores),
    ):
        if holds:
            yield code


def _relay(policy: Policy, facts: Facts) -> Iterator[str]:
    if not facts.has_relay:
        yield "NO_RELAY"
    if facts.relay_open:
        yield "ALREADY_OPEN"
    if facts.device_keep_power:
        yield "DEVICE_KEEP_POWER"
    # What cannot be read back can neither be verified nor be seen to come back.
    if facts.planned_outage or _is_unseen(policy, facts):
        yield "COMM_UNSTABLE"
    if (
        _moves_within(facts, timedelta(hours=1)) >= policy.max_moves_per_hour
        or _moves_within(facts, timedelta(days=1)) >= policy.max_moves_per_day
    ):
        yield "RELAY_WEAR"


def _is_unseen(policy: Policy, facts: Facts) -> bool:
    if policy.max_relay_age is None:
        return False
    seen_at = facts.relay_seen_at
    return seen_at is None or facts.now - seen_at > policy.max_relay_age


def _moves_within(facts: Facts, span: timedelta) -> int:
    return sum(facts.now - at < span for at in facts.relay_moves)


def _clock(policy: Policy, facts: Facts) -> Iterator[str]:
    """A11: a clock is believed when another one says the same."""
    step, reading = facts.clock_stepped_at, facts.last_reading_at
    has_stepped = step is not None and facts.now - step < AFTER_A_STEP
    is_of_tomorrow = reading is not None and reading > facts.now
    if abs(facts.clocks_apart) > policy.max_clocks_apart or has_stepped or is_of_tomorrow:
        yield "CLOCK_UNSURE"


def _calendar(policy: Policy, facts: Facts) -> Iterator[str]:
    # R83: no cut at night nor before rest days, when no counter is open to pay at.
    today = facts.local_now.date()
    if not _is_in_window(policy, facts.local_now.time()):
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
        told = _standing(facts, "written", policy.written_min, policy.written_max)
        yield from _notice_faults("NOTICE", told)
    if policy.final_required:
        told = _standing(facts, "final", policy.final_min, policy.final_max)
        yield from _notice_faults("FINAL_NOTICE", told)


def _standing(
    facts: Facts, kind: str, youngest: timedelta, oldest: timedelta
) -> list[Literal["early", "good", "late"]]:
    """Whether the time for a cut has not come yet or is over, by each notice that counts."""
    # O29: a notice from an earlier episode was about a debt that was paid.
    start = facts.episode_started_at
    if start is None:
        return []
    found: list[Literal["early", "good", "late"]] = []
    for notice in facts.notices:
        at, planned = notice.delivered_at, notice.planned_at
        if notice.kind != kind or at is None or not start <= at <= facts.now:
            continue
        age = facts.now - at
        if age > oldest or (planned is not None and facts.now - planned > ANNOUNCED_FOR):
            found.append("late")
        elif age < youngest or (planned is not None and facts.now < planned):
            found.append("early")
        else:
            found.append("good")
    return found


def _notice_faults(prefix: str, told: Sequence[str]) -> Iterator[str]:
    if not told:
        yield f"{prefix}_MISSING"
    elif "good" in told:
        return
    # All too old: the customer may have forgotten. Otherwise one is too recent, and will do later.
    elif "early" in told:
        yield f"{prefix}_TOO_RECENT"
    else:
        yield f"{prefix}_EXPIRED"


def _plain(record: Policy | Facts | Verdict) -> dict[str, object]:
    return {it.name: _plain_value(getattr(record, it.name)) for it in fields(record)}


def _plain_value(value: object) -> object:
    # What JSON can hold, so that the snapshot can be read without this program.
    match value:
        case None | bool() | int() | str():
            return value
        case timedelta():
            return value.total_seconds()
        case date() | time():
            return value.isoformat()
        case ZoneInfo():
            return value.key
        case frozenset():
            return [_plain_value(item) for item in sorted(value)]
        case tuple():
            return [_plain_value(item) for item in value]
        case Notice() | Approval():
            return {it.name: _plain_value(getattr(value, it.name)) for it in fields(value)}
        case _:
            raise TypeError(f"no plain value of {value!r}")
