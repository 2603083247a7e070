"""Natural sort order of file names: numbers compare by value, including decimals; extensions are ignored.

``frame_2`` comes before ``frame_10``, and ``0.15`` between ``0.1`` and ``0.9``. Values are exact decimals, because a
time stamp in nanoseconds has more digits than a float.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

# A hyphen is a sign at the start of a name or after a separator (offset_-5), but not in scene-5 or 2026-03-05.
NUMBER = re.compile(r"((?:(?<![0-9A-Za-z)-])-)?[0-9]+(?:\.[0-9]+)*)")


POINT = re.compile(r"[0-9]\.[0-9]")
EXTENSION = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9]*$")


class Number(NamedTuple):
    """A number in a name."""

    value: Decimal
    """Its exact value."""
    text: str
    """As it is written."""

    @property
    def is_decimal(self) -> bool:
        """Whether it is written with a decimal point."""
        return "." in self.text


def stem_of(path: Path) -> str:
    """Return the name without its extension. An extension starts with a letter: ``1305031102.17`` has none.

    >>> stem_of(Path("a/0.15.depth.png")), stem_of(Path("walk.10"))
    ('0.15.depth', 'walk.10')
    """
    return EXTENSION.sub("", path.name)


@lru_cache(maxsize=1 << 17)
def split_name(name: str, *, decimals: bool = True) -> tuple[str | Number, ...]:
    """Return the parts of a name, alternating text and numbers; the first and last are text and may be empty.

    Args:
        name: A file name without its extension; normalised to Unicode's composed form and lower case.
        decimals: Whether ``1.5`` is one number, or the numbers 1 and 5. A word with several points, such as
            ``2026.03.05``, is never one number.

    >>> values(split_name("Frame_1.50"))
    ('frame_', Decimal('1.50'), '')
    >>> values(split_name("Frame_1.50", decimals=False))
    ('frame_', Decimal('1'), '.', Decimal('50'), '')
    """
    parts: list[str | Number] = []
    for position, word in enumerate(NUMBER.split(unicodedata.normalize("NFC", name).casefold())):
        if position % 2 == 0:
            parts.append(word)
        elif decimals and word.count(".") == 1:
            parts.append(Number(Decimal(word), word))
        else:
            for place, digits in enumerate(word.split(".")):
                if place > 0:
                    parts.append(".")
                parts.append(Number(Decimal(digits), digits))
    return tuple(parts)


def points_are_decimal(stems: Iterable[str]) -> bool:
    """Return whether a point between digits is a decimal point in these names.

    It is, unless two names would then be equal: ``shot1.1`` and ``shot1.10`` are the first and the tenth.

    >>> points_are_decimal(["0.1", "0.15", "0.9"]), points_are_decimal(["1.1", "1.2", "1.10"])
    (True, False)
    """
    seen: dict[tuple[str | Decimal, ...], str] = {}
    for stem in stems:
        if not POINT.search(stem):
            continue
        other = seen.setdefault(values(split_name(stem)), stem)
        if other != stem and values(split_name(other, decimals=False)) != values(split_name(stem, decimals=False)):
            return False
    return True


def values(parts: Sequence[str | Number]) -> tuple[str | Decimal, ...]:
    """Return the parts of a name with numbers replaced by their values."""
    return tuple(part.value if isinstance(part, Number) else part for part in parts)


def sort_naturally(paths: Iterable[Path]) -> list[Path]:
    """Return files sorted by folder and name, numbers by value; the extension only breaks ties.

    >>> [path.name for path in sort_naturally(map(Path, ["f10.png", "f2.png", "F1.png", "f1.5.jpg"]))]
    ['F1.png', 'f1.5.jpg', 'f2.png', 'f10.png']
    """
    files = list(paths)
    decimals = points_are_decimal("/".join(_names(path)) for path in files)

    def key(path: Path) -> tuple[list[tuple[str | Decimal, ...]], str]:
        return [values(split_name(name, decimals=decimals)) for name in _names(path)], str(path)

    return sorted(files, key=key)


def _names(path: Path) -> Iterator[str]:
    """Yield the folders of a path and its name without the extension."""
    yield from path.parts[:-1]
    yield stem_of(path)
