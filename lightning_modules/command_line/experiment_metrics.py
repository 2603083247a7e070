"""The module and the metrics of an experiment, determined from its settings before anything is trained."""

import contextlib
from argparse import ArgumentError
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_modules.command_line.checked_parser import CheckedParser
from lightning_modules.command_line.monitors import metric_names
from lightning_modules.command_line.settings_tree import settings_tree
from lightning_modules.command_line.wording import did_you_mean
from lightning_modules.runs.loading import without_pretrained
from lightning_modules.tasks.base import PaperModule


def experiment_module(words: Sequence[str]) -> PaperModule | None:
    """The module of a training with these arguments, with random weights; the random state stays as it is.

    Args:
        words: Arguments of ``fit``, ``--config`` among them.

    Returns:
        The module, or None if it cannot be built from the settings; its training then reports the reason.
    """
    model: Any = settings_tree(words).get("model")
    with contextlib.suppress(KeyError, TypeError):
        network = model["init_args"]["network"]["init_args"]
        network["n_classes"] = (
            1 if network["n_classes"] is None else network["n_classes"]
        )  # names of metrics do not depend on it
    parser = CheckedParser(exit_on_error=False)
    parser.add_subclass_arguments(PaperModule, "model", required=True)
    try:
        with torch.random.fork_rng(devices=[]):
            module: PaperModule = parser.instantiate(without_pretrained(parser.parse_object({"model": model}))).model
            return module
    except (ArgumentError, ImportError, TypeError, ValueError, OSError):
        return None


def experiment_metrics(words: Sequence[str]) -> frozenset[str] | None:
    """Names, without their stage, of the metrics of a training with these arguments.

    Args:
        words: Arguments of ``fit``, ``--config`` among them.

    Returns:
        The names, or None if they cannot be determined.
    """
    with torch.random.fork_rng(devices=[]):
        module = experiment_module(words)
        return None if module is None else metric_names(module)


def check_metrics(metrics: Sequence[str], runs: Iterable[Sequence[str]], where: Path) -> None:
    """Refuse a metric that none of the trainings has.

    Args:
        metrics: Names without their stage.
        runs: Arguments of each training; reading stops when all names are found.
        where: The file that names the metrics.

    Raises:
        ValueError: If a name is unknown; the sentence names the nearest one and the known ones.
    """
    known: set[str] = set()
    for words in runs:
        found = experiment_metrics(words)
        if found is None:
            return
        known |= found
        if known >= set(metrics):
            return
    unknown = next(metric for metric in metrics if metric not in known)
    similar = did_you_mean(unknown, known)
    raise ValueError(f"{where}: no run has the metric '{unknown}'{similar or ';'} known are {', '.join(sorted(known))}")
