"""What a line is asked to find out what is wrong with it: reads alone, and as few as will do.

A plan, not a talk: it yields each step and is handed what was heard, so that the same plan runs on
a cable and on a simulated line."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from daemon.field.connection import Speed
from daemon.field.doctor.evidence import (
    MODBUS_RTU,
    MODBUS_TCP,
    Aim,
    Heard,
    KnownMeter,
    Step,
    Subject,
)
from daemon.field.doctor.hearing import DLT645, Hearing, Listener
from daemon.field.language import DLT645_1997, DLT645_2007
from daemon.field.survey import speeds
from protocols.dlt645 import functions, functions_1997
from protocols.dlt645.bcd import digits_of
from protocols.dlt645.frame import ANY_ADDRESS, BROADCAST, Frame
from protocols.dlt645.messages import identifier_on_the_wire
from protocols.modbus.blocks import Block
from protocols.modbus.exchanges import read_block

MOST_WAITS: Final = 3
ROUNDS: Final = 3
AGAIN_AT_ONCE: Final = 8
"""Meters of each kind, well and not, that are asked in the further rounds."""
ENOUGH_ANSWERS: Final = 16
NOBODY_AFTER: Final = 16
"""When so many from all over the list are silent, the rest is not asked one by one."""
MOST_CLOCKS: Final = 64
USUAL_UNIT: Final = 1
"""Of a Modbus meter that nobody has set."""
OTHER_UNITS: Final = range(1, 11)
"""That are tried where the units of the files are silent; all of them is a scan."""

OFTEN_MET: Final = (DLT645_2007, MODBUS_RTU)
"""Protocols that are tried at every speed."""

_ENERGY: Final = {DLT645_2007: "00010000", DLT645_1997: "9010"}
_DATE: Final = {DLT645_2007: "04000101", DLT645_1997: "C010"}
_TIME: Final = {DLT645_2007: "04000102", DLT645_1997: "C011"}
_METER_NUMBER_1997: Final = "C032"
_FIRST_REGISTERS: Final = Block(3, 0, 2)
"""What a meter refuses it answers, too."""

Examination = Generator[Step, Heard, list[Hearing]]


def examination(subject: Subject) -> Examination:
    """The steps of an examination; it returns what was heard."""
    plan = _Plan(subject)
    yield from plan.examine()
    return plan.listener.hearings


class _Plan:
    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.listener = Listener()
        self._waits_left = MOST_WAITS

    def examine(self) -> Generator[Step, Heard, None]:
        yield from self._ask(_listening(self._subject))
        meters = self._subject.meters or (yield from self._whoever())
        answered = yield from self._in_rounds(meters)
        if answered:
            yield from self._clocks(answered[:MOST_CLOCKS])
        elif not any(map(_tells_enough, self.listener.hearings)):
            yield from self._other_ways(meters)
        yield from self._ask(_listening(self._subject))

    def _ask(self, step: Step) -> Generator[Step, Heard, Hearing]:
        heard = yield step
        return self.listener.take(heard)

    def _ask_patiently(self, step: Step) -> Generator[Step, Heard, Hearing]:
        """Ask, and wait longer for a few of those that do not answer."""
        hearing = yield from self._ask(step)
        if hearing.is_silent and self._waits_left:
            self._waits_left -= 1
            wait_s = self._subject.patience.wait_s
            yield from self._ask(replace(step, aim=Aim.WAIT, listen_s=wait_s, request=None))
        return hearing

    def _whoever(self) -> Generator[Step, Heard, tuple[KnownMeter, ...]]:
        """The only meter of a line of which nobody said who is there."""
        subject = self._subject
        for _ in range(ROUNDS):
            step = _to_anybody(subject.protocol, subject.speed, subject.timeout_s)
            hearing = yield from self._ask_patiently(step)
            if hearing.is_good:
                return (KnownMeter(subject.protocol, name_of(hearing)),)
        return ()

    def _in_rounds(self, meters: Sequence[KnownMeter]) -> Generator[Step, Heard, list[KnownMeter]]:
        """Those of them that answered."""
        bad: list[KnownMeter] = []
        good: list[KnownMeter] = []
        for meter in _from_all_over(meters):
            is_good = yield from self._meter(meter)
            (good if is_good else bad).append(meter)
            if not good and len(bad) == NOBODY_AFTER:
                break
        better = list(good)
        for meter in (bad[:AGAIN_AT_ONCE] + good[:AGAIN_AT_ONCE]) * (ROUNDS - 1):
            is_good = yield from self._meter(meter)
            if is_good and meter not in better:
                better.append(meter)
        # What happens to some answers only is seen on a line of one meter, too.
        asked = ROUNDS * len(better)
        for meter in better * (ENOUGH_ANSWERS // len(better)) if better else []:
            asked += 1
            if asked > ENOUGH_ANSWERS:
                break
            yield from self._meter(meter)
        return better

    def _meter(self, meter: KnownMeter) -> Generator[Step, Heard, bool]:
        hearing = yield from self._ask_patiently(_to_meter(meter, self._subject))
        return hearing.is_good

    def _clocks(self, meters: Iterable[KnownMeter]) -> Generator[Step, Heard, None]:
        for meter in meters:
            if meter.protocol not in DLT645:
                continue
            for aim, identifiers in ((Aim.DATE, _DATE), (Aim.TIME, _TIME)):
                step = _to_meter(meter, self._subject)
                request = _read(meter, identifiers[meter.protocol])
                yield from self._ask(replace(step, aim=aim, request=request))

    def _other_units(self, meters: Sequence[KnownMeter]) -> Generator[Step, Heard, bool]:
        """True when one answered: Modbus has no question to anybody."""
        subject = self._subject
        protocol = meters[0].protocol if meters else subject.protocol
        if protocol in DLT645:
            return False
        for name in map(str, OTHER_UNITS):
            if KnownMeter(protocol, name) in meters:
                continue
            request = _read(KnownMeter(protocol, name), "")
            listen_s = subject.patience.other_way_s
            hearing = yield from self._ask(
                Step(Aim.ANYBODY, subject.speed, listen_s, protocol, name, request)
            )
            if hearing.is_good:
                return True
        return False

    def _other_ways(self, meters: Sequence[KnownMeter]) -> Generator[Step, Heard, None]:
        """Nobody answered: other units, another protocol, then other speeds, until one brings an
        answer."""
        if (yield from self._other_units(meters)):
            return
        subject = self._subject
        protocols = [DLT645_2007, DLT645_1997, MODBUS_RTU]
        if not subject.has_speed:
            protocols.append(MODBUS_TCP)
        ways = [(protocol, subject.speed) for protocol in protocols]
        if subject.has_speed:
            others = [speed for speed in speeds((), ()) if speed != subject.speed]
            ways += [(protocol, speed) for speed in others for protocol in OFTEN_MET]
        for protocol, speed in ways:
            for step in _in_protocol(protocol, meters, speed, subject.patience.other_way_s):
                hearing = yield from self._ask(step)
                if hearing.is_good:
                    return


def _from_all_over(meters: Sequence[KnownMeter]) -> list[KnownMeter]:
    """All of them; those that are asked before all count as silent lie far apart."""
    apart = max(1, len(meters) // NOBODY_AFTER)
    return [meter for start in range(apart) for meter in meters[start::apart]]


def _tells_enough(hearing: Hearing) -> bool:
    """True where it is known that the protocol and the speed are right, though nobody answers."""
    has_answers = hearing.late or hearing.misaddressed or hearing.others or hearing.requests
    return bool(has_answers) or hearing.is_inverted or hearing.is_cut


def name_of(hearing: Hearing) -> str:
    """Who answered a question to anybody: 12 digits, or the unit."""
    _, frame = hearing.answers[0]
    if hearing.step.protocol not in DLT645:
        return str(frame.unit)
    is_address = frame.function == functions.READ_ADDRESS
    return digits_of(frame.data) if is_address else str(frame.address)


def _listening(subject: Subject) -> Step:
    protocol = subject.meters[0].protocol if subject.meters else subject.protocol
    return Step(Aim.LISTEN, subject.speed, subject.patience.listen_s, protocol)


def _to_meter(meter: KnownMeter, subject: Subject) -> Step:
    identifier = _ENERGY.get(meter.protocol, "")
    return Step(
        Aim.METER,
        subject.speed,
        subject.timeout_s,
        meter.protocol,
        meter.name,
        _read(meter, identifier),
    )


def _read(meter: KnownMeter, identifier: str) -> Any:
    """The request of one harmless read."""
    if meter.protocol == DLT645_2007:
        return Frame(meter.name, functions.READ, identifier_on_the_wire(identifier))
    if meter.protocol == DLT645_1997:
        return Frame(meter.name, functions_1997.READ, identifier_on_the_wire(identifier, 2))
    return next(read_block(int(meter.name), _FIRST_REGISTERS))


def _to_anybody(protocol: str, speed: Speed, listen_s: float) -> Step:
    request: Any
    who = ANY_ADDRESS
    if protocol == DLT645_2007:
        request = Frame(ANY_ADDRESS, functions.READ_ADDRESS)
    elif protocol == DLT645_1997:
        who = BROADCAST
        request = Frame(
            BROADCAST, functions_1997.READ, identifier_on_the_wire(_METER_NUMBER_1997, 2)
        )
    else:
        who = str(USUAL_UNIT)
        request = next(read_block(USUAL_UNIT, _FIRST_REGISTERS))
    return Step(Aim.ANYBODY, speed, listen_s, protocol, who, request)


def _in_protocol(
    protocol: str, meters: Sequence[KnownMeter], speed: Speed, listen_s: float
) -> list[Step]:
    """Questions in a protocol that may be the right one: to two known meters, and to anybody.

    Several meters answer a question to anybody at once, and one that is asked alone may be dead."""
    is_modbus = protocol not in DLT645
    names = [
        meter.name
        for meter in meters
        if meter.protocol == protocol or (is_modbus and meter.protocol not in DLT645)
    ]
    steps = [
        Step(
            Aim.ANYBODY,
            speed,
            listen_s,
            protocol,
            name,
            _read(KnownMeter(protocol, name), _ENERGY.get(protocol, "")),
        )
        for name in names[:2]
    ]
    if not is_modbus or not names:
        steps.append(_to_anybody(protocol, speed, listen_s))
    return steps
