"""The ablation file: its keys, read and checked."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.command_line.config_files import read_mapping
from lightning_modules.command_line.wording import did_you_mean
from lightning_modules.runs.folder import check_name

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

_REQUIRED = ("experiment", "seeds", "baseline", "metrics", "variants")
_KEYS = ("common", *_REQUIRED, "start")
_VARIANT_KEYS = ("args", "note")
_START_KEYS = ("name", "experiment", "args")


@dataclass(frozen=True)
class Variant:
    """One variant of the experiment: arguments of ``python -m cli fit``, and a note for the table."""

    args: tuple[str, ...] = ()
    note: str = ""


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


def _arguments(value: Any, where: str) -> tuple[str, ...]:
    """Arguments as text; numbers, flags and nested values in YAML notation."""
    if not isinstance(value, list):
        raise ValueError(f"{where} is {value!r}, but a list of command line arguments is needed.")
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in value)


def _check_keys(given: Any, known: Sequence[str], required: Sequence[str], where: str) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where} is {given!r}, but a mapping with the keys {', '.join(known)} is needed.")
    unknown = [str(key) for key in given if key not in known]
    if unknown:
        similar = did_you_mean(unknown[0], known) or f"; known are {', '.join(known)}."
        raise ValueError(f"{where} has the unknown key '{unknown[0]}'{similar}")
    missing = [key for key in required if key not in given]
    if missing:
        raise ValueError(f"{where} lacks the key '{missing[0]}'.")


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
    content = read_mapping(path.read_bytes(), str(path))
    _check_keys(content, _KEYS, _REQUIRED, str(path))
    experiment, seeds, metrics = content["experiment"], content["seeds"], content["metrics"]
    _check_experiment(experiment, path)
    start = None
    if content.get("start") is not None:
        _check_keys(content["start"], _START_KEYS, ("name", "experiment"), f"{path}: start")
        name, args = content["start"]["name"], content["start"].get("args", [])
        check_name(name, f"{path}: start")
        _check_experiment(content["start"]["experiment"], path)
        start = Start(name, content["start"]["experiment"], _arguments(args, f"{path}: start: args"))
    plain = isinstance(seeds, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds)
    if not plain or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: seeds is {seeds!r}, but a list of different whole numbers is needed.")
    if not isinstance(metrics, list) or not metrics or not all(isinstance(metric, str) for metric in metrics):
        raise ValueError(f"{path}: metrics is {metrics!r}, but a list of names is needed.")
    if not isinstance(content["variants"], Mapping) or not content["variants"]:
        raise ValueError(f"{path}: variants is {content['variants']!r}, but a mapping of names is needed.")
    variants = {}
    for name, settings in content["variants"].items():
        where = f"{path}: variant '{name}'"
        check_name(name, f"{path}: variant")
        settings = {} if settings is None else settings
        _check_keys(settings, _VARIANT_KEYS, (), where)
        args = _arguments(settings.get("args", []), f"{where}: args")
        variants[name] = Variant(args, " ".join(str(settings.get("note", "")).split()))
    if content["baseline"] not in variants:
        raise ValueError(f"{path}: the baseline '{content['baseline']}' is none of {', '.join(variants)}.")
    return Ablation(
        name=path.stem,
        experiment=experiment,
        common=_arguments(content.get("common", []), f"{path}: common"),
        seeds=tuple(seeds),
        baseline=content["baseline"],
        metrics=tuple(metrics),
        variants=variants,
        start=start,
    )
