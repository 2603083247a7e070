"""Frames of the videos of rooms as a camera with auto-exposure, noise and compression would store them."""

from bisect import bisect_right
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from datamodules.rooms.datamodule import RoomsSource
from datamodules.samples.camera import CameraEffects, expose, noise_generator, video_gains
from datamodules.samples.frame import Frame

_NEAREST_M = 0.05


def image_motion(
    depth: npt.NDArray[np.float32], K: npt.NDArray[np.float64], T_other_camera: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Return the motion (x, y) of every pixel of a static scene from a frame to another, in pixels.

    Args:
        depth: ``(H, W)``, metres; pixels of unknown depth have no motion.
        K: ``(3, 3)``, intrinsics of both frames, corner convention.
        T_other_camera: ``(4, 4)``, from the frame's camera to the other's.

    Returns:
        ``(H, W, 2)``.
    """
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1)
    points = (pixels @ np.linalg.inv(K).T * depth[..., None]) @ T_other_camera[:3, :3].T + T_other_camera[:3, 3]
    seen = points @ K.T
    known = (depth > 0) & (points[..., 2] > _NEAREST_M)
    moved = seen[..., :2] / np.where(known, points[..., 2], 1.0)[..., None] - pixels[..., :2]
    return np.where(known[..., None], moved, 0.0).astype(np.float32)


class CameraVideoSource:
    """Video frames with the effects of a camera on their images; depth, labels, flags and poses are unchanged.

    Motion blur follows the exact motion to the next frame (of the last frame: from the one before it).

    Args:
        source: Frames of whole videos.
        effects: The effects.
    """

    def __init__(self, source: RoomsSource, effects: CameraEffects) -> None:
        self.source = source
        self.effects = effects

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return a frame with a uint8 image."""
        frame, store = self.source.read(index), self.source.store
        position = self.source.frames[index]
        number = bisect_right(store.starts, position) - 1
        video, k = store.sequences[number], position - store.starts[number]
        motion = None
        if self.effects.shutter > 0 and video.n_frames > 1:
            neighbour = position + 1 if k + 1 < video.n_frames else position - 1  # a blur has no direction
            here, there = (store.read(p, ["T_world_camera"])["T_world_camera"] for p in (position, neighbour))
            motion = image_motion(frame.depth, frame.K, np.linalg.inv(there) @ here)
        image = expose(
            np.asarray(frame.image, dtype=np.uint8),
            self.effects,
            gains=video_gains(self.effects, video.name, video.n_frames)[k],
            motion=motion,
            generator=noise_generator(self.effects, video.name, k),
        )
        return replace(frame, image=image)
