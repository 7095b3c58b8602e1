"""Clients of the batch poller that have several requests in flight at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from daemon.acquisition.polling.rows import Rows
from protocols.dlt645.prepared import many


@dataclass(slots=True)
class Group:
    """The rows of one client."""

    rows: list[int]
    going: int
    """How many of them have something to read."""
    asked: list[int] = field(default_factory=list)
    """In the order of their requests, because most concentrators answer in that order."""


class Groups:
    """A group is known by its first row; a row that is alone is a group without a record here."""

    __slots__ = ("several",)

    def __init__(self) -> None:
        self.several: dict[int, Group] = {}
        """Those of more than one row."""

    def add(self, rows: list[int]) -> None:
        """Several rows of one client."""
        self.several[rows[0]] = Group(rows, len(rows))

    def drop(self, group: int) -> None:
        """Its client has left."""
        self.several.pop(group, None)

    def rows_of(self, group: int) -> list[int]:
        """All rows of this group, in use or not."""
        several = self.several.get(group)
        return [group] if several is None else several.rows

    def has_ended(self, group: int) -> bool:
        """A row of the group has nothing left to read. Whether none of its rows has."""
        several = self.several.get(group)
        if several is None:
            return True
        several.going -= 1
        return not several.going

    def match(self, arrived: Mapping[int, bytes]) -> tuple[Rows, list[bytes], dict[int, bytes]]:
        """Whose answers these bytes may be, by group.

        (rows, what came for each; by its group what is left behind that and is no answer to be
        seen)."""
        if not self.several:
            return np.fromiter(arrived, np.intp, len(arrived)), list(arrived.values()), {}
        rows: list[int] = []
        answers: list[bytes] = []
        left: dict[int, bytes] = {}
        for group, data in arrived.items():
            several = self.several.get(group)
            if several is None:
                rows.append(group)
                answers.append(data)
                continue
            found, rest = many.apart(data, len(several.asked))
            rows += several.asked[: len(found)]
            del several.asked[: len(found)]
            answers += found
            if rest:
                left[group] = rest
        return np.array(rows, dtype=np.intp), answers, left

    def all_rows(self, groups: Iterable[int]) -> Rows:
        """The rows of all these groups."""
        return np.array([row for group in groups for row in self.rows_of(group)], dtype=np.intp)
