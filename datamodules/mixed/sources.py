"""The sources that mixed data are made of: domains of rooms, and manifests."""

import abc
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datamodules.base import Split
from datamodules.manifest.cameras import check_headers
from datamodules.manifest.datamodule import ManifestSource
from datamodules.manifest.rows import Intrinsics, ManifestRow, checked_intrinsics, read_manifest
from datamodules.mixed.distortion import DistortedSource, Distortion
from datamodules.mixed.manifest import ManifestTruthSource
from datamodules.mixed.truth import TruthSource
from datamodules.rooms.datamodule import Field, Part, RoomsSource, check_choices, open_store
from datamodules.rooms.make_store import DEFAULT_RENDERER, build_store, store_path
from datamodules.rooms.settings import RoomsSettings
from datamodules.samples.frame import Frame, FrameSource, default_intrinsics
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from structures.choices import KConvention
from structures.depth_kind import DepthKind


class MixedSource(abc.ABC):
    """One data set among those that are mixed.

    Args:
        name: Unique name; the names of its frames begin with it.
        weight: Share of the samples, relative to the other sources.
        kind: Kind of truth (``structures.depth_kind.DepthKind``).
        K_known: Whether the intrinsics of its frames may be used; if not, a field of view is made up.

    Raises:
        ValueError: If the name is empty, the weight is not positive and finite, or the kind is unknown.
    """

    def __init__(self, *, name: str, weight: float = 1.0, kind: str = "metric", K_known: bool = True) -> None:
        if not name:
            raise ValueError("Every source of mixed data needs a name, but one has an empty one.")
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(
                f"source {name}: weight is {weight}, but it has to be positive and finite; take the source out to "
                "train without it."
            )
        try:
            self.kind = DepthKind.from_name(kind)
        except ValueError as error:
            raise ValueError(f"source {name}: {error}") from error
        self.name = name
        self.weight = weight
        self.K_known = K_known

    @abc.abstractmethod
    def prepare(self, root: Path) -> None:
        """Make or check the data, in one process; ``root`` is where embedded data go and relative paths begin."""

    @abc.abstractmethod
    def training(self, root: Path) -> TruthSource:
        """Return the training frames with their truth."""

    @abc.abstractmethod
    def evaluation(self, split: Split, root: Path) -> FrameSource:
        """Return the frames of ``val`` or ``test``, in metres."""

    def val_is_test(self, _root: Path) -> bool:
        """Whether validation has to run on the test frames, for want of others."""
        return False


class RoomsDomain(MixedSource):
    """Rooms of some settings, a domain of their own, with truth of any kind made from their exact depth.

    Args:
        settings: What to render; None takes the defaults.
        parts: Parts of it.
        distortion: How depth becomes truth of that kind.
        fields: Optional fields of evaluation samples, see :class:`~datamodules.rooms.datamodule.RoomsDataModule`.
        processes: Processes that make the data; None takes one per core, 0 works in this one.
        renderer: ``module:function`` that renders a sequence.
        base: Arguments of :class:`MixedSource`.

    Raises:
        ValueError: If a value is not allowed.
    """

    def __init__(
        self,
        *,
        settings: RoomsSettings | None = None,
        parts: Sequence[Part] = ("still",),
        distortion: Distortion | None = None,
        fields: Sequence[Field] = (),
        processes: int | None = None,
        renderer: str = DEFAULT_RENDERER,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_choices("parts", parts, Part)
        check_choices("fields", fields, Field)
        self.settings = RoomsSettings() if settings is None else settings
        self.parts = tuple(parts)
        self.distortion = Distortion() if distortion is None else distortion
        self.fields = tuple(fields)
        self.processes = processes
        self.renderer = renderer

    def prepare(self, root: Path) -> None:
        """Make the rooms if they are not there."""
        build_store(self.settings, root, processes=self.processes, renderer=self.renderer)

    def training(self, root: Path) -> TruthSource:
        """Return the training frames with their truth.

        Raises:
            FileNotFoundError: If ``prepare`` did not run.
            ValueError: If the file is truncated or foreign.
        """
        return DistortedSource(self._frames("train", root, ()), self.kind, self.distortion)

    def evaluation(self, split: Split, root: Path) -> FrameSource:
        """Return the frames of ``val`` or ``test``: rooms that no training sees.

        Raises:
            FileNotFoundError: If ``prepare`` did not run.
            ValueError: If the file is truncated or foreign.
        """
        return self._frames(split, root, self.fields)

    def _frames(self, split: Split, root: Path, fields: Sequence[Field]) -> FrameSource:
        store = open_store(store_path(self.settings, root), self.settings)
        return RoomsSource(store, split, parts=self.parts, fields=fields)


class ManifestDomain(MixedSource):
    """Images with ground truth of one kind, or of a kind for each row, listed in a manifest.

    Training takes the rows of split ``train``, evaluation those of ``val`` and ``test``, which have to be metric.

    Args:
        name: Unique name.
        manifest: The file, relative to the data module's root.
        file_units_per_metre: Depth scale of metric rows without ``depth_scale``.
        intrinsics: ``(fx, fy, cx, cy)`` of rows without their own.
        K_convention: ``centre`` if intrinsics count from the centre of the first pixel, or ``corner``.
        base: Arguments of :class:`MixedSource`.

    Raises:
        ValueError: If a value is not allowed.
    """

    def __init__(
        self,
        *,
        name: str,
        manifest: str,
        file_units_per_metre: float | None = None,
        intrinsics: Intrinsics | None = None,
        K_convention: KConvention = "centre",
        **base: Any,
    ) -> None:
        super().__init__(name=name, **base)
        if K_convention not in ("corner", "centre"):
            raise ValueError(f"source {name}: K_convention '{K_convention}' is not known; choose 'corner' or 'centre'.")
        self.manifest = manifest
        self.file_units_per_metre = file_units_per_metre
        self.intrinsics = None if intrinsics is None else checked_intrinsics(intrinsics, f"source {name}: intrinsics")
        self.K_convention: KConvention = K_convention
        self._rows: list[ManifestRow] | None = None
        self.sizes: Counter[tuple[int, int]] = Counter()

    def prepare(self, root: Path) -> None:
        """Check the manifest, and cameras against the sizes of images evenly over it.

        Raises:
            FileNotFoundError: If it or a file that it names is missing.
            ValueError: If something in it cannot be right.
        """
        self.sizes = check_headers(self._read(root), shift=0.5 if self.K_convention == "centre" else 0.0)

    def training(self, root: Path) -> TruthSource:
        """Return the frames of split ``train`` with their truth."""
        return ManifestTruthSource(
            [row for row in self._read(root) if row.split == "train"],
            K_convention=self.K_convention,
            default_field_of_view_degrees=USUAL_FIELD_OF_VIEW_DEGREES,
        )

    def evaluation(self, split: Split, root: Path) -> FrameSource:
        """Return the frames of ``val`` (of ``test`` where there are none) or ``test``.

        Raises:
            ValueError: If one of them is not in metres.
        """
        chosen = "test" if self.val_is_test(root) else split
        rows = [row for row in self._read(root) if row.split == chosen]
        for row in rows:
            if row.kind is not DepthKind.METRIC:
                raise ValueError(
                    f"{row.where}: a row of split '{row.split}' has truth of kind {row.kind.name.lower()}, but "
                    "evaluation needs metric depth."
                )
        return ManifestSource(
            rows, K_convention=self.K_convention, default_field_of_view_degrees=USUAL_FIELD_OF_VIEW_DEGREES
        )

    def val_is_test(self, root: Path) -> bool:
        """Whether the manifest has no row of split ``val``."""
        return not any(row.split == "val" for row in self._read(root))

    def _read(self, root: Path) -> list[ManifestRow]:
        if self._rows is None:
            self._rows = read_manifest(
                root / self.manifest,
                depth_scale=self.file_units_per_metre,
                intrinsics=self.intrinsics,
                kind=self.kind,
            )
        return self._rows


class JoinedSource:
    """The training frames of all sources, one after another.

    Args:
        sources: The sources as they were configured.
        frames: The frames of each.
    """

    def __init__(self, sources: Sequence[MixedSource], frames: Sequence[TruthSource]) -> None:
        self.sources = list(sources)
        self.frames = list(frames)
        self.sizes = [len(part) for part in frames]

    def __len__(self) -> int:
        """Return the number of frames."""
        return sum(self.sizes)

    def locate(self, index: int) -> tuple[int, int]:
        """Return which source a frame is from and its position there."""
        for source, size in enumerate(self.sizes):
            if index < size:
                return source, index
            index -= size
        raise IndexError(f"There are {len(self)} frames, but one beyond them was asked for.")

    def kind(self, index: int) -> DepthKind:
        """Return the kind of a frame's truth."""
        source, position = self.locate(index)
        return self.frames[source].kind(position)

    def read(self, index: int) -> Frame:
        """Return a frame with its truth; a camera that its source says is unknown is made up."""
        source, position = self.locate(index)
        frame = self.frames[source].read(position)
        frame = replace(frame, name=f"{self.sources[source].name}/{frame.name}")
        return frame if self.sources[source].K_known else without_camera(frame)


def without_camera(frame: Frame) -> Frame:
    """The frame with intrinsics that were made up in place of its own."""
    height, width = frame.image.shape[:2]
    K = default_intrinsics(width=width, height=height, field_of_view_degrees=USUAL_FIELD_OF_VIEW_DEGREES)
    return replace(frame, K=K, K_known=False)
