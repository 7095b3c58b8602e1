"""The package on a Debian 12 that has nothing else: install, first site, upgrade, removal.

Run it as root: `make test-deb`. It is upgraded by itself with a higher version, so that both have one
schema. The bare system is made by debootstrap from the machine's own mirror and kept in the cache;
every run unpacks a fresh one. There is no systemd in it: units are looked at, not started."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.servers.packages import SEARCH_PATH, cache_folder, program

HERE: Final = Path(__file__).parent
RELEASE: Final = "bookworm"
PATH: Final = f"PATH={SEARCH_PATH}:/usr/bin:/bin"
CLEAN: Final = ("env", "-i", PATH, "HOME=/tmp", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
OWN_MOUNTS: Final = ("unshare", "--mount", "--pid", "--fork", "--kill-child")


def bare_system() -> Path:
    """A Debian 12 with nothing but what every Debian has, packed."""
    packed = cache_folder() / f"{RELEASE}.tar"
    if packed.exists():
        return packed
    debootstrap = program("debootstrap", ["debootstrap"])
    wanted = ["--format", "$(SITE)", "Created-By: Packages", f"Codename: {RELEASE}"]
    asked = subprocess.run(
        ["apt-get", "indextargets", *wanted], check=True, capture_output=True, text=True
    )
    (mirror, *_) = asked.stdout.split()
    with tempfile.TemporaryDirectory(prefix="meterd-root-") as folder:
        Path(folder).chmod(0o755)
        made = [debootstrap, "--variant=minbase", RELEASE, folder, mirror]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        part = packed.with_suffix(".part")
        subprocess.run(["tar", "-C", folder, "-cf", part, "."], check=True)
        part.rename(packed)
    return packed


class Machine:
    """The bare system in a folder: commands run in it, in a space of mounts that ends with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        subprocess.run(["tar", "-C", root, "-xf", bare_system()], check=True)
        root.chmod(0o755)
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
        # As the machine's own mirror has to be spoken to.
        for settings in Path("/etc/apt/apt.conf.d").iterdir():
            if "Acquire::" in settings.read_text():
                shutil.copy(settings, root / "etc" / "apt" / "apt.conf.d")

    def run(self, *command: str, user: str = "root") -> str:
        """What it printed; CalledProcessError, with all it said on the terminal, if it fails."""
        mounts = (
            f"mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev"
            f' && exec chroot {self.root} runuser -u {user} -- "$@"'
        )
        done = subprocess.run(
            [*OWN_MOUNTS, "bash", "-c", mounts, "bash", *CLEAN, *command],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            print(done.stdout)
            raise subprocess.CalledProcessError(done.returncode, command)
        return done.stdout

    def install(self, package: Path) -> None:
        """As somebody would: apt brings what it depends on, and nothing that is only recommended."""
        shutil.copy(package, self.root / "tmp" / package.name)
        self.run("apt-get", "install", "--yes", "--no-install-recommends", f"/tmp/{package.name}")

    def package_version(self) -> str:
        """Of meterd, as dpkg knows it."""
        return self.run("dpkg-query", "--show", "--showformat=${Version}", "meterd")


def next_version(package: Path, folder: Path) -> Path:
    """The same package, as if it were of the version after its own."""
    tree = folder / "unpacked"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    text = re.sub(r"(?m)^(Version: .*)$", r"\1+next", control.read_text())
    control.write_text(text)
    built = folder / "meterd_next.deb"
    subprocess.run(["dpkg-deb", "--build", "-Znone", tree, built], check=True)
    shutil.rmtree(tree)
    return built


def said(what: str, answer: object) -> None:
    """One line of the report."""
    print(f"{what}: {answer}", flush=True)


def main(package: Path) -> None:
    """Go the whole way of a package, and of the one that follows it."""
    with (
        tempfile.TemporaryDirectory(prefix="meterd-machine-") as folder,
        tempfile.TemporaryDirectory(prefix="meterd-next-") as beside,
    ):
        root = Path(folder)
        root.chmod(0o755)
        machine = Machine(root)
        machine.run("apt-get", "update")
        machine.install(package)
        said("installed", machine.run("meterd", "--version").strip())
        compilers = [name for name in ("gcc", "cc", "clang") if (root / "usr/bin" / name).exists()]
        assert not compilers, compilers
        assert (root / "usr/share/man/man1/meterd-topup.1.gz").exists()
        assert (root / "usr/share/bash-completion/completions/meterd").exists()
        assert "meterd:" in (root / "etc/passwd").read_text()
        for unit in ("meterd.service", "meterd-backup.service", "meterd-backup.timer"):
            assert (root / "lib/systemd/system" / unit).exists(), unit
        look = "from config import prometheus; print(prometheus.RULES)"
        rules = Path(machine.run("/opt/meterd/venv/bin/python", "-c", look).strip())
        shown = [root / str(it)[1:] for it in (rules, rules.parents[1] / "grafana")]
        assert "MeterdDown" in shown[0].read_text()
        assert len(list(shown[1].glob("meterd-*.json"))) == 6
        machine.run("useradd", "--create-home", "engineer")
        shutil.copy(HERE / "first_site.sh", root / "tmp")
        site = "/home/engineer/site"
        lived = machine.run("bash", "/tmp/first_site.sh", site, user="engineer")
        before = lived.strip().splitlines()[-1]
        said("first site of the README", before)

        installed = machine.package_version()
        machine.install(next_version(package, Path(beside)))
        assert machine.package_version() == f"{installed}+next"
        show = ["meterd", "account", "show", "10010301", "--json", "-c", f"{site}/meterd.toml"]
        after = machine.run(*show, user="engineer").strip().splitlines()[-1]
        assert after == before, after
        said("after the upgrade", machine.package_version())
        machine.run("meterd", "ledger", "verify", "-c", f"{site}/meterd.toml", user="engineer")

        data = root / "var/lib/meterd"
        data.mkdir(exist_ok=True)
        (data / "readings").write_text("of all customers")
        (root / "etc/meterd/meterd.toml").write_text("# the site\n")
        machine.run("apt-get", "remove", "--yes", "meterd")
        assert not (root / "usr/bin/meterd").exists()
        assert not (root / "opt/meterd").exists(), list((root / "opt/meterd").rglob("*"))[:5]
        assert (data / "readings").exists()
        assert (root / site[1:] / "data").exists()
        machine.run("apt-get", "purge", "--yes", "meterd")
        assert (data / "readings").exists()
        assert (root / "etc/meterd/meterd.toml").exists()
        said("removed and purged", "the site and its data are left")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
