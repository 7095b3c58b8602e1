"""Who typed a command: what the system knows, and what only its user says."""

from __future__ import annotations

import os

import pytest

from daemon.cli.actor import by_way_of


@pytest.mark.parametrize(("uid", "said"), [(0, "wang as {user} on"), (1, "{user}, SUDO_USER=wang")])
def test_who_called_through_sudo_only_root_knows(
    monkeypatch: pytest.MonkeyPatch, uid: int, said: str
) -> None:
    monkeypatch.setattr("daemon.cli.actor.os_user", lambda: "li")
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setenv("SUDO_USER", "wang")
    assert by_way_of().startswith(said.format(user="li"))
