"""Which files a user means by an image, a folder, a glob or a video, and under which names results go."""

import glob
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})


@dataclass(frozen=True)
class MediaFile:
    """A file to read and the name of what comes of it."""

    path: Path
    """Where the file is."""
    name: str
    """Unique among the files: the path below the input folder, as a rule without its suffix."""

    @property
    def is_video(self) -> bool:
        """Whether the suffix is that of a video."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_media(path: str) -> list[MediaFile]:
    """Images and videos that a path stands for, sorted, each under a unique name.

    Args:
        path: An image or video, a folder (searched with everything below it, hidden files excepted), or a glob.

    Returns:
        The files; names keep the folders below ``path`` (below the part of a glob without wildcards).

    Raises:
        FileNotFoundError: If the path does not exist and is no glob.
        ValueError: If there is no image and no video.
    """
    root = Path(path)
    if root.is_file():
        return [MediaFile(root, root.stem)]
    if root.is_dir():
        found = [Path(folder) / name for folder, _, names in os.walk(root) for name in names]
        wanted = f"in the folder '{path}' or below it"
    elif glob.has_magic(path):
        found = [Path(match) for match in glob.glob(path, recursive=True) if os.path.isfile(match)]
        fixed = Path(path).parts[:-1]
        root = Path(*fixed[: next((i for i, part in enumerate(fixed) if glob.has_magic(part)), len(fixed))])
        wanted = f"that matches '{path}'"
    else:
        raise FileNotFoundError(f"input '{path}' does not exist; give an image, a video, a folder or a glob in quotes")
    relative = sorted(
        file
        for file in (match.relative_to(root) for match in found)
        if file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not any(p.startswith(".") for p in file.parts)
    )
    if not relative:
        known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise ValueError(f"no image and no video {wanted} (known: {known})")
    return [MediaFile(root / file, name) for file, name in zip(relative, _unique_names(relative), strict=True)]


def _unique_names(files: list[Path]) -> list[str]:
    """Names without suffix where they stay unique; with it for all files where ``a.jpg`` and ``a.png`` would meet."""
    short = [file.with_suffix("").as_posix() for file in files]
    folders = {parent.as_posix() for file in files for parent in file.parents}
    # The frames of clip.mp4 go into a folder clip/, which must not be one of the input's own.
    if max(Counter(short).values()) > 1 or folders & set(short):
        return [file.as_posix() for file in files]
    return short
