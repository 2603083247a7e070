"""Pairing of images with depth or mask files by the content of their names, never by rank alone.

Files of corresponding folders are paired by the first of these rules that is one to one:

1. equal names without extension (in Unicode's composed form);
2. equal names except for a word for the content (``0001_color`` and ``0001_depth``), letter case and leading zeros;
3. equal numbers: the last number that differs between the files of a kind (``frame_10`` and ``00010``), or another one,
   unless it contradicts time stamps in the names;
4. the nearest time stamp within a tolerance; only this rule may leave files without a partner.

Otherwise a ValueError names the files without a partner.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datamodules.files.name_matching import UNITS, Match, Matcher, TimeUnit, without_content_words
from datamodules.files.natural_order import points_are_decimal, sort_naturally, stem_of

DEFAULT_TOLERANCE_S = 0.02
"""Largest difference of matching time stamps in seconds, as in the TUM RGB-D tools."""

NAMED = 3
"""Maximum number of files of each kind in a message."""


@dataclass
class Pairing:
    """Paired files.

    Attributes:
        pairs: Images and their partners, in the natural order of the images.
        rules: Rules that paired them, for messages.
        unmatched_images: Images without a partner; only possible with time stamps.
        unmatched_others: Other files without a partner.
        largest_gap_s: Largest difference of time stamps within a pair in seconds; None for other rules.
        tolerance_s: Largest allowed difference.
        kind: Plural noun for the partners.
    """

    pairs: list[tuple[Path, Path]]
    rules: list[str]
    unmatched_images: list[Path] = field(default_factory=list)
    unmatched_others: list[Path] = field(default_factory=list)
    largest_gap_s: float | None = None
    tolerance_s: float = DEFAULT_TOLERANCE_S
    kind: str = "depths"

    def summary(self) -> str:
        """Return one line with the number of pairs, the rule, the largest gap, unmatched files and three examples."""
        text = f"{len(self.pairs)} images and {self.kind} paired by {' and '.join(self.rules)}"
        if self.largest_gap_s is not None:
            text += f" (largest gap {self.largest_gap_s:.6g} s, tolerance {self.tolerance_s:g} s)"
        unmatched = [
            f"{count(files, kind)} ({name_some(files)})"
            for files, kind in ((self.unmatched_images, "images"), (self.unmatched_others, self.kind))
            if files
        ]
        if unmatched:
            text += f"; without a partner and left out: {', '.join(unmatched)}"
        shown = dict.fromkeys((0, len(self.pairs) // 2, len(self.pairs) - 1))
        places = ["first", "middle", "last"] if len(shown) == 3 else ["first", "last"]
        pairs = [
            f"{place} {self.pairs[index][0].name} + {self.pairs[index][1].name}"
            for place, index in zip(places, shown, strict=False)
        ]
        return f"{text}: {', '.join(pairs)}"


def pair_files(
    images: Iterable[Path],
    others: Iterable[Path],
    *,
    kind: str = "depths",
    tolerance_s: float = DEFAULT_TOLERANCE_S,
    time_unit: TimeUnit | None = None,
) -> Pairing:
    """Return images paired with their depth or mask files by the rules in the module docstring.

    Args:
        images: The images, in one or more folders.
        others: Depths or masks, in one folder or in folders that correspond to those of the images
            (``scene1/color`` and ``scene1/depth``).
        kind: Plural noun for the others.
        tolerance_s: Largest difference of matching time stamps in seconds.
        time_unit: Unit of integer time stamps. None recognises only integers of 13, 16 or 19 digits as time stamps
            (milliseconds, microseconds and nanoseconds since 1970).

    Returns:
        The pairs, in the natural order of the images; at least one.

    Raises:
        ValueError: If the names do not determine the pairs.
    """
    image_files, other_files = sort_naturally(images), sort_naturally(others)
    if not 0 <= tolerance_s < math.inf:
        raise ValueError(f"The tolerance of time stamps is a number of seconds from 0 on, got {tolerance_s:g}.")
    if time_unit is not None and time_unit not in UNITS:
        raise ValueError(f"The unit of time stamps '{time_unit}' is not known; choose one of {', '.join(UNITS)}.")
    if not image_files or not other_files:
        raise ValueError(
            f"There are {count(image_files, 'images')} and {count(other_files, kind)}; every image needs one."
        )
    matcher = Matcher(
        decimals=all(points_are_decimal(map(stem_of, files)) for files in (image_files, other_files)),
        tolerance_s=tolerance_s,
        time_unit=time_unit,
    )
    pairs: dict[Path, Path] = {}
    rules: list[str] = []
    gaps: list[float] = []
    for some_images, some_others in _corresponding(image_files, other_files, matcher, kind):
        match = matcher.match([stem_of(path) for path in some_images], [stem_of(path) for path in some_others])
        if match.failure is not None:
            raise ValueError(_refusal(match, some_images, some_others, kind))
        pairs |= {some_images[i]: some_others[j] for i, j in match.pairs}
        rules.append(match.rule)
        if match.gap_s is not None:
            gaps.append(match.gap_s)
    taken = set(pairs.values())
    return Pairing(
        pairs=[(image, pairs[image]) for image in image_files if image in pairs],
        rules=list(dict.fromkeys(rules)),
        unmatched_images=[image for image in image_files if image not in pairs],
        unmatched_others=[other for other in other_files if other not in taken],
        largest_gap_s=max(gaps) if gaps else None,
        tolerance_s=tolerance_s,
        kind=kind,
    )


def count(things: Sequence[object], noun: str) -> str:
    """Return the number of things with their noun, which is given in the plural.

    >>> count([3], "depths"), count([], "images")
    ('1 depth', '0 images')
    """
    return f"{len(things)} {noun.removesuffix('s') if len(things) == 1 else noun}"


def name_some(files: Sequence[Path]) -> str:
    """Return the names of the first few files, separated by commas."""
    return ", ".join(path.name for path in files[:NAMED]) + (", ..." if len(files) > NAMED else "")


def _corresponding(
    images: list[Path], others: list[Path], matcher: Matcher, kind: str
) -> list[tuple[list[Path], list[Path]]]:
    """Return the files of each image folder with the files of the corresponding other folder."""
    image_folders, other_folders = _by_folder(images), _by_folder(others)
    if len(image_folders) <= 1 and len(other_folders) <= 1:
        return [(images, others)]
    folders: tuple[list[Path], list[Path]] = (list(image_folders), list(other_folders))
    everything = _common([*folders[0], *folders[1]])
    for roots in ((everything, everything), (_common(folders[0]), _common(folders[1]))):
        keys = [
            [without_content_words("/".join(folder.relative_to(root).parts)) for folder in side]
            for side, root in zip(folders, roots, strict=True)
        ]
        match = matcher.match(keys[0], keys[1], only_names=True)
        if match.failure is None:
            return [(image_folders[folders[0][i]], other_folders[folders[1][j]]) for i, j in match.pairs]
    # One side is split into folders and the other is not: names alone must identify the files.
    stems = [[stem_of(path) for path in files] for files in (images, others)]
    if all(max(Counter(side).values()) == 1 for side in stems) and set(stems[0]) == set(stems[1]):
        return [(images, others)]
    raise ValueError(
        f"The images lie in {len(folders[0])} folders ({_folders(folders[0])}) and the {kind} in {len(folders[1])} "
        f"({_folders(folders[1])}), which do not correspond one to one: name them alike but for the word of their role "
        "(scene1/color and scene1/depth), or give one folder at a time."
    )


def _by_folder(files: list[Path]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for path in files:
        found.setdefault(path.parent, []).append(path)
    return found


def _folders(folders: list[Path]) -> str:
    return ", ".join(str(folder) for folder in folders[:NAMED]) + (", ..." if len(folders) > NAMED else "")


def _common(folders: list[Path]) -> Path:
    """Return the deepest common parent folder."""
    common = folders[0]
    while not all(folder.is_relative_to(common) for folder in folders):
        common = common.parent
    return common


def _refusal(match: Match, images: list[Path], others: list[Path], kind: str) -> str:
    """Return one sentence on why the files could not be paired."""
    where = f"The {count(images, 'images')} in {images[0].parent} and the {count(others, kind)} in {others[0].parent}"
    head = f"{where} cannot be paired one to one"
    if match.failure == "nothing":
        return (
            f"{head}: their names have neither a number nor anything else in common ({name_some(images)}; "
            f"{name_some(others)}), and their order alone is no evidence; give partners the same name or number, as "
            "0001.jpg and 0001.png."
        )
    if match.failure == "far":
        return (
            f"{head}: the nearest time stamps are {match.gap_s:.6g} s apart, which is beyond the tolerance; make it "
            "larger only if both were stamped by one clock."
        )
    if match.failure == "contrary":
        return f"{head}: their names hold several numbers, which contradict each other; give partners the same name."
    faults = []
    for ambiguous, files in ((match.ambiguous[0], images), (match.ambiguous[1], others)):
        if ambiguous:
            faults.append(f"{' and '.join(files[i].name for i in ambiguous[:2])} are the same by {match.rule}")
    for unmatched, files, noun in ((match.unmatched[0], images, "images"), (match.unmatched[1], others, kind)):
        if unmatched:
            have = "has" if len(unmatched) == 1 else "have"
            faults.append(f"{count(unmatched, noun)} {have} no partner ({name_some([files[i] for i in unmatched])})")
    stamps = ", or, if the numbers are time stamps, give their unit (time_unit)" if "numbers" in match.rule else ""
    faulty = ", and ".join(faults)
    return f"{head} by {match.rule}: {faulty}; add what is missing or take out what is too many{stamps}."
