"""What a bench says of those who read it: each kind of mistake of a line, how often and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from simulators.lines.master_watch import ADVICE, Mistake

TOLD_OF_A_KIND: Final = 100
"""So often a kind of mistake of a line is an event; after that it is counted only."""


@dataclass(slots=True)
class Finding:
    """A kind of mistake on a line; `detail` and `example` are of the first."""

    line: str
    kind: str
    count: int
    first_at: datetime
    last_at: datetime
    detail: str
    example: str

    def as_json(self) -> dict[str, Any]:
        """With what its author has to do."""
        return {
            "line": self.line,
            "kind": self.kind,
            "count": self.count,
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "detail": self.detail,
            "example": self.example,
            "advice": ADVICE[self.kind],
        }


Tell = Callable[[str, Mistake], None]


class Diagnosis:
    """Collects; `tell` hears of the first TOLD_OF_A_KIND of each kind and line."""

    def __init__(self, now: Callable[[], datetime], tell: Tell) -> None:
        self._now = now
        self._tell = tell
        self._findings: dict[tuple[str, str], Finding] = {}

    def note(self, line: str, mistake: Mistake) -> None:
        """One more."""
        at = self._now()
        finding = self._findings.get((line, mistake.kind))
        if finding is None:
            finding = Finding(line, mistake.kind, 0, at, at, mistake.detail, mistake.example)
            self._findings[line, mistake.kind] = finding
        finding.count += 1
        finding.last_at = at
        if finding.count <= TOLD_OF_A_KIND:
            self._tell(line, mistake)

    def findings(self) -> Iterator[Finding]:
        """By line, the most frequent first."""
        by_line = sorted(self._findings.values(), key=lambda it: (it.line, -it.count, it.kind))
        return iter(by_line)
