"""The prepared polls of many lines at once: answers that come within a moment are judged together.

With thousands of lines it is cold memory that costs time. So what a request needs lies in one array
here, a row for each request that the poll of a line may have in flight, and every step is done for
all rows in one go. Only what goes exactly as expected is done here: for anything else, be it a part
of an answer or none, the client is handed its requests back and goes on by itself. So it does while
few answers come at a time, because for a few an array is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.acquisition.planning.reply_times import OVER_A_NETWORK, usual_range
from daemon.acquisition.polling.client import Client
from daemon.acquisition.polling.deadlines import Deadline, Deadlines
from daemon.acquisition.polling.groups import Groups
from daemon.acquisition.polling.in_flight import InFlightRequest
from daemon.acquisition.polling.packed_slots import MOST_AGE, entry
from daemon.acquisition.polling.rows import NO_ROW, NOBODY, Rows, RowTable, in_flight
from protocols.dlt645.prepared import many
from protocols.dlt645.prepared.one import REQUEST_LENGTH, midnight_stamp
from protocols.dlt645.prepared.steps import CLOCK, ENERGIES, STAMP

FEW: Final = 16
"""Fewer lines that have something to do are served faster one by one."""
GATHERED_S: Final = 0.001
"""What comes within this time is judged together: of a turn of the event loop alone there are often
fewer, while meters answer as fast as they are asked."""


class BatchPoller(Deadline):
    """The rows of one event loop. `least`: so many lines must have something to do, or each goes on
    by itself.

    A client is known by its group, which is the first of its rows."""

    __slots__ = (
        "_arrived",
        "_called",
        "_clients",
        "_groups",
        "_joining",
        "_stamps",
        "_table",
        "_today",
        "_writes",
        "gathered_s",
        "least",
    )

    def __init__(self, deadlines: Deadlines, least: int = FEW) -> None:
        super().__init__(deadlines)
        self.least = least
        self.gathered_s = GATHERED_S
        self._table = RowTable()
        self._clients: dict[int, Client] = {}
        self._writes: dict[int, Callable[[bytes], None]] = {}
        self._groups = Groups()
        self._joining: dict[int, None] = {}
        """Groups whose first requests are to be made."""
        self._arrived: dict[int, bytes] = {}
        """What came for each group since the last turn."""
        self._called: asyncio.Handle | None = None
        """Of the next turn."""
        self._today = 0
        """The day number of all clients."""
        self._stamps = np.empty((0, 5), dtype=np.uint8)
        """By the age of the day: the time stamp of its freeze."""

    @property
    def deadlines(self) -> Deadlines:
        """Of the same event loop."""
        return self._deadlines

    def join(
        self,
        client: Client,
        write: Callable[[bytes], None],
        today: int,
        *,
        depth: int = 1,
        ends_at: float = inf,
    ) -> int:
        """The group of a client that has `depth` requests in flight and begins nothing after
        `ends_at` (monotonic).

        They go out in the next turn. NO_ROW while there are clients of another day. `today`: a day
        number."""
        if today != self._today:
            if self._clients:
                return NO_ROW
            self._today = today
            stamps = [midnight_stamp(today - age) for age in range(min(MOST_AGE, today - 1) + 1)]
            self._stamps = np.array([list(stamp) for stamp in stamps], dtype=np.uint8)
        rows = self._table.take(depth, ends_at)
        group = rows[0]
        self._clients[group] = client
        self._writes[group] = write
        if depth > 1:
            self._groups.add(rows)
        self._joining[group] = None
        self._call()
        return group

    def stop(self, group: int) -> None:
        """Begin nothing more for this one. What is in flight is waited for."""
        self._table.values["ends_at"][self._groups.rows_of(group)] = -inf

    def leave(self, group: int) -> bool:
        """Give the rows back at once. Whether a request was in flight."""
        rows = self._groups.rows_of(group)
        values = self._table.values
        is_any_in_flight = bool((values["begins_by"][rows] < inf).any())
        self._clients.pop(group).counts["ok"] += int(values["answers"][rows].sum())
        self._table.give_back(rows)
        del self._writes[group]
        self._groups.drop(group)
        self._joining.pop(group, None)
        self._arrived.pop(group, None)
        return is_any_in_flight

    def receive(self, group: int, data: bytes) -> None:
        """Bytes came for this one."""
        arrived = self._arrived
        if group in arrived:
            arrived[group] += data
        else:
            arrived[group] = data
            if len(arrived) == len(self._clients) and self._called is not None:
                self._called.cancel()  # nobody else is waited for
                self._called = asyncio.get_running_loop().call_soon(self._turn)
        self._call()

    def expired(self) -> None:
        """See Deadline. A client that waits too long is handed its requests back, unless something
        came this moment."""
        values = self._table.values
        for group in dict.fromkeys(values["group"][values["begins_by"] <= monotonic()].tolist()):
            if group not in self._arrived:
                self._hand_back(group)
        self.set(float(self._table.values["begins_by"].min()))

    def _call(self) -> None:
        if self._called is None:
            loop = asyncio.get_running_loop()
            if self.least > 1:
                self._called = loop.call_later(self.gathered_s, self._turn)
            else:
                self._called = loop.call_soon(self._turn)

    # --- one turn

    def _turn(self) -> None:
        self._called = None
        joining = self._joining
        arrived = self._arrived
        self._joining = {}
        self._arrived = {}
        try:
            for group in joining.keys() & arrived.keys():  # nobody asked for it
                del joining[group]
                self._hand_back(group, arrived.pop(group))
            if len(joining) + len(arrived) < self.least:
                for group in joining:
                    self._hand_back(group)
                for group, data in arrived.items():
                    self._hand_back(group, data)
            else:
                self._serve(joining, arrived)
        except Exception as error:
            served = {*joining, *arrived} & self._clients.keys()
            for group in served:
                self._release(group).fail(error)
            if not served:
                raise

    def _serve(self, joining: Iterable[int], arrived: dict[int, bytes]) -> None:
        now = monotonic()
        going = []
        first = self._groups.all_rows(joining)
        if len(first):
            going.append(self._next_slots(first, now))
        if arrived:
            rows = self._take(arrived, now)
            are_read = self._table.values["step"][rows] == ENERGIES
            if are_read.any():
                going.append(self._next_slots(rows[are_read], now))
            if not are_read.all():
                going.append(self._next_steps(rows[~are_read]))
        if going:
            self._ask(np.concatenate(going))

    # --- what came

    def _take(self, arrived: dict[int, bytes], now: float) -> Rows:
        """The rows whose answers were good and are done with. A client with any other answer goes
        on by itself."""
        values = self._table.values
        rows, answers, left = self._groups.match(arrived)
        laid = many.laid(answers)
        good = np.zeros(len(rows), dtype=bool)
        clients = len(self._clients)
        steps = values["step"][rows]
        for step in np.flatnonzero(np.bincount(steps)).tolist():
            of_step = np.flatnonzero(steps == step)
            good[of_step] = self._take_step(step, rows[of_step], laid[of_step])
        served = rows[good]
        self._learn(served, now)
        values["answers"][served] += 1
        values["begins_by"][served] = inf
        for at in np.flatnonzero(~good)[::-1].tolist():
            group = int(values["group"][rows[at]])
            left[group] = answers[at] + left.get(group, b"")
        self._tell_of(served[values["is_troubled"][served] != 0])
        for group in left.keys() & self._clients.keys():
            self._hand_back(group, left[group])
        if len(self._clients) < clients:
            groups = values["group"][served].tolist()
            served = served[[group in self._clients for group in groups]]
        return served

    def _tell_of(self, rows: Rows) -> None:
        """These answered, on lines where a meter is silent."""
        values = self._table.values
        for row in rows.tolist():
            group = int(values["group"][row])
            try:
                if group in self._clients:
                    is_told = values["step"][row] == ENERGIES
                    self._clients[group].heard_from(int(values["number"][row]), bool(is_told))
            except Exception as error:
                self._release(group).fail(error)

    def _take_step(self, step: int, rows: Rows, answers: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """For each answer to this step, whether it is good; if so it is taken."""
        values = self._table.values
        good = many.are_good(answers, values["head"][rows], step)
        if step == CLOCK:
            return self._are_clocks_good(rows, good, many.times_of_day(answers))
        if step == STAMP:
            stamps = self._stamps[values["age"][rows]]
            good &= (many.stamps(answers) == stamps).all(axis=1)
            return good
        registers = many.energies(answers)
        good &= (registers >= 0).all(axis=1)
        days = self._today - values["age"][rows].astype(np.int64)
        several = zip(
            values["group"][rows].tolist(),
            values["number"][rows].tolist(),
            days.tolist(),
            good.tolist(),
            registers.tolist(),
            strict=True,
        )
        for group, number, day, is_good, found in several:
            if is_good:
                self._clients[group].polled.append((number, day, tuple(found)))
        return good

    def _are_clocks_good(
        self, rows: Rows, good: NDArray[np.bool_], times: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        values = self._table.values
        several = zip(
            values["group"][rows].tolist(),
            values["number"][rows].tolist(),
            (good & (times >= 0)).tolist(),
            times.tolist(),
            strict=True,
        )
        judged = [
            is_time and self._is_clock_good(group, number, time)
            for group, number, is_time, time in several
        ]
        return np.array(judged, dtype=bool)

    def _is_clock_good(self, group: int, number: int, seconds: int) -> bool:
        try:
            return self._clients[group].clock(number, seconds)
        except Exception:
            return False  # it goes on by itself and fails alone, when it is asked there again

    def _learn(self, rows: Rows, now: float) -> None:
        values = self._table.values
        delays = now - values["asked_at"][rows]
        lower_s, upper_s = usual_range(values["delay_s"][rows], OVER_A_NETWORK)
        unusual = ~((lower_s < delays) & (delays < upper_s))
        if unusual.any():
            rows = rows[unusual]
            groups = values["group"][rows].tolist()
            numbers = values["number"][rows].tolist()
            unusual_s = delays[unusual].tolist()
            for group, number, delay_s in zip(groups, numbers, unusual_s, strict=True):
                self._clients[group].reply_timeouts.record_delay(number, delay_s)
            self._expect(rows, groups, numbers)

    def _expect(self, rows: Rows, groups: list[int], numbers: list[int]) -> None:
        """How long to wait for these meters."""
        waits = []
        delays = []
        for group, number in zip(groups, numbers, strict=True):
            wait_s, delay_s = self._clients[group].reply_timeouts.expect(number)
            waits.append(wait_s)
            delays.append(delay_s)
        self._table.values["wait_s"][rows] = waits
        self._table.values["delay_s"][rows] = delays

    # --- what is asked next

    def _next_steps(self, rows: Rows) -> Rows:
        """The rows that go on with their slots."""
        values = self._table.values
        stopped = values["ends_at"][rows] == -inf
        if stopped.any():
            self._end(rows[stopped])
            rows = rows[~stopped]
        values["step"][rows] += 1
        return rows

    def _next_slots(self, rows: Rows, now: float) -> Rows:
        """The rows that have another slot to be read."""
        values = self._table.values
        slots = []
        troubled = []
        through = []
        are_over = (values["ends_at"][rows] < now).tolist()
        groups = values["group"][rows].tolist()
        for at, (group, is_over) in enumerate(zip(groups, are_over, strict=True)):
            client = self._clients[group]
            slot = None if is_over else client.next_slot(now)
            if slot is None:
                through.append(at)
            else:
                slots.append(slot)
                troubled.append(client.reply_timeouts.is_troubled)
        if through:
            self._end(rows[through])
            rows = np.delete(rows, through)
        values["is_troubled"][rows] = troubled
        changed = self._table.set_slots(rows, slots)
        changed |= values["is_troubled"][rows] != 0
        if changed.any():
            self._next_meters(rows[changed])
        return rows

    def _next_meters(self, rows: Rows) -> None:
        values = self._table.values
        groups = values["group"][rows].tolist()
        numbers = values["number"][rows].tolist()
        addresses = []
        for group, number in zip(groups, numbers, strict=True):
            at = many.ADDRESS * number
            addresses.append(self._clients[group].addresses[at : at + many.ADDRESS])
        found = np.frombuffer(b"".join(addresses), dtype=np.uint8)
        values["head"][rows, 1:7] = found.reshape(-1, many.ADDRESS)
        self._expect(rows, groups, numbers)

    def _ask(self, rows: Rows) -> None:
        if not len(rows):
            return
        values = self._table.values
        if self._groups.several:
            rows = rows[np.argsort(values["group"][rows], kind="stable")]
        heads = many.heads(values["head"][rows, 1:7], values["step"][rows], values["nth"][rows])
        values["head"][rows] = heads
        now = monotonic()
        # Single precision ends at seconds of uptime.
        begins_by = now + values["wait_s"][rows].astype(np.float64)
        values["asked_at"][rows] = now
        values["begins_by"][rows] = begins_by
        self._send(rows, many.requests(heads).tobytes())
        first = float(begins_by.min())
        if first < self.at:
            self.set(first)

    def _send(self, rows: Rows, requests: bytes) -> None:
        """Requests of one client stand together, and go out together."""
        several = self._groups.several
        groups = self._table.values["group"][rows]
        starts = np.flatnonzero(np.diff(groups, prepend=NO_ROW))
        ends = [*starts[1:].tolist(), len(rows)]
        for group, start, end in zip(
            groups[starts].tolist(),
            starts.tolist(),
            ends,
            strict=True,
        ):
            try:
                self._writes[group](requests[REQUEST_LENGTH * start : REQUEST_LENGTH * end])
            except Exception as error:
                if group in self._clients:  # otherwise it heard of it before
                    self._release(group).fail(error)
            if group in several:
                several[group].asked += rows[start:end].tolist()

    # --- giving up rows

    def _hand_back(self, group: int, data: bytes = b"") -> None:
        """The client goes on by itself. A slot between two requests goes back into its plan; a
        client that is stopped leaves it there."""
        rows = self._groups.rows_of(group)
        requests: list[InFlightRequest] = []
        between = []
        for row in self._table.values[rows]:
            request = in_flight(row)
            if request.begins_by < inf:
                requests.append(request)
            elif request.number != NOBODY and request.step != ENERGIES:
                next_step = request.step + 1
                between.append(
                    entry(
                        request.number,
                        request.age,
                        request.nth,
                        next_step,
                    )
                )
        client = self._release(group)
        client.plan.extend(between)
        client.take_back(requests, len(rows) - len(requests), data)

    def _end(self, rows: Rows) -> None:
        for group in self._table.values["group"][rows].tolist():
            if self._groups.has_ended(group):
                self._release(group).is_through()

    def _release(self, group: int) -> Client:
        client = self._clients[group]
        self.leave(group)
        return client
