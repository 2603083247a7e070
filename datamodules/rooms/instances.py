"""Rooms as an instance segmentation data set: boxes, classes, exact masks and depth of all objects."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datamodules.base import Split
from datamodules.files.run_lengths import encode_masks
from datamodules.instances import InstanceDataModule
from datamodules.rooms.categories import CATEGORIES
from datamodules.rooms.datamodule import Part, RoomsSource, check_choices
from datamodules.rooms.file_module import RoomsFileModule
from datamodules.samples.frame import Frame
from datamodules.samples.instance_frame import InstanceFrame
from datamodules.samples.pseudo_depth import EXTREMES, Percentiles, nearness
from structures.instances import Truth

THINGS = {name: index for index, name, is_thing in CATEGORIES if is_thing}
"""Ids of the classes whose objects are instances, by name."""

FLUSH = frozenset(THINGS[name] for name in ("picture", "mirror", "door", "window"))
"""Ids of the classes whose objects lie flush with a wall, so that depth hardly shows their outline."""


FLAGS = ("camouflaged", "standing", "flush")
"""Subsets of objects that are scored separately; an object is either standing or flush."""


@dataclass(frozen=True)
class Objects:
    """All visible objects of a frame, including those below the size limits.

    Attributes:
        ids: int64 ``(N,)``, values of the instance map.
        boxes: float32 ``(N, 4)``, xyxy pixels, bounding box of the visible part.
        labels: int64 ``(N,)``, from 1.
        area: int64 ``(N,)``, visible pixels.
        camouflaged: bool ``(N,)``, whether most pixels have the flag ``camouflaged``.
        flush: bool ``(N,)``, whether the class is one of :data:`FLUSH`.
        small: bool ``(N,)``, whether the object is below a size limit.
    """

    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    area: npt.NDArray[np.int64]
    camouflaged: npt.NDArray[np.bool_]
    flush: npt.NDArray[np.bool_]
    small: npt.NDArray[np.bool_]

    def flags(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Subsets of the objects by name, in the order of :data:`FLAGS`."""
        return dict(zip(FLAGS, (self.camouflaged, ~self.flush, self.flush), strict=True))


def find_objects(frame: Frame, labels: dict[int, int], *, min_side: float, min_area: int) -> Objects:
    """Return the objects of a frame from its instance map.

    Args:
        frame: Frame with the labels ``instance`` and ``semantic`` and the flag ``camouflaged``.
        labels: Label by class id. The class of an object is that of most of its pixels; other classes are left out.
        min_side: Objects whose box has a shorter side are small, in pixels.
        min_area: Objects with fewer visible pixels are small.
    """
    instance, semantic = (frame.labels[name].astype(np.int64) for name in ("instance", "semantic"))
    camouflaged = frame.flags["camouflaged"]
    rows: list[tuple[int, tuple[int, int, int, int], int, int, bool, bool]] = []
    for number in np.unique(instance[instance > 0]).tolist():
        mask = instance == number
        category, _ = Counter(semantic[mask].tolist()).most_common(1)[0]
        if category not in labels:
            continue
        y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1)
        hidden = bool(camouflaged[mask].mean() > 0.5)
        rows.append((number, box, labels[category], int(mask.sum()), hidden, category in FLUSH))
    boxes = np.array([row[1] for row in rows], dtype=np.float32).reshape(-1, 4)
    area = np.array([row[3] for row in rows], dtype=np.int64)
    shorter = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    return Objects(
        ids=np.array([row[0] for row in rows], dtype=np.int64),
        boxes=boxes,
        labels=np.array([row[2] for row in rows], dtype=np.int64),
        area=area,
        camouflaged=np.array([row[4] for row in rows], dtype=np.bool_),
        flush=np.array([row[5] for row in rows], dtype=np.bool_),
        small=(shorter < min_side) | (area < min_area),
    )


class RoomsInstanceSource:
    """Frames of rooms with boxes and masks.

    Objects below the minimum size are excluded from training and are ignore regions in evaluation.

    Args:
        source: Frames with the fields ``semantic``, ``instance`` and ``camouflaged``.
        labels: Label by class id.
        min_side: See :func:`find_objects`.
        min_area: See :func:`find_objects`.
        exact_depth: Whether the pseudo depth of an image is its ground-truth depth.
        depth_percentiles: See :func:`datamodules.samples.pseudo_depth.nearness`.
    """

    def __init__(
        self,
        source: RoomsSource,
        labels: dict[int, int],
        *,
        min_side: float,
        min_area: int,
        exact_depth: bool = False,
        depth_percentiles: Percentiles = EXTREMES,
    ) -> None:
        self.source = source
        self.labels = labels
        self.min_side = min_side
        self.min_area = min_area
        self.exact_depth = exact_depth
        self.depth_percentiles = depth_percentiles

    @property
    def names(self) -> list[str]:
        """Name of every frame."""
        return self.source.names

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return a frame with the objects that are large enough."""
        frame = self.source.read(index)
        objects = self._objects(frame)
        large = ~objects.small
        instances = InstanceFrame(
            image=frame.image.astype(np.uint8),
            boxes=objects.boxes[large],
            labels=objects.labels[large],
            name=frame.name,
            image_id=self.source.frames[index],
            original_size=(frame.image.shape[0], frame.image.shape[1]),
            masks=frame.labels["instance"] == objects.ids[large, None, None] if masks else None,
            flags={name: flag[large] for name, flag in objects.flags().items()},
        )
        if self.exact_depth:
            depth, known = nearness(frame.depth, self.depth_percentiles)
            instances = replace(instances, pseudo_depth=depth, depth_mask=known)
        return instances

    def truth(self, index: int) -> Truth:
        """Return the ground truth that predictions for a frame are scored against."""
        frame = self.source.read(index)
        objects = self._objects(frame)
        return Truth(
            boxes=torch.from_numpy(objects.boxes),
            labels=torch.from_numpy(objects.labels),
            crowd=torch.zeros(len(objects.ids), dtype=torch.bool),
            ignored=torch.from_numpy(objects.small),
            area=torch.from_numpy(objects.area.astype(np.float64)),
            masks=encode_masks(frame.labels["instance"] == objects.ids[:, None, None]),
            camouflaged=torch.from_numpy(objects.camouflaged),
            standing=torch.from_numpy(~objects.flush),
            flush=torch.from_numpy(objects.flush),
        )

    def _objects(self, frame: Frame) -> Objects:
        return find_objects(frame, self.labels, min_side=self.min_side, min_area=self.min_area)


class RoomsInstanceDataModule(RoomsFileModule, InstanceDataModule):
    """Data module of rooms with a box, a class, an exact mask and a camouflage flag for every object of minimum size.

    Args:
        parts: Training parts: ``video`` (clips) and ``still`` (single frames of many rooms).
        eval_parts: Validation and test parts.
        classes: Classes of the objects; None uses all seventeen.
        min_box_side: Objects whose visible bounding box has a shorter side are excluded from training and ignored in
            evaluation; pixels of the stored frame.
        min_area: The same limit for the number of visible pixels.
        eval_min_box_side: The limit of evaluation, in place of ``min_box_side``; None for the same.
        eval_min_area: The limit of evaluation, in place of ``min_area``; None for the same.
        batch_size: Images per batch and process.
        image_size: Length of the shorter side of evaluation images, and limit of their longer side, in pixels.
        oversampling: Training images are downsampled to this multiple of ``image_size`` before augmentation.
        cache: Whether to keep images in memory after the first read.
        base: Arguments of :class:`~datamodules.rooms.file_module.RoomsFileModule` and :class:`InstanceDataModule`.

    Raises:
        ValueError: If a part or class is unknown, or a limit is negative.
    """

    def __init__(
        self,
        *,
        parts: Sequence[Part] = ("still",),
        eval_parts: Sequence[Part] = ("still",),
        classes: Sequence[str] | None = None,
        min_box_side: float = 12.0,
        min_area: int = 60,
        eval_min_box_side: float | None = None,
        eval_min_area: int | None = None,
        batch_size: int = 8,
        image_size: tuple[int, int] = (96, 128),
        oversampling: float | None = 1.25,
        cache: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, image_size=image_size, oversampling=oversampling, cache=cache, **base)
        check_choices("parts", parts, Part)
        check_choices("eval_parts", eval_parts, Part)
        chosen = list(THINGS) if classes is None else list(classes)
        unknown = [name for name in chosen if name not in THINGS]
        if unknown or not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"rooms: classes is {chosen}, but different ones of {', '.join(THINGS)} are needed.")
        limits = {
            "min_box_side": min_box_side,
            "min_area": min_area,
            "eval_min_box_side": eval_min_box_side,
            "eval_min_area": eval_min_area,
        }
        for name, limit in limits.items():
            if limit is not None and limit < 0:
                raise ValueError(f"rooms: {name} is {limit}, but it must not be negative.")
        self.parts = tuple(parts)
        self.eval_parts = tuple(eval_parts)
        self.classes = chosen
        self.min_box_side = min_box_side
        self.min_area = min_area
        self.eval_min_box_side = min_box_side if eval_min_box_side is None else eval_min_box_side
        self.eval_min_area = min_area if eval_min_area is None else eval_min_area

    @property
    def class_names(self) -> list[str]:
        """Class names; the name of label k is at index k - 1."""
        return list(self.classes)

    @property
    def category_ids(self) -> list[int]:
        """Ids of the classes in the category table of rooms; the id of label k is at index k - 1."""
        return [THINGS[name] for name in self.classes]

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Names of the flags of every object: ``camouflaged``, ``standing`` and ``flush``."""
        return FLAGS

    def make_source(self, split: Split) -> RoomsSource:
        """Return the frames of a split with depth, input of a teacher of pseudo depth and ground truth of its errors.

        Raises:
            FileNotFoundError: If ``prepare_data`` did not run.
            ValueError: If the file is truncated or no rooms file.
        """
        parts = self.parts if split == "train" else self.eval_parts
        return RoomsSource(self.store, split, parts=parts, fields=("semantic", "instance", "camouflaged"))

    def make_instances(self, split: Split) -> RoomsInstanceSource:
        """Return the frames of a split with their objects; see :meth:`make_source` for errors."""
        return RoomsInstanceSource(
            self.make_source(split),
            {index: label for label, index in enumerate(self.category_ids, start=1)},
            min_side=self.min_box_side if split == "train" else self.eval_min_box_side,
            min_area=self.min_area if split == "train" else self.eval_min_area,
            exact_depth=split == "train" and self.pseudo_depth == "exact",
            depth_percentiles=self.depth_percentiles,
        )
