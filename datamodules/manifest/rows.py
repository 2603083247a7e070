"""Reading and validation of the rows of a manifest of RGB-D data, in CSV or JSONL format."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.base import Split
from datamodules.files.media_paths import find_path
from datamodules.files.tables import read_csv, read_text
from datamodules.loading.notices import warn_once
from geometry.camera_check import CameraError, check_camera_numbers
from structures.contained_paths import leaves
from structures.depth_kind import DepthKind

COLUMNS = ("image", "depth", "split", "kind", "mask", "depth_scale", "fx", "fy", "cx", "cy", "name")
INTRINSICS = ("fx", "fy", "cx", "cy")
NUMERIC = ("depth_scale", *INTRINSICS)
TABLES = (".csv", ".tsv")

Intrinsics = tuple[float, float, float, float]
"""``(fx, fy, cx, cy)`` in pixels."""


@dataclass(frozen=True)
class ManifestRow:
    """One frame of a manifest.

    Attributes:
        where: Manifest and row, for messages.
        image: Path of the image.
        depth: Path of the depth, or of ground truth of another kind.
        split: Split of the row.
        depth_scale: File units per metre.
        intrinsics: ``(fx, fy, cx, cy)`` as written, or None.
        name: Unique name.
        kind: Kind of ground truth.
        mask: Path of the mask of valid pixels, or None.
    """

    where: str
    image: Path
    depth: Path
    split: Split
    depth_scale: float
    intrinsics: Intrinsics | None
    name: str
    kind: DepthKind = DepthKind.METRIC
    mask: Path | None = None

    @property
    def manifest(self) -> str:
        """Path of the manifest, key of warnings that are logged once for all rows."""
        return self.where.rpartition(", line ")[0]


def read_records(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the records of a CSV or JSONL file as (line number, record) pairs; empty values count as absent.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is neither CSV nor JSONL, not UTF-8, or a line is invalid.
    """
    if not path.is_file():
        found = f"{path} is a folder, but a manifest is a file" if path.is_dir() else f"There is no manifest at {path}"
        raise FileNotFoundError(
            f"{found}: write one with `python -m tools.make_manifest --help`, or set data.init_args.root to where it "
            "is."
        )
    try:
        if path.suffix.lower() in TABLES:
            return [(number, dict(row)) for number, row in read_csv(path, COLUMNS, NUMERIC)]
        if path.suffix.lower() == ".jsonl":
            return _read_objects(path)
    except OSError as error:
        raise ValueError(f"The manifest {path} cannot be read: {error.strerror or error}.") from error
    raise ValueError(f"A manifest ends in .csv, .tsv or .jsonl, but this one is called {path.name}.")


def _read_objects(path: Path) -> list[tuple[int, dict[str, Any]]]:
    records: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: this is no JSON object ({error}).") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number}: every line has to be a JSON object, this one is {record!r}.")
        records.append((number, {key: value for key, value in record.items() if value is not None and value != ""}))
    return records


def read_manifest(
    path: Path,
    *,
    depth_scale: float | None = None,
    intrinsics: Intrinsics | None = None,
    kind: DepthKind = DepthKind.METRIC,
    files_root: Path | None = None,
) -> list[ManifestRow]:
    """Return the validated rows of a manifest, without reading its images.

    Args:
        path: The ``.csv`` or ``.jsonl`` file.
        depth_scale: Default of file units per metre.
        intrinsics: Default of ``(fx, fy, cx, cy)``.
        kind: Default kind of ground truth.
        files_root: Folder that all files must lie in, by their paths (links are followed); None is the manifest's.

    Returns:
        The rows in the order of the file.

    Raises:
        FileNotFoundError: If the manifest or a file that it names is missing.
        ValueError: If the manifest is empty, a column is missing or unknown, a value is invalid, or a file lies outside
            of ``files_root``.
    """
    allowed = path.parent if files_root is None else files_root
    rows: list[ManifestRow] = []
    names: dict[str, str] = {}
    for number, record in read_records(path):
        where = f"{path}, line {number}"
        unknown = sorted(str(key) for key in set(record) - set(COLUMNS))
        if unknown:
            raise ValueError(f"{where}: column '{unknown[0]}' is not known; the columns are {', '.join(COLUMNS)}.")
        for column in ("image", "depth"):
            if column not in record:
                raise ValueError(f"{where}: column '{column}' is missing; every row needs image and depth.")
        row_kind = _kind(record, kind, where)
        row = ManifestRow(
            where=where,
            image=_file(path, record["image"], allowed, where),
            depth=_file(path, record["depth"], allowed, where),
            split=record.get("split", "train"),
            depth_scale=_depth_scale(record, depth_scale if row_kind is DepthKind.METRIC else 1.0, where),
            intrinsics=_intrinsics(record, intrinsics, where),
            name=str(record.get("name", Path(str(record["image"])).with_suffix(""))).lstrip("./"),
            kind=row_kind,
            mask=_file(path, record["mask"], allowed, where) if "mask" in record else None,
        )
        if leaves(row.name):
            raise ValueError(f"{where}: the name {row.name!r} leads out of the folder of the results; leave out '..'.")
        if row.split not in ("train", "val", "test"):
            raise ValueError(f"{where}: split '{row.split}' is not known; use train, val or test.")
        if row.name in names:
            raise ValueError(f"{where}: the name '{row.name}' was used before ({names[row.name]}); names are unique.")
        for column, file in (("image", row.image), ("depth", row.depth), ("mask", row.mask)):
            if file is not None and not file.is_file():
                raise FileNotFoundError(
                    f"{where}: the {column} file {file} does not exist (paths start at the manifest)."
                )
        names[row.name] = where
        rows.append(row)
    if not rows:
        raise ValueError(f"The manifest {path} has no rows.")
    _warn_shared(path, rows)
    return rows


def _warn_shared(path: Path, rows: list[ManifestRow]) -> None:
    """Log once if test or validation rows contain training images."""
    trained = {os.path.normpath(row.image): row for row in rows if row.split == "train"}
    shared = [row for row in rows if row.split != "train" and os.path.normpath(row.image) in trained]
    if not shared:
        return
    line = trained[os.path.normpath(shared[0].image)].where.rpartition(" ")[2]
    warn_once(
        str(path),
        "shared images",
        f"{shared[0].where}: the image {shared[0].image.name} of split '{shared[0].split}' is trained on too (line "
        f"{line}); {len(shared)} validation or test rows have such an image, so their scores are not held-out scores.",
    )


def _file(manifest: Path, value: Any, allowed: Path, where: str) -> Path:
    """Return the path of a file in a manifest, with its name in the Unicode form used on disk.

    Raises:
        ValueError: If it lies outside of the allowed folder.
    """
    path = manifest.parent / str(value)
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(allowed)):
        raise ValueError(
            f"{where}: the file {str(value)!r} is not below the folder {allowed}, so it is not read: if it is meant, "
            "set files_root to the folder that holds all files of the manifest, such as "
            f"{os.path.dirname(os.path.abspath(path))}."
        )
    return find_path(path) or path


def _kind(record: dict[str, Any], default: DepthKind, where: str) -> DepthKind:
    if "kind" not in record:
        return default
    try:
        return DepthKind.from_name(str(record["kind"]))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _number(record: dict[str, Any], column: str, where: str) -> float:
    given = record[column]
    try:
        value = math.nan if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"{where}: {column} has to be a finite number, but it is {given!r} (write it as 525.5, without a sign for "
            "thousands)."
        )
    return value


def _depth_scale(record: dict[str, Any], default: float | None, where: str) -> float:
    if "depth_scale" not in record and default is None:
        raise ValueError(
            f"{where}: column 'depth_scale' (file units per metre, e.g. 1000 for millimetres) is missing; add it, or "
            "set data.init_args.file_units_per_metre for all rows."
        )
    value = default if "depth_scale" not in record else _number(record, "depth_scale", where)
    if value is None or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{where}: depth_scale is the number of file units per metre and positive, got {value}.")
    return value


def _intrinsics(record: dict[str, Any], default: Intrinsics | None, where: str) -> Intrinsics | None:
    present = [column for column in INTRINSICS if column in record]
    if not present:
        return default if default is None else checked_intrinsics(default, where)
    if len(present) < len(INTRINSICS):
        missing = ", ".join(sorted(set(INTRINSICS) - set(present)))
        raise ValueError(f"{where}: {missing} missing; give all of fx, fy, cx and cy or none of them.")
    fx, fy, cx, cy = (_number(record, column, where) for column in INTRINSICS)
    return checked_intrinsics((fx, fy, cx, cy), where)


def checked_intrinsics(intrinsics: Intrinsics, where: str) -> Intrinsics:
    """Return intrinsics unchanged if they are plausible for some image size.

    Raises:
        ValueError: If they are implausible; one sentence with the likely cause.
    """
    try:
        check_camera_numbers(*intrinsics)
    except CameraError as error:
        raise ValueError(f"{where}: {error}.") from error
    return intrinsics
