"""Writes an MP4 video frame by frame, whole or not at all."""

import math
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from structures.output_paths import check_output_file

CODECS = ("vp09", "mp4v")
"""Codecs in the order of preference: VP9, which browsers play, and MPEG-4, which OpenCV always has with FFmpeg."""

VIDEO_WIDTH = 1280
"""Largest width of a video, pixels."""
USUAL_RATE = 25.0
"""Frames a second of a video whose own rate is unknown."""
_FASTEST = 240.0


def usable_codec() -> str:
    """The first codec of :data:`CODECS` that this OpenCV can write.

    Raises:
        ValueError: If it has none of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        for codec in CODECS:
            writer = cv2.VideoWriter(f"{folder}/{codec}.mp4", cv2.VideoWriter.fourcc(*codec), 25.0, (64, 64))
            opened = writer.isOpened()
            writer.release()
            if opened:
                return codec
    raise ValueError(
        f"this OpenCV ({cv2.__version__}) can write no MP4 video: it has neither VP9 nor MPEG-4. Leave --video out, or "
        "install a build with FFmpeg: pip install opencv-python-headless"
    )


def frame_rate(rate: float) -> float:
    """Frames a second of a video: ``rate``, or :data:`USUAL_RATE` where that is unknown (0) or impossible."""
    return rate if math.isfinite(rate) and 0 < rate <= _FASTEST else USUAL_RATE


class VideoFile:
    """A video that is written to a temporary file beside its target, which it replaces when it is finished.

    The first frame decides the codec and the size: one row and one column of white are added where codecs need even
    numbers.

    Args:
        path: Target, ending in ``.mp4``.
        rate: Frames a second, see :func:`frame_rate`.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path = path
        self.rate = frame_rate(rate)
        self.n_frames = 0
        self._writer: cv2.VideoWriter | None = None
        self._partial = path

    def add(self, picture: npt.NDArray[np.uint8]) -> None:
        """Write a frame.

        Args:
            picture: uint8 ``(H, W, 3)``, RGB, of the same size as the first frame.

        Raises:
            ValueError: If OpenCV lacks the codecs.
            OSError: If the file cannot be written.
        """
        pad = ((0, picture.shape[0] % 2), (0, picture.shape[1] % 2), (0, 0))
        pixels = np.pad(picture, pad, constant_values=255)[..., ::-1]
        if self._writer is None:
            self._writer = self._opened((pixels.shape[1], pixels.shape[0]))
        self._writer.write(np.ascontiguousarray(pixels))
        self.n_frames += 1

    def finish(self) -> Path:
        """Put the file in its place.

        Returns:
            Its path.

        Raises:
            ValueError: If no frame was added.
            OSError: If the file cannot be written.
        """
        if self._writer is None:
            raise ValueError(f"'{self.path.name}' has no frame")
        self._writer.release()
        self._writer = None
        os.replace(self._partial, self.path)
        return self.path

    def discard(self) -> None:
        """Remove what is not finished."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._partial.unlink(missing_ok=True)

    def _opened(self, size: tuple[int, int]) -> cv2.VideoWriter:
        target = check_output_file(self.path)
        codec = usable_codec()
        self._partial = target.with_name(f".{target.stem[:40]}.{os.getpid()}.partial.mp4")
        writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*codec), self.rate, size)
        if not writer.isOpened():
            self._partial.unlink(missing_ok=True)
            raise OSError(f"the video '{target}' of {size[0]}x{size[1]} pixels cannot be written ({codec})")
        return writer
