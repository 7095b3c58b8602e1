"""What somebody said that is or was so, and what a second person said of it. Never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from storage.sql import Connection, fetch_records, fetch_row, load

SQL = load("documents")
State = Literal["counts", "waits", "approved", "rejected"]
"""Of a document: only one that `waits` can be reviewed."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document with what became of it. `content`: what was said, by the options that said it.

    `point`: None of one about money."""

    number: int
    kind: str
    point: str | None
    at: datetime
    actor: str
    reason: str
    evidence: str
    content: Mapping[str, Any]
    state: State
    reviewer: str | None
    review: str | None
    reviewed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Said:
    """Who says something, why, and by what it can be proved (R26)."""

    actor: str
    reason: str
    evidence: str = ""


async def add_document(
    connection: Connection,
    kind: str,
    point: str | None,
    said: Said,
    content: Mapping[str, Any],
    *,
    waits: bool,
) -> int:
    """Write down what was said; returns its number. `waits`: until a second person agrees."""
    values = {
        "kind": kind,
        "point": point,
        "actor": said.actor,
        "reason": said.reason,
        "evidence": said.evidence,
        "waits": waits,
        "content": Jsonb(content),
    }
    row = await fetch_row(connection, SQL["add_document"], values)
    assert row is not None, "an insert returns its row"
    number: int = row[0]
    return number


async def add_review(
    connection: Connection, number: int, verdict: Literal["approved", "rejected"], said: Said
) -> None:
    """Write down what the second person said of a document that waits."""
    values = {
        "number": number,
        "verdict": verdict,
        "actor": said.actor,
        "reason": said.reason,
    }
    await connection.execute(SQL["review"], values)


async def documents(
    connection: Connection,
    *,
    number: int | None = None,
    point: str | None = None,
    only_waiting: bool = False,
) -> list[StoredDocument]:
    """Documents in order of their numbers: one, those of a point, or those that wait."""
    values = {
        "number": number,
        "point": point,
        "waiting": only_waiting,
    }
    return await fetch_records(connection, StoredDocument, SQL["documents"], values)


async def tell(connection: Connection) -> None:
    """Let the daemon know, when this transaction is committed, that facts are others now."""
    await connection.execute(SQL["tell"])
