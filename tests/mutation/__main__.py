"""Whether the tests see each small mistake in a rule: `python -m tests.mutation FILE...`.

A program. The tests that `rules.toml` names for a file are run on each of its mutants, in a copy of
the project, until one is red. Survivors are printed; those with a reason stand in `survivors.toml`.
The exit code is 1 where fewer than 95 of 100 mutants are killed, or one survives without a reason.
"""

import argparse
import gc
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mutation.in_place import codes_of, put_in_place
from tests.mutation.mutants import Mutant, mutants_of

FOLDER = Path(__file__).parent
KEPT = Path(".mutation")
"""What survived the last time, by file."""
LEAST_KILLED = {"daemon/control/": 0.97, "": 0.95}
"""By how the name of a file begins: a wrong cut is worse than a wrong fen, which is given back."""
SLOWER = 5
"""A mutant that takes so many times the CPU time of all tests runs in a circle."""
LONGEST_S = 900  # of one mutant
NOT_IN_PLACE = 120
"""The exit code of a fork in which more than the code of functions would have to change."""
ARGUMENTS = ("-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("files", nargs="*", help="of rules.toml; without any, all of them")
    parser.add_argument(
        "--again", action="store_true", help="only what survived the last time, without a reason"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth mutant")
    options = parser.parse_args()
    rules: dict[str, list[str]] = tomllib.loads((FOLDER / "rules.toml").read_text())
    names = options.files or list(rules)
    unknown = [name for name in names if name not in rules]
    if unknown:
        parser.error(f"{', '.join(unknown)}: no tests are named for it in {FOLDER / 'rules.toml'}")
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy_to(Path(folder))
        return int(
            sum(not is_proved(name, rules[name], Path(folder), options) for name in names) > 0
        )


def copy_to(folder: Path) -> None:
    """The project as it is, also what is not committed."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # deleted, and not committed yet
            shutil.copy2(name, target)


def is_proved(name: str, tests: Sequence[str], folder: Path, options: argparse.Namespace) -> bool:
    """Run the mutants of one file and tell what survived."""
    kept = KEPT / f"{name.replace('/', '.')}.json"
    source = (folder / name).read_text()
    reasons = tomllib.loads((FOLDER / "survivors.toml").read_text()).get(name, [])
    listed = {(it["was"], it["now"]) for it in reasons}
    asked = [*mutants_of(source, options.every)]
    if options.again:
        last = {tuple(it) for it in json.loads(kept.read_text())}
        asked = [it for it in asked if (it.where, it.was, it.now) in last]
        asked = [it for it in asked if (it.was, it.now) not in listed]
    survivors = survivors_of(asked, listed, name, tests, folder)
    KEPT.mkdir(exist_ok=True)
    kept.write_text(json.dumps([[it.where, it.was, it.now] for it in survivors], indent=1))
    left = [it for it in survivors if (it.was, it.now) not in listed]
    for it in left:
        print(f"{name}: {it.where}\n  - {it.was}\n  + {it.now}")
    share = 1 - len(survivors) / max(len(asked), 1)
    print(
        f"{name}: {len(asked)} mutants, {share:.1%} killed; {len(survivors)} survive,"
        f" {len(left)} of them without a reason",
        flush=True,
    )
    least = next(least for begin, least in LEAST_KILLED.items() if name.startswith(begin))
    return not left and (options.again or share >= least)


def survivors_of(
    asked: Sequence[Mutant],
    listed: Collection[tuple[str, str]],
    name: str,
    tests: Sequence[str],
    folder: Path,
) -> list[Mutant]:
    written = folder / "outcomes.json"
    run = EachMutant(asked, listed, folder / name, tests, written)
    child = os.fork()
    if child == 0:
        end_as(run_tests(folder, tests, [run]))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        sys.exit(f"{name}: its tests are red without a mutant:\n{output(folder)}")
    outcomes = json.loads(written.read_text())
    return [mutant for mutant, code in zip(asked, outcomes, strict=True) if code == 0]


class EachMutant:
    """A plugin of pytest: once the tests are loaded, each mutant is a fork that goes on with them, in
    their `Order`. Writes the exit code of each.

    It is put into the loaded module, which is quick. One that cannot be is written into the file,
    and all of the project is loaded anew. So is a survivor that nobody expects: tests may have
    called the function when they were loaded."""

    def __init__(
        self,
        asked: Sequence[Mutant],
        listed: Collection[tuple[str, str]],
        target: Path,
        tests: Sequence[str],
        written: Path,
    ) -> None:
        self._asked = asked
        self._listed = listed
        self._target = target
        self._source = target.read_text()
        self._tests = tests
        self._written = written
        self._duration_s: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._duration_s[report.nodeid] = self._duration_s.get(report.nodeid, 0) + report.duration

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        gc.freeze()
        child = os.fork()
        if child == 0:
            yield
            self._written.write_text(json.dumps(self._duration_s))
            return
        code, used_s = wait_for(child)
        if code != 0:
            os._exit(code)
        order = Order(json.loads(self._written.read_text()), self._written.with_name("red.txt"))
        session.config.pluginmanager.register(order)
        limit_s = round(5 + SLOWER * used_s)
        module = next(
            it for it in sys.modules.values() if getattr(it, "__file__", "") == str(self._target)
        )
        before = codes_of(self._source, str(self._target))
        outcomes = []
        for mutant in self._asked:
            order.pytest_collection_modifyitems(session.items)
            child = os.fork()
            if child == 0:
                resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
                if not put_in_place(module, before, mutant.source):
                    os._exit(NOT_IN_PLACE)
                return (yield)
            code = wait_for(child)[0]
            is_new = code == 0 and (mutant.was, mutant.now) not in self._listed
            if is_new or code == NOT_IN_PLACE:
                child = os.fork()
                if child == 0:
                    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
                    self._target.write_text(mutant.source)
                    end_as(load_anew(self._target, self._tests, order))
                code = wait_for(child)[0]
            order.learn()
            outcomes.append(code)
        self._written.write_text(json.dumps(outcomes))
        os._exit(0)


class Order:
    """A plugin of pytest: what was red last comes first, for the next mutant is of the same function
    mostly; then the shortest. `duration_s` of each test, by its id; `red`: the file in which a fork
    tells which one was red."""

    def __init__(self, duration_s: Mapping[str, float], red: Path) -> None:
        self._duration_s = duration_s
        self._red = red
        self._last: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        last = {name: -number for number, name in enumerate(self._last, 1)}
        items.sort(key=lambda it: (last.get(it.nodeid, 0), self._duration_s.get(it.nodeid, 0)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """A fork ends with its first red test: nobody reads why."""
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            self._red.write_text(item.nodeid)
            end_as(1)

    def learn(self) -> None:
        """What the fork told that has ended."""
        with suppress(FileNotFoundError):
            name = self._red.read_text()
            self._red.unlink()
            self._last = [*(it for it in self._last if it != name), name]


def load_anew(target: Path, tests: Sequence[str], plugin: object) -> int:
    """Pytest's exit code of the tests after a file of the project was changed; what is not of the
    project stays loaded."""
    sys.dont_write_bytecode = True
    for cached in target.parent.glob(f"__pycache__/{target.stem}.*.pyc"):
        cached.unlink()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{Path.cwd()}/"):
            del sys.modules[name]
    return int(pytest.main([*ARGUMENTS, *tests], [plugin]))


def wait_for(child: int) -> tuple[int, float]:
    """(exit code, seconds of CPU) of a child; negative where a signal ended it."""
    descriptor = os.pidfd_open(child)
    if not select.select([descriptor], [], [], LONGEST_S)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(descriptor)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def run_tests(folder: Path, tests: Sequence[str], plugins: list[object]) -> int:
    """Pytest's exit code of the tests of the copy, in this process, which is a child."""
    with (folder / "output.txt").open("w") as written:
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)
    sys.path[:] = [str(folder), *(it for it in sys.path if it not in ("", str(Path.cwd())))]
    os.chdir(folder)
    for loaded in [it for it in sys.modules if it.partition(".")[0] == "tests"]:
        del sys.modules[loaded]
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    # Where a zone is forgotten, another one counts than those of the tests.
    os.environ["TZ"] = "Pacific/Marquesas"
    time.tzset()
    return int(pytest.main([*ARGUMENTS, *tests], plugins))


def end_as(code: int) -> None:
    """End a child without what its parent cleans up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def output(folder: Path) -> str:
    return (folder / "output.txt").read_text()[-4000:]


if __name__ == "__main__":
    sys.exit(main())
