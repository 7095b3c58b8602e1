"""What has to be done about a value that is withheld, disputed, or whose use is held: by whom, and
with which command (judgement.md 7.3 and 7.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from daemon.quality.codes import HOLDS, NOT_SHOWN, code_of, in_words

Owner = Literal["daemon", "operator", "two persons", "three persons"]
STANDARD_TIME_S = -3600
"""What a meter that keeps standard time all year is behind its zone in summer (V05)."""
SIGNED = "--reason WHY --actor YOU"
NEAR_ZERO = 20
"""A register that fell to less than a twentieth was restarted, rather than exchanged."""


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A run of days of one point of which one thing is to be said.

    Registers as persons write them. `before`: the register that was published last before it, on
    `before_day`. `waiting`: the decision about it that waits for somebody else, and who made it.
    `confirmed`: a day and the register that a person released or a document names there, which
    stands against it. `skew_s`: how far the meter's clock was off. `held_from`: where the use
    begins that is held and ends at `first_day`."""

    point: str
    first_day: date
    last_day: date
    state: str
    total: str
    codes: tuple[str, ...] = ()
    next_step: str | None = None
    hold: str | None = None
    held_from: date | None = None
    before: str | None = None
    before_day: date | None = None
    waiting: tuple[int, str] | None = None
    skew_s: int | None = None
    confirmed: tuple[date, str] | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Who has to act, what is the matter, and the commands of which one settles it.

    Of a task of the daemon the commands only hasten it."""

    owner: Owner
    text: str
    commands: tuple[str, ...]


def task_of(doubtful: Doubtful) -> Task:
    """What is to be done."""
    if doubtful.waiting is not None:
        return _decided(*doubtful.waiting)
    if doubtful.hold is not None:
        return _held(doubtful)
    why = in_words(doubtful.codes)
    match doubtful.next_step:
        case "recollect" if doubtful.state == "rejected":
            return Task("daemon", "a person rejected it: the day is read again", _read(doubtful))
        case "recollect":
            return Task("daemon", f"{why}: the day is read again", _read(doubtful))
        case "wait":
            commands = (*_read(doubtful), f"{_reject(doubtful)} (if it is wrong)")
            return Task("daemon", f"{why}: the next freeze confirms it", commands)
        case "reread":
            return Task("daemon", f"{why}: the meter is asked once more", _read(doubtful))
        case "person":
            return _for_a_person(doubtful, why)
    if "V33" in _codes(doubtful):
        return Task(
            "daemon",
            f"published, and disputed: {why}; it is read again",
            (*_read(doubtful), *_release_or_reject(doubtful)),
        )
    return Task("operator", why, (_show(doubtful),))


def _decided(number: int, maker: str) -> Task:
    return Task(
        "two persons",
        f"{maker} decided about it; somebody else has to agree",
        (
            f"meterd quality approve {number} --actor YOU",
            f"meterd quality refuse {number} {SIGNED}",
        ),
    )


def _held(doubtful: Doubtful) -> Task:
    reason = HOLDS.get(doubtful.hold or "", doubtful.hold)
    text = f"not billed by itself: {_advance(doubtful)}{reason}"
    span = f"{doubtful.point} {doubtful.held_from} {doubtful.first_day}"
    release = f"meterd quality release-link {span} {SIGNED}"
    match doubtful.hold:
        case "span":
            return Task(
                "two persons",
                f"{text}; the missing days are read, or it is released",
                (*_read(doubtful), release),
            )
        case "spike":
            return Task("two persons", text, (*_reject_before(doubtful), release, _show(doubtful)))
        case "ratio":
            document = (
                f"meterd meter ratio {doubtful.point} --from DAY --ratio RATIO --register TOTAL "
                f"{SIGNED} (what it showed that day)"
            )
            return Task("two persons", text, (document, release))
        case hold if hold in NOT_SHOWN:
            agreement = f"meterd quality release-link {span} --agreed KWH --evidence WHAT {SIGNED}"
            return Task("three persons", f"{text}; agree on it", (agreement, _show(doubtful)))
    return Task("two persons", text, (release, _show(doubtful)))


def _advance(doubtful: Doubtful) -> str:
    """How far the register went, where two of its values show it."""
    if doubtful.before is None or doubtful.before_day != doubtful.held_from:
        return ""
    advance = Decimal(doubtful.total) - Decimal(doubtful.before)
    return f"{advance} kWh of the register, " if advance >= 0 else ""


def _for_a_person(doubtful: Doubtful, why: str) -> Task:
    if doubtful.state == "rejected":
        text = "a person rejected it and the meter says it again"
        return Task("operator", text, (_substitute(doubtful), _release(doubtful)))
    second = "the meter says so" if doubtful.state == "suspect" else "it does not fit"
    return Task("operator", f"{why}: {second}", tuple(_settling(doubtful)))


def _settling(doubtful: Doubtful) -> Iterator[str]:
    codes = _codes(doubtful)
    if "V35" in codes:
        yield _against_confirmed(doubtful)
        yield _reject(doubtful)
    elif "V36" in codes:
        yield _exchange(doubtful)
        yield from _reject_before(doubtful)
    elif "V38" in codes:
        yield _substitute(doubtful)
        yield _release(doubtful)
    elif _keeps_standard_time(doubtful):
        yield f"meterd meter correct {doubtful.point} --clock standard {SIGNED}"
    elif doubtful.state == "suspect" and codes:
        if "V08" in codes:
            yield "max_daily_kwh of the point in points.csv, then meterd reload (is it too small?)"
        yield from _release_or_reject(doubtful)
        if "V08" in codes and "V27" not in codes:
            yield from _reject_before(doubtful)
        if "V05" in codes:
            yield f"meterd collect {doubtful.point} --what clock (is its clock wrong still?)"
    else:
        yield _show(doubtful)


def _against_confirmed(doubtful: Doubtful) -> str:
    """What a person released is taken back; a register of an exchange is told again."""
    if doubtful.confirmed is None:
        listed = f"meterd document list --point {doubtful.point}"
        return f"{listed} (is a register of an exchange wrong? tell it again for the same moment)"
    day, total = doubtful.confirmed
    return f"meterd quality withdraw {doubtful.point} {day} {total} {SIGNED}"


def _keeps_standard_time(doubtful: Doubtful) -> bool:
    return "V05" in _codes(doubtful) and doubtful.skew_s == STANDARD_TIME_S


def _exchange(doubtful: Doubtful) -> str:
    """A register that fell to near 0 was restarted; another one is another meter."""
    before = Decimal(doubtful.before or 0)
    is_restart = Decimal(doubtful.total) * NEAR_ZERO < before
    which = "--same-serial" if is_restart else "--new-address ADDRESS"
    at = f'"{doubtful.first_day} HH:MM"'
    return f"meterd meter exchange {doubtful.point} --at {at} {which} {SIGNED}"


def _read(doubtful: Doubtful) -> tuple[str, ...]:
    day = doubtful.first_day
    if doubtful.held_from is not None:
        day = doubtful.held_from + timedelta(days=1)
    return (f"meterd collect {doubtful.point} --day {day}",)


def _show(doubtful: Doubtful) -> str:
    return f"meterd quality show {doubtful.point} {doubtful.first_day}"


def _release_or_reject(doubtful: Doubtful) -> tuple[str, str]:
    return (_release(doubtful), _reject(doubtful))


def _release(doubtful: Doubtful) -> str:
    return f"meterd quality release {_value(doubtful)} {SIGNED}"


def _reject(doubtful: Doubtful) -> str:
    return f"meterd quality reject {_value(doubtful)} {SIGNED}"


def _reject_before(doubtful: Doubtful) -> Iterator[str]:
    """A jump has two ends, and the first value of a point passes whatever it is."""
    if doubtful.before is not None and doubtful.before_day is not None:
        value = f"{doubtful.point} {doubtful.before_day} {doubtful.before}"
        yield f"meterd quality reject {value} {SIGNED} (if the value before the jump is wrong)"


def _substitute(doubtful: Doubtful) -> str:
    where = f"{doubtful.point} {doubtful.first_day}"
    return f"meterd quality substitute {where} --method S2 --total TOTAL --evidence WHAT {SIGNED}"


def _value(doubtful: Doubtful) -> str:
    return f"{doubtful.point} {doubtful.first_day} {doubtful.total}"


def _codes(doubtful: Doubtful) -> set[str]:
    return {code_of(code) for code in doubtful.codes}
