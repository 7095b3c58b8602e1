"""Secrets are read from where they are kept and printed as ***."""

import copy
import logging
from pathlib import Path

import pytest

from config.secret import Secret, read_secret


def test_a_secret_is_printed_as_stars_however_it_is_printed() -> None:
    secret = Secret("hunter2")
    nested = {"password": [secret]}
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>5}",
        str(nested),
        repr(copy.copy(secret)),
    ]
    assert all("***" in text and "hunter2" not in text for text in shown)
    record = logging.LogRecord("x", 20, "f", 1, "password %s", (secret,), None)
    assert record.getMessage() == "password ***"
    assert secret.reveal() == "hunter2"


@pytest.mark.parametrize("text", ["s3cret", "s3cret\n", "  s3cret \r\n"])
def test_a_secret_from_a_file_comes_without_its_line_end(tmp_path: Path, text: str) -> None:
    (tmp_path / "pw").write_text(text)
    assert read_secret({"file": "pw"}, tmp_path).reveal() == "s3cret"
    assert read_secret({"file": str(tmp_path / "pw")}, tmp_path / "elsewhere").reveal() == "s3cret"


def test_a_secret_from_the_environment_or_from_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_PASSWORD", "s3cret")
    assert read_secret({"env": "SITE_PASSWORD"}, tmp_path).reveal() == "s3cret"
    (tmp_path / "pw").write_text("other")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret({"credential": "pw"}, tmp_path / "elsewhere").reveal() == "other"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("s3cret", "a secret is given as"),
        ({"file": "a", "env": "b"}, "a secret is given as"),
        ({}, "a secret is given as"),
        ({"file": 5}, "a secret is given as"),
        ({"file": "empty"}, "the secret in file empty is empty"),
        ({"file": "."}, "cannot read .*: Is a directory"),
        ({"file": "binary"}, "binary is not written in UTF-8"),
        ({"password": "s3cret"}, "password is no source of secrets"),
    ],
)
def test_a_source_that_cannot_be_read_is_told_without_the_secret(
    tmp_path: Path, source: object, told: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"s3cret\xff")
    with pytest.raises(ValueError, match=told) as refusal:
        read_secret(source, tmp_path)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["file", "env"])
def test_a_secret_that_stands_where_its_place_belongs_is_not_repeated(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        read_secret({kind: "postgresql://meterd:s3cret@db/meterd"}, tmp_path)
    assert "s3cret" not in str(refusal.value)
