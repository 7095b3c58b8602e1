"""What `meterd check` says in another language."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config.translation import CATALOGUES, LANGUAGES, entries, words_of
from daemon.cli.check import check
from tests.unit.config.test_site import GOOD, write

BLANK = re.compile(r"\{([0-9])\}")


def checked(site: Path, *options: str) -> Result:
    return CliRunner().invoke(check, ["-c", str(site), *options])


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_catalogue_keeps_what_a_message_tells_of_its_value(language: str) -> None:
    found = list(entries((CATALOGUES / f"{language}.po").read_text(encoding="utf-8")))
    assert len({template for template, _ in found}) == len(found)
    for template, translation in found[1:]:
        blanks = BLANK.findall(template)
        assert blanks == [str(number) for number in range(len(blanks))], template
        assert sorted(BLANK.findall(translation)) == blanks, template
        if blanks:
            assert BLANK.sub("", template).strip(), template


def test_an_entry_may_have_several_lines() -> None:
    text = '# note\nmsgid ""\n"a "\n"{0}"\nmsgstr ""\n"{0} "\n"b\\n"\n\nmsgid "c"\nmsgstr "d"\n'
    assert list(entries(text)) == [("a {0}", "{0} b\n"), ("c", "d")]


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("unknown column (did you mean ratio?)", "未知的列（是不是 ratio？）"),
        ("no point P1 in points.csv", "points.csv 里没有计量点 P1"),
        # A message within a message is one, too; a name in it stays.
        (
            "no tariff hom in the tariffs file (did you mean home?)",
            "电价文件里没有电价 hom（是不是 home？）",
        ),
        (
            '"1/3/2026" is no date, write 2026-03-01 or 2026-01-03',
            "“1/3/2026”不是日期，请写 2026-03-01 或 2026-01-03",
        ),
        ("something that nobody translated", "something that nobody translated"),
    ],
)
def test_a_message_is_put_together_again(english: str, chinese: str) -> None:
    assert words_of("zh")(english) == chinese
    assert words_of("en")(english) == english


def test_mistakes_are_told_in_chinese(tmp_path: Path) -> None:
    points = GOOD["archive/points.csv"].replace("P1,A1", "P1,A7").replace("P2,A2", "P2,A8")
    site = write(tmp_path, points=points)
    found = checked(site, "--language", "zh")
    assert found.exit_code == 78
    assert found.stderr.splitlines() == [
        "archive/points.csv:2: account: accounts.csv 里没有账户 A7 (另有 1 行相同：第 3 行)",
        "共 1 处错误",
    ]
    as_json = [
        json.loads(it) for it in checked(site, "--language", "zh", "--json").stdout.splitlines()
    ]
    assert [it["where"] for it in as_json] == ["account", "account"]
    assert as_json[0]["message"].startswith("accounts.csv 里没有账户 A7")
    assert "no account A7" in checked(site).stderr


def test_a_good_site_is_told_in_chinese(tmp_path: Path) -> None:
    site = write(tmp_path, points=("P3,,,", "P3,A2,,"))
    found = checked(site, "--language", "zh")
    assert found.exit_code == 0, found.output
    assert "个账户，控制 shadow。没有错误。" in found.stdout
    warnings = found.stderr.splitlines()
    assert warnings
    assert all(line.startswith("警告：") for line in warnings)
