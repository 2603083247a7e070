"""The first frame of every sequence, read before anything starts: camera and proportions are those of all others."""

from collections import Counter
from collections.abc import Iterable

from datamodules.image_sequences.frame_sequences import FrameSequence
from datamodules.samples.aspect import Aspect, say_stretched


def check_first_frames(
    sequences: Iterable[FrameSequence], *, data: str, image_size: tuple[int, int], aspect: Aspect
) -> None:
    """Refuse a camera that cannot be that of its frames, and say once if frames are stretched.

    Args:
        sequences: Each of one camera and size.
        data: The data set.
        image_size: Height and width of the samples.
        aspect: What is done with frames of other proportions.

    Raises:
        ValueError: If a first frame cannot be read, or its camera cannot be right.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for sequence in sequences:
        height, width = sequence.read(0).image.shape[:2]
        sizes[height, width] += len(sequence)
    if aspect == "stretch":
        say_stretched(data, sizes, image_size)
