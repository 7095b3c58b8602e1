"""The guard that decides and the one that looks again say the same."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from daemon.control.guard import Facts, Policy, Verdict, snapshot
from tests.guard_snapshot import NOW, good
from tests.guards import SIZE, differences

EVERY = 199
"""Of the table, which `make guards` goes through as a whole; a prime, so that no value is left out."""


def test_they_agree_at_the_edges_of_every_rule() -> None:
    assert SIZE >= 4_000_000
    assert list(differences(step=EVERY)) == []


def test_the_second_reads_all_that_is_kept() -> None:
    """A field that is added to the guard is one that the other has to be told of."""
    kept: dict[str, Any] = {**snapshot(Policy(), Facts(NOW, 0, 0), Verdict("allow", ()))}
    assert {key: set(kept[key]) for key in ("policy", "facts")} == {
        key: set(good()[key]) for key in ("policy", "facts")
    }
    assert set(good()["facts"]) == {field.name for field in fields(Facts)}
