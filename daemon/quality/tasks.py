"""What settles a value that is withheld or disputed, or use that is held: by whom, with which
command, and what has to be so for it (judgement.md 7.3 and 7.4). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from config.point_limit import TOLD, column_of
from daemon.quality.codes import HOLDS, NOT_SHOWN, code_of, in_words

Owner = Literal["daemon", "operator", "two persons", "three persons"]
Shown = tuple[date, str]
"""A day and the register of its midnight."""
STANDARD_TIME_S = -3600
"""What a meter that keeps standard time all year is behind its zone in summer (V05)."""
SIGNED = "--reason WHY --actor YOU"
NEAR_ZERO = 20
"""A register that fell to less than a twentieth was restarted, rather than exchanged."""
EXCHANGED = "it was exchanged and no value before that is wrong"
BEGAN_ANEW = "it began anew and no value before that is wrong"
"""The final register that is told bills what the old meter went since those values."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What the point shows on a day beside: in the chain, or put there by a person."""

    day: date
    total: str
    is_substitute: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A decision that waits for somebody else. `total`: the register that it is about, if any."""

    number: int
    maker: str
    action: str
    total: str | None = None


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A run of days of one point of which one thing is to be said.

    Registers as persons write them. `before`, `behind`: the neighbours that stand; of held use,
    where it begins. `confirmed`: a day and the register that a person released there, which stands
    against it. `skew_s`: how far the meter's clock was off. `held_from`: where the use begins that
    is held and ends at `first_day`. `found`: the command that a finding about the meter names.
    `limit_basis`: what the point's limit follows from, in the words of the files. `document`: it
    told a register inside the use that is held."""

    point: str
    first_day: date
    last_day: date
    state: str
    total: str
    codes: tuple[str, ...] = ()
    next_step: str | None = None
    hold: str | None = None
    held_from: date | None = None
    before: Beside | None = None
    behind: Beside | None = None
    waiting: Waiting | None = None
    skew_s: int | None = None
    confirmed: Shown | None = None
    found: str | None = None
    limit_basis: str = TOLD
    document: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what has to be so before it is typed.

    One without a condition only asks, or bills what the person fills in.

    `right`, `wrong`: what the meter has to have shown, or cannot have shown. `when`: in words."""

    command: str
    right: tuple[Shown, ...] = ()
    wrong: Shown | None = None
    when: str = ""

    def __str__(self) -> str:
        condition = " and ".join(self._conditions())
        return f"{self.command} (if {condition})" if condition else self.command

    def _conditions(self) -> Iterator[str]:
        if self.right:
            values = " and ".join(f"{total} of {day}" for day, total in self.right)
            is_span = len(self.right) > 1
            yield f"{values} {'are' if is_span else 'is'} right"
            if is_span:
                yield "no exchange between them is untold"
        if self.wrong is not None:
            day, total = self.wrong
            yield f"{total} of {day} is wrong"
        if self.when:
            yield self.when


@dataclass(frozen=True, slots=True)
class Task:
    """Who has to act, what is the matter, and the steps of which one settles it.

    Of a task of the daemon the steps only hasten it."""

    owner: Owner
    text: str
    steps: tuple[Step, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """The steps as they are shown, each with its condition."""
        return tuple(map(str, self.steps))


def task_of(doubtful: Doubtful) -> Task:
    """What is to be done. Whatever names a next step for a withheld day or held use asks here."""
    if doubtful.waiting is not None:
        return _decided(doubtful, doubtful.waiting)
    if doubtful.hold is not None:
        return _held(doubtful, doubtful.hold)
    why = in_words(doubtful.codes)
    match doubtful.next_step:
        case "recollect" if doubtful.state == "rejected":
            return Task("daemon", "a person rejected it: the day is read again", _read(doubtful))
        case "recollect":
            steps = (*_read(doubtful), *_exchanged(doubtful))
            return Task("daemon", f"{why}: the day is read again", steps)
        case "wait":
            steps = (*_read(doubtful), _reject(doubtful))
            return Task("daemon", f"{why}: the next freeze confirms it", steps)
        case "reread":
            return Task("daemon", f"{why}: the meter is asked once more", _read(doubtful))
        case "person":
            return _for_a_person(doubtful, why)
    if "V33" in _codes(doubtful):
        return Task(
            "daemon",
            f"published, and disputed: {why}; it is read again",
            (*_read(doubtful), _release(doubtful), _reject(doubtful)),
        )
    return Task("operator", why, (_show(doubtful),))


def approval(number: int, what: str = "what it says") -> tuple[Step, Step]:
    """The two words that end the wait of a decision."""
    return (
        Step(f"meterd quality approve {number} --actor YOU", when=f"{what} is right"),
        Step(f"meterd quality refuse {number} {SIGNED}", when="not"),
    )


def agreement(document: int) -> tuple[Step, Step, Step]:
    """What shows a document that waits, and the two words that end its wait."""
    return (
        Step(f"meterd document show {document}"),
        Step(f"meterd document approve {document} --actor YOU", when="it is right"),
        Step(f"meterd document reject {document} {SIGNED}", when="not"),
    )


def _decided(doubtful: Doubtful, waiting: Waiting) -> Task:
    what = waiting.action.replace("_", "-")
    if waiting.total is not None:
        what = f"{what} {waiting.total}"
    elif doubtful.held_from is not None:
        what = f"{what} {_advance(doubtful)}from {doubtful.held_from} to {doubtful.first_day}"
    text = f"{waiting.maker} decided about it ({what}); somebody else has to agree"
    return Task("two persons", text, approval(waiting.number, f"that {what}"))


def _held(doubtful: Doubtful, hold: str) -> Task:
    text = f"not billed by itself: {_advance(doubtful)}{HOLDS.get(hold, hold)}"
    end = Beside(*_shown(doubtful), is_substitute=doubtful.state == "substituted")
    ends = (*_take_back(doubtful, doubtful.before), *_take_back(doubtful, end))
    span = f"{doubtful.point} {doubtful.held_from} {doubtful.first_day}"
    release = Step(f"meterd quality release-link {span} {SIGNED}", right=_ends(doubtful))
    if hold in NOT_SHOWN:
        agreement = f"meterd quality release-link {span} --agreed KWH --evidence WHAT {SIGNED}"
        wrong = ends if hold == "backward" else ()
        return Task(
            "three persons", f"{text}; agree on it", (*wrong, Step(agreement), _show(doubtful))
        )
    if hold == "ratio":
        document = (
            f"meterd meter ratio {doubtful.point} --from DAY --ratio RATIO --register TOTAL "
            f"{SIGNED} (what it showed that day)"
        )
        all_before = replace(release, when="all of it was used before the ratio changed")
        steps = (Step(document), *ends, _exchange(doubtful), all_before)
        return Task("two persons", text, steps)
    exchange = _exchange(doubtful)
    if hold == "span":
        text = f"{text}; the missing days are read, a wrong end is taken back, or it is released"
        return Task("two persons", text, (*_read(doubtful), *ends, exchange, release))
    return Task("two persons", text, (*_told(doubtful), *ends, exchange, release, _show(doubtful)))


def _told(doubtful: Doubtful) -> Iterator[Step]:
    """A register that a document told wrongly is told again."""
    if doubtful.document is not None:
        yield Step(
            f"meterd document show {doubtful.document}",
            when="a register of it is wrong, tell it again for the same moment",
        )


def _ends(doubtful: Doubtful) -> tuple[Shown, ...]:
    before = doubtful.before
    start = () if before is None else ((before.day, before.total),)
    return (*start, _shown(doubtful))


def _advance(doubtful: Doubtful) -> str:
    """How far the register went, where two of its values show it."""
    before = doubtful.before
    if before is None or before.day != doubtful.held_from:
        return ""
    advance = Decimal(doubtful.total) - Decimal(before.total)
    return f"{advance} kWh of the register, " if advance >= 0 else ""


def _for_a_person(doubtful: Doubtful, why: str) -> Task:
    if doubtful.state == "rejected":
        text = "a person rejected it and the meter says it again"
        return Task("operator", text, _without_value(doubtful))
    second = "the meter says so" if doubtful.state == "suspect" else "it does not fit"
    return Task("operator", f"{why}: {second}", _settling(doubtful))


def _settling(doubtful: Doubtful) -> tuple[Step, ...]:
    codes = _codes(doubtful)
    if doubtful.state != "suspect" or not codes:
        return (_show(doubtful),)
    if "V38" in codes:
        return _without_value(doubtful)
    return (*_causes(doubtful, codes), *_values(doubtful, codes))


def _without_value(doubtful: Doubtful) -> tuple[Step, ...]:
    """What was read is not to be published. Over an exchange that is not told no other value
    fits."""
    return (_substitute(doubtful), _release(doubtful), _exchange(doubtful))


def _causes(doubtful: Doubtful, codes: Collection[str]) -> Iterator[Step]:
    """What the codes speak for though the value is right."""
    if _keeps_standard_time(doubtful):
        clock = f"meterd meter correct {doubtful.point} --clock standard {SIGNED}"
        yield Step(clock, when="it keeps standard time all year")
    elif "V05" in codes:
        yield Step(f"meterd collect {doubtful.point} --what clock")
    if "V35" in codes:
        yield _against_confirmed(doubtful)
    if "V35" in codes or "V36" in codes:
        yield _exchange(doubtful)
    if "V08" in codes:
        yield _limit(doubtful)


def _limit(doubtful: Doubtful) -> Step:
    """The column from which the limit follows; what is told outright outranks it."""
    basis = doubtful.limit_basis
    columns = TOLD
    when = "it is too small"
    if basis != TOLD:
        columns = f"{column_of(basis)} or {TOLD}"
        when = f"the limit that follows from {basis} is too small"
    return Step(f"{columns} of {doubtful.point} in points.csv, then meterd reload", when=when)


def _values(doubtful: Doubtful, codes: Collection[str]) -> Iterator[Step]:
    """The value is right, or wrong, or one beside it is: a jump has two ends, and the first value
    of a point passes whatever it is."""
    if not _contradicts(codes):
        yield _release(doubtful)
    yield _reject(doubtful)
    if not {"V07", "V08", "V36"}.isdisjoint(codes):
        yield from _take_back(doubtful, doubtful.before)
    if not {"V08", "V27", "V31"}.isdisjoint(codes):
        yield from _take_back(doubtful, doubtful.behind)
    if {"V35", "V36"}.isdisjoint(codes) and not {"V07", "V08", "V27"}.isdisjoint(codes):
        yield _exchange(doubtful)


def _contradicts(codes: Collection[str]) -> bool:
    """Whether a release would be refused as long as what it contradicts stands."""
    return "V27" in codes or "V35" in codes


def _against_confirmed(doubtful: Doubtful) -> Step:
    """What a person released is taken back; a register of an exchange is told again."""
    if doubtful.confirmed is None:
        return Step(
            f"meterd document list --point {doubtful.point}",
            when="a register of an exchange is wrong, tell it again for the same moment",
        )
    day, total = doubtful.confirmed
    return Step(
        f"meterd quality withdraw {doubtful.point} {day} {total} {SIGNED}",
        wrong=doubtful.confirmed,
    )


def _keeps_standard_time(doubtful: Doubtful) -> bool:
    return "V05" in _codes(doubtful) and doubtful.skew_s == STANDARD_TIME_S


def _exchange(doubtful: Doubtful) -> Step:
    """A register that fell to near 0 was restarted; another one is another meter."""
    before = Decimal(0 if doubtful.before is None else doubtful.before.total)
    is_restart = Decimal(doubtful.total) * NEAR_ZERO < before
    which = "--same-serial" if is_restart else "--new-address ADDRESS"
    # A suspect shows it; a rejected day or held use does not tell when.
    is_the_first = doubtful.hold is None and doubtful.state == "suspect"
    at = f'"{doubtful.first_day if is_the_first else "DAY"} HH:MM"'
    return Step(
        f"meterd meter exchange {doubtful.point} --at {at} {which} {SIGNED}",
        when=BEGAN_ANEW if is_restart else EXCHANGED,
    )


def _exchanged(doubtful: Doubtful) -> Iterator[Step]:
    if doubtful.found is not None:
        yield Step(doubtful.found, when=EXCHANGED)


def _read(doubtful: Doubtful) -> tuple[Step, ...]:
    day = doubtful.first_day
    if doubtful.held_from is not None:
        day = doubtful.held_from + timedelta(days=1)
    return (Step(f"meterd collect {doubtful.point} --day {day}"),)


def _show(doubtful: Doubtful) -> Step:
    return Step(f"meterd quality show {doubtful.point} {doubtful.first_day}")


def _release(doubtful: Doubtful) -> Step:
    """What the register went since the value before it is billed at once, however far: both have
    to be right."""
    command = f"meterd quality release {_value(doubtful)}"
    turned = "V07" in _codes(doubtful)
    return Step(
        f"{command} --rolled-over {SIGNED}" if turned else f"{command} {SIGNED}",
        right=_ends(doubtful),
        when="the register turned over" if turned else "",
    )


def _reject(doubtful: Doubtful) -> Step:
    return Step(f"meterd quality reject {_value(doubtful)} {SIGNED}", wrong=_shown(doubtful))


def _take_back(doubtful: Doubtful, beside: Beside | None) -> Iterator[Step]:
    """A value that stands beside it may be the wrong one of the two."""
    if beside is not None:
        action = "withdraw" if beside.is_substitute else "reject"
        yield Step(
            f"meterd quality {action} {doubtful.point} {beside.day} {beside.total} {SIGNED}",
            wrong=(beside.day, beside.total),
        )


def _substitute(doubtful: Doubtful) -> Step:
    where = f"{doubtful.point} {doubtful.first_day}"
    return Step(
        f"meterd quality substitute {where} --method S2 --total TOTAL --evidence WHAT {SIGNED}"
    )


def _shown(doubtful: Doubtful) -> Shown:
    return (doubtful.first_day, doubtful.total)


def _value(doubtful: Doubtful) -> str:
    return f"{doubtful.point} {doubtful.first_day} {doubtful.total}"


def _codes(doubtful: Doubtful) -> set[str]:
    return {code_of(code) for code in doubtful.codes}
