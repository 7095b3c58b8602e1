"""What is told of the usual slips in a file that is no TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.test_site import GOOD, mistakes


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("window_start = 09:00", '(write "09:00")'),
        ("window_start = 9:00   # in the morning", '(write "09:00")'),
        ("enabled = True", "(write true)"),
        ("enabled = no", "(write false)"),
        ("mode = shadow", '(a text has quotation marks: "shadow")'),
        ("mode = “shadow”", '(quotation marks are written " here)'),
        ("mode \uff1d 1", "(write = between key and value)"),
        ('path = "C:\\meters"', "(a path with \\ stands between ': 'C:\\meterd')"),
        ("level = 02", '(a number has no zeros in front; a text: "02")'),
        ("min = 5,25", "(write 5.25)"),
        ("holidays = [2026/01/01, 2026/10/01]", "(a day is written 2026-03-01, with hyphens)"),
        ("min: 5", "(write = between key and value)"),
        ("min \uff1a 5", "(write = between key and value)"),
        ("min\u00a0= 5", "(U+00A0 is no plain blank: write it again)"),
        ("min = 5,", "(without a comma at its end: 5)"),
        ("// my site", "(a remark begins with #)"),
        ("min = 5 6", ""),
        ("[control", ""),
    ],
)
def test_a_slip_is_told_with_what_to_write(tmp_path: Path, written: str, hint: str) -> None:
    text = GOOD["meterd.toml"] + "\n[control]\n" + written + "\n"
    (mistake,) = mistakes(tmp_path, meterd=text)
    line = text.splitlines().index(written) + 1
    assert mistake.startswith(f"meterd.toml:{line}: file: is no TOML: ")
    assert mistake.endswith(hint)
    assert bool(hint) == mistake.endswith(")")


@pytest.mark.parametrize("key", ["password", "url", "migration_url"])
def test_a_secret_in_a_file_that_is_no_toml_is_not_repeated(tmp_path: Path, key: str) -> None:
    text = GOOD["meterd.toml"] + f"\n[x]\n{key} = s3cret\n"
    (mistake,) = mistakes(tmp_path, meterd=text)
    assert "s3cret" not in mistake
    assert f"{key} is a secret" in mistake
