"""From what was heard to what is wrong: pure, one small rule for each cause.

A rule says how sure it is. What names its cause by itself (another master's question, an answer at
another speed) is surer than what only excludes others, so that the first diagnosis is the one to
act on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from daemon.field.doctor.causes import Cause, Diagnosis
from daemon.field.doctor.evidence import Aim, Heard, Step, Subject
from daemon.field.doctor.examination import name_of
from daemon.field.doctor.hearing import (
    BYTE_GAP_S,
    DLT645,
    Hearing,
    frames_of_anybody,
    has_seven_bits,
    understood,
)
from daemon.field.language import DLT645_2007
from protocols.dlt645.frame import FE, LENGTH_AT, OVERHEAD, START
from protocols.dlt645.messages import decode_clock
from protocols.errors import FrameError

CLOCK_LIMIT: Final = timedelta(minutes=5)
"""Further off a clock is wrong, as for the daemon."""
ENOUGH_FOR_SEVEN_BITS: Final = 20
"""Bytes none of which has its highest bit: an answer has FE and 91 in its first ten."""
FEW_VALUES: Final = 4
"""A wire that is torn down says the same bytes again and again."""
HALF: Final = 0.5
MOST_NAMED: Final = 5
ENERGY_ANSWER_L: Final = 8
MODBUS_ANSWER_BYTES: Final = 9
"""Two registers with unit, function, length and CRC."""
HEAD_BYTES: Final = 10
IDENTIFIER_BYTES: Final = {DLT645_2007: 4}
OF_1997: Final = 2


def diagnose(subject: Subject, evidence: Sequence[Heard]) -> list[Diagnosis]:
    """What is wrong with the line, the surest first; NOTHING alone where nothing is."""
    case = _Case(subject, evidence)
    found = [diagnosis for rule in _RULES if (diagnosis := rule(case)) is not None]
    if not found:
        found = [_nothing(case) if case.good else _unknown(case)]
    return sorted(found, key=lambda diagnosis: -diagnosis.confidence)


class _Case:
    """The evidence, sorted by what rules ask for."""

    def __init__(self, subject: Subject, evidence: Sequence[Heard]) -> None:
        self.subject = subject
        self.evidence = evidence
        self.hearings = understood(evidence)
        own = [hearing for hearing in self.hearings if hearing.step.speed == subject.speed]
        self.unasked = [hearing for hearing in own if hearing.step.aim is Aim.LISTEN]
        self.asked = [
            hearing
            for hearing in own
            if hearing.step.request is not None and self._is_as_believed(hearing.step)
        ]
        """Questions as the daemon would ask them."""
        self.waits = [hearing for hearing in own if hearing.step.aim is Aim.WAIT]
        self.elsewhere = [
            hearing
            for hearing in self.hearings
            if hearing.step.request is not None and hearing not in self.asked
        ]
        """At another speed, in another protocol, or to anybody instead of a known meter."""
        self.by_meter: defaultdict[str, list[Hearing]] = defaultdict(list)
        for hearing in self.asked:
            self.by_meter[hearing.step.meter].append(hearing)

    def _is_as_believed(self, step: Step) -> bool:
        if self.subject.meters:
            return step.aim is not Aim.ANYBODY
        return step.protocol == self.subject.protocol

    @property
    def good(self) -> list[Hearing]:
        return [hearing for hearing in self.asked if hearing.is_good]

    @property
    def spoilt(self) -> list[Hearing]:
        """Something came that is no answer, though it may have been one."""
        return [
            hearing
            for hearing in self.asked
            if not hearing.is_good and (hearing.damaged or hearing.noise)
        ]

    @property
    def strange(self) -> list[Hearing]:
        """Questions that somebody else answered, at the time of an answer.

        What answers an earlier question is late only where it comes while nobody else is asked."""
        is_slow = any(hearing.late for hearing in (*self.waits, *self.unasked))
        return [
            hearing
            for hearing in self.asked
            if not hearing.is_good
            and (hearing.misaddressed or hearing.twins or (hearing.late and not is_slow))
        ]

    @property
    def is_lively(self) -> bool:
        """True when a meter answered, in time or not."""
        return bool(self.good) or any(
            hearing.late or hearing.misaddressed for hearing in self.hearings
        )


def _nothing(case: _Case) -> Diagnosis:
    meters = len({hearing.step.meter for hearing in case.good})
    whom = "one meter" if meters == 1 else f"{meters} meters"
    return Diagnosis(
        Cause.NOTHING,
        90,
        f"{len(case.good)} of {len(case.asked)} questions to {whom} were answered well",
        "nothing to do",
    )


def _unknown(case: _Case) -> Diagnosis:
    return Diagnosis(
        Cause.UNKNOWN,
        30,
        f"none of {len(case.asked)} questions was answered, and what came fits no cause known here",
        "look again with --trace, which shows every byte, and with --meter for one meter alone",
    )


# --- other people on the line


def _two_masters(case: _Case) -> Diagnosis | None:
    if _has_lost_bits(case):
        return None  # without its highest bit an answer reads like a question
    requests = [frame for hearing in case.hearings for frame in hearing.requests]
    others = [frame for hearing in case.hearings for frame in hearing.others]
    unasked = [
        frame
        for hearing in case.unasked
        if not hearing.late
        for frame in frames_of_anybody(hearing.data)
    ]
    count = max(len(requests) + len(others), len(unasked))
    if not count:
        return None
    # One frame may be damage that happens to be good, but no answer becomes a question.
    is_sure = bool(requests) or len(unasked) > 1
    return Diagnosis(
        Cause.TWO_MASTERS,
        98 if is_sure else 90 if count > 1 and not case.spoilt else 60,
        f"{count} frames that nobody here asked for were heard",
        "find who else reads these meters (a second program, a DTU, a handheld on the wire) and "
        "take it off; fuser /dev/ttyUSB0 and meterd ports name programs of this machine",
    )


def _echo(case: _Case) -> Diagnosis | None:
    echoed = [hearing for hearing in case.hearings if hearing.is_echoed]
    sent = [hearing for hearing in case.hearings if hearing.step.request is not None]
    if not echoed or len(echoed) < HALF * len(sent):
        return None
    return Diagnosis(
        Cause.ECHO,
        93 if case.is_lively else 60,
        f"{len(echoed)} of {len(sent)} questions came back as they were sent",
        "the adapter hears itself: meterd knows its echo and reads all the same; other programs "
        "need the adapter's echo switched off (RE# to DE on a bare RS-485 chip)",
    )


# --- nobody answers


def _dead_bus(case: _Case) -> Diagnosis | None:
    if not case.asked or any(not hearing.is_silent for hearing in case.hearings):
        return None
    tried = len({hearing.step.speed for hearing in case.hearings})
    is_echoed = any(hearing.is_echoed for hearing in case.hearings)
    where = " but the echo: the adapter works, the bus behind it does not" if is_echoed else ""
    if case.subject.has_speed:
        confidence = 92
        heard = f"no byte came to {len(case.asked)} questions nor at {tried} speeds{where}"
    else:
        confidence = 80
        heard = f"no byte came to {len(case.asked)} questions, in any protocol{where}"
    return Diagnosis(
        Cause.DEAD_BUS,
        confidence,
        heard,
        "look at the power of the meters, the two wires (swapped or broken) and the converter's "
        "lamps while asking; behind a converter with a page of its own compare its speed and "
        "parity with the meters' (2400 8E1 for most); Modbus answers to its own unit alone, so "
        "name it by --protocol and --meter",
    )


def _wrong_speed(case: _Case) -> Diagnosis | None:
    if case.good:
        return None
    believed = case.subject.speed
    there = [hearing for hearing in case.elsewhere if hearing.step.speed != believed]
    answered = [hearing for hearing in there if hearing.is_good]
    if answered:
        names = (name_of(answered[0]),)
        return _other_speed(case, answered[0], 98, f"{names[0]} answers", names)
    # Several meters that answer a question to anybody at once spoil the answer.
    begun = [hearing for hearing in there if not hearing.is_silent]
    own = (*case.asked, *case.unasked)
    if len({hearing.step.speed for hearing in begun}) != 1 or not all(h.is_silent for h in own):
        return None
    return _other_speed(case, begun[0], 80, "several meters answer at once", ())


def _other_speed(
    case: _Case, hearing: Hearing, confidence: int, words: str, names: tuple[str, ...]
) -> Diagnosis:
    believed = case.subject.speed
    speed = hearing.step.speed
    if speed.baud != believed.baud:
        cause = Cause.WRONG_SPEED
    elif speed.parity != believed.parity:
        cause = Cause.WRONG_PARITY
    else:
        cause = Cause.WRONG_DATA_BITS
    return Diagnosis(
        cause,
        confidence,
        f"{words} at {speed}, and nobody at {believed}",
        f'set baud = {speed.baud} and parity = "{speed.parity}" for this line, or type '
        f"--baud {speed.baud} --parity {speed.parity}",
        names,
    )


def _wrong_data_bits(case: _Case) -> Diagnosis | None:
    if not _has_lost_bits(case):
        return None
    heard = b"".join(hearing.data for hearing in case.asked)
    return Diagnosis(
        Cause.WRONG_DATA_BITS,
        95,
        f"none of {len(heard)} bytes has its highest bit set, and a whole answer has some",
        "set 8 data bits: data_bits = 8 for this line or --data-bits 8; behind a converter, on its "
        "page",
    )


def _has_lost_bits(case: _Case) -> bool:
    heard = b"".join(hearing.data for hearing in case.asked)
    is_speech = len(heard) >= ENOUGH_FOR_SEVEN_BITS and len(set(heard)) > FEW_VALUES
    return not case.good and is_speech and has_seven_bits(heard)


def _swapped_wires(case: _Case) -> Diagnosis | None:
    turned = [hearing for hearing in case.hearings if hearing.is_inverted]
    if not turned:
        return None
    return Diagnosis(
        Cause.SWAPPED_WIRES,
        97,
        f"{len(turned)} answers are good once every bit is turned round",
        "swap the two wires A and B at the converter",
    )


def _wrong_protocol(case: _Case) -> Diagnosis | None:
    believed = {meter.protocol for meter in case.subject.meters} or {case.subject.protocol}
    if case.good:
        return None
    for hearing in case.elsewhere:
        step = hearing.step
        if hearing.is_good and step.protocol not in believed and step.speed == case.subject.speed:
            name = name_of(hearing)
            return Diagnosis(
                Cause.WRONG_PROTOCOL,
                97,
                f"{name} answers in {step.protocol} and nobody in {', '.join(sorted(believed))}",
                f"write protocol = {step.protocol} for this meter in meters.csv, or read it with "
                f"meterd read {case.subject.place} --protocol {step.protocol}",
                (name,),
            )
    return None


def _wrong_address(case: _Case) -> Diagnosis | None:
    if case.good or not case.subject.meters:
        return None
    believed = {meter.protocol for meter in case.subject.meters}
    for hearing in case.elsewhere:
        step = hearing.step
        is_here = step.speed == case.subject.speed and step.protocol in believed
        is_known = step.meter in case.by_meter or not is_here
        if hearing.is_good and not is_known and name_of(hearing) not in case.by_meter:
            name = name_of(hearing)
            return Diagnosis(
                Cause.WRONG_ADDRESS,
                95,
                f"{name} answers, and none of the meters of the files does",
                f"compare {name} with the label and write it into meters.csv; for all meters of "
                f"the line: meterd scan {case.subject.place}",
                (name,),
            )
    return None


def _several_meters(case: _Case) -> Diagnosis | None:
    if case.subject.meters or case.good or _is_noisy_unasked(case):
        return None
    if not _is_collided(case.asked, Aim.ANYBODY):
        return None
    return Diagnosis(
        Cause.SEVERAL_METERS,
        85,
        "a question to anybody is answered by several at once",
        f"find the addresses: meterd scan {case.subject.place}; then ask again with --meter for "
        "each",
    )


# --- some meters


def _dead_meter(case: _Case) -> Diagnosis | None:
    silent = [name for name, hearings in case.by_meter.items() if _is_dead(hearings)]
    alive = [name for name, hearings in case.by_meter.items() if any(h.is_good for h in hearings)]
    if not silent or not alive:
        return None
    return Diagnosis(
        Cause.DEAD_METER,
        92 if len(silent) <= len(alive) else 80,
        f"{_named(silent)} never answered, {len(alive)} others of the line did",
        f"look at the power and the wires of {_named(silent)}, and compare its label with "
        "meters.csv",
        tuple(silent),
    )


def _is_dead(hearings: Sequence[Hearing]) -> bool:
    questions = [hearing for hearing in hearings if hearing.step.aim is Aim.METER]
    return len(questions) > 1 and all(
        hearing.is_silent or hearing.is_refused_by_gateway for hearing in questions
    )


def _duplicate_address(case: _Case) -> Diagnosis | None:
    doubled = [
        hearing.step.meter
        for hearing in case.asked
        if hearing.step.aim is not Aim.ANYBODY and _has_two_answers(hearing)
    ]
    # In the place of the answer it is somebody else's.
    doubled += [step.meter for it in case.hearings if it.is_good for step in it.twins]
    names = list(dict.fromkeys(doubled))
    confidence = 96
    if not names:
        if _is_noisy_unasked(case):
            return None
        names = [
            name for name, hearings in case.by_meter.items() if _is_collided(hearings, Aim.METER)
        ]
        others = [h for h in case.spoilt if h.step.meter not in names]
        confidence = 75 if others else 88
    if not names:
        return None
    return Diagnosis(
        Cause.DUPLICATE_ADDRESS,
        confidence,
        f"two answer at once to {_named(names)}",
        f"two meters have the address {names[0]}: take one off the bus and give it another "
        "(meterd write --identifier 04000401), and look which of them is in meters.csv",
        tuple(names),
    )


def _has_two_answers(hearing: Hearing) -> bool:
    """True for good answers to one question that say different things."""
    return len({frame for _, frame in hearing.answers}) > 1


def _is_collided(hearings: Sequence[Hearing], aim: Aim) -> bool:
    """True when what two meters say never comes whole: it is longer than one answer, or the same
    damage each time."""
    questions = [hearing for hearing in hearings if hearing.step.aim is aim]
    spoilt = [
        hearing
        for hearing in questions
        if (hearing.damaged or hearing.noise)
        and not (hearing.is_good or hearing.is_cut or hearing.is_inverted or hearing.late)
    ]
    if len(spoilt) < 2 or len(spoilt) < len(questions) - 1:
        return False
    if spoilt[0].step.protocol in DLT645:
        voices = [hearing.data.lstrip(FE) for hearing in spoilt]
        are_longer = [len(voice) > _whole_answer(voice) for voice in voices]
    else:
        voices = [hearing.data for hearing in spoilt]
        are_longer = [len(voice) > MODBUS_ANSWER_BYTES for voice in voices]
    return sum(are_longer) > HALF * len(voices) or len(set(voices)) == 1


def _whole_answer(voice: bytes) -> int:
    """Bytes of the DL/T 645 frame that begins there, by its L; of an energy where L is lost."""
    has_head = len(voice) >= HEAD_BYTES and voice[0] == voice[7] == START
    return OVERHEAD + (voice[LENGTH_AT] if has_head else ENERGY_ANSWER_L)


def _other_meter_answers(case: _Case) -> Diagnosis | None:
    wrong = case.strange
    # By chance a damaged frame is good, with another address in it.
    if len(wrong) < 2:
        return None
    names = list(dict.fromkeys(hearing.step.meter for hearing in wrong))
    return Diagnosis(
        Cause.OTHER_METER_ANSWERS,
        94 if len(wrong) > HALF * len(names) else 60,
        f"{len(wrong)} questions were answered from another address than was asked",
        "compare the addresses in meters.csv with the labels; behind a concentrator, look at its "
        "own table of meters",
        tuple(names),
    )


def _refusals(case: _Case) -> Diagnosis | None:
    refusing = [hearing for hearing in case.good if _is_refusal(hearing)]
    if len(refusing) < HALF * len(case.good) or not refusing:
        return None
    names = list(dict.fromkeys(hearing.step.meter for hearing in refusing))
    return Diagnosis(
        Cause.REFUSALS,
        70,
        f"{_named(names)} answered with an error word",
        f"see what it says: meterd read {case.subject.place} --meter {names[0]} --trace",
        tuple(names),
    )


def _is_refusal(hearing: Hearing) -> bool:
    if hearing.step.protocol not in DLT645:
        return False
    return any(frame.is_abnormal for _, frame in hearing.answers)


# --- answers that come badly


def _merged_answers(case: _Case) -> Diagnosis | None:
    merged = [hearing for hearing in case.hearings if hearing.has_merged]
    if not merged:
        return None
    return Diagnosis(
        Cause.MERGED_ANSWERS,
        96,
        f"{len(merged)} answers were held back until the next question and came with its answer",
        "ask the concentrator one question at a time: pipelined = 1 and a pause_ms of 100 or more "
        "for this line; if it still holds answers back, its firmware has to send them at once",
    )


def _repeated_answers(case: _Case) -> Diagnosis | None:
    twice = [
        hearing
        for hearing in case.good
        if len(hearing.answers) > 1 and len({frame for _, frame in hearing.answers}) == 1
    ]
    count = len(twice) + sum(len(hearing.repeated) for hearing in case.hearings)
    if count < HALF * len(case.good) or not count:
        return None
    return Diagnosis(
        Cause.REPEATED_ANSWERS,
        85,
        f"{count} answers came twice, byte for byte",
        "look for two converters on one bus that both pass on what they hear; meterd takes the "
        "first and counts the second as foreign",
    )


def _slow_answers(case: _Case) -> Diagnosis | None:
    late_s = [
        after_s for hearing in case.hearings if not hearing.has_merged for after_s in hearing.late
    ]
    if not late_s:
        return None
    slowest_s = max(late_s)
    wanted_s = min(30.0, round(slowest_s + 1, 1))
    return Diagnosis(
        Cause.SLOW_ANSWERS,
        94,
        f"{len(late_s)} answers came after the {case.subject.timeout_s:g} s that are waited for, "
        f"one after {slowest_s:.1f} s",
        f"set reply_timeout_s = {wanted_s:g} for this line, or type --timeout {wanted_s:g}",
    )


def _lost_answers(case: _Case) -> Diagnosis | None:
    """Somebody answers some of the questions, and to the others nothing comes at all."""
    good = [hearing for hearing in case.hearings if hearing.is_good]
    heard = {hearing.step.meter for hearing in good} | {name_of(hearing) for hearing in good}
    asked = [hearing for hearing in case.asked if hearing.step.meter in heard]
    lost = [hearing for hearing in asked if hearing.is_silent]
    is_late = any(hearing.late for hearing in case.hearings)
    if not lost or is_late:
        return None
    is_sure = len(lost) > 1 and not case.spoilt
    names = list(dict.fromkeys(hearing.step.meter for hearing in lost))
    return Diagnosis(
        Cause.LOST_ANSWERS,
        # Also a meter that seems dead may have lost its few answers.
        94 if len(names) > 1 else 84 if is_sure else 60,
        f"nothing came to {len(lost)} of {len(asked)} questions to meters that answer others",
        "look for a loose terminal, a converter that has too little power, a radio link at its "
        "limit; more retries for this line help until it is mended",
        tuple(names),
    )


def _torn_answers(case: _Case) -> Diagnosis | None:
    torn = [hearing for hearing in case.asked if hearing.longest_gap_s > BYTE_GAP_S]
    if not torn or len(torn) < HALF * len([h for h in case.asked if not h.is_silent]):
        return None
    longest_s = max(hearing.longest_gap_s for hearing in torn)
    return Diagnosis(
        Cause.TORN_ANSWERS,
        92,
        f"{len(torn)} answers paused inside, for {longest_s:.1f} s; {BYTE_GAP_S:g} s is the most",
        "the converter or its radio link cuts answers up: raise its packing interval above the "
        "time of an answer, or its packet length above 220 bytes",
    )


def _cut_answers(case: _Case) -> Diagnosis | None:
    spoilt = case.spoilt
    cut = [hearing for hearing in spoilt if hearing.is_cut]
    if not cut or len(cut) < 0.7 * len(spoilt) or _is_noisy_unasked(case):
        return None
    if any(hearing.longest_gap_s > BYTE_GAP_S for hearing in cut):
        return None
    return Diagnosis(
        Cause.CUT_ANSWERS,
        93 if len(cut) > 1 else 70,
        f"{len(cut)} answers came without their beginning or their end",
        "the adapter turns round too late or too early: use one that turns by itself, or set its "
        "turnaround below 20 ms; a pause_ms of 50 for this line helps where the end is missing",
    )


def _noise(case: _Case) -> Diagnosis | None:
    unasked = _is_noisy_unasked(case)
    dirty = [
        hearing
        for hearing in case.asked
        if (hearing.damaged or hearing.noise) and not hearing.is_cut and not hearing.is_inverted
    ]
    if not unasked and not dirty:
        return None
    heard = [hearing for hearing in case.asked if not hearing.is_silent]
    if unasked:
        confidence = 85
        words = f"bytes that are no frame come though nobody was asked, and around {len(dirty)} "
        words += f"of {len(heard)} answers"
    else:
        confidence = 80 if case.good else 72
        words = f"{len(dirty)} of {len(heard)} answers were damaged or had other bytes around them"
    return Diagnosis(
        Cause.NOISE,
        confidence,
        words,
        "connect the shield at one end, put 120 ohm at both ends of the bus and bias at one, keep "
        "it away from power cables; look for a loose terminal",
    )


def _is_noisy_unasked(case: _Case) -> bool:
    """True when bytes come that no question asked for and that are no frame either."""
    return any(
        hearing.data and not frames_of_anybody(hearing.data) and not hearing.late
        for hearing in case.unasked
    )


# --- clocks


@dataclass(frozen=True, slots=True)
class _Skew:
    meter: str
    ahead: timedelta


def _wrong_clock(case: _Case) -> Diagnosis | None:
    skews = _skews(case)
    wrong = [skew for skew in skews if abs(skew.ahead) > CLOCK_LIMIT]
    if not wrong or _blames_host(skews):
        return None
    worst = max(wrong, key=lambda skew: abs(skew.ahead))
    names = [skew.meter for skew in wrong]
    return Diagnosis(
        Cause.WRONG_CLOCK,
        93,
        f"the clock of {_named(names)} is wrong, one by {_in_words(worst.ahead)}",
        f"set it: meterd clock {case.subject.place} --meter {worst.meter} --set (needs the meter's "
        "password); its "
        "freezes are withheld until then",
        tuple(names),
    )


def _host_clock(case: _Case) -> Diagnosis | None:
    skews = _skews(case)
    if not _blames_host(skews):
        return None
    return Diagnosis(
        Cause.HOST_CLOCK,
        93,
        f"{len(skews)} meters agree on a time that this machine is {_in_words(-skews[0].ahead)} of",
        "set this machine's clock and its zone: timedatectl; then look again",
    )


def _blames_host(skews: Sequence[_Skew]) -> bool:
    """True when three meters or more are off by the same."""
    if len(skews) < 3:
        return False
    ahead = [skew.ahead for skew in skews]
    agree = max(ahead) - min(ahead) < CLOCK_LIMIT
    return agree and all(abs(skew) > CLOCK_LIMIT for skew in ahead)


def _in_words(ahead: timedelta) -> str:
    minutes = round(abs(ahead).total_seconds() / 60)
    return f"{minutes} minutes {'ahead' if ahead > timedelta() else 'behind'}"


def _skews(case: _Case) -> list[_Skew]:
    """Of each meter whose date and time were read; the time last, so it is what it is now."""
    if case.subject.zone is None:
        return []
    found = []
    dates: dict[str, bytes] = {}
    for heard, hearing in zip(case.evidence, case.hearings, strict=True):
        step = hearing.step
        data = _value(hearing)
        if data is None:
            continue
        if step.aim is Aim.DATE:
            dates[step.meter] = data
        elif step.aim is Aim.TIME and step.meter in dates:
            try:
                shown = decode_clock(step.meter, dates[step.meter], data)
            except FrameError:
                continue
            found.append(_Skew(step.meter, _ahead(shown, heard.at, case.subject)))
    return found


def _value(hearing: Hearing) -> bytes | None:
    """What stands behind the identifier of a good answer."""
    if hearing.step.aim not in (Aim.DATE, Aim.TIME) or not hearing.answers:
        return None
    frame: Any = hearing.answers[0][1]
    if frame.is_abnormal:
        return None
    width = IDENTIFIER_BYTES.get(hearing.step.protocol, OF_1997)
    return bytes(frame.data[width:])


def _ahead(shown: datetime, at: datetime, subject: Subject) -> timedelta:
    """How far a clock is ahead. A meter may keep standard time all year."""
    here = at.astimezone(subject.zone)
    summer = here.dst() or timedelta()
    standard = at.astimezone(timezone((here.utcoffset() or timedelta()) - summer))
    offs = [shown - wall.replace(tzinfo=None) for wall in (here, standard)]
    return min(offs, key=abs)


def _named(names: Iterable[str]) -> str:
    """A few of the names, and how many more."""
    every = list(names)
    shown = ", ".join(every[:MOST_NAMED])
    more = len(every) - MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


_RULES: Final[tuple[Callable[[_Case], Diagnosis | None], ...]] = (
    _two_masters,
    _echo,
    _dead_bus,
    _wrong_speed,
    _wrong_data_bits,
    _swapped_wires,
    _wrong_protocol,
    _wrong_address,
    _several_meters,
    _dead_meter,
    _duplicate_address,
    _other_meter_answers,
    _refusals,
    _merged_answers,
    _repeated_answers,
    _slow_answers,
    _lost_answers,
    _torn_answers,
    _cut_answers,
    _noise,
    _wrong_clock,
    _host_clock,
)
"""Each looks at the whole case; their order means nothing."""
