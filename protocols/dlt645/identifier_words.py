"""What the variable parts of an identifier are called, in English and in Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Language = Mapping[str, tuple[str, ...] | str]
"""For each variable part the word for each of its numbers, or a text to put the number in."""
PHASES: Final = ("", "_a", "_b", "_c")
# 07 is the ladder switch; one source takes it for a monthly freeze.
FREEZE_KINDS: Final = (
    "scheduled",
    "instant",
    "time_zone_switch",
    "day_slot_switch",
    "hourly",
    "price_switch",
    "daily",
    "ladder_switch",
)
"""What a freeze 05 kk was taken for, from kk = 00 on."""
FREEZE_KINDS_CHINESE: Final = (
    "定时",
    "瞬时",
    "时区表切换",
    "日时段表切换",
    "整点",
    "费率电价切换",
    "日",
    "阶梯切换",
)
LOAD_CLASSES: Final = ("", "_class_1", "_class_2", "_class_3", "_class_4", "_class_5", "_class_6")
LOAD_ORDER: Final = ("_earliest", "_since", "_latest")
"""06 cc 00 NN: the earliest record, those since a given time, the latest."""

ENGLISH: Final[Language] = {
    "pp": PHASES,
    "qq": PHASES,
    "kk": FREEZE_KINDS,
    "cc": LOAD_CLASSES,
    "oo": LOAD_ORDER,
    "tt": "_tariff_{}",
    "dd": "_settlement_{}",
    "nn": "_last_{}",
    "hh": "_harmonic_{}",
    "mm": "_{}",
    "ll": "_{}",
    "ii": "_{}",
    "more phases": "_phase_{}",
    "total": "",
}
CHINESE: Final[Language] = {
    "pp": ("", "A相", "B相", "C相"),
    "qq": ("总", "A相", "B相", "C相"),
    "kk": FREEZE_KINDS_CHINESE,
    "cc": ("", "第1类", "第2类", "第3类", "第4类", "第5类", "第6类"),
    "oo": ("最早", "给定时间", "最近"),
    "tt": "费率{}",
    "dd": "上{}结算日",
    "nn": "上{}次",
    "hh": "{}次",
    "mm": "{}",
    "ll": "{}",
    "ii": "第{}项",
    "more phases": "第{}相",
    "total": "总",
}
_SAME_WORDS: Final = {"rr": "tt", "t": "tt", "p": "pp", "q": "qq", "n": "ii"}


def word(variable: str, number: int, language: Language) -> str:
    """The word for a number of a variable part. A present settlement day (0) has none."""
    variable = _SAME_WORDS.get(variable, variable)
    if number == 0 and variable == "tt":
        return str(language["total"])
    if number == 0 and variable == "dd":
        return ""
    words = language[variable]
    if isinstance(words, str):
        return words.format(number)
    if number < len(words):
        return words[number]
    # More phases than there are: data of any length get their names.
    return str(language["more phases"]).format(number)
