"""Coverage-guided fuzzing of one format of tests/fuzz/targets.py with atheris.

Run it: `make fuzz` for all, `make fuzz FORMATS=mqtt` for one. The same inputs for the same seed.
What ends a run is an exception that no user is told, five seconds or two gigabytes for one input:
the input is kept in `.fuzz`, and `fuzz.py FORMAT FILE` takes it once more."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["config", "daemon", "protocols"]):
    from tests.fuzz.targets import TARGETS, TOLD, Target


def _corpus(name: str, target: Target) -> str:
    """A folder with the samples, as libFuzzer wants them."""
    folder = Path(".fuzz") / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(target.samples()):
        (folder / f"sample-{number}").write_bytes(sample)
    return str(folder)


if __name__ == "__main__":
    program, fuzzed, *rest = sys.argv
    chosen = TARGETS[fuzzed]

    def take_one(data: bytes) -> None:
        """What atheris calls."""
        try:
            chosen.take(data)
        except TOLD:
            return

    given = [it for it in rest if not it.startswith("-")] or [_corpus(fuzzed, chosen)]
    options = [it for it in rest if it.startswith("-")]
    limits = ["-timeout=5", "-rss_limit_mb=2048", f"-max_len={chosen.most_bytes}"]
    atheris.Setup([program, *limits, *options, *given], take_one)
    atheris.Fuzz()
