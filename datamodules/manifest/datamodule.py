"""Data module of a user's RGB-D data, listed in a manifest with one row (CSV) or object (JSONL) per image.

Columns, of which only the first two are always required::

    image        path of an 8-bit image, relative to the manifest; rotated upright according to its EXIF entry
    depth        path of a 16-bit PNG or an .npy array of the same size; 0 = no measurement, as is the largest value
                 of an integer type for metric depth (65535 of 16 bits: too far, unknown). Depth, mask and intrinsics
                 of an image with an EXIF orientation may be stored or upright (datamodules/files/orientation.py)
    split        train, val or test (default: train); at least one row is for test
    kind         kind of ground truth in the depth file: metric (default), affine_depth, affine_disparity or ordinal;
                 all but metric are for training on mixed data (datamodules/mixed/datamodule.py), without depth_scale
    mask         path of an image or .npy array of the same size, non-zero where the depth is valid; with a mask, 0 is
                 a valid value of kinds other than metric
    depth_scale  file units per metre, e.g. 1000 for millimetres
    fx fy cx cy  intrinsics in pixels of this image; implausible ones are refused (geometry/camera_check.py)
    name         unique name of the frame (default: the path of the image without extension)

``python -m tools.make_manifest`` writes one from folders.
"""

import logging
from pathlib import Path
from typing import Any

from datamodules.base import DepthDataModule, Split
from datamodules.files.version import files_version
from datamodules.manifest.cameras import check_headers
from datamodules.manifest.rows import Intrinsics, ManifestRow, checked_intrinsics, read_manifest
from datamodules.manifest.source import ManifestSource
from datamodules.samples.aspect import warn_stretched
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES, check_field_of_view
from structures.choices import KConvention
from structures.depth_kind import DepthKind

logger = logging.getLogger(__name__)


class ManifestDataModule(DepthDataModule):
    """Data module of a user's RGB-D data, listed in a CSV or JSONL manifest (columns: see the module docstring).

    Rows of split ``test`` are required, because training ends with a test. Without rows of split ``val``, validation
    runs on the test rows with a warning, and ``val_is_test`` is True: a checkpoint selected by its validation score is
    then selected on the test rows, so test the last weights instead.

    Args:
        root: The manifest, or a folder that holds ``manifest.csv`` or ``manifest.jsonl``.
        file_units_per_metre: Depth scale of rows without ``depth_scale``, e.g. 1000 for millimetres.
        intrinsics: ``(fx, fy, cx, cy)`` of rows without their own; None leaves their camera unknown.
        K_convention: ``centre`` if intrinsics are relative to the centre of the first pixel (OpenCV and most cameras),
            or ``corner`` (COLMAP, this project).
        default_field_of_view_degrees: Horizontal field of view that is assumed without intrinsics (``K_known`` is
            False then).
        files_root: Folder that all files of the manifest must lie in, needed for absolute paths and for files that are
            not below the manifest; None is the folder of the manifest.
        oversampling: Frames are downsampled to this multiple of ``image_size`` before augmentation, which saves most
            of the augmentation time; None augments at full size.
        base: Arguments of :class:`DepthDataModule`.

    Raises:
        ValueError: If ``K_convention`` or ``aspect`` is unknown, or the intrinsics or the field of view are
            implausible.
    """

    def __init__(
        self,
        root: str,
        *,
        file_units_per_metre: float | None = None,
        intrinsics: Intrinsics | None = None,
        K_convention: KConvention = "centre",
        default_field_of_view_degrees: float = USUAL_FIELD_OF_VIEW_DEGREES,
        files_root: str | None = None,
        oversampling: float | None = 2.0,
        **base: Any,
    ) -> None:
        super().__init__(oversampling=oversampling, **base)
        if K_convention not in ("corner", "centre"):
            raise ValueError(f"K_convention '{K_convention}' is not known; choose 'corner' or 'centre'.")
        check_field_of_view(default_field_of_view_degrees, "default_field_of_view_degrees")
        self.root = Path(root)
        self.files_root = None if files_root is None else Path(files_root)
        self.file_units_per_metre = file_units_per_metre
        self.intrinsics = None if intrinsics is None else checked_intrinsics(intrinsics, "data.init_args.intrinsics")
        self.K_convention: KConvention = K_convention
        self.default_field_of_view_degrees = default_field_of_view_degrees
        self._rows: list[ManifestRow] | None = None

    @property
    def path(self) -> Path:
        """The manifest file."""
        if self.root.is_dir():
            names = ("manifest.csv", "manifest.jsonl")
            return next((self.root / name for name in names if (self.root / name).is_file()), self.root / names[0])
        return self.root

    @property
    def assumed_field_of_view_degrees(self) -> float:
        """Horizontal field of view of rows without intrinsics."""
        return self.default_field_of_view_degrees

    @property
    def data_version(self) -> str | None:
        """Hash of the manifest; a file that it names may be replaced without a change of it."""
        return files_version("manifest", [self.path])

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test rows, because there are no rows of split ``val``."""
        return not any(row.split == "val" for row in self._read())

    def prepare_data(self) -> None:
        """Validate the manifest before training starts, and cameras against the sizes of evenly spaced images.

        Raises:
            FileNotFoundError: If the manifest or a file that it names is missing.
            ValueError: If the manifest is invalid or has no test row.
        """
        sizes = check_headers(self._read(), shift=0.5 if self.K_convention == "centre" else 0.0)
        if self.aspect == "stretch":
            warn_stretched(str(self.path), sizes, self.image_size)

    def _read(self) -> list[ManifestRow]:
        if self._rows is None:
            rows = read_manifest(
                self.path,
                depth_scale=self.file_units_per_metre,
                intrinsics=self.intrinsics,
                files_root=self.files_root,
            )
            other = next((row for row in rows if row.kind is not DepthKind.METRIC), None)
            if other is not None:
                raise ValueError(
                    f"{other.where}: truth of kind {other.kind.name.lower()} is not in metres, and only mixed data "
                    "(datamodules.mixed.datamodule.MixedDataModule) can be trained on it."
                )
            if not any(row.split == "test" for row in rows):
                raise ValueError(
                    f"{self.path} has no row of split 'test', on which every training is tested in the end: set the "
                    "column 'split' of some rows to test, best of a room that is in no other split "
                    "(tools.make_manifest does it with --split train:0-99,test:100-139)."
                )
            self._rows = rows
        return self._rows

    def make_source(self, split: Split) -> ManifestSource:
        """Return the frames of a split.

        Raises:
            ValueError: If the manifest has no row of the split.
        """
        rows = [row for row in self._read() if row.split == split]
        if not rows and split == "val":
            logger.warning("%s has no row of split 'val': validating on its test rows.", self.path)
            rows = [row for row in self._read() if row.split == "test"]
        if not rows:
            raise ValueError(
                f"{self.path} has no row of split '{split}'; its column 'split' assigns rows to splits "
                "(tools.make_manifest writes it with --split train:0-99,test:100-139)."
            )
        return ManifestSource(
            rows,
            K_convention=self.K_convention,
            default_field_of_view_degrees=self.default_field_of_view_degrees,
        )
