"""What explains money as sections of rows, for screens, files and programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from daemon.billing.links import Link, Piece, is_told
from daemon.billing.pricing import ONE_KWH, PricedUse, PriceLine, Terms, summed
from daemon.cli.bill_words import CHINESE
from storage.explanation import PointRow

MOST_DECIMALS: Final = 10


class Word(str):
    """A cell, or a part of one, that is told in the reader's language."""


class Section(NamedTuple):
    """`name`, `head`: words. A cell may be a list, whose parts stand behind each other."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]


def told_in(language: str, sections: Iterable[Section]) -> list[Section]:
    """The sections in a language, each cell in one piece."""
    words: Mapping[str, str] = CHINESE if language == "zh" else {}

    def told(cell: object) -> object:
        if isinstance(cell, list):
            return " ".join(str(told(part)) for part in cell)
        return words.get(cell, str(cell)) if isinstance(cell, Word) else cell

    return [
        Section(
            words.get(name, name),
            [words.get(it, it) for it in head],
            [[told(cell) for cell in row] for row in rows],
        )
        for name, head, rows in sections
    ]


def as_object(sections: Iterable[Section]) -> dict[str, Any]:
    """The same for programs: by name a list of rows, each by its heads."""
    return {
        name.replace(" ", "_"): [
            {key.replace(" ", "_"): cell for key, cell in zip(head, row, strict=True)}
            for row in rows
        ]
        for name, head, rows in told_in("en", sections)
    }


def yuan_of(fen: int) -> Decimal:
    """Integer fen as yuan, exactly."""
    return Decimal(fen).scaleb(-2)


def exact(number: Fraction) -> Decimal | str:
    """A number with all its decimals; what has no end is cut and ends with `...`."""
    with localcontext() as context:
        context.prec = 60
        value = Decimal(number.numerator) / Decimal(number.denominator)
        if Fraction(value) != number:
            return f"{value.quantize(Decimal(1).scaleb(-MOST_DECIMALS)):f}..."
        text = f"{value:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def component(name: str) -> Word:
    """What a component is called on a bill."""
    return Word("minimum charge" if name == "minimum" else name)


def registers(
    links: Iterable[Link],
    points: Mapping[int, PointRow],
    addresses: Mapping[int, str],
    zone: ZoneInfo,
) -> Section:
    """What each meter showed under each ratio, register by register, joined where the same meter
    went on."""
    head = ("point", "meter", "from", "to", "register", "begin", "end", "ratio", "kWh", "note")
    return Section("registers", head, list(_register_rows(links, points, addresses, zone)))


def _register_rows(
    links: Iterable[Link],
    points: Mapping[int, PointRow],
    addresses: Mapping[int, str],
    zone: ZoneInfo,
) -> Iterator[list[object]]:
    for link, piece, kwh in _runs(links, zone):
        point = points[link.point_id]
        for register, name in enumerate(("total", *point.rates)[: len(kwh)]):
            shown = [
                Decimal(it[register]).scaleb(-piece.decimals) for it in (piece.begins, piece.ends)
            ]
            yield [
                point.number,
                addresses[piece.meter_id],
                *(f"{it.astimezone(zone):%Y-%m-%d %H:%M}" for it in (piece.start, piece.end)),
                name if register else Word(name),
                *((None, None) if is_told(link) else shown),
                exact(Fraction(piece.ratio)),
                exact(kwh[register]),
                _note(link, piece, register),
            ]


def _runs(links: Iterable[Link], zone: ZoneInfo) -> Iterator[tuple[Link, Piece, list[Fraction]]]:
    """Pieces, joined while a meter goes on with the same ratio, and kWh by register."""
    last: tuple[Link, Piece, list[Fraction]] | None = None
    for link in links:
        for piece in link.in_pieces(zone):
            scale = Fraction(piece.ratio) / 10**piece.decimals
            kwh = [it * scale for it in piece.advanced]
            if last is not None and _goes_on(last, link, piece, kwh):
                before = last[1]
                joined = piece._replace(start=before.start, begins=before.begins)
                last = link, joined, [a + b for a, b in zip(last[2], kwh, strict=True)]
                continue
            if last is not None:
                yield last
            last = link, piece, kwh
    if last is not None:
        yield last


def _goes_on(
    last: tuple[Link, Piece, list[Fraction]], link: Link, piece: Piece, kwh: Sequence[Fraction]
) -> bool:
    before_link, before, before_kwh = last
    facts = (before_link.point_id, before.end, before.ends, *before[2:3], *before[5:])
    is_plain = not (is_told(link) or is_told(before_link) or link.hold or before_link.hold)
    return (
        is_plain
        and facts == (link.point_id, piece.start, piece.begins, *piece[2:3], *piece[5:])
        and len(before_kwh) == len(kwh)
    )


def _note(link: Link, piece: Piece, register: int) -> object:
    if link.hold:
        return [Word("not billed yet"), link.hold]
    if is_told(link):
        return Word("agreed, no register shows it")
    if piece.ends[register] < piece.begins[register]:
        return Word("rolled over")
    return None


def use(priced: Iterable[PricedUse], terms: Terms) -> Section:
    """kWh by month, version and register; `split`: cut in proportion to time."""
    kwh: dict[tuple[date, int, str], Fraction] = {}
    split: set[tuple[date, int]] = set()
    for it in priced:
        for name, steps in it.use.registers.items():
            key = (it.use.month, it.use.version, name)
            kwh[key] = kwh.get(key, Fraction(0)) + Fraction(steps, ONE_KWH)
        if it.use.is_estimated:
            split.add((it.use.month, it.use.version))
    rows = [
        [
            f"{month:%Y-%m}",
            terms.versions.all[version].effective_from,
            Word(name),
            exact(used),
            Word("split by time") if (month, version) in split else None,
        ]
        for (month, version, name), used in sorted(kwh.items(), key=lambda it: it[0][:2])
    ]
    return Section("use", ("month", "version from", "register", "kWh", "note"), rows)


def prices(
    priced: Sequence[PricedUse], terms: Terms, reached: Mapping[int, date] | None = None
) -> Section:
    """What each kWh cost, by version, step and register."""
    bounds = {(it.use.month, it.use.version): it.bounds for it in priced}
    rows = [
        [
            terms.versions.all[it.version].effective_from,
            component(it.component),
            Word(it.register),
            _step(it, bounds[it.month, it.version]),
            exact(it.kwh),
            exact(Fraction(it.price)),
            exact(it.yuan),
            _slab_note(it, reached or {}),
        ]
        for it in summed(line for of_use in priced for line in of_use.lines)
    ]
    head = ("version from", "component", "register", "step kWh", "kWh", "price", "yuan", "note")
    return Section("prices", head, rows)


def _step(line: PriceLine, bounds: Sequence[Fraction]) -> str | None:
    if line.step is None:
        return None
    below = exact(bounds[line.step - 1]) if line.step else 0
    return f"> {below}" if line.step == len(bounds) else f"{below} - {exact(bounds[line.step])}"


def _slab_note(line: PriceLine, reached: Mapping[int, date]) -> object:
    if not line.is_whole:
        return None
    on = reached.get(line.step or 0)
    return [Word("slab reached"), on] if on else Word("slab reached")
