"""The content of a report as plain values for JSON: runs, their curves, samples and settings, and notes."""

import math
import time
from collections.abc import Sequence
from typing import Any

from renderers.display import magma_table
from tools.report.assets import Assets
from tools.report.columns import direction
from tools.report.metrics_file import Curve, thinned
from tools.report.runs import ReportedRun
from tools.report.samples import MAX_RELATIVE, pictures_of, samples_of
from tools.report.seeds import quantiles, seed_groups
from tools.report.settings import settings_table
from tools.results_table import MAIN_METRICS

FIRST_CHOSEN = 4
"""Runs that are chosen when a report is opened."""
_MOST_POINTS, _CURVE_BYTES, _BYTES_PER_POINT = 400, 3_000_000, 16


def content_of(runs: Sequence[ReportedRun], assets: Assets, *, notes: Sequence[str], most_bytes: int) -> dict[str, Any]:
    """Content of a report; pictures, curves and clouds are stored in ``assets``.

    Args:
        runs: The runs, in the order of the table.
        assets: Takes the large parts.
        notes: Sentences about runs that are left out.
        most_bytes: Once ``assets`` is larger, further runs have no samples and pictures; a note says how many.
    """
    n_curves = sum(len(run.curves) for run in runs)
    points = min(_MOST_POINTS, _CURVE_BYTES // (_BYTES_PER_POINT * max(1, n_curves)))
    entries = [_entry(index, run, assets, points) for index, run in enumerate(runs)]
    without = []
    for entry, run in zip(entries, runs, strict=True):
        if assets.n_bytes > most_bytes:
            without.append(run.name)
            continue
        samples = samples_of(run, assets)
        entry["samples"] = assets.add_json(samples) if samples else None
        entry["pictures"] = [] if samples else pictures_of(run, assets)
    all_notes = [*notes, *(f"{run.name}: {problem}" for run in runs for problem in run.problems)]
    if without:
        all_notes.append(
            f"{len(without)} {'run is' if len(without) == 1 else 'runs are'} shown without samples and pictures, as "
            f"the file would exceed its limit (--max-mb): {', '.join(without[:5])}{', ...' if len(without) > 5 else ''}"
        )
    names = sorted({name for entry in entries for stage in ("test", "val") for name in entry[stage]})
    groups = seed_groups(runs)
    return {
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "runs": entries,
        "notes": all_notes,
        "main_metrics": list(MAIN_METRICS),
        "metrics": names,
        "directions": {name: direction(name) for name in names},
        "settings": settings_table(runs),
        "groups": groups,
        "t_quantiles": quantiles(max([2, *(len(group["members"]) for group in groups)])),
        "chosen_first": _first_chosen(entries),
        "magma": magma_table(),
        "max_relative": MAX_RELATIVE,
    }


def _first_chosen(entries: Sequence[dict[str, Any]]) -> list[int]:
    """Runs of as many papers as possible; of a paper those with samples first, then those with more steps."""
    order = sorted(entries, key=lambda entry: (not entry["samples"], -(entry["steps"] or 0), entry["index"]))
    first: dict[str, int] = {}
    for entry in order:
        first.setdefault(entry["paper"], entry["index"])
    rest = [entry["index"] for entry in order if entry["index"] not in first.values()]
    return sorted([*first.values(), *rest][:FIRST_CHOSEN])


def _entry(index: int, run: ReportedRun, assets: Assets, points: int) -> dict[str, Any]:
    record = run.record
    curves = {name: _rounded(thinned(curve, points)) for name, curve in run.curves.items()}
    tags = run.settings.get("tags")
    return {
        "index": index,
        "name": run.name,
        "status": run.status,
        "experiment": run.experiment,
        "paper": run.paper,
        "data": run.data,
        "seed": run.seed,
        "tags": ", ".join(map(str, tags)) if isinstance(tags, list) else "",
        "parameters": record.get("parameters"),
        "steps": record.get("steps", int(max((steps[-1] for steps, _ in run.curves.values()), default=0)) or None),
        "minutes": record.get("fit_minutes"),
        "memory": record.get("peak_memory_gb"),
        "gpu_memory": record.get("peak_gpu_memory_gb"),
        "commit": _short_commit(str(record.get("commit", ""))),
        "started": str(record.get("started", ""))[:16].replace("T", " "),
        "test": _finite(run.metrics("test")),
        "val": _finite(run.metrics("val") or run.metrics("last")),
        "problems": run.problems,
        "curves": assets.add_json(curves) if curves else None,
        "samples": None,
        "pictures": [],
    }


def _short_commit(commit: str) -> str:
    return commit[:8] + ("+" if commit.endswith("+dirty") else "")


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in metrics.items() if math.isfinite(value)}


def _rounded(curve: Curve) -> list[list[float | int | None]]:
    steps, values = curve
    numbers = [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]
    return [[int(step) if step == int(step) else step for step in steps], numbers]
