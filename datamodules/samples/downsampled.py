"""Sources that crop, downsample and cache frames before augmentation."""

from datamodules.samples.frame import Frame, FrameSource
from datamodules.samples.transforms import crop_to_aspect, resize


def covering_size(frame_size: tuple[int, int], image_size: tuple[int, int], oversampling: float) -> tuple[int, int]:
    """Return the smallest size with the frame's aspect ratio that covers ``oversampling`` times the image size.

    Args:
        frame_size: Height and width of the frame as stored.
        image_size: Height and width of the samples.
        oversampling: Factor on the image size.

    Returns:
        Height and width, at most those of the frame.

    Example:
        >>> covering_size((480, 640), (96, 128), 2.0)
        (192, 256)
        >>> covering_size((480, 640), (128, 128), 1.0)
        (128, 171)
    """
    scale = min(1.0, oversampling * max(image_size[0] / frame_size[0], image_size[1] / frame_size[1]))
    return max(1, round(scale * frame_size[0])), max(1, round(scale * frame_size[1]))


class DownsampledSource:
    """Frames of a source, downsampled with their aspect ratio (so that a rotation remains a rotation), and cached.

    Args:
        source: Source of the frames.
        image_size: Height and width of the samples.
        oversampling: Frames are downsampled to cover this multiple of the image size, which limits the sharpness of
            crops that are upsampled again.
        keep: Whether to keep each frame in memory after the first read.
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
        """Return a downsampled frame."""
        if self.kept is None:
            return self._reduce(index)
        frame = self.kept[index]
        if frame is None:
            frame = self.kept[index] = self._reduce(index)
        return frame

    def fill(self) -> None:
        """Read every frame, so that worker processes forked later share the memory."""
        for index in range(len(self)):
            self.read(index)

    def _reduce(self, index: int) -> Frame:
        frame = self.source.read(index)
        height, width = frame.image.shape[:2]
        return resize(frame, covering_size((height, width), self.image_size, self.oversampling))


class CroppedSource:
    """Frames of a source, cropped to the aspect ratio of the samples, so that no resize stretches them.

    Args:
        source: Source of the frames.
        image_size: Height and width of the samples.
    """

    def __init__(self, source: FrameSource, image_size: tuple[int, int]) -> None:
        self.source = source
        self.image_size = image_size

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return a cropped frame."""
        return crop_to_aspect(self.source.read(index), self.image_size)
