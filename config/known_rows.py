"""Rows that stand in a table as they stood when it was read last: they are not read again.

Whatever is not plainly so is left to the thorough reading, which alone knows the mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from config.problems import Mistakes
from config.table import Columns, Keys, read_table

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
    was = _whole_lines(before)
    now = _whole_lines(text)
    if was.count(b"\n") != len(records) + 1:
        raise NotPlain
    start = was.rfind(b"\n", 0, _equal_bytes(was, now)) + 1
    if start == 0:
        raise NotPlain  # another head
    head = now[: now.index(b"\n")]
    rest = _equal_lines_behind(was[start:], now[start:])
    first = was.count(b"\n", 0, start) - 1
    old_lines = was[start : len(was) - rest].split(b"\n")[:-1]
    lines = now[start : len(now) - rest].split(b"\n")[:-1]
    behind = first + len(old_lines)
    known = dict(zip(old_lines, records[first:behind], strict=True))
    fresh = [line for line in lines if line not in known]
    known |= zip(fresh, _read(head, fresh, columns, record_of), strict=True)
    return (*records[:first], *map(known.__getitem__, lines), *records[behind:])


def _read(
    head: bytes,
    lines: list[bytes],
    columns: Columns,
    record_of: Callable[[dict[str, Any], Mistakes], R],
) -> list[R]:
    mistakes = Mistakes("")
    rows = list(read_table(b"\n".join([head, *lines]), columns, mistakes, Keys()))
    if len(rows) != len(lines):
        raise NotPlain
    made = [record_of(row, mistakes) for row in rows]
    if mistakes.problems or mistakes.warnings:
        raise NotPlain
    return made


def all_differ(keys: Iterable[K]) -> set[K]:
    """The keys; NotPlain where one of them stands twice."""
    listed = list(keys)
    found = set(listed)
    if len(found) != len(listed):
        raise NotPlain
    return found


def _whole_lines(text: bytes) -> bytes:
    """A table that has a row on each of its lines, the last one ended too; NotPlain of others."""
    if not _is_plain_text(text):
        raise NotPlain
    if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
        raise NotPlain
    # A quotation that goes on in the next line.
    if b'"' in text and any(line.count(b'"') % 2 for line in text.split(b"\n")):
        raise NotPlain
    return text if text.endswith(b"\n") else text + b"\n"


def _is_plain_text(text: bytes) -> bool:
    """UTF-8 without a first line that only names the separator."""
    if text[:4].lower() == b"sep=":
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in text


def _equal_bytes(one: bytes, other: bytes) -> int:
    """How many bytes are the same from the beginning on."""
    least = 0
    most = min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _equal_lines_behind(one: bytes, other: bytes) -> int:
    """How many bytes of whole lines are the same at the end; the line before them is whole too."""
    least = 0
    most = min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        part = slice(-middle, -least or None)
        if one[part] == other[part]:
            least = middle
        else:
            most = middle - 1
    newline = one.find(b"\n", len(one) - least)
    return 0 if newline < 0 else len(one) - newline - 1
