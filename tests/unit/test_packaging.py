"""The five packages have plain names, so what is imported, installed and started under them is
guarded here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = {"config", "daemon", "protocols", "simulators", "storage"}
SHIPPED_SUFFIXES = {".py", ".sql", ".toml", ".csv", ".po", ".yml", ".json", ".typed"}
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "demo-data")


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_other_distribution_brings_a_package_of_our_name(package: str) -> None:
    assert set(packages_distributions().get(package, [])) == {"meterd"}


def test_no_test_folder_can_be_imported_in_place_of_a_package() -> None:
    impostors = [
        init.parent
        for init in (ROOT / "tests").rglob("__init__.py")
        if init.parent.name in PACKAGES
    ]
    assert impostors == []


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel that is built from the source distribution, not from the checkout."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCE)
    build = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(folder / "source"),
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_and_data_file(wheel_files: set[str]) -> None:
    files = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in SHIPPED_SUFFIXES
    }
    assert any(path.suffix == ".sql" for path in files)
    assert {str(path.relative_to(ROOT)) for path in files} - wheel_files == set()


def test_the_wheel_holds_nothing_but_the_five_packages(wheel_files: set[str]) -> None:
    folders = {name.split("/")[0] for name in wheel_files}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == PACKAGES


def locked(name: str) -> dict[str, list[str]]:
    """By requirement of a lock its hashes."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("    "):
            [*found.values()][-1].append(line.strip().removesuffix(" \\"))
        else:
            found[line.removesuffix(" \\")] = []
    return found


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_a_lock_names_versions_with_hashes_and_no_place_to_get_them_from(name: str) -> None:
    for requirement, hashes in locked(name).items():
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", requirement), requirement
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", it) for it in hashes), requirement


def test_what_runs_is_developed_with_in_the_same_versions() -> None:
    assert locked("requirements.txt").items() <= locked("requirements-dev.txt").items()


@pytest.mark.parametrize("extra", ["", "dev"])
def test_a_lock_holds_all_that_is_asked_for(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"].get(extra, ())]
    name = "requirements-dev.txt" if extra else "requirements.txt"
    versions = dict(line.split(" ;")[0].split("==") for line in locked(name))
    for requirement in map(Requirement, asked):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name}: make lock"
        assert requirement.specifier.contains(version), f"{requirement}, not {version}: make lock"


@pytest.fixture
def service() -> set[str]:
    return set((ROOT / "systemd" / "meterd.service").read_text().splitlines())


def test_the_service_starts_the_console_script_of_its_own_environment(service: set[str]) -> None:
    assert "ExecStart=/opt/meterd/venv/bin/meterd run -c /etc/meterd/meterd.toml" in service
    assert "Environment=PYTHONSAFEPATH=1" in service


def test_the_service_is_watched_and_not_restarted_for_a_wrong_configuration(
    service: set[str],
) -> None:
    assert {"Type=notify", "NotifyAccess=main", "WatchdogSec=60s", "Restart=on-failure"} <= service
    assert f"RestartPreventExitStatus={os.EX_CONFIG}" in service


def test_the_service_runs_as_its_own_user_and_gains_no_rights(service: set[str]) -> None:
    assert {
        "User=meterd",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
    } <= service
