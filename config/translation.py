"""Messages in another language, from a catalogue as gettext's tools edit it.

A message is put together where its mistake is found and is English everywhere else: in logs, in
`--json`, in whoever matches it. So it is translated where it is shown, by the template it was made
of; what stands in a blank is kept, or translated too where it is a message itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ENGLISH: Final = "en"
LANGUAGES: Final = (ENGLISH, "zh")
CATALOGUES: Final = Path(__file__).parent / "messages"

_BLANK: Final = re.compile(r"\{([0-9])\}")
_LINE: Final = re.compile(r'(msgid|msgstr)? ?(".*")')


@dataclass(frozen=True, slots=True)
class _Message:
    """One message of a catalogue."""

    pattern: re.Pattern[str]
    template: str
    translation: str

    @property
    def certainty(self) -> int:
        """How much of the message is its own: of two that fit, the longer one is meant."""
        return len(_BLANK.sub("", self.template))


@dataclass(frozen=True, slots=True)
class Words:
    """The messages of one language; those that it lacks stay English."""

    messages: tuple[_Message, ...] = ()

    def __call__(self, text: str) -> str:
        """`text` in this language, as far as the catalogue has it."""
        for message in self.messages:
            found = message.pattern.fullmatch(text)
            if found is not None:
                blanks = [self(blank) for blank in found.groups()]
                return _BLANK.sub(
                    lambda blank, texts=blanks: texts[int(blank[1])],  # type: ignore[misc]
                    message.translation,
                )
        return text


@cache
def words_of(language: str) -> Words:
    """What says a message in one of LANGUAGES."""
    if language == ENGLISH:
        return Words()
    text = (CATALOGUES / f"{language}.po").read_text(encoding="utf-8")
    messages = [
        _Message(_pattern(template), template, translation)
        for template, translation in entries(text)
        if template and translation
    ]
    messages.sort(key=lambda message: -message.certainty)
    return Words(tuple(messages))


def entries(catalogue: str) -> Iterator[tuple[str, str]]:
    """Each msgid with its msgstr."""
    texts = {"msgid": "", "msgstr": ""}
    key = ""
    for line in [*catalogue.splitlines(), 'msgid ""']:
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        if found[1]:
            if found[1] == "msgid" and key:
                yield texts["msgid"], texts["msgstr"]
            key = found[1]
            texts[key] = ""
        texts[key] += json.loads(found[2])


def _pattern(template: str) -> re.Pattern[str]:
    """What fits a template, whose blanks stand in the order of their numbers."""
    texts = [re.escape(text) for text in _BLANK.split(template)[::2]]
    return re.compile("(.*?)".join(texts), re.DOTALL)
