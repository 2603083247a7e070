"""Writes predicted depth of each image: millimetres, colours, panels and point clouds."""

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_modules.callbacks.depth_video import DepthVideo
from lightning_modules.callbacks.prediction_panel import draw_again, write_panel
from lightning_modules.callbacks.sample_writer import FolderWriter
from renderers.depth_figure import RELATIVE
from renderers.display import colorize, depth_range, to_uint8
from renderers.figure import Place
from renderers.point_cloud import depth_edges, point_cloud, side_view
from renderers.shared_range import SharedRange
from structures.contained_paths import output_path
from structures.files import write_png
from structures.ply import write_ply
from structures.sample_file import SampleRecord

logger = logging.getLogger(__name__)

MILLIMETRES = 1000.0
MAX_MILLIMETRES = 65535
"""Largest value of a 16-bit PNG: depth is clipped at 65.535 m."""

MAX_JUMP = 0.05
"""Default of the relative jump of depth above which points are left out of a cloud."""
MAX_POINTS = 1_000_000
"""Default of the largest number of points of a cloud."""

ColourRange = tuple[float, float] | Literal["image", "video", "all"]


def depth_to_millimetres(depth: Tensor) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Depth ``(1, H, W)`` in metres as uint16 ``(H, W)`` in millimetres, rounded, clipped to [0, 65.535 m]."""
    millimetres = (depth[0].double() * MILLIMETRES).round().clamp(0, MAX_MILLIMETRES)
    return millimetres.cpu().numpy().astype(np.uint16)


def fit_to_original(prediction: Tensor, *, content_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
    """A prediction without its padding, resized to the original image.

    Args:
        prediction: ``(1, H, W)``, metres, with padding at the right and bottom.
        content_size: Rows and columns without padding.
        original_size: Rows and columns of the result.

    Returns:
        float32 ``(1, H0, W0)``, metres, linearly interpolated on the corner-convention grid.
    """
    content = prediction[None, :, : content_size[0], : content_size[1]].float()
    if content_size == original_size:
        return content[0]
    return F.interpolate(content, size=original_size, mode="bilinear", align_corners=False)[0]


def at_original_size(sample: dict[str, Tensor], prediction: Tensor) -> tuple[Tensor, Tensor]:
    """The original image of a sample and its predicted depth at that size.

    Args:
        sample: Tensors of one sample of an ``ImageFileBatch`` or a ``DepthBatch``, on the CPU.
        prediction: ``(1, H, W)``, metres, with the padding of the sample.

    Returns:
        float32 ``(3, H0, W0)``, RGB in [0, 1], and float32 ``(1, H0, W0)``, metres.
    """
    image = sample["image"]
    if "original_image" in sample:
        image = sample["original_image"].float() / 255
    rows, columns = _content_size(sample, prediction)
    size = (image.shape[1], image.shape[2])
    return image, fit_to_original(prediction, content_size=(rows, columns), original_size=size)


def _content_size(sample: dict[str, Tensor], prediction: Tensor) -> tuple[int, int]:
    """Rows and columns of a sample without padding."""
    rows, columns = (int(n) for n in sample.get("content_size", torch.tensor(prediction.shape[1:])))
    return rows, columns


def cloud_of(
    sample: dict[str, Tensor],
    prediction: Tensor,
    *,
    image: Tensor,
    depth: Tensor,
    max_jump: float | None = MAX_JUMP,
    max_points: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Coloured point cloud of a predicted image.

    Args:
        sample: Tensors of the sample, on the CPU, with ``K`` in pixels of the network's input.
        prediction: ``(1, H, W)``, metres, with the padding of the sample.
        image: Original image, see :func:`at_original_size`.
        depth: Depth at its size.
        max_jump: Points at depth edges with a relative jump above this are left out; None keeps them.
        max_points: Largest number of points, see :func:`renderers.point_cloud.point_cloud`.

    Returns:
        Points float32 ``(N, 3)`` in the camera frame, metres, and their colours float32 ``(N, 3)``, RGB in [0, 1].
    """
    keep, K = _away_from_edges(sample, prediction, size=(image.shape[1], image.shape[2]), max_jump=max_jump)
    return point_cloud(image, depth, K, mask=keep, max_points=max_points)


def _away_from_edges(
    sample: dict[str, Tensor], prediction: Tensor, *, size: tuple[int, int], max_jump: float | None
) -> tuple[Tensor, Tensor]:
    """Pixels of the original image, of the given size, away from edges of depth, ``(1, H0, W0)``, and its K."""
    rows, columns = _content_size(sample, prediction)
    keep = torch.ones(1, *size, dtype=torch.bool)
    if max_jump is not None:
        # Edges are detected before resizing, which turns one jump into a slope of many small ones.
        edges = depth_edges(prediction[None, :, :rows, :columns].float(), max_jump=max_jump)
        keep = F.interpolate((~edges).float(), size=size, mode="nearest-exact")[0] > 0
    scale = torch.tensor([size[1] / columns, size[0] / rows, 1.0])
    return keep, scale[:, None] * sample["K"]


class DepthPredictionWriter(FolderWriter):
    """Writes each prediction under its image's name; batches are an ``ImageFileBatch`` or a ``DepthBatch``.

    For an image ``a/b``: ``a/b_depth.png`` (16 bits, millimetres, 0 = no depth), ``a/b_color.png``; with ``panel``
    ``a/b_panel.png`` (image, ground truth if there is some, depth, error, with colour bars); with ``ply`` and known
    intrinsics ``a/b.ply`` and ``a/b_side.png`` (the cloud from the side and from above); with ``video`` and frames of
    a video ``a/b_panel.mp4`` (each frame beside its depth). An item with an ``error`` or without a
    finite prediction is reported, counted and skipped. Samples that pad a rank's share are not counted, since another
    rank writes them.

    Colours span the 2nd to the 98th percentile of depth of one image, or of all frames of a video, which makes them
    comparable. The range of a video is known at its end: its panels are first drawn with the range of each image and
    drawn again, with the colour maps, from the written depth at the end of the video or when the prediction is
    stopped. An image with ground truth has the range of its ground truth.

    Args:
        output_dir: Folder of the results; None means ``predictions`` in the trainer's folder.
        panel: Whether to write panels.
        ply: Whether to write point clouds, where the intrinsics are known (5 MB for 640x480 pixels).
        max_jump: Points at depth edges with a relative jump above this are left out of clouds; None keeps them.
        max_points: Largest number of points of a cloud; rows and columns are skipped evenly above it.
        colour_range: Near and far end in metres for all images, or the images that share a range: each ``image`` alone,
            the frames of each ``video`` (other images alone), or ``all`` images.
        video: Whether to write a video of the panels of each video that is read.
        smooth_frames: Number of frames over which the range of the colours of that video follows each frame's own; 0
            is one range for the whole video. The pictures of the frames are not affected.
        metric: Whether depth is in metres, for colour bars; None takes it from the module.

    Attributes:
        cloud_page: Writes an interactive page with a point cloud, from its path without suffix and the image, depth
            and intrinsics, where these are known; None writes none.
        ranges: Shared near and far ends in metres, by the name of the video, "" for those of all images.

    Raises:
        ValueError: If ``max_jump``, ``max_points`` or ``colour_range`` is out of its range.
    """

    def __init__(
        self,
        output_dir: str | None = None,
        panel: bool = True,
        ply: bool = False,
        max_jump: float | None = MAX_JUMP,
        max_points: int = MAX_POINTS,
        colour_range: ColourRange = "video",
        video: bool = False,
        smooth_frames: float = 0,
        metric: bool | None = None,
    ) -> None:
        super().__init__(output_dir)
        if (max_jump is not None and not max_jump > 0) or max_points < 1:
            raise ValueError(f"max_jump={max_jump} must be > 0 or None and max_points={max_points} at least 1")
        if not isinstance(colour_range, str):
            near, far = colour_range
            if not (math.isfinite(far) and 0 < near < far):
                raise ValueError(f"the range is {near:g} to {far:g} m, but 0 < near < far is needed")
        elif colour_range not in ("image", "video", "all"):
            raise ValueError(
                f"colour_range is '{colour_range}', but must be image, video, all, or two depths in metres"
            )
        self.panel = panel
        self.ply = ply
        self.max_jump = max_jump
        self.max_points = max_points
        if not (math.isfinite(smooth_frames) and smooth_frames >= 0):
            raise ValueError(f"smooth_frames is {smooth_frames}, but a number of frames from 0 is needed")
        self.colour_range = colour_range
        self.video = video
        self.smooth_frames = smooth_frames
        self.metric = metric
        self.cloud_page: Callable[[Path, SampleRecord], object] | None = None
        self._unit = "m"
        self._reset()

    def _reset(self) -> None:
        self.ranges: dict[str, tuple[float, float]] = {}
        self._group: str | None = None
        self._shared = SharedRange()
        self._waiting: list[tuple[Path, str, Place | None]] = []
        self._videos: list[DepthVideo] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the counts of an earlier prediction."""
        super().on_predict_start(trainer, pl_module)
        self._reset()
        metric = getattr(pl_module, "scale_known", True) if self.metric is None else self.metric
        self._unit = "m" if metric else RELATIVE

    def wanted(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Tensor, names: Sequence[str]
    ) -> Sequence[str]:
        """Return all names.

        Raises:
            ValueError: If the prediction is no depth.
        """
        if not (isinstance(prediction, Tensor) and prediction.ndim == 4 and prediction.shape[1] == 1):
            found = tuple(prediction.shape) if isinstance(prediction, Tensor) else type(prediction).__name__
            raise ValueError(
                f"{type(pl_module).__name__} predicts {found}, but depth (B, 1, H, W) is what can be written here"
            )
        return names

    def fault(self, name: str, prediction: Tensor) -> str:
        """Whether a prediction is not finite."""
        return "" if bool(torch.isfinite(prediction).all()) else f"the prediction for '{name}' is not finite"

    def write_sample(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Tensor, batch: dict[str, Any], index: int
    ) -> None:
        """Write the files of an image."""
        sample = {k: v[index].detach().cpu() for k, v in batch.items() if isinstance(v, Tensor)}
        name, video = batch["name"][index], batch["video"][index] if "video" in batch else ""
        self._begin(self._group_of(sample, video))
        self._begin_video(trainer, video, sample)
        self._write(output_path(self.folder(trainer), name), name, sample, prediction.detach().cpu())

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Draw the written frames of an unfinished video again, with their range, and write the video up to there."""
        with contextlib.suppress(OSError, ValueError):  # the full disk has raised already
            self._begin(None)
            self._finish_videos()

    def _group_of(self, sample: dict[str, Tensor], video: str) -> str | None:
        """The group with which an image shares its range: a video, all images ("") or none (None)."""
        if "depth" in sample or self.colour_range == "image" or not isinstance(self.colour_range, str):
            return None
        return "" if self.colour_range == "all" else video or None

    def _begin(self, group: str | None) -> None:
        """Start a group; draw the frames of the previous one again if it has ended."""
        if group == self._group:
            return
        ended, waiting = self._group, self._waiting
        self._group, self._waiting = group, []
        if ended is not None and waiting:
            near_m, far_m = self.ranges[ended] = self._shared.ends()
            for stem, name, place in waiting:
                self._draw_again(stem, name, place, near_m, far_m)
        self._shared = SharedRange()

    def _begin_video(self, trainer: Trainer, video: str, sample: dict[str, Tensor]) -> None:
        """Start the video of a clip; write the one before, unless its range is that of all images."""
        if not self.video or (self._videos and self._videos[-1].name == video):
            return
        if self.colour_range != "all":
            self._finish_videos()
        if video:
            path = _suffixed(output_path(self.folder(trainer), video), "_panel.mp4")
            rate = float(sample.get("frame_rate", torch.tensor(0.0)))
            self._videos.append(
                DepthVideo(path, name=video, rate=rate, unit=self._unit, smooth_frames=self.smooth_frames)
            )

    def _finish_videos(self) -> None:
        """Write the videos whose frames are complete."""
        videos, self._videos = self._videos, []
        for video in videos:
            ends = self.colour_range if not isinstance(self.colour_range, str) else self.ranges.get("")  # of all images
            logger.info("video: %s", video.write(ends))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the last video and report the folder and the numbers of written and failed images."""
        self._begin(None)
        self._finish_videos()
        logger.info("%d predictions in %s, %d skipped", self.n_written, self.folder(trainer), len(self.failures))

    def _write(self, stem: Path, name: str, sample: dict[str, Tensor], prediction: Tensor) -> None:
        image, depth = at_original_size(sample, prediction)
        write_png(_suffixed(stem, "_depth.png"), depth_to_millimetres(depth))
        ends = None if isinstance(self.colour_range, str) else self.colour_range
        place = None
        if self.panel:
            truth, mask = sample.get("depth"), sample.get("depth_mask")
            path = _suffixed(stem, "_panel.png")
            place = write_panel(path, image, depth, name=name, unit=self._unit, truth=truth, mask=mask, ends=ends)
        if self._group is None:
            near_m, far_m = depth_range(depth[None]) if ends is None else ends
            colours = colorize(depth[None], near_m=near_m, far_m=far_m)
            write_png(_suffixed(stem, "_color.png"), to_uint8(colours[0]).numpy())
        else:
            self._shared.add(depth.clamp(max=MAX_MILLIMETRES / MILLIMETRES))
            self._waiting.append((stem, name, place))
        if self._videos:
            self._videos[-1].add(to_uint8(image).numpy(), depth)
        if (self.ply or self.cloud_page is not None) and "K" in sample and bool(sample["K_known"]):
            self._write_clouds(stem, name, sample, prediction, image, depth)

    def _write_clouds(
        self, stem: Path, name: str, sample: dict[str, Tensor], prediction: Tensor, image: Tensor, depth: Tensor
    ) -> None:
        if self.ply:
            points, colours = cloud_of(
                sample, prediction, image=image, depth=depth, max_jump=self.max_jump, max_points=self.max_points
            )
            self._write_cloud(stem, points, colours)
        if self.cloud_page is not None:
            size = (image.shape[1], image.shape[2])
            keep, K = _away_from_edges(sample, prediction, size=size, max_jump=self.max_jump)
            kept = torch.where(keep, depth, 0.0)[0].numpy()
            self.cloud_page(stem, SampleRecord(name, to_uint8(image).numpy(), prediction=kept, K=K.numpy()))

    def _write_cloud(self, stem: Path, points: Tensor, colours: Tensor) -> None:
        write_ply(_suffixed(stem, ".ply"), points.numpy(), (colours * 255).round().to(torch.uint8).numpy())
        views = [side_view(points, colours), side_view(points, colours, yaw=0.0, pitch=math.pi / 2)]
        write_png(_suffixed(stem, "_side.png"), to_uint8(torch.cat(views, dim=2)).numpy())

    def _draw_again(self, stem: Path, name: str, place: Place | None, near_m: float, far_m: float) -> None:
        """Rewrite the colour map and the panel of an image with another range, from its written depth and panel."""
        millimetres = _read_back(_suffixed(stem, "_depth.png"))
        depth = torch.from_numpy(millimetres.astype(np.float32) / MILLIMETRES)[None, None]
        colours = to_uint8(colorize(depth, near_m=near_m, far_m=far_m)[0]).numpy()
        write_png(_suffixed(stem, "_color.png"), colours)
        if place is not None:
            draw_again(_suffixed(stem, "_panel.png"), place, colours, near_m, far_m, name=name, unit=self._unit)


def _suffixed(stem: Path, suffix: str) -> Path:
    """The path with text appended; ``with_suffix`` would remove a part of names with dots."""
    return stem.with_name(stem.name + suffix)


def _read_back(path: Path) -> np.ndarray[Any, Any]:
    """Pixels of a written depth map.

    Raises:
        FileNotFoundError: If it is no longer there.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise FileNotFoundError(f"'{path}' was written and is gone, so it cannot be drawn with the range of its video")
    return pixels
