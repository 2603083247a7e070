"""The runs of a report: their folders, records, settings and curves, whatever state they are in."""

import glob
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.runs.folder import paper_slug
from structures.errors import plain_reason
from tools.report.metrics_file import Curve, last_values, read_metrics
from tools.results_table import data_name

RUNNING_S = 15 * 60.0
"""A run without a result whose files changed within this time counts as running."""

_FILES = ("run.json", "metrics.csv")

_NUMBERS = ("seed", "parameters", "steps", "fit_minutes", "peak_memory_gb", "peak_gpu_memory_gb")
"""Entries of ``run.json`` that are numbers."""


@dataclass
class ReportedRun:
    """One run as a report shows it.

    Attributes:
        folder: Its folder.
        name: ``<experiment>/<run id>``, unique in a report.
        record: Content of ``run.json``; empty if there is none.
        settings: Content of ``config.yaml``; empty if there is none.
        curves: Curves by the name of their metric, with the stage.
        problems: Sentences about what is missing or damaged.
        status: ``finished``, ``test only``, ``no test``, ``running`` or ``unfinished``.
    """

    folder: Path
    name: str
    record: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    status: str = "unfinished"

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return str(self.record.get("experiment") or self.settings.get("experiment") or self.folder.parent.name)

    @property
    def paper(self) -> str:
        """Slug of the paper, or empty if the settings are missing."""
        try:
            return paper_slug(self.settings["model"]["class_path"])
        except (KeyError, TypeError, IndexError, AttributeError):
            return ""

    @property
    def seed(self) -> int | float | None:
        """Seed of the run, or None if it is not known."""
        seed = self.record.get("seed", self.settings.get("seed_everything"))
        return seed if is_number(seed) else None

    @property
    def data(self) -> str:
        """Data module and root, or empty."""
        return data_name(self.settings)

    def metrics(self, stage: str) -> dict[str, float]:
        """Metrics of a stage by name without it: those of ``run.json``, else the last of ``metrics.csv``."""
        recorded = self.record.get(stage)
        if isinstance(recorded, dict) and recorded:
            return {
                name.removeprefix(f"{stage}/"): float(value) for name, value in recorded.items() if is_number(value)
            }
        return last_values(self.curves, stage)


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """Folders of runs that match any of the patterns or lie below a match, sorted; predictions have no results."""
    folders: set[Path] = set()
    for pattern in patterns:
        matches = [Path(match) for match in glob.glob(pattern, recursive=True)]
        for match in matches:
            top = match if match.is_dir() else match.parent
            for name in _FILES:
                folders.update(path.parent for path in top.rglob(name) if "wandb" not in path.relative_to(top).parts)
    return sorted(folders)


def read_run(folder: Path, *, now_s: float | None = None) -> ReportedRun:
    """Read a run; what is damaged or missing is a sentence in its ``problems``.

    Args:
        folder: Its folder.
        now_s: The present time, seconds since 1970; None takes the clock's.
    """
    run = ReportedRun(folder, f"{folder.parent.name}/{folder.name}")
    run.record = _mapping(run, "run.json", json.loads)
    _leave_out_odd_numbers(run)
    run.settings = _mapping(run, "config.yaml", lambda text: yaml.load(text, Loader=_LOADER))
    path = folder / "metrics.csv"
    try:
        run.curves, problems = read_metrics(path)
        run.problems += problems
    except FileNotFoundError:
        run.problems.append("there is no metrics.csv")
    except OSError as error:
        run.problems.append(f"metrics.csv cannot be read ({plain_reason(error)})")
    run.status = _status(run, time.time() if now_s is None else now_s)
    return run


# The fast reader in C where PyYAML was built with it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _mapping(run: ReportedRun, name: str, parse: Any) -> dict[str, Any]:
    try:
        content = parse((run.folder / name).read_text())
    except FileNotFoundError:
        run.problems.append(f"there is no {name}")
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        run.problems.append(f"{name} is damaged ({' '.join(plain_reason(error).split())[:100]})")
        return {}
    if not isinstance(content, dict):
        run.problems.append(f"{name} holds no settings, but {str(content)[:40]!r}")
        return {}
    return content


def _leave_out_odd_numbers(run: ReportedRun) -> None:
    """Remove what should be a number and is none: the page sorts, scales and groups by these entries."""
    for name in _NUMBERS:
        value = run.record.get(name)
        if value is not None and not is_number(value):
            del run.record[name]
            run.problems.append(f"run.json: {name} is {str(value)[:40]!r}, which is no number, and is left out")


def is_number(value: Any) -> bool:
    """Whether a value of a file of JSON or YAML is a finite number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _status(run: ReportedRun, now_s: float) -> str:
    has_result = any(isinstance(run.record.get(stage), dict) for stage in ("test", "val"))
    if has_result:
        return "finished" if "fit_minutes" in run.record or _has_training(run) else "test only"
    if "fit_minutes" in run.record:
        return "no test"
    changed = [path.stat().st_mtime for name in _FILES if (path := run.folder / name).exists()]
    return "running" if changed and now_s - max(changed) < RUNNING_S else "unfinished"


def _has_training(run: ReportedRun) -> bool:
    return any(name.startswith("train/") for name in run.curves)


def with_unique_names(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """The runs; those that share a name with another get the folder above in front of it."""
    depth = 3
    while len({run.name for run in runs}) < len(runs) and depth < 30:
        counts: dict[str, int] = {}
        for run in runs:
            counts[run.name] = counts.get(run.name, 0) + 1
        for run in runs:
            if counts[run.name] > 1:
                run.name = "/".join(run.folder.absolute().parts[-depth:])
        depth += 1
    return list(runs)
