"""Reading of ``metrics.csv`` while it is written, and curves with few points."""

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Curve = tuple[list[float], list[float]]
"""Steps, ascending, and values of one metric."""

_NO_METRICS = ("epoch", "step")


def read_metrics(path: Path) -> tuple[dict[str, Curve], list[str]]:
    """Curves of a file of metrics, and sentences about what is wrong with it.

    A last line without its end is being written and is left out. A row with another number of cells than the header,
    and a cell that is no number, are left out and counted. Where a resumed run repeats a step, the later value counts.

    Raises:
        OSError: If the file cannot be read.
    """
    text = path.read_bytes().decode("utf-8", errors="replace")
    whole, _, torn = text.rpartition("\n")
    rows = csv.reader(io.StringIO(whole.replace("\0", "")))
    header = _next_row(rows)
    if not header or "step" not in header:
        return {}, ["metrics.csv has no header with a column 'step'" if text.strip() else "metrics.csv is empty"]
    at = header.index("step")
    points: dict[str, dict[float, float]] = {name: {} for name in header if name not in _NO_METRICS}
    n_bad = 0
    while (row := _next_row(rows)) is not None:
        step = _number(row[at]) if len(row) == len(header) else None
        if step is None or not math.isfinite(step):
            n_bad += 1
            continue
        for name, cell in zip(header, row, strict=True):
            if name in points and cell != "":
                value = _number(cell)
                n_bad += value is None
                if value is not None:
                    points[name][step] = value
    problems = []
    if n_bad:
        problems.append(f"metrics.csv: {n_bad} damaged rows or cells are left out")
    if torn.strip():
        problems.append("metrics.csv: its last line is incomplete and is left out")
    curves = {name: _sorted(values) for name, values in points.items() if values}
    return curves, problems


def _next_row(rows: Iterator[list[str]]) -> list[str] | None:
    """The next row; empty if the parser refuses it, None after the last one."""
    try:
        return next(rows, None)
    except csv.Error:  # a cell above the limit of the parser
        return []


def thinned(curve: Curve, most: int) -> Curve:
    """A curve with at most ``most`` points (at least 4) that keeps its ends and its peaks.

    Each stretch of the curve is represented by its lowest and its highest point.

    >>> thinned(([0, 1, 2, 3, 4, 5, 6, 7], [0.0, 1, 0, 9, 0, 1, 0, 5]), 4)
    ([0, 3, 4, 7], [0.0, 9, 0, 5])
    """
    steps, values = curve
    n = len(steps)
    most = max(4, most)
    if n <= most:
        return curve
    n_parts = most // 2
    size = -(-n // n_parts)
    padded = np.full(n_parts * size, np.nan)
    padded[:n] = values
    parts = np.where(np.isfinite(padded), padded, np.nan).reshape(n_parts, size)
    low, high = np.where(np.isnan(parts), np.inf, parts), np.where(np.isnan(parts), -np.inf, parts)
    starts = np.arange(n_parts) * size
    found = np.concatenate([starts + low.argmin(axis=1), starts + high.argmax(axis=1), [0, n - 1]])
    kept = [int(k) for k in np.unique(found[found < n])]
    while len(kept) > most:  # the ends are no peaks of their stretch
        del kept[1 if len(kept) > most + 1 else -2]
    return [steps[k] for k in kept], [values[k] for k in kept]


def last_values(curves: dict[str, Curve], stage: str) -> dict[str, float]:
    """The last finite value of each metric of a stage, by its name without the stage."""
    found = {}
    for name, (_, values) in curves.items():
        finite = [value for value in values if math.isfinite(value)]
        if name.startswith(f"{stage}/") and finite:
            found[name.removeprefix(f"{stage}/")] = finite[-1]
    return found


def _sorted(values: dict[float, float]) -> Curve:
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
