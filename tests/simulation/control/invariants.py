"""What must hold after every step (control.md, section 8), and that nobody is left in the dark."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from config.persons import person
from daemon.acquisition.meter_port import Action
from daemon.control.guard import MAX_TRIPS_PER_MINUTE
from tests.simulation.control.kernel import Kernel
from tests.simulation.control.meters import Meter
from tests.simulation.control.model import Database, Row, Session, Written
from tests.simulation.control.processes import Daemon
from tests.simulation.control.statements import (
    A_WORD_LASTS,
    IN_VAIN_STATES,
    NOT_HEARD,
    holds,
    is_of,
)
from tests.simulation.control.truth import (
    is_locked_off,
    is_paid,
    marks_of,
    must_be_on,
    open_commands,
    order_of,
    reasons_against,
)

ALARM_WITHIN_S: Final = 16 * 60.0
"""A command that is open for so long while somebody acts has an alarm (I5, I6)."""
LIT_WITHIN_S: Final = 120.0
"""Who paid is lit by then where nothing was wrong (control, service levels)."""
LIT_AFTER_A_FAULT_S: Final = 32 * 60.0
"""A reconnect is repeated every half an hour at the latest."""
LIT_AFTER_A_REFUSAL_S: Final = 63 * 60.0
CLOCKS_APART: Final = timedelta(seconds=5)
"""A daemon whose host's clock is off by more sends no trip."""


@dataclass(eq=False)
class Watch:
    """Looks at everything that is committed or leaves; `mistakes` is what must not be."""

    kernel: Kernel
    database: Database
    meters: Mapping[int, Meter]
    acting: Callable[[], Daemon | None]
    """The daemon that has the site, if any."""
    mistakes: list[str] = field(default_factory=list)
    alarmed: set[Any] = field(default_factory=set)
    """Commands and points of which a person was told."""
    told: dict[str, int] = field(default_factory=dict)
    """How often what happened."""
    _waits_since_s: dict[Any, float] = field(default_factory=dict)
    """By command since when, by the last frame of it or the first look at it."""
    _alarmed_s: dict[str, float] = field(default_factory=dict)
    _first_sends: deque[float] = field(default_factory=deque)
    _trips: deque[float] = field(default_factory=deque)
    _dark_since_s: dict[int, float] = field(default_factory=dict)
    _cut_of: dict[int, int] = field(default_factory=dict)
    """By point the account that it was cut for last."""
    _not_done_since_s: dict[int, float] = field(default_factory=dict)
    _acting: tuple[Daemon | None, float] = (None, 0.0)

    def count(self, what: str) -> None:
        """It happened once more."""
        self.told[what] = self.told.get(what, 0) + 1

    def wrong(self, what: str) -> None:
        """A mistake, with its time and step."""
        at = self.database.now().isoformat(timespec="seconds")
        self.mistakes.append(f"step {self.kernel.steps}, {at}: {what}")

    def alarm(self, points: Collection[str]) -> None:
        """A tick found something about these."""
        self._alarmed_s.update(dict.fromkeys(points, self.kernel.now_s))

    def alarmed_points(self) -> Collection[str]:
        """Of which a tick found something so far."""
        return self._alarmed_s.keys()

    def look_at_facts(self, session: Session) -> None:
        """A release begins: what speaks against its trip from here to its commit, it has to see."""
        owner = self.kernel.running.owner
        if not isinstance(owner, Daemon):
            return
        session.noted = {
            point: self._against(owner, point, self.database.now())
            for point, row in self.database.tables["open"].items()
            if self.database.tables["command"][row["id"]]["action"] == "trip"
        }

    def committed(self, session: Session, rows: Written) -> None:
        """Before the rows of a transaction are seen by all."""
        tables = self.database.tables
        for number, row in rows.get("command", {}).items():
            if row is not None:
                self._command(session, number, row)
        for number, row in rows.get("order", {}).items():
            if row is not None and row["second"] is not None:
                self._is_of_two(number, row)
        for number, row in rows.get("supply", {}).items():
            if row is not None:
                self._supply(number, tables["supply"][number], row)
        self._money(rows)

    def leaves(self, daemon: Daemon, meter: Meter, action: Action, valid_for: timedelta) -> None:
        """A control frame leaves a process."""
        self.count(f"frames {action}")
        point, now = meter.point, self.database.now()
        if daemon.terms.shadow_mode:
            self.wrong(f"I16: {action} of P{point} left in shadow mode")
        if action != "trip":
            if is_locked_off(self.database, point, now):
                self.wrong(f"LOCKED_OUT: {action} of P{point} left while it is kept off")
            return
        newest = self._commands(point)[-1]
        if newest["action"] != "trip":
            self.wrong(f"I4: the trip of P{point} left behind its reconnect")
            return
        if now + valid_for > newest["expires_at"] + CLOCKS_APART:
            self.wrong(f"the trip of P{point} left, and is valid behind its expiry")
        self._trip_leaves(daemon, point, newest["guard"]["facts"]["cause"], now)

    def _trip_leaves(self, daemon: Daemon, point: int, cause: str, now: datetime) -> None:
        self._has_its_cause(point, cause, now)
        if must_be_on(self.database, point, now):
            self.wrong(f"I9: P{point} is protected, and its trip left")
        if marks := marks_of(self.database, point, now) - {"keep_off", *NOT_HEARD[cause]}:
            self.wrong(f"I2: the trip of P{point} left while there was {sorted(marks)}")
        policy = daemon.authority.policy_for(self._account(point)["profile"])
        local = now.astimezone(daemon.terms.zone).time()
        if cause != "safety" and not policy.window_start <= local <= policy.window_end:
            self.wrong(f"I12: the trip of P{point} left at {local}")
        self._trips.append(self.kernel.now_s)
        while self._trips[0] <= self.kernel.now_s - 60:
            self._trips.popleft()
        if len(self._trips) > MAX_TRIPS_PER_MINUTE:
            self.wrong(f"I10: {len(self._trips)} trips within a minute")

    def _has_its_cause(self, point: int, cause: str, now: datetime) -> None:
        """Debt, or an order that is in force and young."""
        self.count(f"frames trip for {cause}")
        order = order_of(self.database, point, now)
        if cause == "arrears":
            if is_paid(self.database, point):
                self.wrong(f"I4: P{point} paid, and its trip left")
        elif order is None or order["cause"] != cause:
            self.wrong(f"the {cause} trip of P{point} left by an order that is not in force")
        elif now > order["agreed_at"] + A_WORD_LASTS:
            self.wrong(f"the trip of P{point} left by an order that is too old")

    def after_step(self) -> None:
        """Everything that shows only as time goes by."""
        daemon = self.acting()
        if daemon is not self._acting[0]:
            self._acting = (daemon, self.kernel.now_s)
        if self.kernel.failed:
            self.wrong(f"a task failed: {self.kernel.failed.pop()}")
        for number, row in open_commands(self.database):
            self._ends_or_is_told(number, row)
        for point, meter in self.meters.items():
            self._is_lit(point, meter)
        for number, row in self.database.tables["order"].items():
            if row["agreed_at"] is not None and row["ended_at"] is None:
                self._is_carried_out_or_told(number, row)

    def _against(self, owner: Daemon, point: int, now: datetime) -> set[str]:
        return reasons_against(self.database, owner, point, now)

    def _account(self, point: int) -> Row:
        return self.database.tables["account"][self.database.tables["point"][point]["account_id"]]

    def _command(self, session: Session, number: Any, row: Row) -> None:
        before = self.database.tables["command"].get(number)
        sends = before["sends"] if before else 0
        if before is not None:
            self._ends_by_proof(before, row)
        is_more = before is None or row["sends"] > sends
        if before is not None and sends and is_more and before["state"] != "persisted":
            self.wrong(f"{row['action']} of P{row['point_id']} was sent again, and not looked at")
        if is_more and row["action"] != "trip" and self._was_kept_off(session, row["point_id"]):
            done = "asked for" if before is None else "released"
            self.wrong(f"LOCKED_OUT: {row['action']} of P{row['point_id']} was {done}")
        if row["sends"] == sends:
            return
        self._waits_since_s[number] = self.kernel.now_s
        point, owner = row["point_id"], self.kernel.running.owner
        assert isinstance(owner, Daemon)
        holder = self.database.holder
        # Lost while the transaction was under way, the site is nobody's yet.
        has_lost = holder is not None and holder[0] is not owner
        if has_lost and self.database.held_since_s < session.began_s:
            self.wrong(f"fence: a daemon without the site released the {row['action']} of P{point}")
        if owner.terms.shadow_mode:
            self.wrong(f"I16: the {row['action']} of P{point} was released in shadow mode")
        if row["action"] != "trip":
            if self.database.now() >= row["expires_at"]:
                self.wrong(f"the {row['action']} of P{point} was released and not renewed")
            return
        self._trip_released(session, owner, row)

    def _ends_by_proof(self, before: Row, row: Row) -> None:
        """Amendment 6: of what was sent before only the relay tells, until it is past its expiry."""
        ends = row["state"] in IN_VAIN_STATES and before["state"] != row["state"]
        is_sent_again = row["action"] == "trip" and row["sends"] > 1
        if ends and is_sent_again and self.database.now() < row["expires_at"]:
            point, state = row["point_id"], row["state"]
            self.wrong(f"I6: the trip of P{point} is {state}, and its first frame may come")

    def _was_kept_off(self, session: Session, point: int) -> bool:
        """Whether a point was ordered off, or worked at, all the while since a session began."""
        began = self.database.began + timedelta(seconds=session.began_s)
        if any(row and row["ended_at"] for row in session.own["order"].values()):
            return False
        marks = self.database.tables["mark"].values()
        if any(it["lifted_at"] is not None and it["lifted_at"] >= began for it in marks):
            return False
        now, row = self.database.now(), self.database.tables["point"][point]
        order = order_of(self.database, point, now)
        is_worked_at = any(
            (it["kind"], it["from_at"] < began) == ("keep_off", True)
            and holds(it, now)
            and is_of(it, point, row)
            for it in marks
        )
        return is_worked_at or (order is not None and order["agreed_at"] < began)

    def _trip_released(self, session: Session, owner: Daemon, row: Row) -> None:
        point = row["point_id"]
        if self.database.now() >= row["expires_at"]:
            self.wrong(f"the trip of P{point} was released behind its expiry")
        if not self.database.is_locked_by(session, ("account", self._points_account(point))):
            self.wrong(f"I1: the trip of P{point} was released without its account's lock")
        if not session.noted:
            self.wrong(f"I10: the trip of P{point} was released beside others")
        against = self._against(owner, point, self.database.now())
        if both := against & session.noted.get(point, set()):
            self.wrong(f"I2: the trip of P{point} was released although {sorted(both)}")
        cut_for = self.database.tables["supply"][point]["cut_for"]
        if row["guard"]["facts"]["cause"] != cut_for:
            self.wrong(f"the trip of P{point} was asked for because of {cut_for}, and is another")
        self._cut_of[point] = self._points_account(point)
        if row["sends"] > 1:
            self.count("trips sent again")
            return
        self._first_sends.append(self.kernel.now_s)
        while self._first_sends[0] <= self.kernel.now_s - 3_600:
            self._first_sends.popleft()
        most = max(
            owner.terms.limits.hour, len(self.meters) * owner.terms.limits.hour_permille // 1000
        )
        if len(self._first_sends) > most:
            self.wrong(f"I10: {len(self._first_sends)} trips within an hour, {most} are allowed")

    def _is_of_two(self, number: int, order: Row) -> None:
        if person(order["second"]) == person(order["actor"]):
            self.wrong(f"I13: order {number} is one person's")
        if order["agreed_at"] - order["asked_at"] > A_WORD_LASTS:
            self.wrong(f"order {number} was agreed to when nobody remembered it")

    def _points_account(self, point: int) -> int:
        account: int = self.database.tables["point"][point]["account_id"]
        return account

    def _supply(self, point: int, before: Row, row: Row) -> None:
        observed = row["relay_observed"]
        if observed != before["relay_observed"]:
            told = {"open" if it.relay_open else "closed" for it in self.meters[point].told}
            if observed not in told:
                self.wrong(f"I14: P{point} is kept as {observed}, which no meter told")
        if row["supply_state"] != before["supply_state"]:
            self.count(f"became {row['supply_state']}")

    def _money(self, rows: Written) -> None:
        """I11, I15: balances move by what is posted under new keys, once."""
        moved: dict[int, int] = {}
        for number, row in rows.get("balance", {}).items():
            if row is not None:
                before = self.database.tables["balance"].get(number, {"fen": 0})["fen"]
                moved[number] = row["fen"] - before
        for key, row in rows.get("journal", {}).items():
            if row is None:
                continue
            if key in self.database.tables["journal"]:
                self.wrong(f"I11: {key} was posted twice")
            for name, fen in row["legs"]:
                if name.startswith("customer:"):
                    account = int(name.split(":")[1].removeprefix("A"))
                    moved[account] = moved.get(account, 0) - fen
        if any(moved.values()):
            self.wrong(f"I15: balances moved by other than what was posted: {moved}")

    def _ends_or_is_told(self, number: Any, row: Row) -> None:
        daemon, since_s = self._acting
        if daemon is None or daemon.terms.shadow_mode:
            return
        # By no clock of a host: the rows are dated by those.
        age_s = self.kernel.now_s - self._waits_since_s.setdefault(number, self.kernel.now_s)
        if self.kernel.now_s - self._alarmed_s.get(f"P{row['point_id']}", -1e9) < 300:
            return
        point = row["point_id"]
        waits = self.database.tables["supply"][point]["supply_state"] == "wait_customer_button"
        # What its line never took is ended, or told, by the sweep.
        limit_s = ALARM_WITHIN_S + daemon.terms.sweep_s
        if waits or min(age_s, self.kernel.now_s - since_s) <= limit_s:
            return
        if number not in self.alarmed and not self._has_job(point):
            self.alarmed.add(number)
            self.wrong(
                f"I5: {row['action']} of P{point} is {row['state']} for {age_s:.0f} s, and silent"
            )

    def _is_carried_out_or_told(self, number: int, order: Row) -> None:
        """Where an order was not done while its word lasted, somebody has to go."""
        (daemon, since_s), point = self._acting, order["point_id"]
        now, there = self.database.now(), self.database.tables["supply"][point]
        is_on = there["supply_state"] == "energised" and there["relay_observed"] != "open"
        is_over = now > order["agreed_at"] + A_WORD_LASTS
        if daemon is None or not (is_on and is_over) or order_of(self.database, point, now) is None:
            self._not_done_since_s.pop(number, None)
            return
        since_s = max(self._not_done_since_s.setdefault(number, self.kernel.now_s), since_s)
        told = [
            job
            for job in self.database.tables["job"].values()
            if (job["kind"], job["point_id"]) == ("trip", point)
            and job["opened_at"] >= order["agreed_at"]
        ]
        patience_s = 2 * daemon.terms.sweep_s + 60
        if self.kernel.now_s - max(since_s, self._database_bad_s()) > patience_s and not told:
            self._not_done_since_s[number] = self.kernel.now_s + 1e6
            self.wrong(f"order {number}: P{point} is on, and nobody has to go there")

    def _has_job(self, point: int) -> bool:
        jobs = self.database.tables["job"].values()
        return any(
            (job["kind"], job["point_id"]) == ("restore", point) and job["closed_at"] is None
            for job in jobs
        )

    def _is_lit(self, point: int, meter: Meter) -> None:
        # Ready and waiting for its customer's button is as good.
        is_dark = meter.relay.is_open and meter.relay.command_open
        # Most are lit: who else is to be is asked only of the others.
        if not is_dark or not self._is_to_be_lit(point):
            self._dark_since_s.pop(point, None)
            return
        now_s = self.kernel.now_s
        since_s = self._dark_since_s.setdefault(point, now_s)
        daemon, acts_since_s = self._acting
        is_calm = meter.is_calm and meter.line.is_calm and daemon is not None
        if not is_calm or daemon is None or daemon.terms.shadow_mode:
            meter.bad_at_s = now_s
            return
        bad_s = max(meter.bad_at_s, meter.line.bad_at_s, acts_since_s, self._database_bad_s())
        limit_s = LIT_WITHIN_S if since_s - bad_s > 3_700 else LIT_AFTER_A_FAULT_S
        if meter.was_refused_s > since_s - 3_700:
            limit_s = LIT_AFTER_A_REFUSAL_S
        if now_s - max(since_s, bad_s) > limit_s:
            self._dark_since_s[point] = now_s + 1e6
            told = [(it["action"], it["state"], it["detail"]) for it in self._commands(point)]
            self.wrong(
                f"liveness: P{point} is to be lit for {now_s - since_s:.0f} s and is dark,"
                f" {self.database.tables['supply'][point]['supply_state']}: {told}"
            )

    def _is_to_be_lit(self, point: int) -> bool:
        now = self.database.now()
        if is_locked_off(self.database, point, now):
            return False
        there = self.database.tables["supply"][point]
        is_ours = there["supply_state"] != "energised"
        is_by_order = is_ours and there["cut_for"] != "arrears"
        is_of_another = is_ours and self._cut_of.get(point) != self._points_account(point)
        must_be_lit = must_be_on(self.database, point, now) or is_by_order or is_of_another
        return must_be_lit or is_paid(self.database, point)

    def _commands(self, point: int) -> list[Row]:
        ids = self.database.tables["of_point"].get(point, {"ids": ()})["ids"]
        return [self.database.tables["command"][number] for number in ids[-2:]]

    def _database_bad_s(self) -> float:
        return max(self.database.down_until_s, self.database.hangs_until_s)
