"""Build meterd_VERSION_ARCH.deb out of what is committed, into dist/.

What debian/control wants for that is installed where it is missing. What goes in is a clean copy of
the last commit, the wheel made of it, and the wheels that requirements.txt locks."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from email.utils import format_datetime
from io import BytesIO
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FROM_THE_HOUSE: Final = {
    "systemd/meterd.service": "meterd.service",
    "systemd/meterd-backup.service": "meterd.meterd-backup.service",
    "systemd/meterd-backup.timer": "meterd.meterd-backup.timer",
    "systemd/sysusers.d/meterd.conf": "meterd.sysusers",
    "systemd/tmpfiles.d/meterd.conf": "meterd.tmpfiles",
}
CHANGELOG: Final = """\
meterd ({version}) unstable; urgency=medium

  * What changed stands in CHANGELOG.md.

 -- meterd <meterd@localhost>  {day}
"""


def run(*command: str | Path, cwd: Path = ROOT) -> bytes:
    """What it printed; CalledProcessError, with its errors on the terminal, if it fails."""
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE).stdout


def install_what_builds() -> None:
    """The packages of debian/control, by apt; nothing where all are there."""
    checker = shutil.which("dpkg-checkbuilddeps")
    if (
        checker
        and subprocess.run([checker, "debian/control"], cwd=ROOT, check=False).returncode == 0
    ):
        return
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    apt_get = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    run(*apt_get, "update")
    run(*apt_get, "build-dep", "--yes", "--no-install-recommends", "./")


def version() -> str:
    """That of pyproject.toml at a tag; commits after it count on, so that each is an upgrade."""
    described = (
        run("git", "describe", "--tags", "--always", "--long", "--match", "v*").decode().strip()
    )
    if "-" not in described:
        count = run("git", "rev-list", "--count", "HEAD").decode().strip()
        return f"0.1.0~{count}+g{described}"
    tag, ahead, commit = described.rsplit("-", 2)
    return tag.removeprefix("v") if ahead == "0" else f"{tag.removeprefix('v')}+{ahead}.{commit}"


def fill(source: Path, release: str) -> None:
    """Everything dpkg-buildpackage needs, below `source`."""
    with tarfile.open(fileobj=BytesIO(run("git", "archive", "HEAD"))) as committed:
        committed.extractall(source, filter="data")
    day = datetime.fromtimestamp(int(run("git", "log", "-1", "--format=%ct")), UTC)
    text = CHANGELOG.format(version=release, day=format_datetime(day))
    (source / "debian" / "changelog").write_text(text, encoding="utf-8")
    for place, name in FROM_THE_HOUSE.items():
        shutil.copyfile(source / place, source / "debian" / name)
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        "build/wheel",
        cwd=source,
    )
    (wheel,) = (source / "build" / "wheel").glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    locked = (source / "requirements.txt").read_text(encoding="utf-8")
    line = f"{wheel} --hash=sha256:{digest}\n"
    (source / "debian" / "locked.txt").write_text(locked + line, encoding="utf-8")
    run(
        sys.executable,
        source / "debian" / "pages.py",
        source / "build" / "pages",
        day.date().isoformat(),
    )


def main() -> None:
    """Build it and say where it lies."""
    install_what_builds()
    release = sys.argv[1] if len(sys.argv) > 1 else version()
    with tempfile.TemporaryDirectory(prefix="meterd-deb-") as folder:
        source = Path(folder) / f"meterd-{release}"
        source.mkdir()
        fill(source, release)
        run("dpkg-buildpackage", "--build=binary", "--no-sign", cwd=source)
        (built,) = Path(folder).glob("meterd_*.deb")
        (ROOT / "dist").mkdir(exist_ok=True)
        shutil.copy(built, ROOT / "dist")
        sys.stdout.write(f"dist/{built.name}\n")


if __name__ == "__main__":
    main()
