"""Frames cropped and reduced once, before augmentation, and kept in memory if wanted."""

from datamodules.samples.frame import Frame, FrameSource
from datamodules.samples.transforms import crop_to_aspect, resize


def covering_size(frame_size: tuple[int, int], image_size: tuple[int, int], oversampling: float) -> tuple[int, int]:
    """Return the smallest size of the frame's own proportions that covers ``oversampling`` times the image size.

    Args:
        frame_size: Height and width of the frame as stored.
        image_size: Height and width of the samples.
        oversampling: Factor on the image size.

    Returns:
        Height and width, never larger than the frame's.

    Example:
        >>> covering_size((480, 640), (96, 128), 2.0)
        (192, 256)
        >>> covering_size((480, 640), (128, 128), 1.0)
        (128, 171)
    """
    scale = min(1.0, oversampling * max(image_size[0] / frame_size[0], image_size[1] / frame_size[1]))
    return max(1, round(scale * frame_size[0])), max(1, round(scale * frame_size[1]))


class ReducedSource:
    """Another source's frames, reduced in their own proportions (so that a turn of the picture stays a turn).

    Args:
        source: Where frames come from.
        image_size: Height and width of the samples.
        oversampling: Frames are reduced to cover that many times the image size; what a crop enlarges again is as
            sharp as this allows.
        keep: Keep each reduced frame in memory once it was read.
    """

    def __init__(
        self, source: FrameSource, image_size: tuple[int, int], *, oversampling: float = 1.0, keep: bool = True
    ) -> None:
        self.source = source
        self.image_size = image_size
        self.oversampling = oversampling
        self.kept: list[Frame | None] | None = [None] * len(source) if keep else None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return a reduced frame."""
        if self.kept is None:
            return self._reduce(index)
        frame = self.kept[index]
        if frame is None:
            frame = self.kept[index] = self._reduce(index)
        return frame

    def fill(self) -> None:
        """Read every frame now, so that worker processes forked later share one memory."""
        for index in range(len(self)):
            self.read(index)

    def _reduce(self, index: int) -> Frame:
        frame = self.source.read(index)
        height, width = frame.image.shape[:2]
        return resize(frame, covering_size((height, width), self.image_size, self.oversampling))


class CroppedSource:
    """Another source's frames, cut to the proportions of the samples, so that no resize stretches them.

    Args:
        source: Where frames come from.
        image_size: Height and width of the samples.
    """

    def __init__(self, source: FrameSource, image_size: tuple[int, int]) -> None:
        self.source = source
        self.image_size = image_size

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return a frame, without what is too wide or too high."""
        return crop_to_aspect(self.source.read(index), self.image_size)
