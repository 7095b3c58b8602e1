"""Rows that stand in a table as they stood when it was read last: they are not read again.

Whatever is not plainly so is left to the thorough reading, which alone knows the mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from config.table import Columns, Keys, Mistakes, read_table

R = TypeVar("R")
K = TypeVar("K")


class NotPlain(Exception):
    """Only the thorough reading can tell what this table says."""


def follow_rows(
    before: bytes,
    records: tuple[R, ...],
    text: bytes,
    columns: Columns,
    record_of: Callable[[dict[str, Any], Mistakes], R],
) -> tuple[R, ...]:
    """The records of `text`, given those of `before`, which had no mistake; NotPlain if one has.

    `record_of` is asked for the rows that are new; what it says of several rows together, and what
    the old ones refer to, is the caller's to check. The same text gives the same tuple."""
    if text == before:
        return records
    head, *lines = _plain_lines(text)
    old_head, *old_lines = _plain_lines(before)
    if head != old_head or len(old_lines) != len(records):
        raise NotPlain
    known = dict(zip(old_lines, records, strict=True))
    fresh = [line for line in lines if line not in known]
    mistakes = Mistakes("")
    rows = list(read_table(b"\n".join([head, *fresh]), columns, mistakes, Keys()))
    if len(rows) != len(fresh):
        raise NotPlain
    made = [record_of(row, mistakes) for row in rows]
    if mistakes.problems:
        raise NotPlain
    known |= zip(fresh, made, strict=True)
    return tuple(known[line] for line in lines)


def all_differ(keys: Iterable[K]) -> set[K]:
    """The keys; NotPlain where one of them stands twice."""
    listed = list(keys)
    found = set(listed)
    if len(found) != len(listed):
        raise NotPlain
    return found


def _plain_lines(text: bytes) -> list[bytes]:
    """The lines of a table that has a row on each of them; NotPlain of any other."""
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        raise NotPlain
    lines = text.removesuffix(b"\n").split(b"\n")
    # A quotation that goes on in the next line.
    if b'"' in text and any(line.count(b'"') % 2 for line in lines):
        raise NotPlain
    return lines
