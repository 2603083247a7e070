"""Video of a predicted clip: each frame beside its depth, with one range of colours for the whole clip."""

import io
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lightning_modules.callbacks.prediction_panel import depth_picture, shown_size
from lightning_modules.callbacks.video_file import VIDEO_WIDTH, VideoFile, frame_rate
from renderers.display import depth_range
from renderers.figure import Picture, PictureRow, draw_figure, resized
from renderers.shared_range import SharedRange

_QUALITY = 95
_LARGEST_DEPTH = 60000.0  # float16 ends at 65504


class DepthVideo:
    """Keeps the frames of a clip in a temporary file until its range is known, then writes the video.

    Args:
        path: Target, ending in ``.mp4``.
        name: Name of the clip.
        rate: Frames a second; 0 if it is unknown.
        unit: Unit of depth for the colour bar.
        smooth_frames: 0 for one range; else each frame has its own range, smoothed over about so many frames by an
            exponential mean of the logarithms of its ends.

    Raises:
        ValueError: If ``smooth_frames`` is negative.
    """

    def __init__(self, path: Path, *, name: str, rate: float, unit: str, smooth_frames: float = 0) -> None:
        if not (math.isfinite(smooth_frames) and smooth_frames >= 0):
            raise ValueError(f"smooth_frames is {smooth_frames}, but a number of frames from 0 is needed")
        self.path = path
        self.name = name
        self.rate = frame_rate(rate)
        self.unit = unit
        self.smooth_frames = smooth_frames
        self.n_frames = 0
        self._store: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # closed by write or discard
        self._sizes: list[tuple[int, int]] = []
        self._range = SharedRange()

    def add(self, image: npt.NDArray[np.uint8], depth: Tensor) -> None:
        """Add a frame.

        Args:
            image: uint8 ``(H, W, 3)``, RGB.
            depth: float ``(1, H, W)``.
        """
        size = shown_size(image.shape[:2], width=VIDEO_WIDTH)
        done, photo = cv2.imencode(".jpg", resized(image, size)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        assert done  # an 8-bit picture
        rows, columns = (((torch.arange(n) + 0.5) * m / n).long() for n, m in zip(size, depth.shape[1:], strict=True))
        self._range.add(depth)
        content = io.BytesIO()
        np.save(content, depth[0].float()[rows[:, None], columns].clamp(max=_LARGEST_DEPTH).half().numpy())
        self._store.write(photo.tobytes())
        self._store.write(content.getvalue())
        self._sizes.append((photo.size, content.tell()))
        self.n_frames += 1

    def write(self, ends: tuple[float, float] | None = None) -> Path:
        """Write the video; the frames are gone afterwards.

        Args:
            ends: Near and far end of the colours; None takes those of the clip.

        Returns:
            Its path.

        Raises:
            ValueError: If there is no frame, or OpenCV lacks the codecs.
            OSError: If the file cannot be written.
        """
        if not self._sizes:
            raise ValueError(f"the video '{self.name}' has no frame that could be predicted, so no '{self.path.name}'")
        video = VideoFile(self.path, self.rate)
        try:
            for picture in self._drawn(*(self._range.ends() if ends is None else ends)):
                video.add(picture)
            return video.finish()
        finally:
            video.discard()
            self.discard()

    def discard(self) -> None:
        """Forget the frames."""
        self._store.close()

    def _drawn(self, near: float, far: float) -> Iterator[npt.NDArray[np.uint8]]:
        """The pictures, all of one size."""
        ends: tuple[float, float] | None = None
        self._store.seek(0)
        for index, (photo_bytes, depth_bytes) in enumerate(self._sizes):
            photo = cv2.imdecode(np.frombuffer(self._store.read(photo_bytes), np.uint8), cv2.IMREAD_COLOR)
            depth = torch.from_numpy(np.load(io.BytesIO(self._store.read(depth_bytes)))).float()[None]
            if self.smooth_frames > 0:
                ends = near, far = smoothed_ends(ends, depth, self.smooth_frames)
            assert photo is not None  # it was encoded above
            image = np.ascontiguousarray(photo[..., ::-1]).astype(np.uint8)
            pictures = (Picture("image", image), depth_picture(depth, near, far, unit=self.unit))
            row = PictureRow(self.name, pictures, f"{index / self.rate:.2f} s")
            yield draw_figure([row], width=VIDEO_WIDTH).pixels


def smoothed_ends(before: tuple[float, float] | None, depth: Tensor, frames: float) -> tuple[float, float]:
    """Ends of the colours of a frame, as a mean of its own and of those of the frame before.

    Args:
        before: Ends of the frame before; None for the first.
        depth: float ``(1, H, W)``.
        frames: Frames after which the weight of a range has fallen to 1 / e, > 0.
    """
    near, far = (float(end) for end in depth_range(depth[None]))
    if before is None:
        return near, far
    if not bool((depth.isfinite() & (depth > 0)).any()):  # without depth the range stays
        return before
    kept = math.exp(-1 / frames)
    return (
        math.exp(kept * math.log(before[0]) + (1 - kept) * math.log(near)),
        math.exp(kept * math.log(before[1]) + (1 - kept) * math.log(far)),
    )
