"""A disk of its own, small enough to be full."""

from __future__ import annotations

import errno
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BLOCK: Final = bytes(2**16)
LARGEST: Final = 2**30


class MayNotMount(Exception):
    """Only root may, and not in every container."""


@contextmanager
def small_disk(mebibytes: int) -> Iterator[Path]:
    """An empty file system of this size. MayNotMount."""
    with tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder:
        options = f"size={mebibytes}m,mode=755"
        words = ["mount", "-t", "tmpfs", "-o", options, "meterd-tests", folder]
        mounted = subprocess.run(words, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            raise MayNotMount(mounted.stderr.strip())
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Meanwhile the disk of this folder has no room."""
    assert shutil.disk_usage(folder).total <= LARGEST, f"{folder} is on a disk of others too"
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    try:
        yield
    finally:
        filler.unlink()
