"""Pseudo depth from a folder of depth maps that another tool wrote; used by ``tools.pseudo_labels``."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from datamodules.files.depth_map_values import DepthEncoding, Tally, depth_of_map
from datamodules.files.depth_maps import DepthMaps, map_shape, match_maps, read_map
from structures.label_writer import LabelWriter
from tools.teacher_arguments import unit_of

_HASHED = 16
"""Number of maps whose content enters the fingerprint of a folder, evenly chosen; of the others, name and size do."""


def written_as(options: Any) -> DepthEncoding:  # a namespace of jsonargparse
    """Unit and direction of the depth maps, as given on the command line.

    Raises:
        ValueError: If the unit is not given, or a flag applies to networks only.
    """
    foreign = [f"--{name.replace('_', '-')}" for name in ("input_size", "mean", "std") if getattr(options, name)]
    if foreign:
        raise ValueError(
            f"'{options.teacher}' is a folder of depth maps, not a network: leave out {' and '.join(foreign)}"
        )
    if options.unit is None:
        raise ValueError(
            f"the unit of the depth maps in '{options.teacher}' is unknown: give --unit 1 (metres), --unit 1000 "
            "(millimetres) or --unit relative, and --inverse if larger is nearer"
        )
    unit = unit_of(options.unit)
    return DepthEncoding(None if unit == "relative" else unit, bool(options.inverse))


def folder_title(maps: DepthMaps) -> str:
    """Name of a folder of maps with a fingerprint of its files, so that maps of two teachers are never mixed."""
    digest = hashlib.sha256()
    paths = list(maps.paths.values())
    chosen = set(range(0, len(paths), max(1, len(paths) // _HASHED)))
    for index, path in enumerate(paths):
        digest.update(f"{path.relative_to(maps.folder).as_posix()} {path.stat().st_size}\n".encode())
        if index in chosen:
            digest.update(path.read_bytes())
    return f"maps of {maps.folder.resolve().name} {digest.hexdigest()[:12]}"


def label_size(
    maps: DepthMaps,
    sizes: Sequence[tuple[int, int]] | None,
    *,
    given: Sequence[int] | None,
    image_size: tuple[int, int],
) -> tuple[int, int]:
    """Height and width of all labels: ``given``, else the common size of the maps, else that of the data's images.

    Args:
        maps: The maps.
        sizes: Height and width of each image in order, if known.
        given: Size given on the command line, or None.
        image_size: Height and width of the data's images.

    Raises:
        ValueError: If a size is below 1, a map is damaged, or maps are rotated by 90 degrees.
    """
    if given is not None and min(given) < 1:
        raise ValueError(f"--size is {given[0]} {given[1]}, but height and width of at least 1 are needed")
    shapes = [map_shape(path) for path in maps.paths.values()]
    common = shapes[0] if all(shape == shapes[0] for shape in shapes) else None
    if common is None and sizes is not None:
        rotated = [
            name
            for name, shape, size in zip(maps.paths, shapes, sizes, strict=True)
            if shape == size[::-1] and shape != size
        ]
        if rotated:
            raise ValueError(
                f"{len(rotated)} of {len(shapes)} depth maps are as wide as their images are high, such as "
                f"'{maps.paths[rotated[0]]}': they were made without applying the EXIF orientation of the images; "
                "rotate those maps by 90 degrees"
            )
    if given is not None:
        return int(given[0]), int(given[1])
    return image_size if common is None else common


def write_from_maps(
    options: Any,
    names: list[str],
    *,
    sizes: Sequence[tuple[int, int]] | None,
    image_size: tuple[int, int],
    content_key: str | None,
) -> tuple[str, int, list[str]]:
    """Store the depth of the maps of a folder under the names of the images.

    Args:
        options: Parsed options: ``teacher`` (the folder), ``out``, ``unit``, ``inverse``, ``size``, ``map_suffix``.
        names: Names of all images.
        sizes: Their heights and widths, if known without reading them.
        image_size: Size of the labels if the maps differ in size and the options give none.
        content_key: Key of the images' content, see :class:`datamodules.base.LoaderDataModule`.

    Returns:
        Teacher name in the file, number of new labels, and lines for the user.

    Raises:
        FileNotFoundError: If an image has no map.
        ValueError: If maps do not fit the images, or the file holds labels of another teacher.
        OSError: If the file cannot be written.
    """
    written = written_as(options)
    maps = match_maps(Path(options.teacher), names, suffix=options.map_suffix or "")
    size = label_size(maps, sizes, given=options.size, image_size=image_size)
    title = folder_title(maps)
    settings: dict[str, Any] = {
        "image_size": list(size),
        "relative": written.units_per_metre is None,
        "unit": written.units_per_metre if written.units_per_metre is not None else "relative",
        "inverse": written.inverse,
    }
    if content_key is not None:
        settings["data"] = content_key
    tally = Tally()
    unfinished = Path(f"{options.out}.partial")
    begun_before = unfinished.exists()
    columns = (TextColumn("depth maps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with (
            LabelWriter(options.out, kind="depth", teacher=title, settings=settings) as writer,
            Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress,
        ):
            new = writer.missing(names)
            for name in progress.track(new):
                values = read_map(maps.paths[name])
                writer.write(name, depth_of_map(values, written, size=size, name=name, tally=tally))
            _refuse_constants(maps, tally, complete=len(new) == len(names))
            writer.finish()
    except ValueError:
        # Once the broken map is repaired, the fingerprint differs, so this partial file could not be continued.
        if not begun_before:
            unfinished.unlink(missing_ok=True)
        raise
    shown = ", ".join(
        f"'{name}' <- '{maps.paths[name].name}'" for name in (names[0], names[len(names) // 2], names[-1])
    )
    lines = [
        f"{len(names)} maps of {len(names)} images, {maps.n_unused} other files left out: {shown}",
        f"labels of {size[0]}x{size[1]} (height x width), "
        + ("relative" if written.units_per_metre is None else f"{written.units_per_metre:g} units in a metre")
        + (", larger is nearer" if written.inverse else ", larger is farther"),
    ]
    return title, len(new), lines + tally.lines(written)


def _refuse_constants(maps: DepthMaps, tally: Tally, *, complete: bool) -> None:
    if complete and len(tally.constant) + len(tally.empty) >= len(maps.paths):
        raise ValueError(
            f"every depth map in '{maps.folder}' is constant or empty, so these are no depth maps, such as "
            f"'{next(iter(maps.paths.values()))}'"
        )
