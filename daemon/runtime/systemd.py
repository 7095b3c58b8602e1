"""What systemd wants to know: ready, alive, stopping."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager `READY=1`, `WATCHDOG=1`, `STOPPING=1`; nothing happens when none
    listens."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def watchdog_period_s() -> float | None:
    """How often to say WATCHDOG=1: a third of what systemd allows; None when it does not watch this
    process."""
    limit_us = os.environ.get("WATCHDOG_USEC")
    if limit_us is None or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit_us) / 1e6 / 3
