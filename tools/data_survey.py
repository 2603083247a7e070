"""Reads all frames that a data module would give, and says which are broken and what their depth looks like."""

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
"""Most broken frames that are named."""

DEPTHS_KEPT = 256
"""Depths of each frame that statistics are taken of, evenly over its measured pixels."""

ANOTHER_UNIT = 100.0
"""Factor between the median depth of a frame and that of all from which on they can hardly be of one unit."""

SECONDS_BETWEEN_LINES = 10.0


@dataclass
class Survey:
    """What was found in the frames of one split or more.

    Attributes:
        read: Frames that were read.
        broken: Split, position and reason of each frame that cannot be read.
        sizes: How many frames have each height and width.
        measured: Frames with any depth.
        depths: Some measured depths of each frame, metres.
        medians: Median of the measured depth of each frame, metres, by its name.
    """

    read: int = 0
    broken: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    measured: int = 0
    depths: list[torch.Tensor] = field(default_factory=list)
    medians: dict[str, float] = field(default_factory=dict)

    def add(self, frame: Any) -> None:
        """Count a frame of a depth or instance data set."""
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
        """Summary of the measured depth, or None where there is none."""
        if not self.depths:
            return None
        values = torch.cat(self.depths)
        return summarise(values, torch.ones_like(values, dtype=torch.bool))


def survey(data: LightningDataModule, *, limit: int | None = None) -> Survey:
    """Read the frames of every split as training does, but at full size and unaugmented.

    Args:
        data: A data module that was set up for ``fit`` and ``test``.
        limit: Most frames of a split, evenly over it; None reads all.

    Returns:
        What was found; nothing of a data module of another sort.
    """
    found = Survey()
    if not isinstance(data, LoaderDataModule):
        return found
    splits: tuple[Split, ...] = ("train", "test") if data.val_is_test else ("train", "val", "test")
    started = said = time.monotonic()
    for split in splits:
        dataset = data.datasets.get(split)
        if dataset is None:
            continue
        readers = list(frame_readers(dataset))
        chosen = readers if limit is None else [readers[i] for i in _evenly(len(readers), limit)]
        for count, (name, read) in enumerate(chosen, start=1):
            try:
                found.add(read())
            except Exception as error:  # whatever a reader raises is what training would stop with
                reason = str(error) or type(error).__name__
                found.broken.append(f"{split} {name}: {reason}")
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                sys.stderr.write(f"{split}: {count} of {len(chosen)} read after {said - started:.0f} s\n")
    return found


def frame_readers(dataset: Dataset[Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What training reads of a data set, each once: a word for it and a function that reads it at full size."""
    if isinstance(dataset, InstanceDataset):
        instances = dataset.source
        while isinstance(instances, DownsampledInstances):
            instances = instances.source
        for index, masks in enumerate(dataset.masked):
            yield f"image {index}", lambda i=index, m=masks, s=instances: _instance(s, i, m)  # type: ignore[misc]
    elif isinstance(dataset, ClipDataset):
        targets, others = _unreduced(dataset.targets), _unreduced(dataset.source)
        middles = {window[len(window) // 2] for window in dataset.windows}
        for index in sorted({index for window in dataset.windows for index in window}):
            source = targets if index in middles else others
            yield f"frame {index}", lambda i=index, s=source: s.read(i)  # type: ignore[misc]
    elif isinstance(dataset, DepthDataset):
        source = _unreduced(dataset.source)
        for index in range(len(source)):
            yield f"frame {index}", lambda i=index, s=source: s.read(i)  # type: ignore[misc]


def _frames_of_another_unit(medians: Mapping[str, float], median_m: float) -> list[str]:
    """Names of the frames whose depth is too far from that of all to be of one unit, in which case they are few."""
    return [name for name, own in medians.items() if not 1 / ANOTHER_UNIT < own / median_m < ANOTHER_UNIT]


def _instance(source: Any, index: int, masks: bool) -> Any:
    frame = source.read(index, masks=masks)
    source.truth(index)
    return frame


def _unreduced(source: FrameSource) -> FrameSource:
    """The frames before they are cropped, reduced and kept in memory."""
    while isinstance(source, DownsampledSource | CroppedSource):
        source = source.source
    return source


def _evenly(length: int, limit: int) -> list[int]:
    return cast(list[int], np.unique(np.linspace(0, length - 1, min(limit, length)).round().astype(int)).tolist())


def report(found: Survey, data: LightningDataModule) -> tuple[list[str], bool]:
    """What a user has to know of the frames.

    Args:
        found: What :func:`survey` found.
        data: The data module.

    Returns:
        Lines, and whether training on the data would stop or learn nonsense.
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
