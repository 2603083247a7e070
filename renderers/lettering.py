"""Text on pictures: letters of one font in several sizes, cut to the space that there is."""

import unicodedata
from functools import cache

from PIL import ImageDraw, ImageFont

INK = (35, 38, 45)
"""Colour of titles and names."""
FAINT_INK = (95, 99, 110)
"""Colour of numbers and units."""

_ELLIPSIS = "…"
_ABSENT = chr(0x10FFFF)
"""A character that no font has: its picture is the box that stands for all missing ones."""
_SIMILAR = {
    "ß": "ss",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
    "ø": "o",
    "Ø": "O",
    "ł": "l",
    "Ł": "L",
    "đ": "d",
    "\u2013": "-",
    "\u2014": "-",
    "\u00d7": "x",
}
"""Replacements of letters and signs that have no accents to be left out."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which needs no file of the system.

    Args:
        size: Height of the letters, pixels, >= 1.
    """
    return ImageFont.load_default(size)


def printable(text: str) -> str:
    """Text without characters that cannot be drawn.

    The font has the letters of English. Accents of others are left out; of what remains, line breaks, halves of
    surrogates and characters of other scripts become ``?``.

    >>> printable("a" + chr(10) + "b"), printable("Küche, São Paulo, 厨房")
    ('a?b', 'Kuche, Sao Paulo, ??')
    """
    return "".join(map(_drawable, text))


@cache
def _drawable(letter: str) -> str:
    if not letter.isprintable():
        return "?"
    if _has(letter):
        return letter
    plain = _SIMILAR.get(letter) or "".join(
        part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part)
    )
    if not plain:  # an accent by itself
        return ""
    return plain if all(map(_has, plain)) else "?"


def _has(letter: str) -> bool:
    size = 16
    return letter.isspace() or bytes(font(size).getmask(letter)) != bytes(font(size).getmask(_ABSENT))


def width_of(text: str, size: int) -> int:
    """Width of a drawn line, pixels, rounded up."""
    return int(-(-font(size).getlength(text) // 1))


def shortened(text: str, *, size: int, width: int) -> str:
    """A line that fits into a width: the middle of a longer one is left out, as names differ at their ends.

    Args:
        text: The line.
        size: Height of the letters, pixels.
        width: Available width, pixels.

    Returns:
        The line, printable; empty if not even one letter fits.
    """
    text = printable(text[:300] + text[-300:] if len(text) > 600 else text)
    if width_of(text, size) <= width:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:  # letters that are kept
        kept = (fits + too_long) // 2
        if width_of(_cut(text, kept), size) <= width:
            fits = kept
        else:
            too_long = kept
    return _cut(text, fits) if fits else ""


def _cut(text: str, kept: int) -> str:
    head = kept // 3
    return text[:head] + _ELLIPSIS + text[len(text) - (kept - head) :]


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    *,
    size: int,
    width: int,
    colour: tuple[int, int, int] = INK,
    anchor: str = "la",
) -> int:
    """Draw a line of text.

    Args:
        draw: Canvas.
        place: Column and row of the anchor.
        text: The line, see :func:`shortened`.
        size: Height of the letters, pixels.
        width: Available width, pixels.
        colour: Red, green, blue.
        anchor: Position of the anchor in Pillow's notation; "la" is left and top.

    Returns:
        Width of what was drawn, pixels.
    """
    line = shortened(text, size=size, width=width)
    if line:
        draw.text(place, line, fill=colour, font=font(size), anchor=anchor)
    return width_of(line, size) if line else 0
