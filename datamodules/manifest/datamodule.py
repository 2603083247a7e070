"""Own RGB-D data, listed in a manifest: one row (CSV) or object (JSONL) per image.

Columns, of which only the first two are always needed::

    image        path of an 8-bit image, relative to the manifest; it is turned upright as its EXIF entry says
    depth        path of a 16-bit PNG or an .npy array of the same size; 0 = no measurement, and so is, of metric
                 depth, the largest value of an integer type (65535 of 16 bits: too far, unknown). Depth, mask and
                 intrinsics of an image that is turned may lie as it is stored or upright
                 (datamodules/files/orientation.py)
    split        train, val or test (default: train); some rows have to be for test
    kind         what the depth file means: metric (default), affine_depth, affine_disparity or ordinal; all but metric
                 are for training on mixed data (datamodules/mixed/datamodule.py) and need no depth_scale
    mask         path of an image or .npy array of the same size: only its non-zero pixels are valid, and there 0 is a
                 value where the kind is not metric
    depth_scale  file units per metre, e.g. 1000 for millimetres
    fx fy cx cy  intrinsics in pixels of this image; what cannot be its camera is refused (geometry/camera_check.py)
    name         unique name of the frame (default: the image's path without its ending)

``python -m tools.make_manifest`` writes one from folders.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datamodules.base import DepthDataModule, Split
from datamodules.files.metric_depth import to_metres
from datamodules.files.orientation import Companions
from datamodules.files.reading import StoredImage, read_stored, read_values, turn
from datamodules.manifest.cameras import check_headers, intrinsic_matrix
from datamodules.manifest.rows import Intrinsics, ManifestRow, checked_intrinsics, read_manifest
from datamodules.samples.aspect import say_stretched
from datamodules.samples.frame import Frame, check_frame, default_intrinsics
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES, check_field_of_view
from structures.choices import KConvention
from structures.depth_kind import DepthKind

logger = logging.getLogger(__name__)

REPAIR = "repair the file or take its row out of the manifest"


def read_image(path: Path, where: str) -> StoredImage:
    """Read an image as it is stored, and how it has to be turned.

    Raises:
        ValueError: If it cannot be read in full; a training set has to be right, so nothing is skipped.
    """
    try:
        return read_stored(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; {REPAIR}.") from error


def read_depth(
    path: Path, units_per_metre: float, where: str, *, kind: DepthKind = DepthKind.METRIC, data: str | None = None
) -> npt.NDArray[np.float32]:
    """Read depth in metres from a 16-bit PNG (or TIFF) or an ``.npy`` file.

    Args:
        path: The file.
        units_per_metre: File units per metre.
        where: Manifest and row, for messages.
        kind: What the numbers mean; for ``METRIC`` the largest value of an integer type means unknown, see
            :func:`~datamodules.files.metric_depth.to_metres`.
        data: The manifest, for which such pixels are counted and said; None takes the folder of the file.

    Returns:
        float32 ``(H, W)``, metres (or the unit of the kind), 0 where unknown.

    Raises:
        ValueError: If it cannot be read in full, is empty, or has more than one channel or only 8 bits.
    """
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else read_values(path)
    except (ValueError, EOFError, OSError) as error:
        reason = f"the depth {path} is no readable .npy array ({error})" if path.suffix == ".npy" else str(error)
        raise ValueError(f"{where}: {reason}; {REPAIR}.") from error
    if values.size == 0:
        raise ValueError(f"{where}: the depth {path} is an empty array of shape {values.shape}; {REPAIR}.")
    values = np.squeeze(values) if values.ndim > 2 else values
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise ValueError(
            f"{where}: the depth {path} holds {values.dtype} values of shape {values.shape}, expected one channel of "
            "numbers."
        )
    if kind is not DepthKind.METRIC:  # there the largest value of a type is a value like any other
        return (values.astype(np.float64) / units_per_metre).astype(np.float32)
    return to_metres(values, units_per_metre, path=path, data=data)


def read_mask(path: Path, shape: tuple[int, ...], where: str) -> npt.NDArray[np.bool_]:
    """Read which pixels are valid: the non-zero ones of an image (of any of its channels) or of an ``.npy`` array.

    Args:
        path: The file.
        shape: Height and width that it has to have.
        where: Manifest and row, for messages.

    Raises:
        ValueError: If it cannot be read in full or has another size.
    """
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as file:
                values = np.asarray(file)
    except Exception as error:  # what Pillow's decoders raise on broken files is no single type
        raise ValueError(f"{where}: the mask {path} cannot be read ({error}); {REPAIR}.") from error
    mask: npt.NDArray[np.bool_] = values.any(axis=-1) if values.ndim == 3 else values != 0
    if mask.shape != shape:
        raise ValueError(f"{where}: the mask {path} has shape {mask.shape}, but the depth has {shape}; {REPAIR}.")
    return mask


class ManifestSource:
    """Frames of the rows of one split, read from disk each time.

    Args:
        rows: The rows.
        K_convention: ``centre`` if intrinsics count from the centre of the first pixel, ``corner`` if from its corner.
        default_field_of_view_degrees: Horizontal field of view of frames without intrinsics.
    """

    def __init__(
        self,
        rows: list[ManifestRow],
        *,
        K_convention: KConvention,
        default_field_of_view_degrees: float,
    ) -> None:
        self.rows = rows
        self.shift = 0.5 if K_convention == "centre" else 0.0
        self.default_field_of_view_degrees = default_field_of_view_degrees
        where = rows[0].where.rpartition(", line")[0] if rows else "The manifest"
        self.companions = Companions(where, [row.image for row in rows], [row.depth for row in rows])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def read(self, index: int) -> Frame:
        """Return one frame at full size; its depth holds metres if the row's kind is metric.

        Raises:
            ValueError: If a file is broken or holds impossible values; the message names file and row.
        """
        row = self.rows[index]
        frame, mask = self.read_unchecked(row)
        if mask is not None:
            frame.depth = np.where(mask, frame.depth, np.float32(0))
        check_frame(frame, f"{row.where} ({row.depth.name})", data=row.manifest)
        return frame

    def read_unchecked(self, row: ManifestRow) -> tuple[Frame, npt.NDArray[np.bool_] | None]:
        """Read the files of a row: the frame, its depth as the file has it, and the mask if there is one."""
        stored = read_image(row.image, row.where)
        image = turn(stored.pixels, stored.orientation)
        values = read_depth(row.depth, row.depth_scale, row.where, kind=row.kind, data=row.manifest)
        mask = None if row.mask is None else read_mask(row.mask, values.shape, row.where)
        depth = self.companions.upright(values, stored)
        if mask is not None:
            mask = self.companions.upright(mask, stored)
        height, width = image.shape[:2]
        if row.intrinsics is None:
            K = default_intrinsics(width=width, height=height, field_of_view_degrees=self.default_field_of_view_degrees)
        else:
            K = self.companions.upright_k(intrinsic_matrix(row.intrinsics, self.shift), stored)
        return Frame(image=image, depth=depth, K=K, name=row.name, K_known=row.intrinsics is not None), mask


class ManifestDataModule(DepthDataModule):
    """Own RGB-D data, listed in a CSV or JSONL manifest (see this file's head for its columns).

    Rows of split ``test`` are needed, because training ends with a test; without them nothing starts. Without rows of
    split ``val`` the test rows are validated on, with a warning, and ``val_is_test`` says so: a checkpoint chosen by
    its validation score is then chosen on the test rows, so the last weights are to be tested instead.

    Args:
        root: The manifest, or a folder that holds ``manifest.csv`` or ``manifest.jsonl``.
        file_units_per_metre: Depth scale of rows without ``depth_scale``, e.g. 1000 for millimetres.
        intrinsics: ``(fx, fy, cx, cy)`` of rows without their own; None leaves their camera unknown.
        K_convention: ``centre`` if intrinsics count from the centre of the first pixel (OpenCV and most cameras), or
            ``corner`` (COLMAP, this project).
        default_field_of_view_degrees: Horizontal field of view assumed where no intrinsics are given (``K_known``
            is False there).
        oversampling: Frames are reduced to that many times ``image_size`` before augmentation, which saves most of
            its time; None augments at full size.
        base: Arguments of :class:`DepthDataModule`.

    Raises:
        ValueError: If ``K_convention`` or ``aspect`` is unknown, or the intrinsics or the field of view are no
            camera's.
    """

    def __init__(
        self,
        root: str,
        *,
        file_units_per_metre: float | None = None,
        intrinsics: Intrinsics | None = None,
        K_convention: KConvention = "centre",
        default_field_of_view_degrees: float = USUAL_FIELD_OF_VIEW_DEGREES,
        oversampling: float | None = 2.0,
        **base: Any,
    ) -> None:
        super().__init__(oversampling=oversampling, **base)
        if K_convention not in ("corner", "centre"):
            raise ValueError(f"K_convention '{K_convention}' is not known; choose 'corner' or 'centre'.")
        check_field_of_view(default_field_of_view_degrees, "default_field_of_view_degrees")
        self.root = Path(root)
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
    def val_is_test(self) -> bool:
        """Whether validation runs on the test rows themselves, for want of rows of split ``val``."""
        return not any(row.split == "val" for row in self._read())

    def prepare_data(self) -> None:
        """Check the manifest before anything starts, and cameras against the sizes of images evenly over it.

        Raises:
            FileNotFoundError: If it or a file that it names is missing.
            ValueError: If something in it cannot be right, or no row is for testing.
        """
        sizes = check_headers(self._read(), shift=0.5 if self.K_convention == "centre" else 0.0)
        if self.aspect == "stretch":
            say_stretched(str(self.path), sizes, self.image_size)

    def _read(self) -> list[ManifestRow]:
        if self._rows is None:
            rows = read_manifest(self.path, depth_scale=self.file_units_per_metre, intrinsics=self.intrinsics)
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
            ValueError: If the manifest has no row of it.
        """
        rows = [row for row in self._read() if row.split == split]
        if not rows and split == "val":
            logger.warning("%s has no row of split 'val': validating on its test rows.", self.path)
            rows = [row for row in self._read() if row.split == "test"]
        if not rows:
            raise ValueError(
                f"{self.path} has no row of split '{split}'; its column 'split' says where a row "
                "belongs (tools.make_manifest writes it with --split train:0-99,test:100-139)."
            )
        return ManifestSource(
            rows,
            K_convention=self.K_convention,
            default_field_of_view_degrees=self.default_field_of_view_degrees,
        )
