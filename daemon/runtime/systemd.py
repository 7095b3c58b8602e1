"""What systemd wants to know: ready, alive, stopping."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager `READY=1`, `WATCHDOG=1`, `STOPPING=1`.

    Nothing happens when none listens."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    # sd_notify(3): a name that begins with @ is in the abstract namespace, written as a zero byte.
    if path.startswith("@"):
        path = "\0" + path[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto(state.encode(), path)


def watchdog_period_s() -> float | None:
    """How often to say WATCHDOG=1; None when systemd does not watch this process.

    A third of what it allows, so that two may come late."""
    limit_us = os.environ.get("WATCHDOG_USEC")
    this_process = str(os.getpid())
    watched_process = os.environ.get("WATCHDOG_PID", this_process)
    if limit_us is None or watched_process != this_process:
        return None
    return int(limit_us) / 1e6 / 3
