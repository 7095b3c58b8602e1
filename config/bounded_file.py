"""Files that somebody names: regular ones only, and no more of them than can be meant."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

MEBIBYTE: Final = 1024 * 1024
MOST_BYTES: Final = 8 * MEBIBYTE
"""Of a file that a person writes."""
MOST_TABLE_BYTES: Final = 256 * MEBIBYTE
"""Of a table: a million rows of meters have about 100 MiB."""


def read_file(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file. OSError, also for any other and for more than `most` bytes.

    A device may have no end, and a pipe may never begin."""
    # Whoever opens a pipe waits for its writer; a terminal could become ours.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        refuse_irregular(os.fstat(descriptor), path)
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most // MEBIBYTE} MiB", str(path))
    return data


def refuse_irregular(status: os.stat_result, path: Path) -> None:
    """OSError for what is no regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, no file", str(path))
