"""One-to-one matching of two lists of file names; ``datamodules/files/pairing.py`` documents the rules."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from itertools import pairwise
from typing import Literal

from datamodules.files.natural_order import Number, split_name

TimeUnit = Literal["s", "ms", "us", "ns"]
"""Unit of integer time stamps."""

UNITS: dict[str, Decimal] = {"s": Decimal(1), "ms": Decimal("1e-3"), "us": Decimal("1e-6"), "ns": Decimal("1e-9")}
"""Seconds per unit."""

EXACT = Context(prec=600)
"""Decimal arithmetic without rounding: a file name has at most 255 characters."""

UNIT_OF_DIGITS: dict[int, TimeUnit] = {13: "ms", 16: "us", 19: "ns"}
"""Unit of an integer Unix time by its number of digits. Ten digits (seconds) are ambiguous: often a counter."""

UNIT_OF_FRACTION: dict[int, TimeUnit] = {6: "us", 9: "ns"}
"""Unit of the fraction after ten digits of seconds, by its number of digits (``1305031102_175304000``, from ROS)."""

IMAGE_WORDS = frozenset({"color", "colour", "rgb", "rgba", "image", "images", "img", "imgs", "data", "raw"})
MAP_WORDS = frozenset(
    {"depth", "depths", "depthmap", "disparity", "disparities", "disp", "mask", "masks", "valid", "gt", "groundtruth",
     "truth", "proj", "normal", "normals", "label", "labels", "semantic", "semantics", "segmentation", "confidence"}
)  # fmt: skip
"""Words for the content of a file (image, depth, mask, ...), which do not identify a frame."""

Failure = Literal["nothing", "uneven", "contrary", "far"]
"""Why names do not match: no number or common name, not one to one, contradicting numbers, or distant time stamps."""


@dataclass
class Match:
    """Result of matching two lists of names with one rule.

    Attributes:
        rule: Name of the rule, as in "paired by ...".
        pairs: Matched positions in both lists.
        failure: Why the match is invalid; None if it is valid.
        unmatched: Unmatched positions in each list.
        ambiguous: Positions of names with equal keys, in each list.
        gap_s: Largest difference of matched time stamps in seconds, or the smallest of all if none is within the
            tolerance; None for other rules.
    """

    rule: str
    pairs: list[tuple[int, int]] = field(default_factory=list)
    failure: Failure | None = None
    unmatched: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    ambiguous: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    gap_s: float | None = None


def without_content_words(name: str) -> str:
    """Return the folders of a path without words for their content (``color``, ``depth``, ...).

    >>> without_content_words("scene1/color"), without_content_words("val_depth/kitchen")
    ('scene1', 'val/kitchen')
    """
    folders = (
        "_".join(word for word in re.split(r"[\W_]+", part) if word.casefold() not in IMAGE_WORDS | MAP_WORDS)
        for part in unicodedata.normalize("NFC", name).split("/")
    )
    return "/".join(folder for folder in folders if folder)


def words_of(name: str) -> set[str]:
    """Return the words of a name in lower case.

    >>> sorted(words_of("Frame-0012.depth"))
    ['depth', 'frame']
    """
    text = (part for part in split_name(name) if isinstance(part, str))
    return {word for part in text for word in re.findall(r"[^\W_]+", part)}


def plain_name(name: str, *, decimals: bool = True) -> tuple[str | Decimal, ...]:
    """Return the words and numbers of a name in order, without words for the content of the file.

    >>> plain_name("Frame-0012.color") == plain_name("frame_12_depth") == ("frame", 12)
    True
    """
    plain: list[str | Decimal] = []
    for part in split_name(name, decimals=decimals):
        if isinstance(part, Number):
            plain.append(part.value)
        else:
            plain += [word for word in re.findall(r"[^\W_]+", part) if word not in IMAGE_WORDS | MAP_WORDS]
    return tuple(plain)


class Matcher:
    """Matching rules, tried from the most to the least reliable.

    Args:
        decimals: Whether a point between digits is a decimal point.
        tolerance_s: Largest difference of matching time stamps in seconds.
        time_unit: Unit of integer time stamps, or None.
    """

    def __init__(self, *, decimals: bool, tolerance_s: float, time_unit: TimeUnit | None) -> None:
        self.decimals = decimals
        self.tolerance = Decimal(repr(float(tolerance_s)))
        self.time_unit = time_unit

    def match(self, first: Sequence[str], second: Sequence[str], *, only_names: bool = False) -> Match:
        """Return the match of two lists of names.

        Args:
            first: Names, without extensions.
            second: Names, without extensions.
            only_names: Whether to skip the comparison of time stamps, as for folders.

        Returns:
            The match of the first rule that is one to one, else the most informative failure.
        """
        tried: list[Match] = []
        numbers = [[_numbers(name, decimals=self.decimals) for name in names] for names in (first, second)]
        stamps = [None if only_names else _time_stamps(side, self.time_unit) for side in numbers]
        for match in self._by_name(first, second, numbers):
            if match.failure is None and not _agrees(match, stamps[0], stamps[1], self.tolerance):
                match.failure = "contrary"
            if match.failure is None:
                return match
            tried.append(match)
        if stamps[0] is not None and stamps[1] is not None:
            return match_nearest(stamps[0], stamps[1], tolerance=self.tolerance)
        best = max(tried, key=lambda match: len(match.pairs))
        if best.pairs:
            return best
        numbered = all(all(side) for side in numbers)
        return tried[min(2, len(tried) - 1)] if numbered else Match("names", failure="nothing")

    def _by_name(
        self, first: Sequence[str], second: Sequence[str], numbers: list[list[tuple[Number, ...]]]
    ) -> Iterator[Match]:
        """Yield the match of each rule except time stamps, the most reliable first."""
        exact = [[unicodedata.normalize("NFC", name) for name in names] for names in (first, second)]
        yield match_keys(exact[0], exact[1], "equal names")
        plain = [[plain_name(name, decimals=self.decimals) for name in names] for names in (first, second)]
        yield match_keys(plain[0], plain[1], "equal names (but for words as color and depth, and leading zeros)")
        yield from _match_numbers(numbers[0], numbers[1])
        if len(first) == len(second) == 1 and not (numbers[0][0] and numbers[1][0]):
            yield Match("being the only ones", pairs=[(0, 0)])


def _numbers(name: str, *, decimals: bool) -> tuple[Number, ...]:
    return tuple(part for part in split_name(name, decimals=decimals) if isinstance(part, Number))


def match_keys(first: Sequence[Hashable], second: Sequence[Hashable], rule: str) -> Match:
    """Return the match of equal keys; it fails unless every key occurs once in each list."""
    places: list[dict[Hashable, int]] = [{}, {}]
    ambiguous: tuple[list[int], list[int]] = ([], [])
    for side, keys in enumerate((first, second)):
        for index, key in enumerate(keys):
            if key in places[side]:
                ambiguous[side].extend([places[side][key], index] if not ambiguous[side] else [index])
            places[side].setdefault(key, index)
    unmatched = (
        [index for index, key in enumerate(first) if key not in places[1]],
        [index for index, key in enumerate(second) if key not in places[0]],
    )
    pairs = [(index, places[1][key]) for key, index in places[0].items() if key in places[1]]
    uneven = any(unmatched) or any(ambiguous)
    return Match(rule, pairs, "uneven" if uneven else None, unmatched, ambiguous)


def match_nearest(first: Sequence[Decimal], second: Sequence[Decimal], *, tolerance: Decimal) -> Match:
    """Return the match of mutually nearest time stamps, so that a missing frame is not replaced by its neighbour.

    Args:
        first: Time stamps in seconds.
        second: Time stamps in seconds.
        tolerance: Largest difference of matching time stamps.
    """
    forth, back = _nearest(first, second), _nearest(second, first)
    mutual = [(i, j) for i, j in enumerate(forth) if back[j] == i]
    gaps = {pair: _gap(first[pair[0]], second[pair[1]]) for pair in mutual}
    pairs = [pair for pair in mutual if gaps[pair] <= tolerance]
    if not pairs:
        return Match("nearest time stamps", failure="far", gap_s=float(min(gaps.values())))
    taken = ({i for i, _ in pairs}, {j for _, j in pairs})
    unmatched = (
        [i for i in range(len(first)) if i not in taken[0]],
        [j for j in range(len(second)) if j not in taken[1]],
    )
    return Match("nearest time stamps", pairs, unmatched=unmatched, gap_s=float(max(gaps[pair] for pair in pairs)))


def _nearest(first: Sequence[Decimal], second: Sequence[Decimal]) -> list[int]:
    """Return the position in ``second`` of the nearest time stamp to each of ``first``; ties go to the earlier one."""
    order = sorted(range(len(second)), key=lambda index: second[index])
    stamps = [second[index] for index in order]
    found = []
    for stamp in first:
        place = bisect_left(stamps, stamp)
        around = [index for index in (place - 1, place) if 0 <= index < len(stamps)]
        found.append(order[min(around, key=lambda index: _gap(stamps[index], stamp))])
    return found


def _gap(one: Decimal, other: Decimal) -> Decimal:
    return EXACT.subtract(one, other).copy_abs()


def _slots(names: Sequence[Sequence[Number]]) -> list[int]:
    """Return the positions of the numbers that differ between names, last first; none if names differ in form."""
    if not names or not names[0] or len({len(numbers) for numbers in names}) != 1:
        return []
    if len(names) == 1:
        return [len(names[0]) - 1]
    differing = [slot for slot in range(len(names[0])) if len({numbers[slot].value for numbers in names}) > 1]
    return differing[::-1]


def _match_numbers(first: Sequence[Sequence[Number]], second: Sequence[Sequence[Number]]) -> Iterator[Match]:
    """Yield matches by one number of each name, starting with the last differing numbers."""
    slots = (_slots(first), _slots(second))
    for one in slots[0]:
        for other in slots[1]:
            match = match_keys(
                [numbers[one].value for numbers in first], [numbers[other].value for numbers in second], "equal numbers"
            )
            if match.failure is None and _contradicts(match, first, second, slots, (one, other)):
                match.failure = "contrary"
            yield match


def _contradicts(
    match: Match,
    first: Sequence[Sequence[Number]],
    second: Sequence[Sequence[Number]],
    slots: tuple[list[int], list[int]],
    used: tuple[int, int],
) -> bool:
    """Return whether another number has the same set of values in both lists but differs within a matched pair."""
    for one, other in zip(
        [slot for slot in slots[0] if slot != used[0]], [slot for slot in slots[1] if slot != used[1]], strict=False
    ):
        same = {numbers[one].value for numbers in first} == {numbers[other].value for numbers in second}
        if same and any(first[i][one].value != second[j][other].value for i, j in match.pairs):
            return True
    return False


def _agrees(
    match: Match, first: Sequence[Decimal] | None, second: Sequence[Decimal] | None, tolerance: Decimal
) -> bool:
    """Return whether pairs of equal numbers are consistent with the time stamps in the names.

    Independent frame counters lose synchronisation when a stream drops a frame; the difference of the time stamps
    changes from there on. A constant offset between two clocks is allowed.
    """
    if first is None or second is None or len(match.pairs) < 2:
        return True
    if not (_ascends(first) and _ascends(second)):
        return True  # not time stamps but sizes, exposure times or similar numbers
    gaps = sorted(EXACT.subtract(second[j], first[i]) for i, j in match.pairs)
    steps = sorted(EXACT.subtract(after, before) for before, after in pairwise(first))
    middle, half_a_step = gaps[len(gaps) // 2], EXACT.divide(steps[len(steps) // 2], Decimal(2))
    return max(_gap(gap, middle) for gap in (gaps[0], gaps[-1])) <= min(tolerance, half_a_step)


def _ascends(stamps: Sequence[Decimal]) -> bool:
    return all(before < after for before, after in pairwise(stamps))


def _time_stamps(names: Sequence[Sequence[Number]], time_unit: TimeUnit | None) -> list[Decimal] | None:
    """Return the time stamps in seconds of names in natural order; None if they hold none."""
    slots = _slots(names)
    decimal = next((slot for slot in slots if any(numbers[slot].is_decimal for numbers in names)), None)
    if decimal is not None:
        return [numbers[decimal].value for numbers in names]
    for slot in slots:
        digits = {len(numbers[slot].text) for numbers in names}
        length = digits.pop() if len(digits) == 1 else 0
        if slot > 0 and length in UNIT_OF_FRACTION and {len(numbers[slot - 1].text) for numbers in names} == {10}:
            fraction = UNITS[UNIT_OF_FRACTION[length]]
            return [
                EXACT.add(numbers[slot - 1].value, EXACT.multiply(numbers[slot].value, fraction)) for numbers in names
            ]
        unit = time_unit or UNIT_OF_DIGITS.get(length)
        stamps = None if unit is None else [EXACT.multiply(numbers[slot].value, UNITS[unit]) for numbers in names]
        # A number that restarts while an earlier one grows is only a part of a time stamp, such as milliseconds.
        if stamps is not None and (len(slots) == 1 or _ascends(stamps)):
            return stamps
    return None
