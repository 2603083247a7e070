"""Data module of rooms, the embedded data set, which is rendered from its settings on first use."""

from collections.abc import Sequence as Sequenced
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from datamodules.base import DepthDataModule, Split
from datamodules.rooms.categories import CATEGORIES
from datamodules.rooms.file_module import RoomsFileModule
from datamodules.rooms.settings import Part
from datamodules.rooms.store import DEPTH_UNITS_PER_METRE, FLAG_BITS, RoomsStore
from datamodules.samples.frame import Frame, check_frame

Field = Literal["semantic", "instance", "plane", "plain", "thin", "glossy", "camouflaged", "T_world_camera"]

LABELS = ("semantic", "instance", "plane")


def check_choices(name: str, values: Sequenced[str], allowed: object) -> None:
    """Raise ValueError with the allowed values if a value is not in a ``Literal``."""
    unknown = sorted(set(values) - set(get_args(allowed)))
    if unknown:
        raise ValueError(f"rooms: {name} holds '{unknown[0]}', allowed are {', '.join(get_args(allowed))}.")


class RoomsSource:
    """Frames of the sequences of a split, at their stored size.

    Args:
        store: The data file.
        split: The split.
        parts: Parts of the split.
        fields: Optional fields of the frames.
        views: Slice of the frames of every sequence; None uses all.
    """

    def __init__(
        self,
        store: RoomsStore,
        split: Split,
        *,
        parts: Sequenced[Part],
        fields: Sequenced[Field] = (),
        views: slice | None = None,
    ) -> None:
        self.store = store
        self.labels = [name for name in LABELS if name in fields]
        self.flags = [name for name in FLAG_BITS if name in fields]
        self.pose = "T_world_camera" in fields
        self.frames: list[int] = []
        self.names: list[str] = []
        for start, sequence in zip(store.starts, store.sequences, strict=True):
            if sequence.split == split and sequence.part in parts:
                chosen = range(sequence.n_frames)[slice(None) if views is None else views]
                self.frames += [start + k for k in chosen]
                self.names += (
                    [sequence.name] if sequence.n_frames == 1 else [f"{sequence.name}/{k:04d}" for k in chosen]
                )

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def read(self, index: int) -> Frame:
        """Return a frame with a uint8 image."""
        names = ["image", "depth", "K", *self.labels]
        names += ["flags"] if self.flags else []
        names += ["T_world_camera"] if self.pose else []
        arrays = self.store.read(self.frames[index], names)
        depth: npt.NDArray[np.float32] = arrays["depth"].astype(np.float32) / np.float32(DEPTH_UNITS_PER_METRE)
        frame = Frame(
            image=arrays["image"],
            depth=depth,
            K=arrays["K"],
            name=self.names[index],
            labels={name: arrays[name] for name in self.labels},
            flags={name: (arrays["flags"] & FLAG_BITS[name]) > 0 for name in self.flags},
            T_world_camera=arrays["T_world_camera"] if self.pose else None,
        )
        check_frame(frame, f"{self.store.path}, {frame.name}", data=str(self.store.path))
        return frame


class RoomsDataModule(RoomsFileModule, DepthDataModule):
    """Data module of furnished rooms from a ray caster, with exact depth, K, pose, labels and difficulty flags.

    The data file is rendered on first use (``prepare_data``) and keyed by a hash of its settings. Frames are
    downsampled to ``image_size`` before augmentation and cached in memory, so only the first epoch decodes them: 86 kB
    per frame at 96x128, 0.3 GB for the default data set. Crops are then upsampled from the downsampled frame;
    ``oversampling`` 1.5 or 2 gives sharper crops and needs more memory.

    Args:
        parts: Training parts: ``video`` (clips) and ``still`` (single frames of many rooms).
        eval_parts: Validation and test parts.
        fields: Optional fields of the samples: ``semantic``, ``instance``, ``plane``, ``plain``, ``thin``, ``glossy``,
            ``camouflaged``, ``T_world_camera``.
        held_out_views: Number of views at the end of every training still that are used for validation instead of
            training, in place of the rooms of split ``val``; 0 validates on those rooms. Stills only.
        cache: Whether to keep downsampled frames in memory.
        oversampling: Frames are downsampled to this multiple of ``image_size`` before augmentation.
        base: Arguments of :class:`~datamodules.rooms.file_module.RoomsFileModule` and :class:`DepthDataModule`.

    Raises:
        ValueError: If a part or field is unknown, or views are held out of clips or leave none for training.
    """

    def __init__(
        self,
        *,
        parts: Sequenced[Part] = ("video", "still"),
        eval_parts: Sequenced[Part] = ("video", "still"),
        fields: Sequenced[Field] = (),
        held_out_views: int = 0,
        cache: bool = True,
        oversampling: float = 1.0,
        **base: Any,
    ) -> None:
        super().__init__(oversampling=oversampling, cache=cache, **base)
        check_choices("parts", parts, Part)
        check_choices("eval_parts", eval_parts, Part)
        check_choices("fields", fields, Field)
        if not 0 <= held_out_views < self.settings.views_per_still:
            raise ValueError(
                f"rooms: held_out_views is {held_out_views}, it has to be at least 0 and leave one of the "
                f"views_per_still = {self.settings.views_per_still} to train on."
            )
        if held_out_views > 0 and {*parts, *eval_parts} != {"still"}:
            raise ValueError(
                f"rooms: held_out_views is {held_out_views}, but only stills have views: set parts and eval_parts to "
                "[still], or held_out_views to 0."
            )
        self.held_out_views = held_out_views
        self.parts = tuple(parts)
        self.eval_parts = tuple(eval_parts)
        self.fields = tuple(fields)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes of ``semantic``; the name of id k is at index k - 1."""
        return [name for _, name, _ in CATEGORIES]

    def make_source(self, split: Split) -> RoomsSource:
        """Return the frames of a split.

        Raises:
            FileNotFoundError: If ``prepare_data`` did not run.
            ValueError: If the file is truncated or no rooms file.
        """
        held_out = self.held_out_views
        if split == "val" and held_out > 0:
            return RoomsSource(
                self.store, "train", parts=self.eval_parts, fields=self.fields, views=slice(-held_out, None)
            )
        return RoomsSource(
            self.store,
            split,
            parts=self.parts if split == "train" else self.eval_parts,
            fields=self.fields,
            views=slice(-held_out) if split == "train" and held_out > 0 else None,
        )
