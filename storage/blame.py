"""Whose fault an error of the database is, by its SQLSTATE. Pure."""

from __future__ import annotations

import psycopg

LOST_A_RACE = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
TOO_LARGE = psycopg.errors.ProgramLimitExceeded
"""A row that fits into no page or index."""


def is_of_the_whole(error: BaseException) -> bool:
    """True if the database cannot store now, whatever it is given.

    Classes 22 and 23 and 54000 are a row's fault, and so is what fails before it reaches the
    database; read-only, privileges, disk, memory, timeouts and lost connections are nobody's."""
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError | TOO_LARGE):
        return False
    return isinstance(error, psycopg.Error | OSError | MemoryError)


def lost_a_race(error: BaseException) -> bool:
    """True if another transaction was first (40xxx): the same again may be done at once, over the
    same connection."""
    return isinstance(error, LOST_A_RACE)
