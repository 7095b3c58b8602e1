"""Who typed a command: what the system knows, and what only its user says."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

import pytest

from daemon.cli.actor import NOBODY_NOTED, NOTED_LOGIN, by_way_of, login


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where who logged in is noted; nobody is."""
    path = tmp_path / "loginuid"
    path.write_text(str(NOBODY_NOTED))
    monkeypatch.setattr("daemon.cli.actor.NOTED_LOGIN", path)
    return path


@pytest.mark.parametrize("is_noted", [True, False])
@pytest.mark.parametrize(
    ("uid", "who", "said"),
    [(0, "wang", "wang as root on"), (65534, "nobody", "nobody, SUDO_USER=wang on")],
)
def test_where_no_login_is_noted_only_root_knows_who_called_through_sudo(
    monkeypatch: pytest.MonkeyPatch, noted: Path, is_noted: bool, uid: int, who: str, said: str
) -> None:
    if not is_noted:
        noted.unlink()
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setenv("SUDO_USER", "wang")
    assert login() == who
    assert by_way_of().startswith(said)


@pytest.mark.parametrize(("uid", "user"), [(0, "root"), (65534, "nobody")])
@pytest.mark.parametrize(("told", "who"), [("1", "daemon"), ("4000001", "uid 4000001")])
def test_who_logged_in_stays_who_acts_whatever_sudo_makes_of_him(
    monkeypatch: pytest.MonkeyPatch, noted: Path, uid: int, user: str, told: str, who: str
) -> None:
    noted.write_text(told)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    monkeypatch.setenv("SUDO_USER", "wang")
    assert login() == who
    assert by_way_of().startswith(f"{who} as {user} on")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
@pytest.mark.skipif(
    not NOTED_LOGIN.exists() or int(NOTED_LOGIN.read_text()) != NOBODY_NOTED,
    reason="the kernel notes no login, or did already",
)
def test_the_kernel_keeps_who_logged_in_when_the_user_changes() -> None:
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            NOTED_LOGIN.write_text("1")
            os.setuid(65534)
            os.write(said, f"{login()}|{by_way_of()}".encode())
        os._exit(0)
    os.close(said)
    os.waitpid(child, 0)
    with open(heard, "rb") as told:
        who = pwd.getpwuid(1).pw_name
        assert told.read().decode().startswith(f"{who}|{who} as nobody on ")
