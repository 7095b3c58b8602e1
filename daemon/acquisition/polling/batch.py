"""The prepared polls of many lines at once: answers that come in one turn of the event loop are
judged together.

With thousands of lines it is cold memory that costs time. So what a question needs lies in one
array here, a row (a seat) for each question that the poll of a line may have under way, and every
step is done for all rows in one go. Only what goes exactly as expected is done here: for anything
else, be it a part of an answer or none, the poll gets its questions back and goes on by itself. So
it does while few answers come at a time, because for a few an array is slow."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.acquisition.planning.reply_times import COARSE_S, ReplyTimeouts
from daemon.acquisition.polling.deadlines import Deadline, Deadlines
from daemon.acquisition.polling.packed_slots import (
    MOST_AGE,
    MOST_NTH,
    NTH_AT,
    NUMBER_AT,
    READ_AT,
    READ_MASK,
    entry,
)
from protocols.dlt645.prepared import many
from protocols.dlt645.prepared.many import CLOCK, ENERGIES, STAMP
from protocols.dlt645.prepared.one import HEAD, REQUEST_LENGTH, midnight_stamp

FEW: Final = 16
"""Fewer lines that have something to do are served faster one by one."""
NOWHERE: Final = -1
NOBODY: Final = 2**32 - 1
SEATS: Final = np.dtype(
    [
        ("head", "u1", HEAD),
        ("read", "u1"),
        ("nth", "u1"),
        ("asked_at", "f8"),
        ("begins_by", "f8"),
        ("ends_at", "f8"),
        ("wait_s", "f4"),
        ("delay_s", "f4"),
        ("number", "u4"),
        ("answers", "u4"),
        ("lead", "i4"),
        ("age", "u1"),
        ("is_troubled", "u1"),
    ],
    align=True,
)
"""One cache line each. `begins_by` is infinite while nothing is asked; `lead`: the first seat of
the same poll; `is_troubled`: when its slot began somebody on that line was silent, so it must be
told of everyone who is heard."""
Seats = NDArray[np.intp]


class Aboard(NamedTuple):
    """A question under way, given back to its poll. See Asked; `read`: CLOCK, STAMP or ENERGIES."""

    number: int
    age: int
    nth: int
    read: int
    asked_at: float
    begins_by: float
    wait_s: float
    delay_s: float


class Rider(Protocol):
    """The poll of a line, as the batch poller needs it. `addresses`: of its meters, as they are sent, one
    after the other; `ok`: how many answers it had. A mistake (an exception) in `clock`,
    `heard_from` or the writing of its questions ends this poll alone; any other, whose author is
    not known, ends all that were served in the same turn."""

    plan: array[int]
    polled: list[tuple[int, int, tuple[int | None, ...]]]
    addresses: bytes
    patience: ReplyTimeouts
    ok: int

    def clock(self, number: int, seconds: int) -> bool:
        """A meter tells its seconds since 00:00; False when that must be looked at more closely:
        then the poll gets the answer back and asks once more."""

    def next_slot(self, now: float) -> int | None:
        """Takes the next slot out of the plan whose meter may be asked now; None when there is
        none."""

    def heard_from(self, number: int) -> None:
        """A meter answered, while `patience` is troubled."""

    def carry_on(self, under_way: Sequence[Aboard], idle: int, data: bytes) -> None:
        """It has no seat any more and goes on by itself: with the questions under way, of which
        these bytes came, and with so many that are not asked yet."""

    def is_through(self) -> None:
        """It has no seat any more, because nothing is left to be read or it was stopped."""

    def fail(self, error: Exception) -> None:
        """It has no seat any more, because of this."""


@dataclass(slots=True)
class Team:
    """A poll with several questions under way at once. `asked`: its seats in the order in which
    they asked, because most concentrators answer in that order; `going`: how many of them have
    something to read."""

    seats: list[int]
    going: int
    asked: list[int] = field(default_factory=list)


class BatchPoller(Deadline):
    """The seats of one event loop. `least`: so many lines must have something to do, or each goes
    on by itself.

    A poll is known by its lead, which is its first seat."""

    __slots__ = (
        *(
            "_arrived",
            "_free",
            "_is_called",
            "_joining",
            "_riders",
            "_seats",
            "_stamps",
            "_teams",
            "_today",
            "_writes",
        ),
        "least",
    )

    def __init__(self, deadlines: Deadlines, least: int = FEW) -> None:
        super().__init__(deadlines)
        self.least = least
        self._seats = np.empty(0, dtype=SEATS)
        self._free: list[int] = []
        self._riders: dict[int, Rider] = {}
        self._writes: dict[int, Callable[[bytes], None]] = {}
        self._teams: dict[int, Team] = {}
        self._joining: dict[int, None] = {}
        """Whose first questions are to be asked."""
        self._arrived: dict[int, bytes] = {}
        """What came for whom since the last turn."""
        self._is_called = False
        self._today = 0
        """The day number of everyone aboard."""
        self._stamps = np.empty((0, 5), dtype=np.uint8)
        """By the age of the day: the time stamp of its freeze."""

    @property
    def deadlines(self) -> Deadlines:
        """Of the same event loop."""
        return self._deadlines

    def join(
        self,
        rider: Rider,
        write: Callable[[bytes], None],
        today: int,
        *,
        depth: int = 1,
        ends_at: float = inf,
    ) -> int:
        """The lead of a poll that has `depth` questions under way and begins nothing after
        `ends_at` (monotonic). They go out in the next turn. NOWHERE while polls of another day are
        aboard. `today`: a day number."""
        if today != self._today:
            if self._riders:
                return NOWHERE
            self._today = today
            stamps = [midnight_stamp(today - age) for age in range(min(MOST_AGE, today - 1) + 1)]
            self._stamps = np.array([list(stamp) for stamp in stamps], dtype=np.uint8)
        while len(self._free) < depth:
            self._grow()
        seats = [self._free.pop() for _ in range(depth)]
        lead, rows = seats[0], self._seats
        self._riders[lead], self._writes[lead] = rider, write
        if depth > 1:
            self._teams[lead] = Team(seats, depth)
        for seat in seats:
            rows["lead"][seat], rows["ends_at"][seat] = lead, ends_at
            rows["number"][seat], rows["answers"][seat] = NOBODY, 0
        self._joining[lead] = None
        self._call()
        return lead

    def stop(self, lead: int) -> None:
        """Ask nothing more for this one. What is under way is waited for."""
        self._seats["ends_at"][self._seats_of(lead)] = -inf

    def leave(self, lead: int) -> bool:
        """Give the seats back at once. Whether a question was under way."""
        seats = self._seats_of(lead)
        under_way = bool((self._seats["begins_by"][seats] < inf).any())
        self._seats["begins_by"][seats] = inf
        self._free += seats
        self._riders.pop(lead).ok += int(self._seats["answers"][seats].sum())
        del self._writes[lead]
        self._teams.pop(lead, None)
        self._joining.pop(lead, None)
        self._arrived.pop(lead, None)
        return under_way

    def heard(self, lead: int, data: bytes) -> None:
        """Bytes came for this one."""
        arrived = self._arrived
        if lead in arrived:
            arrived[lead] += data
        else:
            arrived[lead] = data
        self._call()

    def expired(self) -> None:
        """See Deadline. Who waits too long gets its questions back, unless something came this
        moment."""
        rows = self._seats
        for lead in dict.fromkeys(rows["lead"][rows["begins_by"] <= monotonic()].tolist()):
            if lead not in self._arrived:
                self._put_off(lead)
        self.set(float(rows["begins_by"].min()))

    def _call(self) -> None:
        if not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _grow(self) -> None:
        taken = len(self._seats)
        more = np.zeros(max(64, taken), dtype=SEATS)
        more["begins_by"] = inf
        self._seats = np.concatenate([self._seats, more])
        self._free += reversed(range(taken, taken + len(more)))

    def _seats_of(self, lead: int) -> list[int]:
        team = self._teams.get(lead)
        return [lead] if team is None else team.seats

    # --- one turn
    # -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._is_called = False
        joining, arrived = self._joining, self._arrived
        self._joining, self._arrived = {}, {}
        try:
            for lead in joining.keys() & arrived.keys():  # nobody asked for it
                del joining[lead]
                self._put_off(lead, arrived.pop(lead))
            if len(joining) + len(arrived) < self.least:
                for lead in joining:
                    self._put_off(lead)
                for lead, data in arrived.items():
                    self._put_off(lead, data)
            else:
                self._serve(joining, arrived)
        except Exception as error:
            served = {*joining, *arrived} & self._riders.keys()
            for lead in served:
                self._get_off(lead).fail(error)
            if not served:
                raise

    def _serve(self, joining: Iterable[int], arrived: dict[int, bytes]) -> None:
        now, going = monotonic(), []
        first = np.array([seat for lead in joining for seat in self._seats_of(lead)], dtype=np.intp)
        if len(first):
            going.append(self._next_slots(first, now))
        if arrived:
            seats = self._take(arrived, now)
            are_read = self._seats["read"][seats] == ENERGIES
            if are_read.any():
                going.append(self._next_slots(seats[are_read], now))
            if not are_read.all():
                going.append(self._next_reads(seats[~are_read]))
        if going:
            self._ask(np.concatenate(going))

    # --- what came
    # ----------------------------------------------------------------------------------------------------

    def _take(self, arrived: dict[int, bytes], now: float) -> Seats:
        """Whose answers were good and are done with. Who had another goes on by itself."""
        seats, answers, left = self._matched(arrived)
        rows, good, aboard = many.laid(answers), np.zeros(len(seats), dtype=bool), len(self._riders)
        reads = self._seats["read"][seats]
        for read in np.flatnonzero(np.bincount(reads)).tolist():
            of_read = np.flatnonzero(reads == read)
            good[of_read] = self._take_read(read, seats[of_read], rows[of_read])
        served = seats[good]
        self._learn(served, now)
        self._seats["answers"][served] += 1
        self._seats["begins_by"][served] = inf
        for at in np.flatnonzero(~good)[::-1].tolist():
            lead = int(self._seats["lead"][seats[at]])
            left[lead] = answers[at] + left.get(lead, b"")
        self._tell_of(served[self._seats["is_troubled"][served] != 0])
        for lead in left.keys() & self._riders.keys():
            self._put_off(lead, left[lead])
        if len(self._riders) < aboard:
            leads = self._seats["lead"][served].tolist()
            served = served[[lead in self._riders for lead in leads]]
        return served

    def _tell_of(self, seats: Seats) -> None:
        """Who answered on a line where somebody is silent."""
        for seat in seats.tolist():
            lead, number = int(self._seats["lead"][seat]), int(self._seats["number"][seat])
            try:
                if lead in self._riders:
                    self._riders[lead].heard_from(number)
            except Exception as error:
                self._get_off(lead).fail(error)

    def _matched(self, arrived: dict[int, bytes]) -> tuple[Seats, list[bytes], dict[int, bytes]]:
        """(seats, what came for each; by its lead what is left behind that and is no answer to be
        seen)."""
        if not self._teams:
            return np.fromiter(arrived, np.intp, len(arrived)), list(arrived.values()), {}
        seats: list[int] = []
        answers: list[bytes] = []
        left: dict[int, bytes] = {}
        for lead, data in arrived.items():
            team = self._teams.get(lead)
            if team is None:
                seats.append(lead)
                answers.append(data)
                continue
            several, rest = many.apart(data, len(team.asked))
            seats += team.asked[: len(several)]
            del team.asked[: len(several)]
            answers += several
            if rest:
                left[lead] = rest
        return np.array(seats, dtype=np.intp), answers, left

    def _take_read(self, read: int, seats: Seats, answers: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """For each answer to this read, whether it is good; if so it is taken."""
        rows = self._seats
        good = many.are_good(answers, rows["head"][seats], read)
        if read == STAMP:
            good &= (many.stamps(answers) == self._stamps[rows["age"][seats]]).all(axis=1)
            return good
        leads, numbers = rows["lead"][seats].tolist(), rows["number"][seats].tolist()
        if read == CLOCK:
            times = many.times_of_day(answers)
            good &= times >= 0
            several = zip(
                leads,
                numbers,
                good.tolist(),
                times.tolist(),
                strict=True,
            )
            judged = [
                is_time and self._is_clock_good(lead, number, time)
                for lead, number, is_time, time in several
            ]
            return np.array(judged, dtype=bool)
        registers = many.energies(answers)
        good &= (registers >= 0).all(axis=1)
        days = (self._today - rows["age"][seats].astype(np.int64)).tolist()
        for lead, number, day, is_good, found in zip(
            leads,
            numbers,
            days,
            good.tolist(),
            registers.tolist(),
            strict=True,
        ):
            if is_good:
                self._riders[lead].polled.append((number, day, tuple(found)))
        return good

    def _is_clock_good(self, lead: int, number: int, seconds: int) -> bool:
        try:
            return self._riders[lead].clock(number, seconds)
        except Exception:
            return False  # it goes on by itself and fails alone, when it is asked there again

    def _learn(self, seats: Seats, now: float) -> None:
        rows = self._seats
        delays, known = now - rows["asked_at"][seats], rows["delay_s"][seats]
        unusual = ~((0.5 * known < delays) & (delays < known + COARSE_S))
        if unusual.any():
            seats = seats[unusual]
            leads, numbers = rows["lead"][seats].tolist(), rows["number"][seats].tolist()
            for lead, number, delay_s in zip(leads, numbers, delays[unusual].tolist(), strict=True):
                self._riders[lead].patience.record_delay(number, delay_s)
            self._expect(seats, leads, numbers)

    def _expect(self, seats: Seats, leads: list[int], numbers: list[int]) -> None:
        """How long to wait for these meters."""
        waits, delays = [], []
        for lead, number in zip(leads, numbers, strict=True):
            wait_s, delay_s = self._riders[lead].patience.expect(number)
            waits.append(wait_s)
            delays.append(delay_s)
        self._seats["wait_s"][seats], self._seats["delay_s"][seats] = waits, delays

    # --- what is asked next
    # -------------------------------------------------------------------------------------------

    def _next_reads(self, seats: Seats) -> Seats:
        """Who goes on with its slot."""
        stopped = self._seats["ends_at"][seats] == -inf
        if stopped.any():
            self._end(seats[stopped])
            seats = seats[~stopped]
        self._seats["read"][seats] += 1
        return seats

    def _next_slots(self, seats: Seats, now: float) -> Seats:
        """Who has another slot to be read."""
        rows, slots, troubled, through = self._seats, [], [], []
        are_over = (rows["ends_at"][seats] < now).tolist()
        for at, (lead, is_over) in enumerate(
            zip(rows["lead"][seats].tolist(), are_over, strict=True)
        ):
            rider = self._riders[lead]
            slot = None if is_over else rider.next_slot(now)
            if slot is None:
                through.append(at)
            else:
                slots.append(slot)
                troubled.append(rider.patience.is_troubled)
        if through:
            self._end(seats[through])
            seats = np.delete(seats, through)
        rows["is_troubled"][seats] = troubled
        taken = np.array(slots, dtype=np.uint64)
        numbers = taken >> np.uint64(NUMBER_AT)
        changed = (numbers != rows["number"][seats]) | (rows["is_troubled"][seats] != 0)
        rows["number"][seats] = numbers
        rows["age"][seats] = taken & np.uint64(MOST_AGE)
        rows["read"][seats] = taken >> np.uint64(READ_AT) & np.uint64(READ_MASK)
        rows["nth"][seats] = taken >> np.uint64(NTH_AT) & np.uint64(MOST_NTH)
        if changed.any():
            self._next_meters(seats[changed], numbers[changed].tolist())
        return seats

    def _next_meters(self, seats: Seats, numbers: list[int]) -> None:
        leads, addresses = self._seats["lead"][seats].tolist(), []
        for lead, number in zip(leads, numbers, strict=True):
            at = many.ADDRESS * number
            addresses.append(self._riders[lead].addresses[at : at + many.ADDRESS])
        found = np.frombuffer(b"".join(addresses), dtype=np.uint8)
        self._seats["head"][seats, 1:7] = found.reshape(-1, many.ADDRESS)
        self._expect(seats, leads, numbers)

    def _ask(self, seats: Seats) -> None:
        if not len(seats):
            return
        rows = self._seats
        if self._teams:
            seats = seats[np.argsort(rows["lead"][seats], kind="stable")]
        heads = many.heads(rows["head"][seats, 1:7], rows["read"][seats], rows["nth"][seats])
        rows["head"][seats] = heads
        now = monotonic()
        begins_by = now + rows["wait_s"][seats].astype(
            np.float64
        )  # single precision ends at seconds of uptime
        rows["asked_at"][seats], rows["begins_by"][seats] = now, begins_by
        self._send(seats, many.requests(heads).tobytes())
        first = float(begins_by.min())
        if first < self.at:
            self.set(first)

    def _send(self, seats: Seats, requests: bytes) -> None:
        """Questions of one poll stand together, and go out together."""
        leads = self._seats["lead"][seats]
        starts = np.flatnonzero(np.diff(leads, prepend=NOWHERE))
        ends = [*starts[1:].tolist(), len(seats)]
        for lead, start, end in zip(leads[starts].tolist(), starts.tolist(), ends, strict=True):
            try:
                self._writes[lead](requests[REQUEST_LENGTH * start : REQUEST_LENGTH * end])
            except Exception as error:
                if lead in self._riders:  # otherwise it heard of it before
                    self._get_off(lead).fail(error)
            if lead in self._teams:
                self._teams[lead].asked += seats[start:end].tolist()

    # --- getting off
    # --------------------------------------------------------------------------------------------------

    def _put_off(self, lead: int, data: bytes = b"") -> None:
        """It goes on by itself. A slot between two questions goes back into its plan; a poll that
        is stopped leaves it there."""
        seats, under_way, between = self._seats_of(lead), [], []
        for row in self._seats[seats]:
            if row["begins_by"] < inf:
                under_way.append(Aboard(*(row[name].item() for name in Aboard._fields)))
            elif row["number"] != NOBODY and row["read"] != ENERGIES:
                number, age, nth, read = (
                    row[name].item() for name in ("number", "age", "nth", "read")
                )
                between.append(entry(number, age, nth, read + 1))
        rider = self._get_off(lead)
        rider.plan.extend(between)
        rider.carry_on(under_way, len(seats) - len(under_way), data)

    def _end(self, seats: Seats) -> None:
        for lead in self._seats["lead"][seats].tolist():
            team = self._teams.get(lead)
            if team is not None:
                team.going -= 1
            if team is None or not team.going:
                self._get_off(lead).is_through()

    def _get_off(self, lead: int) -> Rider:
        rider = self._riders[lead]
        self.leave(lead)
        return rider
