"""The ablation file: its keys, read and checked."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.command_line.extends import read_settings
from lightning_modules.command_line.wording import did_you_mean
from lightning_modules.runs.folder import check_name
from tools.ablation.variants import Variant, arguments_of, check_keys, read_variants

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

_REQUIRED = ("experiment", "seeds", "baseline", "metrics", "variants")
_KEYS = ("common", *_REQUIRED, "start")

_START_KEYS = ("name", "experiment", "args")


@dataclass(frozen=True)
class Start:
    """The training whose last weights initialise all variants of a seed."""

    name: str
    experiment: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class Ablation:
    """Content of an ablation file, see :mod:`tools.ablation.__main__`."""

    name: str
    experiment: str
    common: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline: str
    metrics: tuple[str, ...]
    variants: dict[str, Variant]
    start: Start | None = None


def _check_experiment(name: Any, path: Path) -> None:
    check_name(name, f"{path}: experiment")
    if not (EXPERIMENTS / f"{name}.yaml").is_file():
        similar = did_you_mean(name, [file.stem for file in EXPERIMENTS.glob("[!_]*.yaml")])
        raise ValueError(f"{path}: there is no experiment '{name}' in {os.path.relpath(EXPERIMENTS)}/{similar or '.'}")


def read_ablation(path: Path) -> Ablation:
    """Read and check an ablation file.

    Raises:
        ValueError: If the file is no YAML, or a key or a value is wrong.
        OSError: If the file cannot be read.
    """
    content = read_settings(path)
    check_keys(content, _KEYS, _REQUIRED, str(path))
    experiment, seeds, metrics = content["experiment"], content["seeds"], content["metrics"]
    _check_experiment(experiment, path)
    start = None
    if content.get("start") is not None:
        check_keys(content["start"], _START_KEYS, ("name", "experiment"), f"{path}: start")
        name, args = content["start"]["name"], content["start"].get("args", [])
        check_name(name, f"{path}: start")
        _check_experiment(content["start"]["experiment"], path)
        start = Start(name, content["start"]["experiment"], arguments_of(args, f"{path}: start: args"))
    plain = isinstance(seeds, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds)
    if not plain or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: seeds is {seeds!r}, but a list of different whole numbers is needed.")
    if not isinstance(metrics, list) or not metrics or not all(isinstance(metric, str) for metric in metrics):
        raise ValueError(f"{path}: metrics is {metrics!r}, but a list of names is needed.")
    variants = read_variants(content, path)
    for name, variant in variants.items():
        check_name(name, f"{path}: variant")
        if variant.experiment is not None:
            _check_experiment(variant.experiment, path)
    if content["baseline"] not in variants:
        raise ValueError(f"{path}: the baseline '{content['baseline']}' is none of {', '.join(variants)}.")
    return Ablation(
        name=path.stem,
        experiment=experiment,
        common=arguments_of(content.get("common", []), f"{path}: common"),
        seeds=tuple(seeds),
        baseline=content["baseline"],
        metrics=tuple(metrics),
        variants=variants,
        start=start,
    )
