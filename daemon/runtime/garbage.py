"""The garbage collector of a process whose objects live as long as it does, or for a moment."""

import atexit
import gc

MADE_BETWEEN = 100_000
"""Objects that are made, less those that are freed, until the collector looks.

Readings wait by the thousand until their batch is stored, and hold nothing in circles: with the
usual 700 it would look at each of them several times, in memory that is cold by then. A full queue
is made of half as many. So are the rows of a site that a command lists."""


def collect_seldom() -> None:
    """Look at what was made lately, and very seldom at what was made before."""
    gc.set_threshold(MADE_BETWEEN, 20, 20)


def end_without_a_look() -> None:
    """The interpreter's last look finds only what goes with the process: a tenth of a second of
    every command, more where it holds the rows of a site."""
    atexit.register(gc.freeze)


def spare_what_is_there() -> None:
    """Everything that lives now stays, and is not looked at again.

    To look for the few dozen objects that a start leaves in circles was a twentieth of it."""
    # Out of every generation: the site's meters are never looked at again.
    gc.freeze()
    collect_seldom()
