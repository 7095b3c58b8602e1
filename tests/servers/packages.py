"""Debian packages that the tests need: installed where they are missing, one installation at a
time."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

# Some programs of packages are for root, and not in everybody's search path.
SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


class InstallationFailed(Exception):
    """A package is missing and cannot be installed; the message ends with what apt said."""


def cache_folder() -> Path:
    """Where this user keeps what was built or is shared by test runs; it exists afterwards."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meterd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program(name: str, packages: Iterable[str]) -> str:
    """The path of a program, after its packages were installed if it was missing."""
    if (found := shutil.which(name, path=SEARCH_PATH)) is not None:
        return found
    install(packages)
    if (found := shutil.which(name, path=SEARCH_PATH)) is not None:
        return found
    raise InstallationFailed(f"{' and '.join(packages)} are installed, but there is no {name}")


def install(packages: Iterable[str]) -> None:
    """Install what is missing of these. InstallationFailed when that cannot be done: a failure, not
    a skip."""
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    apt_get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    # Workers of one test run, and two test runs, must not meet at apt's own lock, which does not
    # wait.
    with (cache_folder() / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [package for package in packages if not _is_installed(package)]
        if not missing:
            return
        for step in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run([*apt_get, *step], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                said = done.stdout + done.stderr
                raise InstallationFailed(
                    f"apt-get {step[0]} exited with {done.returncode}:\n{said}"
                )


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
