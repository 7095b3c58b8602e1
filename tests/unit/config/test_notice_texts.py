"""Texts for customers: shipped in both languages, overridden by a site, wrong ones named."""

from pathlib import Path

import pytest

from config.notice_texts import (
    COMMAND,
    EVIDENCE,
    HOW_TO_RESTORE,
    NOTICES,
    WHY,
    load_texts,
    shipped_texts,
)
from config.problems import ConfigError
from config.translation import LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_shipped(language: str) -> None:
    tables = shipped_texts()[language].tables
    assert {name for name in tables if name in NOTICES} == set(NOTICES)
    for name in NOTICES:
        assert set(tables[name]) == {"title", "text"}
    keys = {"why": WHY, "evidence": EVIDENCE, "command": COMMAND, "how_to_restore": HOW_TO_RESTORE}
    for name, its in keys.items():
        assert set(tables[name]) == set(its)


@pytest.mark.parametrize("kind", ["written", "final"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notice_of_a_cut_states_all_that_it_has_to(kind: str, language: str) -> None:
    # Control, notices: balance, arrears and since when, deadline, planned time, how to pay, how to
    # restore, how to complain.
    stated = {
        "account": "A1",
        "balance": "-12.34",
        "missing": "17.34",
        "since": "SINCE",
        "deadline": "DEADLINE",
        "planned": "PLANNED",
        "how_to_pay": "PAY",
        "how_to_restore": "RESTORE",
        "how_to_complain": "COMPLAIN",
    }
    text = shipped_texts()[language].fill(kind, "text", stated)
    assert [value for value in stated.values() if value not in text] == []


def test_a_site_overrides_a_text_of_one_language(tmp_path: Path) -> None:
    (tmp_path / "zh.toml").write_text('[why]\non = "有电"\n', encoding="utf-8")
    texts = load_texts(tmp_path, tmp_path)
    assert texts["zh"].fill("why", "on", {}) == "有电"
    assert texts["zh"].tables["low"] == shipped_texts()["zh"].tables["low"]
    assert texts["en"].tables == shipped_texts()["en"].tables


@pytest.mark.parametrize(
    ("text", "line", "where", "words"),
    [
        (
            '[low]\ntext = "{acount}"',
            2,
            "low.text",
            "unknown blank {acount} (did you mean account?)",
        ),
        (
            '[low]\ntext = "{account} {balance} {warn}"',
            2,
            "low.text",
            "does not say {how_to_pay}",
        ),
        ('[low]\ntitle = "{missing}"', 2, "low.title", "unknown blank {missing}"),
        ('[why]\n\ncut = "{since"', 3, "why.cut", "cannot be filled: "),
        ('[why]\non = "{0}"', 2, "why.on", "{0} is more than a name"),
        ('[why]\non = "{a:>9}"', 2, "why.on", "{a} is more than a name"),
        ('[why]\non = "{a.b}"', 2, "why.on", "{a.b} is more than a name"),
        ('[why]\non = " "', 2, "why.on", "must be a text"),
        ("[why]\non = 1", 2, "why.on", "must be a text"),
        ("why = 1", 1, "why", "is no table"),
        ("[wy]", 1, "wy", "unknown table (did you mean why?)"),
        ('[why]\ncutt = "x"', 2, "why.cutt", "unknown key (did you mean cut?)"),
        ("[why", 1, "file", "is no TOML: "),
    ],
)
def test_a_wrong_text_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, where: str, words: str
) -> None:
    (tmp_path / "en.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_texts(tmp_path, tmp_path)
    found = [it for it in refused.value.problems if words in it.message]
    assert [(it.file, it.line, it.where) for it in found] == [("en.toml", line, where)]


def test_braces_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "en.toml").write_text('[why]\non = "{{on}}"', encoding="utf-8")
    assert load_texts(tmp_path, tmp_path)["en"].fill("why", "on", {}) == "{on}"


def test_a_folder_without_texts_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has none of en.toml, zh.toml"):
        load_texts(tmp_path / "nowhere", tmp_path)
