"""The history of a W&B run that was interrupted: each step once, online and in the folder of an offline run."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wandb

from lightning_modules.runs.metrics_file import STEP, read_rows
from lightning_modules.runs.wandb_pictures import read_captions

REPLACED = "replaced-"
"""Prefix of folders of offline runs whose content is also in a later one; ``wandb sync`` leaves them out."""
_PICTURE = re.compile(r"(?P<key>.+)_(?P<step>\d+)_[0-9a-f]{20}\.png")
_PICTURES = Path("files", "media", "images")


def offline_folders(run_dir: Path) -> list[Path]:
    """Folders of offline runs of earlier attempts, oldest first."""
    return sorted((run_dir / "wandb").glob("offline-run-*"))


def was_online(run_dir: Path) -> bool:
    """Whether an earlier attempt was online, so that the server has a part of the history."""
    return any((run_dir / "wandb").glob("run-*"))


def history(run_dir: Path, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """What earlier attempts logged, in order.

    Args:
        run_dir: The run's folder with ``metrics.csv``, in which the rows of steps that are trained again are removed.
        first: The first step that W&B does not have.

    Yields:
        Step, and numbers and pictures by name. The numbers of a step come before its pictures: W&B names a file of a
        picture by the step of its previous row.
    """
    rows: dict[int, dict[str, Any]] = {}
    for row in read_rows(run_dir / "metrics.csv"):
        if row[STEP] >= first:
            rows[row[STEP]] = {name: _number(value) for name, value in row.items() if name != STEP}
    pictures, captions = _pictures(run_dir), read_captions(run_dir)
    for step, row in sorted(rows.items()):
        yield step, row
        if step in pictures:
            yield step, {key: _captioned(paths, captions.get((key, step))) for key, paths in pictures[step].items()}


def set_aside(folders: list[Path]) -> None:
    """Rename folders of offline runs whose content is in a later one."""
    for folder in folders:
        with contextlib.suppress(OSError):  # it is then uploaded, too, with the same values
            folder.rename(folder.with_name(f"{REPLACED}{folder.name}"))


def _pictures(run_dir: Path) -> dict[int, dict[str, list[Path]]]:
    """Pictures of earlier offline attempts by step and name."""
    found: dict[int, dict[str, list[Path]]] = {}
    for folder in offline_folders(run_dir):
        images = folder / _PICTURES
        # Those of one step were written in the order of their numbers, which W&B does not keep in the names.
        for path in sorted(images.rglob("*.png"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
            match = _PICTURE.fullmatch(path.relative_to(images).as_posix())
            if match is not None:
                found.setdefault(int(match["step"]), {}).setdefault(match["key"], []).append(path)
    return found


def _captioned(paths: list[Path], captions: list[str] | None) -> list[wandb.Image]:
    """Pictures with their captions; without them if their number differs."""
    known = captions if captions is not None and len(captions) == len(paths) else [None] * len(paths)
    return [wandb.Image(str(path), caption=caption) for path, caption in zip(paths, known, strict=True)]


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
