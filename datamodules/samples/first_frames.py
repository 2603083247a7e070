"""Validation of the first frame of every sequence before training; camera and size are equal for all its frames."""

from collections import Counter
from collections.abc import Iterable

from datamodules.image_sequences.frame_sequences import FrameSequence
from datamodules.samples.aspect import Aspect, warn_stretched


def check_first_frames(
    sequences: Iterable[FrameSequence], *, data: str, image_size: tuple[int, int], aspect: Aspect
) -> None:
    """Raise an error if a first frame or its camera is invalid, and log once if frames are stretched.

    Args:
        sequences: Sequences of one camera and size each.
        data: The data set.
        image_size: Height and width of the samples.
        aspect: How frames with another aspect ratio are fitted.

    Raises:
        ValueError: If a first frame cannot be read, or its camera is implausible.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for sequence in sequences:
        height, width = sequence.read(0).image.shape[:2]
        sizes[height, width] += len(sequence)
    if aspect == "stretch":
        warn_stretched(data, sizes, image_size)
