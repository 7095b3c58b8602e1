"""A database as a model: rows, transactions that see what is committed, locks, what may go wrong.

It answers the statements that the daemon's own transactions put (statements.py); each is a moment at
which another session may come between, as with READ COMMITTED."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Protocol

import psycopg

from tests.simulation.control.kernel import Kernel, Pause, Task

Row = dict[str, Any]
Key = tuple[str, Any]
"""Of a row: its table and its number. Of an advisory lock: `advisory` and its own."""
Written = Mapping[str, Mapping[Any, Row | None]]
"""By table and number what a transaction wrote; None: deleted."""
Handler = Callable[["Session", Mapping[str, Any]], Awaitable[list[Any]]]


class Beside(Protocol):
    """What is told each step of each transaction, and answers in the model's stead."""

    def begin(self, session: Session) -> None:
        """A transaction begins."""

    def commit(self, session: Session) -> None:
        """It is committed."""

    def roll_back(self, session: Session) -> None:
        """It is over."""

    def answer(
        self, session: Session, statement: str, values: Mapping[str, Any], found: list[Any]
    ) -> list[Any]:
        """What the daemon is answered."""

    def tell(self, session: Session, table: str, number: Any, changes: Row) -> None:
        """A fact that others than control write."""


@dataclass(eq=False)
class Database:
    """What is committed. `answers`: by the text of a statement what the model makes of it."""

    kernel: Kernel
    began: datetime
    answers: Mapping[str, Handler]
    switching: float = 0.4
    """How often another task may come between two statements."""
    mirror: Beside | None = None
    """A real server that is told the same."""
    tables: defaultdict[str, dict[Any, Row]] = field(default_factory=lambda: defaultdict(dict))
    committed: Callable[[Session, Written], None] = lambda session, rows: None
    """Called at each commit, before its rows are seen."""
    releasing: Callable[[Session], None] = lambda session: None
    """Called when a session is the one that may release a trip."""
    notify: Callable[[str], None] = lambda line: None
    look_at: Callable[[int], None] = lambda meter: None
    down_until_s: float = -1.0
    hangs_until_s: float = -1.0
    lost_answers: float = 0.0
    """How often what was committed is told to nobody: the connection is lost at that moment."""
    holder: tuple[object, int] | None = None
    """Whose session has the lock of the site, and as which process of the database."""
    held_since_s: float = -1.0
    numbers: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    open: set[Session] = field(default_factory=set)
    _locks: dict[Key, Session] = field(default_factory=dict)
    _waiting: defaultdict[Key, deque[Task]] = field(default_factory=lambda: defaultdict(deque))

    @property
    def is_down(self) -> bool:
        """Nobody can connect, and who was connected is no more."""
        return self.kernel.now_s < self.down_until_s

    def hold_site(self, holder: object, process: int) -> None:
        """Who acts now, as which process of the server."""
        self.holder = (holder, process)
        self.held_since_s = self.kernel.now_s

    def go_down(self, for_s: float) -> None:
        """The server ends: so do all sessions, and with them their locks."""
        self.down_until_s = self.kernel.now_s + for_s
        self.holder = None
        for session in list(self.open):
            session.is_lost = True
            session.roll_back()

    def now(self) -> datetime:
        """Its clock, which is right."""
        return self.began + timedelta(seconds=self.kernel.now_s)

    def number(self, of: str) -> int:
        """The next number of a row of this table."""
        self.numbers[of] += 1
        return self.numbers[of]

    def connection(self, lasts_s: float = 0) -> Session:
        """As a pool gives one."""
        return Session(self)

    def try_lock(self, key: Key, session: Session) -> bool:
        """True if it is this session's now."""
        return self._locks.setdefault(key, session) is session

    def is_locked_by(self, session: Session, key: Key) -> bool:
        """Whether this session has it."""
        return self._locks.get(key) is session

    async def lock(self, key: Key, session: Session) -> None:
        """Wait until it is this session's."""
        waited_s = self.kernel.now_s
        while not self.try_lock(key, session):
            self._waiting[key].append(self.kernel.running)
            await Pause(60)
            session.refuse_if_down()
            if self.kernel.now_s - waited_s >= 60:
                raise psycopg.errors.QueryCanceled(f"waited for {key} for a minute")

    def release(self, session: Session) -> None:
        """Its locks are free for the next who waits."""
        for key in session.locked:
            del self._locks[key]
            for task in self._waiting.pop(key, ()):
                self.kernel.wake(task)
        session.locked.clear()


@dataclass(eq=False)
class Session:
    """A connection: what the storage calls of psycopg's, and a transaction's own rows."""

    database: Database
    own: defaultdict[str, dict[Any, Row | None]] = field(default_factory=lambda: defaultdict(dict))
    """Written and not committed."""
    locked: dict[Key, None] = field(default_factory=dict)
    """In the order in which they were."""
    lines: list[str] = field(default_factory=list)
    """To be notified at the commit."""
    relays: list[int] = field(default_factory=list)
    """Meters whose lines are to look at their relays, from the commit on."""
    noted: dict[int, set[str]] = field(default_factory=dict)
    """By point what spoke against its trip when this session began to release one."""
    began_s: float = 0.0
    depth: int = 0
    is_lost: bool = False

    async def __aenter__(self) -> Session:
        self.refuse_if_down()
        self.began_s = self.database.kernel.now_s
        self.database.open.add(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.roll_back()
        self.database.open.discard(self)

    def transaction(self) -> _Transaction:
        """One inside another is part of it."""
        return _Transaction(self)

    def cursor(self, row_factory: object = None) -> Cursor:
        """Rows come as the statement's model makes them."""
        return Cursor(self)

    async def execute(
        self, statement: str, values: Mapping[str, Any] | None = None, *, binary: bool = False
    ) -> Cursor:
        """Put a statement; alone it is a transaction of its own."""
        cursor = Cursor(self)
        await cursor.execute(statement, values)
        return cursor

    def get(self, table: str, number: Any) -> Row | None:
        """A row as this session sees it."""
        if table in self.own and number in self.own[table]:
            return self.own[table][number]
        return self.database.tables[table].get(number)

    def rows(self, table: str) -> list[tuple[Any, Row]]:
        """Those of a table as this session sees them, in order of their numbers."""
        known = self.database.tables[table]
        if table not in self.own:
            return list(known.items())
        seen = {**known, **self.own[table]}
        return [(number, row) for number, row in seen.items() if row is not None]

    async def lock(self, table: str, number: Any) -> None:
        """Until the transaction ends."""
        key = (table, number)
        if key not in self.locked:
            await self.database.lock(key, self)
            self.locked[key] = None

    def try_lock(self, table: str, number: Any) -> bool:
        """Without waiting; False if another has it."""
        key = (table, number)
        if key not in self.locked and self.database.try_lock(key, self):
            self.locked[key] = None
        return key in self.locked

    async def put(self, table: str, number: Any, **changes: Any) -> Row:
        """Change a row, or add it."""
        await self.lock(table, number)
        row: Row = {**(self.get(table, number) or {}), **changes}
        self.own[table][number] = row
        return row

    async def delete(self, table: str, number: Any) -> None:
        """A row is no more."""
        await self.lock(table, number)
        self.own[table][number] = None

    def refuse_if_down(self) -> None:
        """psycopg.OperationalError once the server ended this session."""
        if self.is_lost or self.database.is_down:
            self.is_lost = True
            raise psycopg.OperationalError("the connection is lost")

    async def commit(self) -> None:
        """All of it at once, or nothing."""
        await self.give_way()
        self.refuse_if_down()
        database = self.database
        database.committed(self, self.own)
        if database.mirror:
            database.mirror.commit(self)
        for table, rows in self.own.items():
            for number, row in rows.items():
                if row is None:
                    database.tables[table].pop(number, None)
                else:
                    database.tables[table][number] = row
        for line in self.lines:
            database.notify(line)
        for meter in self.relays:
            database.look_at(meter)
        self.roll_back()
        if database.kernel.chance.random() < database.lost_answers:
            self.is_lost = True
            raise psycopg.OperationalError("the connection was lost while it committed")

    async def give_way(self) -> None:
        """Another may come between, and who waits for a server that hangs waits."""
        database = self.database
        if database.hangs_until_s > database.kernel.now_s:
            await Pause(database.hangs_until_s - database.kernel.now_s)
        elif database.kernel.chance.random() < database.switching:
            await Pause(database.kernel.chance.random() * 0.02)

    def roll_back(self) -> None:
        """As if nothing of it had been."""
        self.own.clear()
        self.lines.clear()
        self.relays.clear()
        self.noted.clear()
        if self.database.mirror:
            self.database.mirror.roll_back(self)
        self.database.release(self)


@dataclass(slots=True)
class _Transaction:
    session: Session

    async def __aenter__(self) -> None:
        self.session.refuse_if_down()
        self.session.depth += 1
        if self.session.depth == 1 and self.session.database.mirror:
            self.session.database.mirror.begin(self.session)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session = self.session
        session.depth -= 1
        if session.depth:
            return
        if error is None and kind is None:
            try:
                await session.commit()
            except BaseException:
                session.roll_back()
                raise
        else:
            session.roll_back()


@dataclass(slots=True)
class Cursor:
    """The answer to a statement."""

    session: Session
    found: list[Any] = field(default_factory=list)

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def execute(
        self,
        statement: str,
        values: Mapping[str, Any] | None = None,
        *,
        prepare: bool | None = None,
    ) -> None:
        session = self.session
        await session.give_way()
        session.refuse_if_down()
        if session.depth:
            self.found = await self._answer(statement, values or {})
            return
        async with session.transaction():
            self.found = await self._answer(statement, values or {})

    async def _answer(self, statement: str, values: Mapping[str, Any]) -> list[Any]:
        database = self.session.database
        found = await database.answers[statement](self.session, values)
        if database.mirror:
            return database.mirror.answer(self.session, statement, values, found)
        return found

    async def executemany(self, statement: str, several: list[Mapping[str, Any]]) -> None:
        for values in several:
            await self.execute(statement, values)

    async def fetchall(self) -> list[Any]:
        return self.found

    async def fetchone(self) -> Any:
        return self.found[0] if self.found else None
