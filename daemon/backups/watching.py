"""How old the newest backup is, shown to those who watch."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

from daemon import metrics
from daemon.backups.folder import newest
from daemon.runtime.supervision import in_thread

LOOK_S: Final = 60.0


async def show_newest(directory: Path) -> None:
    """Until cancelled; in a thread, because backups mostly lie on a disk that may hang."""
    while True:
        metrics.BACKUP_SUCCESS.set(await in_thread(partial(newest, directory)))
        await asyncio.sleep(LOOK_S)
