"""The data module of rooms, the embedded data set: made on first use, from nothing but its settings."""

from collections.abc import Sequence as Sequenced
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from datamodules.base import DepthDataModule, Split
from datamodules.rooms.categories import CATEGORIES
from datamodules.rooms.make_store import DEFAULT_RENDERER, build_store, default_root, store_path
from datamodules.rooms.settings import Part, RoomsSettings
from datamodules.rooms.store import DEPTH_UNITS_PER_METRE, FLAG_BITS, RoomsStore
from datamodules.samples.frame import Frame, check_frame

Field = Literal["semantic", "instance", "plane", "plain", "thin", "glossy", "camouflaged", "T_world_camera"]

LABELS = ("semantic", "instance", "plane")


def check_choices(name: str, values: Sequenced[str], allowed: object) -> None:
    """Raise ValueError, naming the allowed ones, if a value is none of a ``Literal``."""
    unknown = sorted(set(values) - set(get_args(allowed)))
    if unknown:
        raise ValueError(f"rooms: {name} holds '{unknown[0]}', allowed are {', '.join(get_args(allowed))}.")


def open_store(path: Path, settings: RoomsSettings) -> RoomsStore:
    """Open the finished file of some settings.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or foreign, or holds rooms of other settings.
    """
    store = RoomsStore(path)
    if store.fingerprint != settings.fingerprint():
        raise ValueError(f"{path} holds rooms of other settings: move it away and run `make data`.")
    return store


class RoomsSource:
    """Frames of some sequences of the store, at their stored size.

    Args:
        store: The finished file.
        split: Which split.
        parts: Which parts of it.
        fields: Optional fields of the frames.
        views: Which frames of every sequence, as a slice; None takes all.
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
        """Return a frame (its image uint8)."""
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


class RoomsDataModule(DepthDataModule):
    """Rooms: furnished rooms from a ray caster, with exact depth, K, pose, labels and difficulty flags.

    The file is made on first use (``prepare_data``) and keyed by a hash of its settings. Frames are reduced to
    ``image_size`` before augmentation and kept in memory in that size, so an epoch after the first one decodes nothing:
    86 kB a frame at 96x128, 0.3 GB for the default set. The price is that a crop is enlarged again from the reduced
    frame; ``oversampling`` 1.5 or 2 buys sharper crops for more memory.

    Args:
        settings: What to render; None takes the defaults. Every value is part of the file's key.
        root: Folder of the file; None is ``$PLUMBLINE_DATA``, else ``data`` in the working directory.
        parts: Parts to train on: ``video`` (clips) and ``still`` (single frames of many rooms).
        eval_parts: Parts to validate and test on.
        fields: Optional fields of the samples: ``semantic``, ``instance``, ``plane``, ``plain``, ``thin``, ``glossy``,
            ``camouflaged``, ``T_world_camera``.
        held_out_views: That many views of every training still, the last ones, are validated on instead of trained on
            and of the rooms of split ``val``; 0 validates on those rooms. Stills only.
        cache: Keep reduced frames in memory.
        oversampling: Frames are reduced to that many times ``image_size`` before augmentation.
        processes: Processes that make the data set; None takes one per core, 0 works in this one.
        renderer: ``module:function`` that renders a sequence.
        base: Arguments of :class:`DepthDataModule`.

    Raises:
        ValueError: If a part or field is unknown, or views are held out of clips or leave none to train on.
    """

    def __init__(
        self,
        *,
        settings: RoomsSettings | None = None,
        root: str | None = None,
        parts: Sequenced[Part] = ("video", "still"),
        eval_parts: Sequenced[Part] = ("video", "still"),
        fields: Sequenced[Field] = (),
        held_out_views: int = 0,
        cache: bool = True,
        oversampling: float = 1.0,
        processes: int | None = None,
        renderer: str = DEFAULT_RENDERER,
        **base: Any,
    ) -> None:
        super().__init__(oversampling=oversampling, cache=cache, **base)
        check_choices("parts", parts, Part)
        check_choices("eval_parts", eval_parts, Part)
        check_choices("fields", fields, Field)
        self.settings = RoomsSettings() if settings is None else settings
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
        self.root = default_root() if root is None else Path(root)
        self.parts = tuple(parts)
        self.eval_parts = tuple(eval_parts)
        self.fields = tuple(fields)
        self.processes = processes
        self.renderer = renderer
        self.store: RoomsStore | None = None

    @property
    def path(self) -> Path:
        """Where the finished file is or will be."""
        return store_path(self.settings, self.root)

    @property
    def content_key(self) -> str:
        """The key of the settings."""
        return f"rooms-{self.settings.fingerprint()}"

    @property
    def class_names(self) -> list[str]:
        """Names of the classes of ``semantic``; that of id k is at k - 1."""
        return [name for _, name, _ in CATEGORIES]

    def prepare_data(self) -> None:
        """Make the data set if it is not there, with a progress bar; a killed run is taken up again."""
        build_store(self.settings, self.root, processes=self.processes, renderer=self.renderer)

    def make_source(self, split: Split) -> RoomsSource:
        """Return the frames of a split.

        Raises:
            FileNotFoundError: If ``prepare_data`` did not run.
            ValueError: If the file is truncated or foreign.
        """
        if self.store is None:
            self.store = open_store(self.path, self.settings)
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
