"""Files with secrets that others may read are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from config.load import load_site
from daemon.cli.check import check
from tests.unit.config.test_site import GOOD, write

WITH_SECRETS = (
    GOOD["meterd.toml"]
    + """
[[notice_channel]]
name = "sms"
webhook = { file = "secrets/webhook" }
key = { file = "secrets/key" }

[notices]
how_to_pay_zh = "a"
how_to_complain_zh = "b"
"""
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    for name in ("webhook", "key"):
        path = tmp_path / "secrets" / name
        path.write_text("https://example.org/notices")
        path.chmod(0o600)
    found = write(tmp_path)
    found.write_text(WITH_SECRETS)
    return found


def told(site: Path) -> list[str]:
    return [str(it) for it in load_site(site).warnings if "secret" in it.message]


@pytest.mark.parametrize("rights", [0o600, 0o400, 0o640])
def test_a_secret_of_its_owner_is_none_of_our_business(site: Path, rights: int) -> None:
    (site.parent / "secrets/key").chmod(rights)
    assert told(site) == []


@pytest.mark.parametrize("rights", [0o644, 0o604, 0o620, 0o666, 0o601])
def test_a_secret_that_others_may_read_or_change_is_named(site: Path, rights: int) -> None:
    (site.parent / "secrets/key").chmod(rights)
    (warning,) = told(site)
    assert "notice_channel.sms.key: secrets/key holds a secret" in warning
    assert f"{rights:04o}" in warning
    assert "chmod 600" in warning


def test_check_tells_it_and_finds_no_mistake(site: Path) -> None:
    (site.parent / "secrets/webhook").chmod(0o644)
    found = CliRunner().invoke(check, ["-c", str(site), "--language", "zh"])
    assert found.exit_code == 0, found.output
    assert "secrets/webhook 存有机密，权限为 0644" in found.stderr
