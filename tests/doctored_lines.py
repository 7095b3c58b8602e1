"""Lines with one fault each, for the diagnosis: simulated meters on a wire that is only computed.

Time is a number that is counted on, so that a line of minutes is heard in milliseconds. Bytes go
through the model of a serial port at each end, and voices that overlap pull the wire to 0 together,
as on RS-485."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from config.profiles import load_profile
from daemon.field.connection import Speed
from daemon.field.doctor.asking import is_over_at
from daemon.field.doctor.causes import Cause
from daemon.field.doctor.evidence import (
    MODBUS_RTU,
    MODBUS_TCP,
    Heard,
    KnownMeter,
    Patience,
    Piece,
    Step,
    Subject,
)
from daemon.field.doctor.examination import examination
from daemon.field.language import DLT645_2007
from daemon.field.read_only import is_read
from daemon.field.survey import BAUDS
from protocols.dlt645 import functions
from protocols.dlt645.frame import WAKE_UP, Frame, encode
from protocols.exchange import Skipped
from simulators.dlt645.meter_1997 import SimulatedMeter1997
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import AnyMeter, SimulatedBus
from simulators.lines.faults import Fault
from simulators.modbus.meter import SimulatedModbusMeter
from simulators.state.clock import MeterClock
from simulators.state.meter import MeterState
from simulators.state.spec import MeterSpec
from tests.uart import heard_as

ZONE: Final = ZoneInfo("Asia/Shanghai")
START: Final = datetime(2026, 3, 4, 1, 2, 3, tzinfo=UTC)
BITS: Final = 11
USUAL: Final = Speed(2400, "E")
PATIENCE: Final = Patience()
FIFO: Final = 8
"""Bytes that a serial port hands on together."""

Voice = tuple[float, bytes]
"""When it begins, and its bytes."""


@dataclass
class Line:
    """A wire with everything that can be wrong with it.

    `speed`: of the meters; `is_serial`: the one who asks has a port whose speed counts. `buses`:
    each talks on its own, whatever the others do. `unasked`: voices of others, in order. `spoil`:
    what becomes of an answer on its way to us."""

    rng: random.Random
    buses: list[SimulatedBus]
    speed: Speed = USUAL
    is_serial: bool = True
    unasked: Iterator[Voice] = field(default_factory=lambda: iter(()))
    spoil: Callable[[bytes], bytes] = lambda data: data
    holds_back: bool = False
    clock: Clock = field(default_factory=lambda: Clock())
    sent: list[bytes] = field(default_factory=list)
    _coming: list[Piece] = field(default_factory=list)
    _held: bytes = b""
    _next_unasked: Voice | None = None

    def heard_in(self, subject: Subject) -> list[Heard]:
        """The evidence of an examination of this line."""
        evidence = []
        plan = examination(subject)
        step = next(plan)
        while True:
            heard = self._take(step)
            evidence.append(heard)
            try:
                step = plan.send(heard)
            except StopIteration:
                return evidence

    def _take(self, step: Step) -> Heard:
        sent = step.sent
        started_s = self.clock.s + len(sent) * self._byte_s(step.speed)
        if sent:
            assert is_read(sent)
            self.sent.append(sent)
            self._ask(sent, step.speed, started_s)
        self._add_unasked(started_s + step.listen_s + 10, step.speed)
        self._coming.sort()
        pieces: list[Piece] = []
        data = b""
        last_s = 0.0
        while self._coming:
            at_s, came = self._coming[0]
            if at_s > started_s + is_over_at(step, data, last_s, PATIENCE):
                break
            self._coming.pop(0)
            last_s = max(last_s, at_s - started_s)
            pieces.append(Piece(last_s, came))
            data += came
        first_s = started_s + pieces[0].at_s if pieces else started_s
        at = START + timedelta(seconds=first_s)
        self.clock.s = started_s + is_over_at(step, data, last_s, PATIENCE)
        return Heard(step, tuple(pieces), at, started_s)

    def _byte_s(self, speed: Speed) -> float:
        return BITS / (speed.baud or 2400)

    def _ask(self, sent: bytes, speed: Speed, at_s: float) -> None:
        on_the_wire = self._through(sent, speed, self.speed)
        voices: list[Voice] = []
        for bus in self.buses:
            voices += self._answers(bus, on_the_wire, at_s)
        if self.holds_back:
            voices = self._merged(voices)
        self._send(voices, speed)

    def _answers(self, bus: SimulatedBus, data: bytes, at_s: float) -> list[Voice]:
        voices: list[Voice] = []
        for decoder in bus.new_decoders():
            for item in decoder.feed(data) + decoder.flush():
                if not isinstance(item, Skipped):
                    voices += [(at_s + ms / 1000, said) for ms, said in bus.answer(item)]
            if voices:
                break
        return voices

    def _merged(self, voices: list[Voice]) -> list[Voice]:
        """Every second answer is kept, and comes with the next one."""
        merged: list[Voice] = []
        for at_s, said in voices:
            if not self._held:
                self._held = said
            else:
                merged.append((at_s, self._held + said))
                self._held = b""
        return merged

    def _add_unasked(self, until_s: float, speed: Speed) -> None:
        while True:
            voice = self._next_unasked or next(self.unasked, None)
            self._next_unasked = voice
            if voice is None or voice[0] > until_s:
                return
            self._next_unasked = None
            self._send([voice], speed)

    def _send(self, voices: list[Voice], speed: Speed) -> None:
        """Bytes as they reach us, in the pieces in which a port or a socket hands them on."""
        byte_s = self._byte_s(self.speed)
        for at_s, said in mixed(voices, byte_s):
            came = self._through(self.spoil(said), self.speed, speed)
            size = FIFO if self.is_serial and not self.holds_back else len(came) or 1
            for start in range(0, len(came), size):
                piece = came[start : start + size]
                end_s = at_s + (start + len(piece)) * byte_s
                self._coming.append(Piece(end_s, piece))

    def _through(self, data: bytes, said: Speed, heard: Speed) -> bytes:
        if not self.is_serial or said == heard:
            return data
        return heard_as(data, said, heard)


class Clock:
    """Seconds since the line was opened."""

    def __init__(self) -> None:
        self.s = 0.0

    def now(self) -> datetime:
        """The site's wall clock, without zone."""
        return (START + timedelta(seconds=self.s)).astimezone(ZONE).replace(tzinfo=None)


def mixed(voices: list[Voice], byte_s: float) -> list[Voice]:
    """Voices that overlap become one: a dominant 0 wins."""
    together: list[tuple[float, bytearray]] = []
    for at_s, said in sorted(voices):
        if together and at_s < together[-1][0] + len(together[-1][1]) * byte_s:
            first_s, heard = together[-1]
            offset = round((at_s - first_s) / byte_s)
            heard.extend(b"\xff" * (offset + len(said) - len(heard)))
            for place, byte in enumerate(said, offset):
                heard[place] &= byte
        else:
            together.append((at_s, bytearray(said)))
    return [(at_s, bytes(heard)) for at_s, heard in together]


@dataclass
class Scene:
    """A line with a fault, and how its user believes it to be."""

    line: Line
    subject: Subject
    cause: Cause


class Site:
    """Meters of one random line."""

    def __init__(self, seed: int, *, least: int = 1, most: int = 6) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        count = self.rng.randint(least, most)
        self.addresses = [f"{number:012d}" for number in self.rng.sample(range(10**12 - 1), count)]
        self.is_serial = self.rng.random() < 0.7
        self.faults: list[Fault] = []
        self.least_delay_ms = 20
        self.clocks: dict[str, timedelta] = {}

    def bus(
        self, addresses: list[str] | None = None, kind: type = SimulatedMeter2007
    ) -> SimulatedBus:
        meters = [self.meter(address, kind) for address in addresses or self.addresses]
        least = self.rng.randint(self.least_delay_ms, 200)
        return SimulatedBus(
            meters,
            reply_delay_ms=(least, least + self.rng.randint(0, 250)),
            faults=self.faults,
            seed=self.rng.randrange(10**6),
        )

    def meter(self, address: str, kind: type = SimulatedMeter2007) -> AnyMeter:
        ahead = self.clocks.get(address, timedelta(seconds=self.rng.randint(-60, 60)))
        now = self.clock.now()
        clock = MeterClock(now - timedelta(days=400), now - timedelta(days=400) + ahead)
        spec = MeterSpec(initial_kwh=Decimal(self.rng.randrange(10**6)).scaleb(-2))
        state = MeterState(address, now=self.clock.now, clock=clock, spec=spec)
        made: AnyMeter = kind(state, wake_up=self.rng.randint(0, 4))
        return made

    def subject(self, **other: Any) -> Subject:
        given = {
            "speed": USUAL if self.is_serial else Speed(),
            "meters": tuple(KnownMeter(DLT645_2007, address) for address in self.addresses),
            "zone": ZONE,
            "has_speed": self.is_serial,
        }
        return Subject(**{**given, **other})

    def line(self, buses: list[SimulatedBus] | None = None, **what: Any) -> Line:
        return Line(
            self.rng,
            [self.bus()] if buses is None else buses,
            is_serial=self.is_serial,
            clock=self.clock,
            **what,
        )


def nothing(seed: int) -> Scene:
    site = Site(seed)
    return Scene(site.line(), site.subject(), Cause.NOTHING)


def dead_bus(seed: int) -> Scene:
    site = Site(seed)
    subject = site.subject() if site.rng.random() < 0.7 else site.subject(meters=())
    return Scene(site.line([]), subject, Cause.DEAD_BUS)


def wrong_speed(seed: int) -> Scene:
    site = Site(seed)
    site.is_serial = True
    meters, ours = site.rng.sample(BAUDS, 2)
    subject = site.subject(speed=Speed(ours, "E"))
    return Scene(site.line(speed=Speed(meters, "E")), subject, Cause.WRONG_SPEED)


def wrong_parity(seed: int) -> Scene:
    site = Site(seed)
    site.is_serial = True
    baud = site.rng.choice(BAUDS)
    theirs, ours = site.rng.sample(["E", "N"], 2)
    if site.rng.random() < 0.3:
        ours = "O"
    subject = site.subject(speed=Speed(baud, ours))
    return Scene(site.line(speed=Speed(baud, theirs)), subject, Cause.WRONG_PARITY)


def wrong_data_bits(seed: int) -> Scene:
    site = Site(seed)
    site.is_serial = False
    line = site.line(spoil=lambda data: bytes(byte & 0x7F for byte in data))
    return Scene(line, site.subject(), Cause.WRONG_DATA_BITS)


def swapped_wires(seed: int) -> Scene:
    site = Site(seed)
    line = site.line(spoil=lambda data: bytes(byte ^ 0xFF for byte in data))
    return Scene(line, site.subject(), Cause.SWAPPED_WIRES)


def two_masters(seed: int) -> Scene:
    """Somebody else reads one of the meters, or one that we do not know, every few seconds."""
    site = Site(seed)
    rng = site.rng
    address = rng.choice([*site.addresses, "000000000777"])
    meter = site.meter(address)
    identifier = bytes.fromhex(rng.choice(["00000201", "00ff0100", "03050004"]))

    def voices() -> Iterator[Voice]:
        at_s = rng.uniform(0, 2)
        while True:
            asked = Frame(address, functions.READ, identifier)
            yield at_s, WAKE_UP + encode(asked)
            answer = meter.answer(asked)  # type: ignore[union-attr]
            at_s += 16 * BITS / 2400 + rng.uniform(0.02, 0.3)
            if answer is not None and rng.random() < 0.9:
                yield at_s, WAKE_UP + encode(answer)
            at_s += 40 * BITS / 2400 + rng.uniform(0.3, 2.5)

    return Scene(site.line(unasked=voices()), site.subject(), Cause.TWO_MASTERS)


def echo(seed: int) -> Scene:
    site = Site(seed)
    site.faults = [Fault("echo")]
    # The adapter echoes while it sends, and the meters answer behind that.
    site.least_delay_ms = 110
    return Scene(site.line(), site.subject(), Cause.ECHO)


def duplicate_address(seed: int) -> Scene:
    """Two meters have one address: they answer at once, or one soon after the other."""
    site = Site(seed)
    twin = site.addresses[0]
    buses = [site.bus(), site.bus([twin])]
    return Scene(site.line(buses), site.subject(), Cause.DUPLICATE_ADDRESS)


def wrong_clock(seed: int) -> Scene:
    site = Site(seed)
    off = timedelta(minutes=site.rng.choice([-1, 1]) * site.rng.randint(7, 40_000))
    site.clocks[site.addresses[0]] = off
    return Scene(site.line(), site.subject(), Cause.WRONG_CLOCK)


def host_clock(seed: int) -> Scene:
    site = Site(seed, least=3)
    off = timedelta(minutes=site.rng.choice([-1, 1]) * site.rng.randint(7, 40_000))
    site.clocks = dict.fromkeys(site.addresses, off)
    return Scene(site.line(), site.subject(), Cause.HOST_CLOCK)


def merged_answers(seed: int) -> Scene:
    site = Site(seed)
    site.is_serial = False
    return Scene(site.line(holds_back=True), site.subject(), Cause.MERGED_ANSWERS)


def wrong_protocol(seed: int) -> Scene:
    site = Site(seed, most=1)
    if site.rng.random() < 0.5:
        buses = [site.bus(kind=SimulatedMeter1997)]
        return Scene(site.line(buses), site.subject(), Cause.WRONG_PROTOCOL)
    profile = load_profile(site.rng.choice(["eastron-sdm630", "chint-dtsu666"]))
    unit = site.rng.randint(1, 247)
    state = MeterState(f"line/{unit}", now=site.clock.now)
    bus = SimulatedBus([SimulatedModbusMeter(state, unit, profile)], reply_delay_ms=(20, 90))
    believed = MODBUS_TCP
    if site.is_serial:
        # A unit that nobody has set answers in Modbus, and the files say DL/T 645.
        state = MeterState("line/1", now=site.clock.now)
        bus = SimulatedBus([SimulatedModbusMeter(state, 1, profile)], reply_delay_ms=(20, 90))
        return Scene(site.line([bus]), site.subject(), Cause.WRONG_PROTOCOL)
    meters = (KnownMeter(believed, str(unit)),)
    return Scene(site.line([bus]), site.subject(meters=meters), Cause.WRONG_PROTOCOL)


def wrong_address(seed: int) -> Scene:
    site = Site(seed, most=1)
    meters = (KnownMeter(DLT645_2007, f"{site.rng.randrange(10**12 - 1):012d}"),)
    return Scene(site.line(), site.subject(meters=meters), Cause.WRONG_ADDRESS)


def other_meter_answers(seed: int) -> Scene:
    site = Site(seed)
    site.faults = [Fault("foreign")]
    return Scene(site.line(), site.subject(), Cause.OTHER_METER_ANSWERS)


def other_meter_at_times(seed: int) -> Scene:
    """A concentrator that mixes up whom it asked, every second time."""
    site = Site(seed)
    site.faults = [Fault("foreign", permille=500)]
    return Scene(site.line(), site.subject(), Cause.OTHER_METER_ANSWERS)


def noise(seed: int) -> Scene:
    """Bytes come from nowhere, and bits turn round in what comes."""
    site = Site(seed)
    rng = site.rng
    every_s = rng.uniform(0.4, 2)
    share = rng.uniform(0.1, 0.6)

    def voices() -> Iterator[Voice]:
        at_s = 0.0
        while True:
            at_s += rng.expovariate(1 / every_s)
            yield at_s, rng.randbytes(rng.randint(1, 12))

    def spoil(data: bytes) -> bytes:
        if rng.random() > share:
            return data
        place = rng.randrange(len(data))
        return data[:place] + bytes((data[place] ^ 1 << rng.randrange(8),)) + data[place + 1 :]

    return Scene(site.line(unasked=voices(), spoil=spoil), site.subject(), Cause.NOISE)


def damaged_answers(seed: int) -> Scene:
    """A loose terminal: nothing comes unasked, and many answers are damaged."""
    site = Site(seed)
    rng = site.rng
    share = rng.uniform(0.3, 0.6)

    def spoil(data: bytes) -> bytes:
        if rng.random() > share:
            return data
        return bytes(byte ^ (1 << rng.randrange(8) if rng.random() < 0.2 else 0) for byte in data)

    return Scene(site.line(spoil=spoil), site.subject(), Cause.NOISE)


def cut_answers(seed: int) -> Scene:
    """The adapter turns round too late and swallows the beginning, or too early the end."""
    site = Site(seed)
    rng = site.rng
    if rng.random() < 0.5:
        lost = rng.randint(5, 12)
        return Scene(site.line(spoil=lambda data: data[lost:]), site.subject(), Cause.CUT_ANSWERS)
    kept = rng.uniform(0.4, 0.9)
    line = site.line(spoil=lambda data: data[: int(kept * len(data))])
    return Scene(line, site.subject(), Cause.CUT_ANSWERS)


def torn_answers(seed: int) -> Scene:
    site = Site(seed)
    site.is_serial = False
    site.faults = [Fault("split", delay_ms=site.rng.randint(530, 640))]
    return Scene(site.line(), site.subject(), Cause.TORN_ANSWERS)


def slow_answers(seed: int) -> Scene:
    site = Site(seed)
    site.faults = [Fault("late", delay_ms=site.rng.randint(1100, 5000))]
    return Scene(site.line(), site.subject(), Cause.SLOW_ANSWERS)


def dead_meter(seed: int) -> Scene:
    site = Site(seed, least=2, most=12)
    alive = site.addresses[1:]
    return Scene(site.line([site.bus(alive)]), site.subject(), Cause.DEAD_METER)


def silent_beginning(seed: int) -> Scene:
    """The meters that stand first in the files are those without power."""
    site = Site(seed, least=12, most=20)
    return Scene(site.line([site.bus(site.addresses[9:])]), site.subject(), Cause.DEAD_METER)


def lost_answers(seed: int) -> Scene:
    """A loose terminal that lets nothing through at times."""
    site = Site(seed)
    site.faults = [Fault("lost_answer", permille=site.rng.randint(200, 500))]
    return Scene(site.line(), site.subject(), Cause.LOST_ANSWERS)


def late_twin(seed: int) -> Scene:
    """Two meters have one address, and one of them takes its time."""
    site = Site(seed)
    site.least_delay_ms = 150
    slow = site.bus([site.addresses[0]])
    slow.reply_delay_ms = (400, 700)
    return Scene(site.line([site.bus(), slow]), site.subject(), Cause.DUPLICATE_ADDRESS)


def several_at_another_speed(seed: int) -> Scene:
    """Nobody says which meters there are, and all answer a question to anybody at once."""
    site = Site(seed, least=2)
    site.is_serial = True
    meters, ours = site.rng.sample(BAUDS, 2)
    subject = site.subject(speed=Speed(ours, "E"), meters=())
    return Scene(site.line(speed=Speed(meters, "E")), subject, Cause.WRONG_SPEED)


def torn_down_wire(seed: int) -> Scene:
    """A broken driver says zeros all the time."""
    site = Site(seed)

    def voices() -> Iterator[Voice]:
        at_s = 0.0
        while True:
            at_s += 0.3
            yield at_s, bytes(site.rng.randint(1, 4))

    return Scene(site.line([], unasked=voices()), site.subject(), Cause.NOISE)


class ModbusSite(Site):
    """Meters of one random line that speak Modbus."""

    def __init__(self, seed: int, *, least: int = 1, most: int = 6) -> None:
        super().__init__(seed, least=least, most=most)
        self.units = self.rng.sample(range(11, 248), len(self.addresses))
        self.profile = load_profile(self.rng.choice(["eastron-sdm630", "chint-dtsu666"]))

    def modbus(self, units: Sequence[int], **what: Any) -> Line:
        """Those meters on a line."""
        meters = [
            SimulatedModbusMeter(MeterState(f"line/{unit}", now=self.clock.now), unit, self.profile)
            for unit in units
        ]
        return self.line([SimulatedBus(meters, reply_delay_ms=(20, 200))], **what)

    def believed(self, units: Sequence[int]) -> Subject:
        """What its user takes for the line."""
        return self.subject(meters=tuple(KnownMeter(MODBUS_RTU, str(unit)) for unit in units))


def wrong_unit(seed: int) -> Scene:
    """Modbus has no question to anybody: the usual units are asked."""
    site = ModbusSite(seed, most=1)
    return Scene(
        site.modbus([site.rng.randint(1, 10)]), site.believed(site.units), Cause.WRONG_ADDRESS
    )


def cut_modbus(seed: int) -> Scene:
    site = ModbusSite(seed)
    lost = site.rng.randint(1, 4)
    line = site.modbus(site.units, spoil=lambda data: data[lost:])
    return Scene(line, site.believed(site.units), Cause.CUT_ANSWERS)


SCENES: Final[tuple[Callable[[int], Scene], ...]] = (
    nothing,
    dead_bus,
    wrong_speed,
    wrong_parity,
    wrong_data_bits,
    swapped_wires,
    two_masters,
    echo,
    duplicate_address,
    wrong_clock,
    host_clock,
    merged_answers,
    wrong_protocol,
    wrong_address,
    other_meter_answers,
    other_meter_at_times,
    noise,
    damaged_answers,
    cut_answers,
    torn_answers,
    slow_answers,
    dead_meter,
    silent_beginning,
    lost_answers,
    late_twin,
    several_at_another_speed,
    torn_down_wire,
    wrong_unit,
    cut_modbus,
)
