"""Lines of text that fit into their space, whatever they contain."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from renderers.lettering import font, printable, shortened, width_of, write


def test_a_short_line_stays_and_a_long_one_loses_its_middle():
    assert shortened("room/3", size=14, width=200) == "room/3"
    long = "a/very/long/folder/of/frames/000123"
    short = shortened(long, size=14, width=120)
    assert width_of(short, 14) <= 120 < width_of(long, 14)
    head, tail = short.split("…")
    assert long.startswith(head)
    assert long.endswith(tail)
    assert tail.endswith("123")
    longer = shortened(long, size=14, width=150)
    assert len(longer) > len(short)


def test_there_may_be_no_room_and_very_many_letters():
    assert shortened("name", size=14, width=1) == ""
    short = shortened("x" * 100_000 + "end", size=14, width=100)
    assert short.endswith("end")
    assert width_of(short, 14) <= 100


@pytest.mark.parametrize("name", ["a\nb\tc", "half \udc80", "Küche 厨房 🛋", "<b>&", "\x00", ""])
def test_odd_characters_are_drawn(name):
    picture = Image.new("RGB", (200, 30), "white")
    used = write(ImageDraw.Draw(picture), (5, 5), name, size=14, width=190)
    assert "\n" not in printable(name)
    ink = (np.asarray(picture) < 250).any(axis=(0, 2))
    assert not ink[5 + used + 1 :].any()
    assert ink.any() == bool(name)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("Fahrrad Ü", "Fahrrad U"),
        ("cafe\u0301", "cafe"),  # the accent is a character of its own
        ("Straße \u2013 2 \u00d7 m²", "Strasse - 2 x m2"),
        ("±5°…", "±5°…"),
        ("厨房 🛋", "?? ?"),
        ("plain 1.5 m", "plain 1.5 m"),
    ],
)
def test_letters_that_the_font_lacks_are_replaced(name, drawn):
    assert printable(name) == drawn


def test_text_stays_within_its_width():
    picture = Image.new("RGB", (300, 30), "white")
    used = write(ImageDraw.Draw(picture), (10, 5), "a title that is too long for it", size=14, width=100)
    ink = (np.asarray(picture) < 200).any(axis=(0, 2))
    assert used <= 100
    assert ink[10:110].any()
    assert not ink[112:].any()


def test_a_size_has_one_font():
    assert font(14) is font(14)
    assert width_of("word", 28) > 1.8 * width_of("word", 14)
