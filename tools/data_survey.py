"""Survey of the frames of a data module: which are broken, and the statistics of their depth."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from datamodules.base import DepthDataModule, LoaderDataModule, Split
from datamodules.files.metric_depth import SATURATED
from datamodules.loading.notices import tallies
from datamodules.samples.aspect import warn_stretched
from datamodules.samples.clips import ClipDataset
from datamodules.samples.dataset import DepthDataset
from datamodules.samples.downsampled import CroppedSource, DownsampledSource
from datamodules.samples.frame import Frame, FrameSource
from datamodules.samples.instance_dataset import DownsampledInstances, InstanceDataset
from structures.depth_units import DepthSummary, summarise, why_doubtful, why_impossible

NAMED = 10
"""Largest number of broken frames that are listed by name."""

DEPTHS_KEPT = 256
"""Depth values per frame that enter the statistics, evenly over its measured pixels."""

ANOTHER_UNIT = 100.0
"""Ratio of a frame's median depth to the overall median beyond which the frame is probably in another unit."""

SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Survey:
    """Counts and depth statistics of the frames of one or more splits.

    Attributes:
        read: Frames that were read.
        broken: Split, position and reason of each frame that cannot be read.
        sizes: Number of frames by (height, width).
        measured: Frames with any measured depth.
        depths: A sample of the measured depths of each frame, metres.
        medians: Median measured depth by frame name, metres.
    """

    read: int = 0
    broken: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    measured: int = 0
    depths: list[torch.Tensor] = field(default_factory=list)
    medians: dict[str, float] = field(default_factory=dict)

    def add(self, frame: Any) -> None:
        """Add a frame of a depth or instance data set."""
        self.read += 1
        height, width = frame.image.shape[:2]
        self.sizes[height, width] += 1
        if isinstance(frame, Frame) and frame.depth.any():
            values = frame.depth[frame.depth > 0]
            self.measured += 1
            chosen = np.linspace(0, len(values) - 1, min(DEPTHS_KEPT, len(values))).astype(int)
            self.depths.append(torch.from_numpy(np.ascontiguousarray(values[chosen])))
            self.medians[frame.name] = float(np.median(values))

    def depth(self) -> DepthSummary | None:
        """Summary of the measured depth, or None without any."""
        if not self.depths:
            return None
        values = torch.cat(self.depths)
        return summarise(values, torch.ones_like(values, dtype=torch.bool))


def survey(data: LightningDataModule, *, limit: int | None = None) -> Survey:
    """Read the frames of every split at full size, without augmentation.

    Args:
        data: A data module that was set up for ``fit`` and ``test``.
        limit: Largest number of frames per split, evenly over it; None reads all.

    Returns:
        The survey; empty for a data module without splits.
    """
    found = Survey()
    if not isinstance(data, LoaderDataModule):
        return found
    splits: tuple[Split, ...] = ("train", "test") if data.val_is_test else ("train", "val", "test")
    started = printed = time.monotonic()
    for split in splits:
        dataset = data.datasets.get(split)
        if dataset is None:
            continue
        readers = list(frame_readers(dataset))
        chosen = readers if limit is None else [readers[i] for i in _evenly(len(readers), limit)]
        for count, (name, read) in enumerate(chosen, start=1):
            try:
                found.add(read())
            except Exception as error:  # training would stop with any of them
                reason = str(error) or type(error).__name__
                found.broken.append(f"{split} {name}: {reason}")
            if time.monotonic() - printed > SECONDS_BETWEEN_LINES:
                printed = time.monotonic()
                sys.stderr.write(f"{split}: {count} of {len(chosen)} read after {printed - started:.0f} s\n")
    return found


def frame_readers(dataset: Dataset[Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Each frame or image that training reads, once: its title, and a function that reads it at full size."""
    if isinstance(dataset, InstanceDataset):
        instances = dataset.source
        while isinstance(instances, DownsampledInstances):
            instances = instances.source
        for index, masks in enumerate(dataset.masked):
            yield f"image {index}", lambda i=index, m=masks, s=instances: _instance(s, i, m)  # type: ignore[misc]
    elif isinstance(dataset, ClipDataset):
        targets, others = _full_size(dataset.targets), _full_size(dataset.source)
        middles = {window[len(window) // 2] for window in dataset.windows}
        for index in sorted({index for window in dataset.windows for index in window}):
            source = targets if index in middles else others
            yield f"frame {index}", lambda i=index, s=source: s.read(i)  # type: ignore[misc]
    elif isinstance(dataset, DepthDataset):
        source = _full_size(dataset.source)
        for index in range(len(source)):
            yield f"frame {index}", lambda i=index, s=source: s.read(i)  # type: ignore[misc]


def _frames_of_another_unit(medians: Mapping[str, float], median_m: float) -> list[str]:
    """Names of the frames whose median depth differs from the overall median by more than :data:`ANOTHER_UNIT`."""
    return [name for name, own in medians.items() if not 1 / ANOTHER_UNIT < own / median_m < ANOTHER_UNIT]


def _instance(source: Any, index: int, masks: bool) -> Any:
    frame = source.read(index, masks=masks)
    source.truth(index)
    return frame


def _full_size(source: FrameSource) -> FrameSource:
    """The source of the frames before they are cropped, reduced and cached."""
    while isinstance(source, DownsampledSource | CroppedSource):
        source = source.source
    return source


def _evenly(length: int, limit: int) -> list[int]:
    return cast(list[int], np.unique(np.linspace(0, length - 1, min(limit, length)).round().astype(int)).tolist())


def report(found: Survey, data: LightningDataModule) -> tuple[list[str], bool]:
    """Lines about the frames for the user, and whether the data cannot be trained on.

    Args:
        found: Result of :func:`survey`.
        data: The data module.

    Returns:
        The lines, and True if training would stop at a broken frame or the depth cannot be metric.
    """
    lines = [f"broken: {reason}" for reason in found.broken[:NAMED]]
    if len(found.broken) > NAMED:
        lines.append(f"broken: and {len(found.broken) - NAMED} more")
    for where, count in tallies(SATURATED).items():
        lines.append(f"{where}: {count} pixels hold the largest value of their type and count as not measured")
    summary, useless = found.depth(), bool(found.broken)
    if summary is not None:
        values = torch.cat(found.depths)
        low, high = torch.quantile(values[:: max(1, len(values) // 1_000_000)], torch.tensor([0.01, 0.99])).tolist()
        lines.append(
            f"depth: measured in {found.measured} of {found.read} frames, median {summary.median_m:.3g} m, 98 % of it "
            f"between {low:.3g} and {high:.3g} m"
        )
        impossible, doubt = why_impossible(summary), why_doubtful(summary)
        if impossible is not None:
            lines.append(f"error: {impossible}")
            useless = True
        elif doubt is not None:
            lines.append(f"warning: {doubt}")
        other_unit = _frames_of_another_unit(found.medians, summary.median_m)
        if impossible is None and other_unit:
            names = ", ".join(f"{name} ({found.medians[name]:.3g} m)" for name in other_unit[:3])
            have = "frames have" if len(other_unit) > 1 else "frame has"
            lines.append(
                f"warning: {len(other_unit)} {have} a median depth {ANOTHER_UNIT:g} times smaller or larger than the "
                f"{summary.median_m:.3g} m of all, such as {names}: are their files in another unit?"
            )
    if isinstance(data, DepthDataModule) and data.aspect == "stretch" and summary is not None:
        stretched = warn_stretched(str(getattr(data, "root", type(data).__name__)), found.sizes, data.image_size)
        if stretched is not None:
            lines.append(f"warning: {stretched}")
    return lines, useless
