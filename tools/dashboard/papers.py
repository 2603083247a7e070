"""What the runs of each paper log, determined from its experiment and its ablation, without a training."""

import os
from dataclasses import dataclass
from pathlib import Path

from lightning_modules.callbacks.pictures import SamplePictures
from lightning_modules.command_line.experiment_metrics import experiment_module
from lightning_modules.command_line.extends import read_settings
from lightning_modules.command_line.monitors import metric_names
from lightning_modules.runs.folder import paper_slug
from tools.ablation.file import EXPERIMENTS, read_ablation

_PAPERS = "lightning_modules."
_TEACHERS = "lightning_modules.teachers."
SCORE = "score"
MOST_METRICS = 8
"""Metrics that are shown of a paper without an ablation, which would name them."""


@dataclass(frozen=True)
class Paper:
    """Names under which the runs of a paper log, without their stages.

    Attributes:
        slug: Name of its module, which is the W&B group of its runs.
        experiment: The experiment that the names are taken from.
        metrics: Metrics of validation and test that are shown; the score, which chooses the checkpoint, is not one.
        terms: Loss terms.
        pictures: Names of the pictures.
        has_ablation: Whether there is an ablation of that name.
    """

    slug: str
    experiment: str
    metrics: tuple[str, ...]
    terms: tuple[str, ...]
    pictures: tuple[str, ...]
    has_ablation: bool


def experiments_of_papers() -> dict[str, str]:
    """The experiment of each paper by its slug: that of the same name, that of its ablation, else the first one."""
    found: dict[str, list[str]] = {}
    for path in sorted(EXPERIMENTS.glob("[!_]*.yaml")):
        class_path = str(read_settings(path).get("model", {}).get("class_path", ""))
        if class_path.startswith(_PAPERS) and not class_path.startswith(_TEACHERS):
            found.setdefault(paper_slug(class_path), []).append(path.stem)
    chosen = {}
    for slug, names in found.items():
        ablation = _ablation_path(slug)
        preferred = [slug, *([read_ablation(ablation).experiment] if ablation.is_file() else [])]
        chosen[slug] = next((name for name in preferred if name in names), names[0])
    return chosen


def read_paper(slug: str, experiment: str) -> Paper:
    """Names that the runs of a paper log.

    Args:
        slug: The paper.
        experiment: Its experiment.

    Raises:
        ValueError: If the experiment's module cannot be built.
    """
    module = experiment_module(["--config", os.path.relpath(EXPERIMENTS / f"{experiment}.yaml")])
    names = None if module is None else metric_names(module)
    if module is None or names is None:
        raise ValueError(f"the metrics of experiments/{experiment}.yaml cannot be determined: train it for the reason")
    ablation = _ablation_path(slug)
    if ablation.is_file():
        metrics = tuple(name for name in read_ablation(ablation).metrics if name in names)
    else:
        metrics = tuple(sorted(names - {SCORE}))[:MOST_METRICS]
    drawn = [callback.log_name for callback in module.task_callbacks() if isinstance(callback, SamplePictures)]
    return Paper(slug, experiment, metrics, tuple(module.loss_weights), tuple(drawn), ablation.is_file())


def read_papers() -> list[Paper]:
    """All papers, sorted by their slugs."""
    return [read_paper(slug, experiment) for slug, experiment in sorted(experiments_of_papers().items())]


def _ablation_path(slug: str) -> Path:
    return EXPERIMENTS / "ablations" / f"{slug}.yaml"
