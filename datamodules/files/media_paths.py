"""Search for the image and video files at a path, in a folder or of a glob, and the names of their results."""

import glob
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datamodules.files.natural_order import sort_naturally
from datamodules.files.photos import auxiliary_folders, is_auxiliary_name, split_photos

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})

BESIDE_SUFFIXES = frozenset(
    {"", ".txt", ".md", ".log", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".toml", ".ini", ".npy",
     ".npz", ".h5", ".ply", ".pcd", ".obj", ".pdf", ".html", ".py", ".sh", ".zip", ".gz", ".tar", ".db", ".aae"}
)  # fmt: skip
"""Extensions of files that often accompany images; they are skipped without a warning."""


@dataclass(frozen=True)
class MediaFile:
    """An input file and the name of its result."""

    path: Path
    """Path of the file."""
    name: str
    """Unique name: the path relative to the input folder, without suffix unless that is ambiguous."""

    @property
    def is_video(self) -> bool:
        """Whether the file has the suffix of a video."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_media(path: str) -> list[MediaFile]:
    """Return the images and videos at a path, folder or glob, in natural order, each with a unique name.

    Links to folders are followed. One warning counts skipped files with unknown extensions.

    Args:
        path: An image or video, a folder (searched recursively without hidden files), or a glob.

    Returns:
        The files. Names are relative to ``path``, or to the part of a glob without wildcards.

    Raises:
        FileNotFoundError: If the path is empty, or does not exist and is no glob.
        ValueError: If there is no image and no video.
    """
    if not path:  # Path("") is the current folder
        raise FileNotFoundError("the input is an empty text; give an image, a video, a folder or a glob in quotes")
    root = Path(path)
    if root.is_file():
        return [MediaFile(root, root.stem)]
    if root.is_dir():
        found = _walk(root)
        wanted = f"in the folder '{path}' or below it"
    elif glob.has_magic(path):
        matches = (Path(match) for match in glob.glob(path, recursive=True) if os.path.isfile(match))
        found = [match for match in matches if not _runs_in_a_circle(match.parent)]
        fixed = Path(path).parts[:-1]
        root = Path(*fixed[: next((i for i, part in enumerate(fixed) if glob.has_magic(part)), len(fixed))])
        wanted = f"that matches '{path}'"
    else:
        raise FileNotFoundError(f"input '{path}' does not exist; give an image, a video, a folder or a glob in quotes")
    visible = [
        file
        for file in (match.relative_to(root) for match in found)
        if not any(part.startswith(".") for part in file.parts)
    ]
    relative = sort_naturally(file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    if Path(path).is_dir():  # a glob is taken literally
        relative = _photos_and_videos(root, relative)
    unknown = describe_unreadable(visible)
    if not relative:
        known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        others = f"; there are {unknown}" if unknown else ""
        raise ValueError(f"no image and no video {wanted} (known: {known}){others}")
    warn_unreadable(path, visible)
    return [MediaFile(root / file, name) for file, name in zip(relative, _unique_names(relative), strict=True)]


def _photos_and_videos(root: Path, files: list[Path]) -> list[Path]:
    """Return the files without depth maps and masks stored among the images."""
    folders: dict[Path, list[Path]] = {}
    for file in files:
        if file.suffix.lower() in IMAGE_SUFFIXES:
            folders.setdefault(file.parent, []).append(root / file)
    # Folders that are named for depth or masks, beside folders of photographs.
    beside = [name for name in auxiliary_folders({str(name): files for name, files in folders.items()})
              if is_auxiliary_name(Path(name).name)]  # fmt: skip
    left_out = [
        path
        for name, images in folders.items()
        for path in (images if str(name) in beside else split_photos(images)[1])
    ]
    if left_out:
        shown = ", ".join(path.name for path in left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        warn_once(f"{root}: {len(left_out)} depth maps or masks among the images are left out ({shown})")
    unwanted = set(left_out)
    return [file for file in files if root / file not in unwanted]


def describe_unreadable(files: Iterable[Path]) -> str:
    """Return a phrase that counts unreadable files by extension, with a hint; empty if there are none."""
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES | BESIDE_SUFFIXES
    counts = Counter(file.suffix.lower() for file in files if file.suffix.lower() not in known)
    if not counts:
        return ""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
    heic = "; convert HEIC to JPEG, e.g. with `heif-convert`" if {".heic", ".heif"} & set(counts) else ""
    return f"{sum(counts.values())} files of kinds that are not read ({kinds}{heic})"


@cache
def warn_once(message: str) -> None:
    """Log a warning once per process; a full stop is appended."""
    logger.warning("%s.", message)


def warn_unreadable(where: str, files: Iterable[Path]) -> None:
    """Log once per process how many unreadable files of a folder are skipped, if there are any."""
    unknown = describe_unreadable(files)
    if unknown:
        warn_once(f"{where}: {unknown} are left out")


def find_path(path: Path) -> Path | None:
    """Return the path as stored on disk, comparing names in Unicode's composed form; None if it does not exist.

    macOS stores an accented letter as two characters (NFD) where a list may hold one (NFC).
    """
    if path.exists():
        return path
    if path.as_posix().isascii():
        return None
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        exact = found / part
        if not exact.exists():
            alike = (entry for entry in _entries(found) if composed(entry) == composed(part))
            exact = found / next(alike, part)
        found = exact
    return found if found.exists() else None


def composed(name: str) -> str:
    """Return the name in Unicode's composed form (NFC), for comparison."""
    return unicodedata.normalize("NFC", name)


def _entries(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.is_dir() else []


def _walk(root: Path) -> list[Path]:
    """Return all files below a folder; links to folders are followed unless they form a cycle."""
    unreadable: list[str] = []
    found = []
    for folder, folders, names in os.walk(root, followlinks=True, onerror=lambda e: unreadable.append(str(e.filename))):
        found += [Path(folder) / name for name in names]
        above = {os.path.realpath(parent) for parent in (Path(folder), *Path(folder).parents)}
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(folder, name)) not in above]
    if unreadable:
        warn_once(f"{root}: {len(unreadable)} folders cannot be opened and are left out, the first is {unreadable[0]}")
    return found


def _runs_in_a_circle(folder: Path) -> bool:
    """Return whether a path visits a folder twice through a link."""
    real = [os.path.realpath(parent) for parent in (folder, *folder.parents) if parent.parts and parent.name != ".."]
    return len(set(real)) < len(real)


def _unique_names(files: list[Path]) -> list[str]:
    """Return names without suffix if they are unique, as for ``a.jpg`` without ``a.png``; else names with suffix."""
    short = [file.with_suffix("").as_posix() for file in files]
    folders = {parent.as_posix() for file in files for parent in file.parents}
    # Results of clip.mp4 are written to a folder clip/, which must not collide with an input folder.
    if max(Counter(short).values()) > 1 or folders & set(short):
        return [file.as_posix() for file in files]
    return short
