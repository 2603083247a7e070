"""Reading of the image, depth and mask files of a manifest, and the source of its frames."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from datamodules.files.arrays import read_npy
from datamodules.files.metric_depth import to_metres
from datamodules.files.orientation import Companions
from datamodules.files.reading import FORMATS, StoredImage, check_size, read_stored, read_values, turn
from datamodules.manifest.cameras import intrinsic_matrix
from datamodules.manifest.rows import ManifestRow
from datamodules.samples.frame import Frame, check_frame, default_intrinsics
from structures.choices import KConvention
from structures.depth_kind import DepthKind

REPAIR = "repair the file or take its row out of the manifest"


def read_image(path: Path, where: str) -> StoredImage:
    """Return an image in the stored orientation, with its EXIF orientation.

    Raises:
        ValueError: If it cannot be read completely. Damaged files are errors and never skipped.
    """
    try:
        return read_stored(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; {REPAIR}.") from error


def read_depth(
    path: Path, units_per_metre: float, where: str, *, kind: DepthKind = DepthKind.METRIC, data: str | None = None
) -> npt.NDArray[np.float32]:
    """Return depth in metres from a 16-bit PNG (or TIFF) or an ``.npy`` file.

    Args:
        path: The file.
        units_per_metre: File units per metre.
        where: Manifest and row, for messages.
        kind: Kind of ground truth. For ``METRIC`` the largest value of an integer type means unknown, see
            :func:`~datamodules.files.metric_depth.to_metres`.
        data: The manifest, under which such pixels are counted and reported; None uses the folder of the file.

    Returns:
        float32 ``(H, W)``, metres (or the unit of the kind), 0 where unknown.

    Raises:
        ValueError: If it cannot be read completely, is empty, or has more than one channel or only 8 bits.
    """
    try:
        values = read_npy(path) if path.suffix == ".npy" else read_values(path)
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
    if kind is not DepthKind.METRIC:  # for these kinds the largest value of a type is a valid value
        return (values.astype(np.float64) / units_per_metre).astype(np.float32)
    return to_metres(values, units_per_metre, path=path, data=data)


def read_mask(path: Path, shape: tuple[int, ...], where: str) -> npt.NDArray[np.bool_]:
    """Return the mask of valid pixels: non-zero in any channel of an image, or in an ``.npy`` array.

    Args:
        path: The file.
        shape: Expected height and width.
        where: Manifest and row, for messages.

    Raises:
        ValueError: If it cannot be read completely or has another size.
    """
    try:
        if path.suffix == ".npy":
            values = read_npy(path)
        else:
            with Image.open(path, formats=FORMATS) as file:
                check_size(file.size)
                values = np.asarray(file)
    except Exception as error:  # Pillow's decoders raise many types
        raise ValueError(f"{where}: the mask {path} cannot be read ({error}); {REPAIR}.") from error
    mask = np.asarray(values.any(axis=-1) if values.ndim == 3 else values != 0, dtype=np.bool_)
    if mask.shape != shape:
        raise ValueError(f"{where}: the mask {path} has shape {mask.shape}, but the depth has {shape}; {REPAIR}.")
    return mask


class ManifestSource:
    """Frames of the rows of one split, read from disk on each access.

    Args:
        rows: The rows.
        K_convention: ``centre`` if intrinsics are relative to the centre of the first pixel, ``corner`` if to its
            corner.
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
        """Return one frame at full size; its depth is in metres if the row's kind is metric.

        Raises:
            ValueError: If a file is damaged or holds invalid values; the message names file and row.
        """
        row = self.rows[index]
        frame, mask = self.read_unchecked(row)
        if mask is not None:
            frame.depth = np.where(mask, frame.depth, np.float32(0))
        check_frame(frame, f"{row.where} ({row.depth.name})", data=row.manifest)
        return frame

    def read_unchecked(self, row: ManifestRow) -> tuple[Frame, npt.NDArray[np.bool_] | None]:
        """Return the frame of a row with depth as in its file, and the mask or None, without validation."""
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
