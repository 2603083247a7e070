"""The summary of a run as one picture: its name, main metrics, learning curves, and predictions for a few samples."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Trainer
from PIL import Image, ImageDraw

from lightning_modules.callbacks.pictures import SamplePictures
from lightning_modules.runs.metrics_file import STEP, read_rows
from renderers.colour_bars import number
from renderers.curves import plot_curves
from renderers.display import to_uint8
from renderers.figure import WIDTH, PictureRow, draw_figure
from renderers.lettering import FAINT_INK, write
from structures.files import write_png

logger = logging.getLogger(__name__)

FILE_NAME = "summary.png"
CURVES = ("train/loss", "val/score")
"""Metrics whose curves are drawn."""
MOST_METRICS = 8

_MAIN = re.compile(
    r"(abs_rel|rmse|delta1)_(img|px)(_median|_lsq)?(_pp)?|chamfer\w*|inconsistency|mask_ap|mask_ap50|box_ap|mask_iou|miou"
)
_TITLE_SIZE, _LINE_SIZE, _MARGIN = 24, 16, 8
_CURVE_SIZE = (250, (WIDTH - 3 * _MARGIN) // 2)


def write_summary(trainer: Trainer, record: Mapping[str, Any]) -> Path | None:
    """Write ``summary.png`` into the run's folder; a failure is a warning, as the run itself has succeeded.

    Args:
        trainer: The trainer, whose callbacks have drawn the pictures.
        record: Content of ``run.json``.

    Returns:
        Its path; None if it could not be written.
    """
    run_dir = Path(trainer.default_root_dir)
    drawn = [callback for callback in trainer.callbacks if isinstance(callback, SamplePictures)]  # type: ignore[attr-defined]
    rows = [row for callback in drawn for row in callback.summary_rows()]
    shown = next((callback.drawn_name for callback in drawn if callback.drawn_rows), "")
    try:
        for run_logger in trainer.loggers:
            run_logger.save()  # the last rows of metrics.csv
        curves = learning_curves(run_dir / "metrics.csv")
        picture = summary_picture(str(record.get("experiment")), summary_lines(record, shown), curves, rows)
        write_png(run_dir / FILE_NAME, picture)
    except (OSError, ValueError, ArithmeticError) as error:
        logger.warning("no %s was written: %s", FILE_NAME, error)
        return None
    return run_dir / FILE_NAME


def summary_lines(record: Mapping[str, Any], shown: str) -> list[str]:
    """The lines below the title: what the run is, its metrics, and what the pictures show.

    Args:
        record: Content of ``run.json``.
        shown: Name of the pictures, such as ``test`` or ``step_000200``; empty without any.
    """
    facts = [f"run {record.get('run')}"]
    for key, text in (("seed", "seed {}"), ("steps", "step {}"), ("fit_minutes", "{} minutes")):
        if record.get(key) is not None:
            facts.append(text.format(record[key]))
    if record.get("parameters"):
        facts.append(f"{record['parameters'] / 1e6:.2f} M parameters")
    commit, dirty = str(record.get("commit", "unknown")).partition("+")[::2]
    facts.append(f"commit {commit[:8]}{'+' if dirty else ''}")
    lines = [", ".join(facts)]
    stage, metrics = main_metrics(record)
    if metrics:
        lines.append(f"{stage}:  " + "   ".join(f"{name} {number(value)}" for name, value in metrics.items()))
    step = re.fullmatch(r"step_(\d+)", shown)
    known = {"test": "test", "validate": "validation", "": ""}
    stage_of_pictures = f"validation at step {int(step[1])}" if step else known.get(shown, shown)
    return [*lines, f"pictures: {stage_of_pictures}"] if stage_of_pictures else lines


def main_metrics(record: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """The stage of the last metrics of a record, and the main ones of them without the stage in their names."""
    for stage, key in (("test", "test"), ("val", "val"), ("val", "last")):
        found = {
            name.removeprefix(f"{stage}/"): float(value)
            for name, value in dict(record.get(key) or {}).items()
            if name.startswith(f"{stage}/")
        }
        if found:
            chosen = [name for name in found if _MAIN.fullmatch(name)] or sorted(found)
            return "test" if stage == "test" else "validation", {name: found[name] for name in chosen[:MOST_METRICS]}
    return "", {}


def learning_curves(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Steps and values of :data:`CURVES` in a metrics file, of those that have two values at least."""
    curves = {}
    rows = read_rows(path)
    for name in CURVES:
        points = [(float(row[STEP]), _plain(row[name])) for row in rows if name in row]
        points = [point for point in points if np.isfinite(point[1])]
        if len(points) > 1:
            curves[name] = ([step for step, _ in points], [value for _, value in points])
    return curves


def _plain(text: Any) -> float:
    try:
        return float(text)
    except ValueError:  # a damaged cell
        return float("nan")


def summary_picture(
    title: str,
    lines: Sequence[str],
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    rows: Sequence[PictureRow],
) -> npt.NDArray[np.uint8]:
    """Title, lines, curves beside each other, and the rows of pictures.

    Args:
        title: Title.
        lines: Lines below it.
        curves: Steps and values by name.
        rows: Samples; may be empty.

    Returns:
        uint8 ``(H, W, 3)``, RGB, at most :data:`renderers.figure.WIDTH` wide.
    """
    parts = [_header(title, lines)]
    height, width = _CURVE_SIZE
    plots = [
        to_uint8(plot_curves(x, {"": y}, title=name, x_label="step", height=height, width=width, letters=13)).numpy()
        for name, (x, y) in curves.items()
    ]
    if plots:
        parts.append(np.concatenate(plots, axis=1))
    if any(row.pictures for row in rows):
        parts.append(draw_figure([row for row in rows if row.pictures]).pixels)
    broad = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, broad - part.shape[1]), (0, 0)), constant_values=255) for part in parts]
    )


def _header(title: str, lines: Sequence[str]) -> npt.NDArray[np.uint8]:
    step = _LINE_SIZE + 7
    canvas = Image.new("RGB", (WIDTH - 2 * _MARGIN, _MARGIN + _TITLE_SIZE + 12 + step * len(lines)), "white")
    draw = ImageDraw.Draw(canvas)
    room = canvas.width - _MARGIN
    write(draw, (_MARGIN, _MARGIN), title, size=_TITLE_SIZE, width=room)
    for index, line in enumerate(lines):
        place = (_MARGIN, _MARGIN + _TITLE_SIZE + 10 + step * index)
        write(draw, place, line, size=_LINE_SIZE, width=room, colour=FAINT_INK)
    return np.asarray(canvas).copy()
