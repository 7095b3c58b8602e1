"""Simulated time: coroutines that wait for it and for each other, in one order for one seed.

No event loop: who waits says so to the kernel, which resumes one task at a time. A task that is
killed stands for a process that died: it runs no further, and its connections are rolled back."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from math import inf
from random import Random


@dataclass(slots=True)
class Pause:
    """To be awaited: so many simulated seconds, or until the task is woken."""

    seconds: float = inf

    def __await__(self) -> Generator[Pause, None, None]:
        yield self


@dataclass(slots=True, eq=False)
class Task:
    """A coroutine under way. `owner`: whose it is; who kills the owner kills it."""

    coroutine: Coroutine[Pause, None, None]
    owner: object
    name: str
    ticket: int = 0
    """Only the newest resumption that was planned counts."""
    is_over: bool = False


@dataclass(eq=False)
class Kernel:
    """The time of a simulated world. What is due at one moment comes in an order by chance."""

    chance: Random
    now_s: float = 0.0
    steps: int = 0
    failed: list[str] = field(default_factory=list)
    """Tasks that ended with an exception: nobody here is allowed to."""
    _due: list[tuple[float, float, int, Task | None, Callable[[], None] | None]] = field(
        default_factory=list
    )
    _planned: int = 0
    _running: Task | None = None
    _tasks: set[Task] = field(default_factory=set)

    @property
    def running(self) -> Task:
        """The task that runs now."""
        assert self._running is not None, "only tasks ask who runs"
        return self._running

    def start(
        self, coroutine: Coroutine[Pause, None, None], owner: object, name: str, after_s: float = 0
    ) -> Task:
        """Let a task begin."""
        task = Task(coroutine, owner, name)
        self._tasks.add(task)
        self._plan(task, after_s)
        return task

    def at_s(self, after_s: float, act: Callable[[], None]) -> None:
        """Let something happen, which is no task."""
        self._planned += 1
        at = (self.now_s + after_s, self.chance.random(), self._planned)
        heapq.heappush(self._due, (*at, None, act))

    def wake(self, task: Task) -> None:
        """It waits no longer."""
        if not task.is_over and task is not self._running:
            self._plan(task, 0)

    def kill(self, owner: object) -> None:
        """All tasks of an owner end where they are."""
        for task in [it for it in self._tasks if it.owner is owner]:
            self._end(task)
            task.coroutine.close()

    def kill_all(self) -> None:
        """The world is over."""
        for task in list(self._tasks):
            self.kill(task.owner)

    def run(self, until_s: float, after_each: Callable[[], None]) -> None:
        """Until this time; `after_each` is called after everything that happened."""
        while self._due and self._due[0][0] <= until_s:
            at_s, _, ticket, task, act = heapq.heappop(self._due)
            if task is not None and (task.is_over or task.ticket != ticket):
                continue
            self.now_s = max(self.now_s, at_s)
            self.steps += 1
            if task is not None:
                self._resume(task)
            elif act is not None:
                act()
            after_each()
        self.now_s = max(self.now_s, until_s)

    def _plan(self, task: Task, after_s: float) -> None:
        self._planned += 1
        task.ticket = self._planned
        if after_s < inf:
            at = (self.now_s + after_s, self.chance.random(), task.ticket)
            heapq.heappush(self._due, (*at, task, None))

    def _resume(self, task: Task) -> None:
        self._running = task
        try:
            pause = task.coroutine.send(None)
        except StopIteration:
            self._end(task)
        except Exception as error:
            self._end(task)
            self.failed.append(f"{task.name}: {type(error).__name__}: {error}")
        else:
            self._plan(task, pause.seconds)
        finally:
            self._running = None

    def _end(self, task: Task) -> None:
        task.is_over = True
        self._tasks.discard(task)
