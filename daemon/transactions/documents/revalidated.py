"""A point is judged anew by rules that changed, and billed days of it move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from daemon.transactions.documents.desk import Desk


@dataclass(frozen=True, slots=True)
class Revalidation:
    """Nothing is said of the point but that what is known of it be judged again."""

    point: str

    @property
    def kind(self) -> Literal["revalidation"]:
        """By which it is found."""
        return "revalidation"

    async def write(self, desk: Desk) -> None:
        """No fact follows; the judgement does, as behind every document."""
