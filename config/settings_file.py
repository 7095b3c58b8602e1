"""`meterd.toml` as a file: read once, validated as a whole or in the part that a command needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from config.problems import ConfigError, Problem, did_you_mean
from config.settings import DatabaseSettings, known_keys
from config.toml_lines import Path as Place
from config.toml_lines import line_of, read_toml
from config.wrong_settings import in_words

S = TypeVar("S", bound=BaseModel)


def load_settings(path: Path) -> DatabaseSettings:
    """What a command needs that asks the database itself. ConfigError with all mistakes of that.

    A mistake in the archive, the tariffs or the lines is none of it: a payment can be taken in
    while somebody mends those files."""
    return SettingsFile.read(path).validated(DatabaseSettings)


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The content of the file with the lines of its keys. Paths in it are relative to `base`."""

    name: str
    base: Path
    content: Mapping[str, Any]
    lines: Mapping[Place, int]

    @classmethod
    def read(cls, path: Path) -> Self:
        """ConfigError when it cannot be read as TOML."""
        name = path.name if path.is_file() else str(path)
        content, lines = read_toml(path, name)
        return cls(name, path.absolute().parent, content, lines)

    def validated(self, model: type[S]) -> S:
        """The settings that `model` describes. ConfigError with all mistakes in them."""
        try:
            return model.model_validate(self.content, context={"base": self.base})
        except ValidationError as error:
            # From None: the original error prints the values, secrets among them.
            raise ConfigError(map(self._in_words, error.errors())) from None

    def problem(self, place: Place, where: str, message: str) -> Problem:
        """A mistake at the line of `place`; `where` is how the reader of the file calls it."""
        return Problem(self.name, line_of(self.lines, place), where, message)

    def problem_at(self, place: Place, message: str) -> Problem:
        """The same, `where` being the place with the names of its tables."""
        return self.problem(place, ".".join(self._labels(place)) or "file", message)

    def path_of(self, section: str, key: str) -> Path | None:
        """The path that a key names, whatever else is wrong with the file."""
        table = self.content.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        return self.base / value if isinstance(value, str) else None

    def tables(self, section: str) -> list[dict[str, Any]]:
        """The tables of a `[[section]]`, whatever else is wrong with the file."""
        tables = self.content.get(section)
        if not isinstance(tables, list):
            return []
        return [table for table in tables if isinstance(table, dict)]

    def names(self, section: str) -> set[str]:
        """The names in a `[[section]]`, whatever else is wrong with the file."""
        return {str(table.get("name")) for table in self.tables(section)}

    def _in_words(self, mistake: Any) -> Problem:
        place: Place = mistake["loc"]
        if mistake["type"] == "extra_forbidden":
            known = known_keys(place[:-1])
            message = f"unknown key{did_you_mean(str(place[-1]).lower(), known)}"
        else:
            message = in_words(mistake)
        return self.problem_at(place, message)

    def _labels(self, place: Place) -> Iterator[str]:
        """The parts of a place as a reader knows them: a line by its name, not by its number."""
        value: Any = self.content
        for part in place:
            value = _inside(value, part)
            name = value.get("name") if isinstance(value, dict) else None
            if isinstance(part, int) and isinstance(name, str):
                yield name
            else:
                yield str(part)


def _inside(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None
