"""Reading of the frames of a video file, with a check of its completeness."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.files.media_paths import warn_once
from datamodules.files.video_container import inspect

FRAMES_MISCOUNTED = 2
"""Tolerated difference in frame count between container and decoder, as at the ends of an edit list."""


def read_video(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the frames of a video in order, upright, each uint8 ``(H, W, 3)`` RGB.

    A file is refused only if it is certainly incomplete: a part of its container ends beyond the file, or fewer frames
    can be decoded than the index of an MP4 (after its edit list) or AVI lists. The frame count of other containers is
    an estimate; if fewer frames are decoded, a warning gives both numbers.

    Raises:
        ValueError: If the file is no video, has no frame, or is incomplete; the message has no full stop.
    """
    if path.is_dir():
        raise ValueError(f"cannot read '{path}' as a video: it is a folder")
    try:
        container = inspect(path)
    except OSError as error:
        raise ValueError(f"cannot read '{path}' as a video: {error.strerror or error}") from error
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            reason = f": {container.cut_off}" if container.cut_off is not None else ""
            raise ValueError(f"cannot read '{path}' as a video{reason}")
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        count = 0
        while True:
            read, frame = capture.read()
            if not read:
                break
            count += 1
            yield np.ascontiguousarray(frame[..., ::-1])
    finally:
        capture.release()
    if container.cut_off is not None:
        raise ValueError(f"video '{path}' is cut off after {count} frames: {container.cut_off}; copy it again")
    if count == 0:
        raise ValueError(f"no frame of video '{path}' can be decoded")
    if container.frames is not None and count < container.frames - FRAMES_MISCOUNTED:
        raise ValueError(
            f"video '{path}' is damaged: only {count} of the {container.frames} frames in its index can be decoded; "
            "copy it again"
        )
    if container.frames is None and count < announced - FRAMES_MISCOUNTED:
        known = "is complete, so its rate may vary" if container.whole else "does not show whether it is complete"
        warn_once(f"video '{path}' has {count} frames where {announced} are announced; its container {known}")


def frame_rate(path: Path) -> float:
    """Frames a second that a video states; 0 if it states none, or no plausible one (1 to 1000)."""
    capture = cv2.VideoCapture(str(path))
    try:
        rate = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
    finally:
        capture.release()
    return rate if 1 <= rate <= 1000 else 0.0
