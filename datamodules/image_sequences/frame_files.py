"""Search for the frames and depth files of a folder, in temporal order."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from datamodules.files.media_paths import IMAGE_SUFFIXES, warn_once, warn_unreadable
from datamodules.files.name_matching import MAP_WORDS, TimeUnit, words_of
from datamodules.files.natural_order import sort_naturally, stem_of
from datamodules.files.pairing import DEFAULT_TOLERANCE_S, name_some, pair_files
from datamodules.files.photos import split_photos

logger = logging.getLogger(__name__)

DEPTH_SUFFIXES = frozenset({".png", ".tif", ".tiff"})

NON_DEPTH_WORDS = MAP_WORDS - {"depth", "depths", "depthmap", "gt", "groundtruth", "truth", "proj"}
"""Words in names of files that accompany frames but are not depth."""


def find_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the visible files of a folder with one of the suffixes, in natural order.

    Raises:
        ValueError: If the folder cannot be listed.
    """
    return [path for path in list_files(folder) if path.suffix.lower() in suffixes]


def find_folders(folder: Path) -> list[Path]:
    """Return the visible subfolders of a folder, including links, in natural order.

    Raises:
        ValueError: If the folder cannot be listed.
    """
    return sort_naturally(path for path in _list(folder) if path.is_dir())


def find_images(folder: Path) -> list[Path]:
    """Return the frames directly in a folder, in natural order, without depth maps and masks among them.

    One warning counts the skipped files by kind.

    Raises:
        ValueError: If the folder cannot be listed.
    """
    files = list_files(folder)
    photos, others = split_photos([path for path in files if path.suffix.lower() in IMAGE_SUFFIXES])
    if photos:
        warn_unreadable(str(folder), files)
    if others:
        warn_once(
            f"{folder}: {len(others)} depth maps or masks that lie among the {len(photos)} frames are no frames "
            f"({name_some(others)})"
        )
    return photos


def match_depths(
    images: Sequence[Path],
    folder: Path,
    *,
    tolerance_s: float = DEFAULT_TOLERANCE_S,
    time_unit: TimeUnit | None = None,
) -> list[Path | None]:
    """Return the depth file of every frame, matched by name (``datamodules/files/pairing.py``).

    Args:
        images: The frames in temporal order.
        folder: Folder of 16-bit PNG or TIFF files; may be the folder of the frames.
        tolerance_s: Largest difference of matching time stamps in seconds.
        time_unit: Unit of integer time stamps.

    Returns:
        One file per frame; None only if names are time stamps and no depth lies within the tolerance.

    Raises:
        FileNotFoundError: If the folder is missing.
        ValueError: If it holds no depth, or the names do not determine the pairs.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is a file, but depth_root has to be a folder of depth files."
            if folder.exists()
            else f"There is no depth folder {folder} for the frames in {images[0].parent}."
        )
    if folder.resolve() == images[0].parent.resolve():
        _, others = split_photos(find_files(folder, IMAGE_SUFFIXES))
        depths = [
            path
            for path in others
            if path.suffix.lower() in DEPTH_SUFFIXES and not words_of(stem_of(path)) & NON_DEPTH_WORDS
        ]
    else:
        depths = find_files(folder, DEPTH_SUFFIXES)
    if not depths:
        raise ValueError(f"There is no depth (16-bit PNG or TIFF) in {folder} for the frames in {images[0].parent}.")
    pairing = pair_files(images, depths, tolerance_s=tolerance_s, time_unit=time_unit)
    if pairing.rules == ["equal names"]:
        logger.info("%s: %s.", folder, pairing.summary())
    else:
        warn_once(f"{folder}: {pairing.summary()}")  # the splits of a data set match the same folder
    found = dict(pairing.pairs)
    return [found.get(image) for image in images]


def list_files(folder: Path) -> list[Path]:
    """Return the visible files of a folder in natural order.

    Raises:
        ValueError: If the folder cannot be listed.
    """
    return sort_naturally(path for path in _list(folder) if path.is_file())


def _list(folder: Path) -> Iterable[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise ValueError(f"The folder {folder} cannot be listed: {error.strerror or error}.") from error
