"""Sources of mixed data: rooms with their own settings, and manifests."""

import abc
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.base import Split
from datamodules.files.version import files_version
from datamodules.manifest.cameras import check_headers
from datamodules.manifest.rows import Intrinsics, ManifestRow, checked_intrinsics, read_manifest
from datamodules.manifest.source import ManifestSource
from datamodules.mixed.distortion import DistortedSource, Distortion
from datamodules.mixed.manifest import ManifestTruthSource
from datamodules.mixed.truth import TruthSource
from datamodules.rooms.datamodule import Field, Part, RoomsSource, check_choices
from datamodules.rooms.file_module import open_store
from datamodules.rooms.make_store import DEFAULT_RENDERER, build_store, store_path
from datamodules.rooms.settings import RoomsSettings
from datamodules.samples.frame import FrameSource
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from structures.choices import KConvention
from structures.depth_kind import DepthKind


class MixedSource(abc.ABC):
    """Base class of one data set in a mixture.

    Args:
        name: Unique name, prefix of the names of its frames.
        weight: Share of the samples, relative to the other sources.
        kind: Kind of ground truth (``structures.depth_kind.DepthKind``).
        K_known: Whether the intrinsics of the frames are used; otherwise a field of view is assumed.

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
        """Create or validate the data, in one process; ``root`` is the folder of embedded data and relative paths."""

    @abc.abstractmethod
    def training(self, root: Path) -> TruthSource:
        """Return the training frames with their ground truth."""

    @abc.abstractmethod
    def evaluation(self, split: Split, root: Path) -> FrameSource:
        """Return the frames of ``val`` or ``test``, in metres."""

    def version(self, _root: Path) -> str | None:
        """Return the version of the data, valid after ``prepare``; None if it is not known."""
        return None

    def val_is_test(self, _root: Path) -> bool:
        """Return whether validation runs on the test frames, because there are no validation frames."""
        return False


class RoomsDomain(MixedSource):
    """Source of rooms with their own settings, with ground truth of any kind derived from exact depth.

    Args:
        settings: Settings of the rooms; None uses the defaults.
        parts: Parts of the data set.
        distortion: Transform of depth into ground truth of the kind.
        fields: Optional fields of evaluation samples, see :class:`~datamodules.rooms.datamodule.RoomsDataModule`.
        processes: Processes that render the data; None uses one per core, 0 renders in this process.
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
        """Render the rooms if the file does not exist."""
        build_store(self.settings, root, processes=self.processes, renderer=self.renderer)

    def training(self, root: Path) -> TruthSource:
        """Return the training frames with their ground truth.

        Raises:
            FileNotFoundError: If ``prepare`` did not run.
            ValueError: If the file is truncated or no rooms file.
        """
        return DistortedSource(self._frames("train", root, ()), self.kind, self.distortion)

    def evaluation(self, split: Split, root: Path) -> FrameSource:
        """Return the frames of ``val`` or ``test``, which are held-out rooms.

        Raises:
            FileNotFoundError: If ``prepare`` did not run.
            ValueError: If the file is truncated or no rooms file.
        """
        return self._frames(split, root, self.fields)

    def version(self, _root: Path) -> str | None:
        """Return the key of the settings."""
        return f"rooms-{self.settings.fingerprint()}"

    def _frames(self, split: Split, root: Path, fields: Sequence[Field]) -> FrameSource:
        store = open_store(store_path(self.settings, root), self.settings)
        return RoomsSource(store, split, parts=self.parts, fields=fields)


class ManifestDomain(MixedSource):
    """Source of images in a manifest, with ground truth of one kind or of a kind per row.

    Training uses the rows of split ``train``, evaluation those of ``val`` and ``test``, which must be metric.

    Args:
        name: Unique name.
        manifest: The file, relative to the data module's root.
        file_units_per_metre: Depth scale of metric rows without ``depth_scale``.
        intrinsics: ``(fx, fy, cx, cy)`` of rows without their own.
        K_convention: ``centre`` if intrinsics are relative to the centre of the first pixel, or ``corner``.
        files_root: Folder that all files of the manifest must lie in; None is the folder of the manifest.
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
        files_root: str | None = None,
        **base: Any,
    ) -> None:
        super().__init__(name=name, **base)
        if K_convention not in ("corner", "centre"):
            raise ValueError(f"source {name}: K_convention '{K_convention}' is not known; choose 'corner' or 'centre'.")
        self.manifest = manifest
        self.files_root = None if files_root is None else Path(files_root)
        self.file_units_per_metre = file_units_per_metre
        self.intrinsics = None if intrinsics is None else checked_intrinsics(intrinsics, f"source {name}: intrinsics")
        self.K_convention: KConvention = K_convention
        self._rows: list[ManifestRow] | None = None
        self.sizes: Counter[tuple[int, int]] = Counter()

    def prepare(self, root: Path) -> None:
        """Validate the manifest, and cameras against the sizes of evenly spaced images.

        Raises:
            FileNotFoundError: If the manifest or a file that it names is missing.
            ValueError: If the manifest is invalid.
        """
        self.sizes = check_headers(self._read(root), shift=0.5 if self.K_convention == "centre" else 0.0)

    def training(self, root: Path) -> TruthSource:
        """Return the frames of split ``train`` with their ground truth."""
        return ManifestTruthSource(
            [row for row in self._read(root) if row.split == "train"],
            K_convention=self.K_convention,
            default_field_of_view_degrees=USUAL_FIELD_OF_VIEW_DEGREES,
        )

    def evaluation(self, split: Split, root: Path) -> FrameSource:
        """Return the frames of ``val`` (of ``test`` if there are none) or ``test``.

        Raises:
            ValueError: If a row is not metric.
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

    def version(self, root: Path) -> str | None:
        """Return the hash of the manifest."""
        return files_version("manifest", [root / self.manifest])

    def val_is_test(self, root: Path) -> bool:
        """Return whether the manifest has no row of split ``val``."""
        return not any(row.split == "val" for row in self._read(root))

    def _read(self, root: Path) -> list[ManifestRow]:
        if self._rows is None:
            self._rows = read_manifest(
                root / self.manifest,
                depth_scale=self.file_units_per_metre,
                intrinsics=self.intrinsics,
                kind=self.kind,
                files_root=self.files_root,
            )
        return self._rows
