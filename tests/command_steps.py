"""A step of a command that keeps what a line told it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from daemon.acquisition.meter_port import Action
from daemon.control.observation import Answer
from protocols.reading import RelayState

SOME_ID = UUID(int=7)
EXPIRES = datetime(2026, 3, 16, 5, tzinfo=UTC)


@dataclass
class Command:
    action: Action = "trip"
    sends: int = 0
    expires_at: datetime = EXPIRES
    id: UUID = SOME_ID
    meter_id: int = 1
    address: str = "000000001600"
    line: str = "gate-3"


@dataclass
class Step:
    """A CommandStep; `told` holds what came of it, in order."""

    command: Command = field(default_factory=Command)
    kind: Literal["send", "verify"] = "send"
    is_released: bool = True
    told: list[Any] = field(default_factory=list)

    async def is_still_released(self) -> bool:
        return self.is_released

    async def answered(self, answer: Answer, detail: str) -> None:
        self.told.append((answer, detail))

    async def abandon(self, reason: str) -> None:
        self.told.append(("abandoned", reason))

    async def observed(self, relay: RelayState | None) -> None:
        self.told.append(relay)

    async def orphan(self) -> None:
        self.told.append("orphan")
