"""Which notices an account should get now, over which of its contacts, or that a person is needed.
Pure.

Control, notices: sent is not delivered; only a receipt counts. R74, R77, R81, R82, R89c, R110,
R111."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import Final, Literal
from zoneinfo import ZoneInfo

from daemon.billing.suggestion import SuggestionTerms, suggested_fen
from daemon.control.guard import ANNOUNCED_FOR, Policy
from daemon.notices.windows import next_window

Kind = Literal["written", "final", "warning", "restore"]
Text = Literal[
    "written", "visit", "final", "low", "few_days", "cycle_end", "arrears", "cut", "button"
]
Cycle = Literal["month", "quarter", "year"]
_MONTHS_OF: Final[Mapping[Cycle, int]] = {"month": 1, "quarter": 3, "year": 12}
Supply = Literal["on", "cut", "button", "moving"]
"""`moving`: a trip or a reconnect is under way."""

SUGGESTED_MORE: Final = Fraction(1, 10)
"""Than the next cycle is expected to cost."""
SUGGESTED_IN_STEPS_FEN: Final = 1000
FIRST_HOUR: Final = time(8)
LAST_HOUR: Final = time(21)
"""Nobody is told anything before the first and from the last on."""
NEXT_CONTACT_AFTER: Final = timedelta(hours=2)
"""Without a receipt for so long the next contact is tried (R74)."""
TIME_TO_PAY: Final = timedelta(hours=1)
"""At least, between the last contact of a final notice and the moment that it announces."""
CONTACTS_WAITED_FOR: Final = 3
"""Of a final notice: more would put the cut off beyond the window."""
MENDS_ITSELF: Final = frozenset(
    {
        "WINDOW_CLOSED",
        "NONWORKING_DAY",
        "EVE_OF_NONWORKING",
        "NOTICE_MISSING",
        "NOTICE_TOO_RECENT",
        "NOTICE_EXPIRED",
        "FINAL_NOTICE_MISSING",
        "FINAL_NOTICE_TOO_RECENT",
        "FINAL_NOTICE_EXPIRED",
        "APPROVAL_MISSING",
        "STARTUP_HOLD",
    }
)
"""Reasons of the guard that time, a notice or a person ends: any other and no cut is announced,
because it would not come."""
SPARED_BY: Final = frozenset(
    {
        "ACCOUNT_NOT_ACTIVE",
        "DEBT_TOO_SMALL",
        "PROTECTED",
        "LIFE_SUPPORT",
        "DISPUTE",
        "PAYMENT_IN_FLIGHT",
        "SHADOW_MODE",
    }
)
"""Reasons of the guard for which whoever is on his way with a notice is called back. Others (the
weather, a meter that is not heard) are over before he has been there."""
VISIT: Final = "visit"
"""How the occasion of a notice begins that is delivered in person."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A way to reach a customer. Only one with consent is used (R110).

    `is_usable`: its channel is configured, and nothing bounced there."""

    id: int
    channel: str
    language: str
    has_consent: bool = True
    is_usable: bool = True


@dataclass(frozen=True, slots=True)
class ToldNotice:
    """A notice that was made. `contact_id`: None where a person told it by other means."""

    id: int
    kind: Kind
    occasion: str
    contact_id: int | None
    made_at: datetime
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    failed_at: datetime | None = None
    planned_at: datetime | None = None

    @property
    def is_of_visit(self) -> bool:
        """It is delivered in person."""
        return self.occasion.startswith(f"{VISIT} ")


@dataclass(frozen=True, slots=True)
class PersonAsked:
    """The last task for a person to tell the customer, or to go there with a written notice.

    `is_called_back`: it ended by itself, because it was not due any more."""

    opened_at: datetime
    is_open: bool
    is_called_back: bool = False


@dataclass(frozen=True, slots=True)
class AccountToTell:
    """All that decides what an account is told. Times are aware.

    `supply_since`: since when it is cut or waits for the button. `days_left`: how long the balance
    lasts, None where that is not known. `is_paying`: a payment is under way. `is_muted`: its supply
    is out as planned. `reasons`: the guard's last word of each point that could be cut."""

    account_id: int
    account: str
    state: str
    balance_fen: int
    warn_fen: int
    reconnect_fen: int
    credit_state: str
    episode_id: int | None
    episode_started_at: datetime | None
    last_payment_at: datetime | None
    supply: Supply
    supply_since: datetime | None
    reconnect: str
    is_paying: bool
    is_muted: bool
    days_left: int | None
    reasons: Sequence[frozenset[str]]
    usual_day_fen: Fraction = Fraction(0)
    """What a day costs it; 0 where that is not known."""
    profile: str | None = None
    """By which policy it is cut; None: the site's."""
    contacts: Sequence[Contact] = ()
    """In the order in which they are tried."""
    told: Sequence[ToldNotice] = ()
    """Of the present episode, and later than the last payment."""
    asked: PersonAsked | None = None
    visited: PersonAsked | None = None

    @property
    def missing_fen(self) -> int:
        """What is to be paid until all is well."""
        return max(self.reconnect_fen - self.balance_fen, 0)


@dataclass(frozen=True, slots=True)
class Terms:
    """The site's: when warnings come, and where it is.

    `cycle`: for which customers pay in; they are reminded `remind_days` before its last day."""

    zone: ZoneInfo
    warn_days: int = 5
    cycle: Cycle | None = None
    remind_days: int = 5
    dunning_days: tuple[int, ...] = ()
    """So many days after arrears began they are told of them; on the last of these, and not before,
    that a cut is to come."""
    personal_contact: bool = False
    """On the last of these days somebody goes there with the written notice (R76)."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """Something to be told. `key` tells it from others of its kind: each is told once (I11)."""

    kind: Kind
    text: Text
    key: str
    planned_at: datetime | None = None
    deadline_at: datetime | None = None
    is_late: bool = False
    """Too late to be told by us: only a person may still act."""
    cycle_ends_on: date | None = None
    suggested_fen: int = 0
    """What to pay in for the next cycle."""


@dataclass(frozen=True, slots=True)
class Due:
    """`occasion` is to be told over `contact` now."""

    occasion: Occasion
    contact: Contact


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Nobody could be reached: a person has to tell it."""

    occasion: Occasion


@dataclass(frozen=True, slots=True)
class SendPerson:
    """Somebody has to go there with this written notice, and to bring a receipt (R76)."""

    occasion: Occasion


@dataclass(frozen=True, slots=True)
class CallBack:
    """Nobody has to go there any more."""

    why: str


Step = Due | AskPerson | SendPerson | CallBack


def is_quiet(account: AccountToTell, terms: Terms, now: datetime) -> bool:
    """Nothing is told now and all of it may be later.

    At night, while a payment is under way (R77), into a planned outage (R111)."""
    local = now.astimezone(terms.zone).time()
    return not FIRST_HOUR <= local < LAST_HOUR or account.is_paying or account.is_muted


def due(account: AccountToTell, policy: Policy, terms: Terms, now: datetime) -> Iterator[Step]:
    """What is to be told now, and whether somebody has to go there."""
    visit = _visit(account, policy, terms, now)
    if visit is not None:
        yield visit
    if is_quiet(account, terms, now):
        return
    goes = isinstance(visit, SendPerson) or (visit is None and _is_visited_now(account))
    for occasion in occasions(account, policy, terms, now):
        step = _next_step(account, occasion, now)
        # Who brings the written notice tells it: nobody else is asked to.
        is_told = goes and isinstance(step, AskPerson) and occasion.kind == "written"
        if step is not None and not is_told:
            yield step


def is_still_due(
    account: AccountToTell, notice: ToldNotice, policy: Policy, terms: Terms, now: datetime
) -> bool:
    """Whether a notice that was made has still to be sent: nobody paid meanwhile, it is not too
    late, and its contact may be used."""
    may_be_used = {it.id for it in _usable(account.contacts)}
    return notice.contact_id in may_be_used and any(
        (it.kind, it.key) == (notice.kind, notice.occasion) and not it.is_late
        for it in occasions(account, policy, terms, now)
    )


def occasions(
    account: AccountToTell, policy: Policy, terms: Terms, now: datetime
) -> Iterator[Occasion]:
    """What an account is to be told in its state, whether it has been told already or not."""
    if account.state != "active":
        return
    match account.supply:
        case "cut" if account.missing_fen:
            yield Occasion("restore", "cut", f"cut {_key(_cut_or_paid(account))}")
        case "button":
            yield Occasion("restore", "button", f"button {_key(account.supply_since)}")
        case "on":
            yield from _before_a_cut(account, policy, terms, now)
            yield from _before_a_cycle_ends(account, terms, now)


def _cut_or_paid(account: AccountToTell) -> datetime | None:
    """Whoever paid too little is told anew what is missing."""
    moments = [at for at in (account.supply_since, account.last_payment_at) if at is not None]
    return max(moments, default=None)


def _before_a_cut(
    account: AccountToTell, policy: Policy, terms: Terms, now: datetime
) -> Iterator[Occasion]:
    since_payment = _key(account.last_payment_at)
    if _is_dunned(account, policy):
        step = _dunning_step(account, terms, now)
        if step is None:
            yield from _announcement(account, policy, terms, now)
        elif step >= 0:
            yield Occasion("warning", "arrears", f"arrears {account.episode_id}.{step}")
    elif account.credit_state != "good":
        yield Occasion("warning", "low", f"low {since_payment}")
    elif account.days_left is not None and account.days_left <= terms.warn_days:
        yield Occasion("warning", "few_days", f"few days {since_payment}")


def _is_dunned(account: AccountToTell, policy: Policy) -> bool:
    """It is in arrears, and is told so before it is cut."""
    announces = policy.written_required or policy.final_required
    return account.credit_state == "exhausted" and account.episode_id is not None and announces


def _dunning_step(account: AccountToTell, terms: Terms, now: datetime) -> int | None:
    """R76: the day of dunning that was reached; None where a cut may be announced, and below 0
    where nothing is told yet."""
    began = account.episode_started_at
    if not terms.dunning_days or began is None:
        return None
    age = (now.astimezone(terms.zone).date() - began.astimezone(terms.zone).date()).days
    if age >= terms.dunning_days[-1]:
        return None
    return max((it for it in terms.dunning_days if it <= age), default=-1)


def _before_a_cycle_ends(account: AccountToTell, terms: Terms, now: datetime) -> Iterator[Occasion]:
    """R75: how long the balance lasts, and what to pay in for the next cycle."""
    if terms.cycle is None or account.credit_state == "exhausted" or account.days_left is None:
        return
    today = now.astimezone(terms.zone).date()
    first = _first_of_next(today, terms.cycle)
    if (first - today).days > terms.remind_days + 1:
        return
    days = (_first_of_next(first, terms.cycle) - first).days
    fen = suggested_fen(
        account.usual_day_fen,
        account.balance_fen,
        SuggestionTerms(days, SUGGESTED_MORE, SUGGESTED_IN_STEPS_FEN, SUGGESTED_IN_STEPS_FEN),
    )
    if fen:
        last = first - timedelta(days=1)
        yield Occasion(
            "warning", "cycle_end", f"cycle {last}", cycle_ends_on=last, suggested_fen=fen
        )


def _first_of_next(day: date, cycle: Cycle) -> date:
    """The day on which the cycle after that of `day` begins."""
    months = _MONTHS_OF[cycle]
    number = (day.month - 1) // months * months + months
    return date(day.year + number // 12, number % 12 + 1, 1)


def _announcement(
    account: AccountToTell, policy: Policy, terms: Terms, now: datetime
) -> Iterator[Occasion]:
    if not _would_be_cut(account):
        return
    written = _of_kind(account, "written")
    served = [it for it in written if _is_valid_written(it, policy, now)]
    if policy.written_required and not served:
        by_contacts = [it for it in written if not it.is_of_visit]
        yield _written(account, by_contacts, policy, terms, now)
        return
    if policy.final_required:
        final = _final(account, served, policy, terms, now)
        if final is not None:
            yield final


def _would_be_cut(account: AccountToTell) -> bool:
    """Nothing but time, notices and persons keeps the guard from it."""
    return any(reasons <= MENDS_ITSELF for reasons in account.reasons)


def _is_valid_written(notice: ToldNotice, policy: Policy, now: datetime) -> bool:
    """It was delivered, and leaves time for a cut that is announced now."""
    at = notice.delivered_at
    return at is not None and now - at <= policy.written_max


def _written(
    account: AccountToTell,
    told: Sequence[ToldNotice],
    policy: Policy,
    terms: Terms,
    now: datetime,
) -> Occasion:
    current = _current_round(told, account.asked)
    key = current[0].occasion if current else _next_key("written", account, told)
    return _written_as("written", key, policy, terms, now)


def _written_as(
    text: Literal["written", "visit"], key: str, policy: Policy, terms: Terms, now: datetime
) -> Occasion:
    planned = next_window(now + policy.written_min, policy, terms.zone)
    # The hour is announced by the final notice, to which alone it binds.
    return Occasion("written", text, key, deadline_at=planned)


def _visit(
    account: AccountToTell, policy: Policy, terms: Terms, now: datetime
) -> SendPerson | CallBack | None:
    """R76: on the last day of dunning somebody goes there with the written notice, once in an
    episode; he is called back when that is not due any more (R77)."""
    why = _why_no_visit(account, policy, terms, now)
    if _is_visited_now(account):
        return CallBack(why) if why else None
    if why or _was_visited(account) or is_quiet(account, terms, now) or not _would_be_cut(account):
        return None
    told = [it for it in _of_kind(account, "written") if it.is_of_visit]
    key = _next_key(VISIT, account, told)
    return SendPerson(_written_as("visit", key, policy, terms, now))


def _why_no_visit(account: AccountToTell, policy: Policy, terms: Terms, now: datetime) -> str:
    """Why nobody has to go there, or not any more; empty: nothing speaks against it."""
    if account.visited is not None and account.visited.is_open and _is_of_the_past(account):
        return "those arrears are over"
    if account.state != "active" or not _is_dunned(account, policy):
        return "not in arrears any more"
    if account.supply != "on":
        return "it is cut, or a trip or reconnect is under way"
    if account.is_paying:
        return "a payment is under way"
    if all(reasons & SPARED_BY for reasons in account.reasons):
        spared_by = frozenset[str]().union(*account.reasons) & SPARED_BY
        return f"not to be cut: {' '.join(sorted(spared_by)) or 'it has no point that is on'}"
    if not terms.personal_contact or _dunning_step(account, terms, now) is not None:
        return "the last of the dunning days is not today or before"
    if any(_is_handed_over(it, account) for it in account.told):
        return "a person delivered a written notice"
    return ""


def _is_handed_over(notice: ToldNotice, account: AccountToTell) -> bool:
    """A person delivered it, in these arrears."""
    began = account.episode_started_at
    is_of_these = began is not None and notice.made_at >= began
    is_by_person = notice.kind == "written" and notice.contact_id is None
    return is_of_these and is_by_person and notice.delivered_at is not None


def _is_visited_now(account: AccountToTell) -> bool:
    return account.visited is not None and account.visited.is_open


def _was_visited(account: AccountToTell) -> bool:
    """Somebody went there in these arrears, whatever came of it."""
    visit = account.visited
    return visit is not None and not visit.is_called_back and not _is_of_the_past(account)


def _is_of_the_past(account: AccountToTell) -> bool:
    """Somebody was sent there for arrears that are over."""
    began, visit = account.episode_started_at, account.visited
    return began is None or (visit is not None and visit.opened_at < began)


def _final(
    account: AccountToTell,
    served: Sequence[ToldNotice],
    policy: Policy,
    terms: Terms,
    now: datetime,
) -> Occasion | None:
    told = _of_kind(account, "final")
    if any(it.delivered_at is not None and not _is_over(it, policy, now) for it in told):
        return None
    current = _current_round(told, account.asked)
    planned = current[0].planned_at if current else None
    if current and planned is not None:
        is_late = now > planned - policy.final_min
        return Occasion("final", "final", current[0].occasion, planned, planned, is_late)
    contacts = min(len(_usable(account.contacts)), CONTACTS_WAITED_FOR)
    others = max(contacts - 1, 0) * NEXT_CONTACT_AFTER
    planned = next_window(now + policy.final_min + others + TIME_TO_PAY, policy, terms.zone)
    if planned - now > policy.final_max or not _fits(served, planned, policy):
        return None
    return Occasion("final", "final", f"final {_key(planned)}", planned, planned)


def _is_over(final: ToldNotice, policy: Policy, now: datetime) -> bool:
    """R82: whoever was not cut within what was announced is told anew."""
    if final.delivered_at is not None and now - final.delivered_at > policy.final_max:
        return True
    return final.planned_at is not None and now > final.planned_at + ANNOUNCED_FOR


def _fits(served: Sequence[ToldNotice], planned: datetime, policy: Policy) -> bool:
    """At the announced moment a written notice is old enough, and not too old."""
    if not policy.written_required:
        return True
    return any(
        it.delivered_at is not None
        and policy.written_min <= planned - it.delivered_at <= policy.written_max
        for it in served
    )


def _of_kind(account: AccountToTell, kind: Kind) -> list[ToldNotice]:
    return [it for it in account.told if it.kind == kind]


def _rounds(told: Iterable[ToldNotice]) -> list[list[ToldNotice]]:
    """Notices of the same occasion together, in order."""
    in_order = sorted(told, key=attrgetter("made_at", "id"))
    return [list(alike) for _, alike in groupby(in_order, key=attrgetter("occasion"))]


def _current_round(told: Sequence[ToldNotice], asked: PersonAsked | None) -> Sequence[ToldNotice]:
    """The round that is under way; empty where the next one begins.

    One that was delivered is over when it comes here, and one that a person was asked about ends
    when the person says so."""
    rounds = _rounds(told)
    if not rounds:
        return []
    newest = rounds[-1]
    is_answered = asked is not None and not asked.is_open and asked.opened_at >= newest[-1].made_at
    return [] if is_answered or any(it.delivered_at for it in newest) else newest


def _next_key(name: str, account: AccountToTell, told: Sequence[ToldNotice]) -> str:
    return f"{name} {account.episode_id}.{len(_rounds(told)) + 1}"


def _next_step(account: AccountToTell, occasion: Occasion, now: datetime) -> Due | AskPerson | None:
    told = sorted(
        (it for it in account.told if (it.kind, it.occasion) == (occasion.kind, occasion.key)),
        key=attrgetter("made_at", "id"),
    )
    if any(it.delivered_at for it in told) or (told and _is_waited_for(told[-1], now)):
        return None
    tried = {it.contact_id for it in told}
    contact = next((it for it in _usable(account.contacts) if it.id not in tried), None)
    if contact is not None and not occasion.is_late:
        return Due(occasion, contact)
    # A warning that reached nobody blocks nothing: no person is bothered with it.
    is_asked = account.asked is not None and (
        account.asked.is_open or not told or account.asked.opened_at >= told[-1].made_at
    )
    if occasion.kind not in ("written", "final") or is_asked:
        return None
    return AskPerson(occasion)


def _is_waited_for(notice: ToldNotice, now: datetime) -> bool:
    if notice.failed_at is not None:
        return False
    return notice.sent_at is None or now - notice.sent_at < NEXT_CONTACT_AFTER


def _usable(contacts: Iterable[Contact]) -> list[Contact]:
    return [it for it in contacts if it.has_consent and it.is_usable]


def _key(at: datetime | None) -> str:
    return "-" if at is None else str(at.astimezone(UTC).replace(tzinfo=None))
