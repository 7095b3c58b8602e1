"""One seed, one run."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from structlog.typing import Processor

from tests.simulation.control.happenings import HOUR_S, Happenings
from tests.simulation.control.mirror import Mirror, found_site
from tests.simulation.control.world import World, make_world

HOURS: Final = 1.5
QUIET_HOURS: Final = 0.7


@dataclass
class Life:
    """What came of a seed."""

    seed: int
    steps: int = 0
    mistakes: list[str] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)


def live(seed: int, hours: float = HOURS) -> Life:
    """Let a world live, and be quiet for a while at its end."""
    world = make_world(seed)
    return _live(world, seed, hours)


def live_beside(owner_url: str, seed: int, hours: float = HOURS) -> tuple[Life, list[str]]:
    """The same beside an empty database of a real server, with where they did not agree."""
    world = make_world(seed, balance_fen=0)
    found_site(owner_url, world)
    mirror = Mirror(owner_url, world)
    world.database.mirror = mirror
    try:
        return _live(world, seed, hours), mirror.differences
    finally:
        world.database.mirror = None
        mirror.close()


def _live(world: World, seed: int, hours: float) -> Life:
    with heard_alarms(world):
        world.start_daemon()
        Happenings(world).begin(hours)
        world.kernel.run(hours * HOUR_S, world.watch.after_step)
        world.kernel.run((hours + QUIET_HOURS) * HOUR_S, world.watch.after_step)
        world.kernel.kill_all()
    watch = world.watch
    return Life(seed, world.kernel.steps, watch.mistakes, watch.told)


@contextmanager
def heard_alarms(world: World) -> Iterator[None]:
    """What the daemon logs as an error reaches a person."""

    def hear(
        logger: object, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if level == "error":
            world.watch.alarmed.update(
                number
                for number in world.database.tables["command"]
                if str(number) == event.get("command")
            )
        raise structlog.DropEvent

    with _logged_by(hear):
        yield


@contextmanager
def no_log() -> Iterator[None]:
    """Nothing is printed."""

    def drop(
        logger: object, level: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        raise structlog.DropEvent

    with _logged_by(drop):
        yield


@contextmanager
def _logged_by(processor: Processor) -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(processors=[processor], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
