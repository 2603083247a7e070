"""Assignment of the frames of sequences to splits from a user's ranges, such as ``0-99`` or ``kitchen:0-99``."""

import re

from datamodules.base import Split

HELD_OUT = 0.1
"""Fraction at the end of every sequence that is held out for validation and test if the user names no frames."""


def assign_frames(
    lengths: dict[str, int], *, train: str | None, val: str | None, test: str | None, least_held_out: int = 1
) -> dict[Split, dict[str, list[int]]]:
    """Return the frames of each sequence in each split.

    A text holds parts separated by commas: ``0-99`` or ``7`` for these frames of every sequence, ``kitchen`` for all
    frames of one sequence, ``kitchen:0-99`` for some of them (``0001:`` for all frames of a sequence with such a name).

    Args:
        lengths: Number of frames of each sequence.
        train: Training frames; None uses all frames of no other split.
        val: Validation frames; None uses those of ``test``.
        test: Test frames; None uses those of ``val``, or the last tenth of every sequence if both are None.
        least_held_out: Minimum number of frames in the last tenth of a sequence.

    Returns:
        For each split the positions of its frames, ascending, by sequence.

    Raises:
        ValueError: If a part is invalid, names frames that do not exist, or overlaps another split.

    >>> assign_frames({"a": 20}, train=None, val=None, test=None)["test"]
    {'a': [18, 19]}
    """
    owner: dict[str, list[Split | None]] = {name: [None] * length for name, length in lengths.items()}
    texts: list[tuple[Split, str | None]] = [("train", train), ("val", val), ("test", test)]
    for split, text in texts:
        for part in text.split(",") if text is not None else []:
            for name, frames in _frames_of(part.strip(), split, lengths):
                for frame in frames:
                    other = owner[name][frame]
                    if other is not None:
                        raise ValueError(
                            f"{split}: '{part.strip()}' takes frame {frame}{_of(name)}, which is in {other} already."
                        )
                    owner[name][frame] = split
    if val is None and test is None:
        for name, length in lengths.items():
            count = min(length, max(round(HELD_OUT * length), least_held_out))
            for frame in range(length - count, length):
                owner[name][frame] = "test" if owner[name][frame] is None else owner[name][frame]
    if train is None:
        owner = {name: ["train" if split is None else split for split in splits] for name, splits in owner.items()}
    assigned: dict[Split, dict[str, list[int]]] = {}
    for split, _ in texts:
        frames_of_split = {
            name: [frame for frame, taken_by in enumerate(splits) if taken_by == split]
            for name, splits in owner.items()
        }
        assigned[split] = {name: frames for name, frames in frames_of_split.items() if frames}
    if val is None:
        assigned["val"] = assigned["test"]
    elif test is None:
        assigned["test"] = assigned["val"]
    return assigned


def _frames_of(part: str, split: Split, lengths: dict[str, int]) -> list[tuple[str, range]]:
    """Return the frames that one part of a text selects, by sequence."""
    span = re.fullmatch(r"(?:(?P<name>.+?):)?(?:(?P<first>[0-9]+)(?:-(?P<last>[0-9]+))?)?", part)
    if span is None and part in lengths:
        return [(part, range(lengths[part]))]
    if span is None or not part:
        known = ", ".join(sorted(name for name in lengths if name)[:5])
        raise ValueError(
            f"{split}: '{part}' cannot be read; write frames as 0-99"
            + (f", or a sequence of {known} ..., or kitchen:0-99." if known else ".")
        )
    name, first, last = span["name"], span["first"], span["last"]
    if name is not None and name not in lengths:
        raise ValueError(f"{split}: there is no sequence '{name}'; there are {', '.join(sorted(lengths))}.")
    frames = []
    for sequence, length in lengths.items():
        if name is not None and sequence != name:
            continue
        begin = 0 if first is None else int(first)
        end = length - 1 if first is None else int(last if last is not None else first)
        if not begin <= end < length:
            raise ValueError(f"{split}: '{part}' has to lie inside the frames 0-{length - 1}{_of(sequence)}.")
        frames.append((sequence, range(begin, end + 1)))
    return frames


def _of(name: str) -> str:
    return f" of '{name}'" if name else ""
