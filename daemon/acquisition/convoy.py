"""The prepared polls of many lines at once: answers that come in one turn of the event loop are judged together.

With thousands of lines it is cold memory that costs time. So what a question needs lies in one array here, a row (a
seat) for each line whose poll is aboard, and every step is done for all rows in one go. Only what goes exactly as
expected is done here: for anything else, be it a part of an answer or none, the poll gets its question back and goes
on by itself. So it does while few answers come at a time, because for a few an array is slow.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.acquisition.deadlines import Deadline, Deadlines
from daemon.acquisition.patience import COARSE_S, Patience
from daemon.acquisition.plan import MOST_AGE, MOST_NTH, NTH_AT, NUMBER_AT, READ_AT, READ_MASK
from protocols.dlt645 import many
from protocols.dlt645.many import ENERGIES, STAMP
from protocols.dlt645.prepared import HEAD, REQUEST_LENGTH, midnight_stamp

FEW: Final = 32
"""So many lines that have something to do are served faster one by one."""
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
        ("age", "u1"),
    ],
    align=True,
)
Seats = NDArray[np.intp]


class Aboard(NamedTuple):
    """A question under way, given back: what the poll must know to go on. See Asked; `read`: CLOCK, STAMP, ENERGIES."""

    number: int
    age: int
    nth: int
    read: int
    asked_at: float
    begins_by: float
    wait_s: float
    delay_s: float


class Rider(Protocol):
    """The poll of a line, as the convoy needs it. `addresses`: of its meters, as they are sent, one after the other."""

    plan: array[int]
    polled: list[tuple[int, int, tuple[int | None, ...]]]
    addresses: bytes
    patience: Patience

    def clock(self, number: int, seconds: int) -> bool:
        """A meter tells its seconds since 00:00; False when that must be looked at more closely."""

    def carry_on(self, aboard: Aboard | None, answers: int, data: bytes) -> None:
        """It has no seat any more, had so many answers, and goes on by itself: with the question that is under way
        (None: with its first), of which these bytes came."""

    def is_through(self, answers: int) -> None:
        """It has no seat any more, had so many answers, and nothing is left to be read or it was stopped."""

    def fail(self, error: Exception) -> None:
        """It has no seat any more, because of this."""


def _nowhere(data: bytes) -> None:
    raise AssertionError("an empty seat asks nothing")


class Convoy(Deadline):
    """The seats of one event loop. `least`: so many lines must have something to do, or each goes on by itself."""

    __slots__ = (
        "_arrived",
        "_free",
        "_is_called",
        "_joining",
        "_riders",
        "_seats",
        "_stamps",
        "_today",
        "_writes",
        "least",
    )

    def __init__(self, deadlines: Deadlines, least: int = FEW) -> None:
        super().__init__(deadlines)
        self.least = least
        self._seats = np.empty(0, dtype=SEATS)
        self._riders: list[Rider | None] = []
        self._writes: list[Callable[[bytes], None]] = []
        self._free: list[int] = []
        self._joining: dict[int, None] = {}
        """Seats whose first question is to be asked."""
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

    def join(self, rider: Rider, write: Callable[[bytes], None], today: int, ends_at: float) -> int:
        """The seat of a poll that asks nothing after `ends_at` (monotonic); its first question goes out in the next
        turn. NOWHERE while those of another day are aboard. `today`: a day number."""
        if today != self._today:
            if len(self._free) < len(self._riders):
                return NOWHERE
            self._today = today
            stamps = [midnight_stamp(today - age) for age in range(min(MOST_AGE, today - 1) + 1)]
            self._stamps = np.array([list(stamp) for stamp in stamps], dtype=np.uint8)
        if not self._free:
            self._grow()
        seat = self._free.pop()
        self._riders[seat], self._writes[seat] = rider, write
        self._seats["ends_at"][seat], self._seats["number"][seat] = ends_at, NOBODY
        self._seats["answers"][seat] = 0
        self._joining[seat] = None
        self._call()
        return seat

    def stop(self, seat: int) -> None:
        """Ask nothing more for this one. What is under way is waited for."""
        self._seats["ends_at"][seat] = -inf

    def leave(self, seat: int) -> tuple[int, bool]:
        """Give the seat back at once. How many answers it had, and whether a question was under way."""
        under_way = seat not in self._joining
        self._joining.pop(seat, None)
        self._arrived.pop(seat, None)
        self._riders[seat], self._writes[seat] = None, _nowhere
        self._seats["begins_by"][seat] = inf
        self._free.append(seat)
        return int(self._seats["answers"][seat]), under_way

    def heard(self, seat: int, data: bytes) -> None:
        """Bytes came for this one."""
        arrived = self._arrived
        if seat in arrived:
            arrived[seat] += data
        else:
            arrived[seat] = data
        if not self._is_called:
            self._call()

    def expired(self) -> None:
        """See Deadline. Who waits too long gets its question back, unless its answer came this moment."""
        for seat in np.flatnonzero(self._seats["begins_by"] <= monotonic()).tolist():
            if seat not in self._arrived:
                self._put_off(seat)
        self.set(float(self._seats["begins_by"].min()))

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
        self._riders += [None] * len(more)
        self._writes += [_nowhere] * len(more)

    def _rider(self, seat: int) -> Rider:
        rider = self._riders[seat]
        assert rider is not None, f"nobody has seat {seat}"
        return rider

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._is_called = False
        joining, arrived = list(self._joining), self._arrived
        self._joining, self._arrived = {}, {}
        try:
            if len(joining) + len(arrived) < self.least:
                for seat in joining:
                    self._begin_alone(seat)
                for seat, data in arrived.items():
                    self._put_off(seat, data)
            else:
                self._serve(np.array(joining, dtype=np.intp), arrived)
        except Exception as error:
            for seat in {*joining, *arrived}:
                self._fail(seat, error)

    def _serve(self, joining: Seats, arrived: dict[int, bytes]) -> None:
        now, going = monotonic(), []
        if arrived:
            seats = np.fromiter(arrived, np.intp, len(arrived))
            answers, reads = many.laid(arrived.values()), self._seats["read"][seats]
            for read in np.flatnonzero(np.bincount(reads)).tolist():
                of_read = reads == read
                served = self._take(read, seats[of_read], answers[of_read], arrived, now)
                going.append(self._next_slots(served, now) if read == ENERGIES else self._next_reads(served, read + 1))
        if len(joining):
            going.append(self._next_slots(joining, now))
        self._ask(np.concatenate(going))

    def _take(
        self, read: int, seats: Seats, answers: NDArray[np.uint8], arrived: dict[int, bytes], now: float
    ) -> Seats:
        """Whose answer was good and is done with; the others go on by themselves."""
        rows = self._seats
        good = many.are_good(answers, rows["head"][seats], read)
        if read == ENERGIES:
            registers = many.energies(answers)
            good &= (registers >= 0).all(axis=1)
        elif read == STAMP:
            good &= (many.stamps(answers) == self._stamps[rows["age"][seats]]).all(axis=1)
        else:
            good &= self._are_clocks_good(seats, good, many.times_of_day(answers))
        if not good.all():
            for seat in seats[~good].tolist():
                self._put_off(seat, arrived[seat])
            seats = seats[good]
        if read == ENERGIES:
            days = (self._today - rows["age"][seats].astype(np.int64)).tolist()
            several = zip(seats.tolist(), rows["number"][seats].tolist(), days, registers[good].tolist(), strict=True)
            for seat, number, day, found in several:
                self._rider(seat).polled.append((number, day, tuple(found)))
        rows["answers"][seats] += 1
        self._learn(seats, now)
        return seats

    def _are_clocks_good(self, seats: Seats, good: NDArray[np.bool_], times: NDArray[np.int64]) -> NDArray[np.bool_]:
        numbers = self._seats["number"][seats].tolist()
        several = zip(seats.tolist(), numbers, (good & (times >= 0)).tolist(), times.tolist(), strict=True)
        judged = [is_time and self._is_clock_good(seat, number, time) for seat, number, is_time, time in several]
        return np.array(judged, dtype=bool)

    def _is_clock_good(self, seat: int, number: int, seconds: int) -> bool:
        try:
            return self._rider(seat).clock(number, seconds)
        except Exception:
            return False  # it goes on by itself and fails alone, when it is asked there again

    def _learn(self, seats: Seats, now: float) -> None:
        rows = self._seats
        delays, known = now - rows["asked_at"][seats], rows["delay_s"][seats]
        unusual = ~((0.5 * known < delays) & (delays < known + COARSE_S))
        if unusual.any():
            seats = seats[unusual]
            numbers = rows["number"][seats].tolist()
            for seat, number, delay_s in zip(seats.tolist(), numbers, delays[unusual].tolist(), strict=True):
                self._rider(seat).patience.took(number, delay_s)
            self._expect(seats, numbers)

    def _expect(self, seats: Seats, numbers: list[int]) -> None:
        """How long to wait for these meters."""
        waits, delays = [], []
        for seat, number in zip(seats.tolist(), numbers, strict=True):
            wait_s, delay_s = self._rider(seat).patience.expect(number)
            waits.append(wait_s)
            delays.append(delay_s)
        self._seats["wait_s"][seats], self._seats["delay_s"][seats] = waits, delays

    def _next_reads(self, seats: Seats, read: int) -> Seats:
        """Who goes on with its slot."""
        stopped = self._seats["ends_at"][seats] == -inf
        if stopped.any():
            self._end(seats[stopped])
            seats = seats[~stopped]
        self._seats["read"][seats] = read
        return seats

    def _next_slots(self, seats: Seats, now: float) -> Seats:
        """Who has another slot to be read."""
        rows, slots, through = self._seats, [], []
        are_over = (rows["ends_at"][seats] < now).tolist()
        for at, seat in enumerate(seats.tolist()):
            plan = self._rider(seat).plan
            if plan and not are_over[at]:
                slots.append(plan.pop())
            else:
                through.append(at)
        if through:
            self._end(seats[through])
            seats = np.delete(seats, through)
        taken = np.array(slots, dtype=np.uint64)
        numbers = taken >> np.uint64(NUMBER_AT)
        changed = numbers != rows["number"][seats]
        rows["number"][seats] = numbers
        rows["age"][seats] = taken & np.uint64(MOST_AGE)
        rows["read"][seats] = taken >> np.uint64(READ_AT) & np.uint64(READ_MASK)
        rows["nth"][seats] = taken >> np.uint64(NTH_AT) & np.uint64(MOST_NTH)
        if changed.any():
            self._next_meters(seats[changed], numbers[changed].tolist())
        return seats

    def _next_meters(self, seats: Seats, numbers: list[int]) -> None:
        addresses = []
        for seat, number in zip(seats.tolist(), numbers, strict=True):
            at = many.ADDRESS * number
            addresses.append(self._rider(seat).addresses[at : at + many.ADDRESS])
        found = np.frombuffer(b"".join(addresses), dtype=np.uint8)
        self._seats["head"][seats, 1:7] = found.reshape(-1, many.ADDRESS)
        self._expect(seats, numbers)

    def _ask(self, seats: Seats) -> None:
        if not len(seats):
            return
        rows, writes = self._seats, self._writes
        heads = many.heads(rows["head"][seats, 1:7], rows["read"][seats], rows["nth"][seats])
        rows["head"][seats] = heads
        requests, now = many.requests(heads).tobytes(), monotonic()
        begins_by = now + rows["wait_s"][seats]
        rows["asked_at"][seats], rows["begins_by"][seats] = now, begins_by
        for at, seat in enumerate(seats.tolist()):
            try:
                writes[seat](requests[REQUEST_LENGTH * at : REQUEST_LENGTH * (at + 1)])
            except Exception as error:
                self._fail(seat, error)
        first = float(begins_by.min())
        if first < self.at:
            self.set(first)

    # --- getting off ------------------------------------------------------------------------------------------------

    def _put_off(self, seat: int, data: bytes = b"") -> None:
        """It goes on by itself with the question that is under way."""
        rider, row = self._rider(seat), self._seats[seat]
        aboard = Aboard(*(row[name].item() for name in Aboard._fields))
        rider.carry_on(aboard, self._get_off(seat), data)

    def _begin_alone(self, seat: int) -> None:
        rider = self._rider(seat)
        rider.carry_on(None, self._get_off(seat), b"")

    def _end(self, seats: Seats) -> None:
        for seat in seats.tolist():
            rider = self._rider(seat)
            rider.is_through(self._get_off(seat))

    def _fail(self, seat: int, error: Exception) -> None:
        rider = self._riders[seat]
        if rider is not None:
            self._get_off(seat)
            rider.fail(error)

    def _get_off(self, seat: int) -> int:
        answers, _ = self.leave(seat)
        return answers
