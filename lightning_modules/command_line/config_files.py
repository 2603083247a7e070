"""Checks files given as ``--config`` before they are parsed, and describes files that are not experiments."""

import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_modules.command_line.extends import EXPERIMENTS, SUFFIXES, ExtendsError, read_settings
from lightning_modules.command_line.wording import did_you_mean, nearest
from lightning_modules.command_line.yaml_file import ConfigFileError, read_mapping

_LONGEST = 10_000_000  # bytes; a configuration has a few thousand


def check_config_file(text: str, known: Iterable[str]) -> None:
    """Make sure that the value of ``--config`` names a file of settings.

    Args:
        text: A path; settings given in place of a path are left to the parser.
        known: Names of the top-level settings.

    Raises:
        ConfigFileError: If it is missing, a folder, no text, no YAML, no mapping, a file of another kind, or extends a
            file that cannot be used.
    """
    path = Path(text)
    try:
        if path.is_dir():
            raise ConfigFileError(f"--config {text!r} is a folder: name a file in it, experiments/NAME.yaml for one")
        if not path.is_file():
            if "{" in text or "\n" in text or ": " in text:
                return
            raise ConfigFileError(f"--config {text!r} does not exist{_similar_file(path)}")
        if zipfile.is_zipfile(path):
            raise ConfigFileError(f"--config {text!r} is a checkpoint or another archive: a checkpoint is --ckpt_path")
        if path.stat().st_size > _LONGEST:
            read_mapping(b"\0", f"--config {text!r}")
        settings = read_settings(path, f"--config {text!r}")
    except OSError as error:
        raise ConfigFileError(f"--config {text!r} cannot be read: {error.strerror}") from error
    _judge(text, settings, list(known))
    for key in ("model", "data"):
        check_extends(settings.get(key), path.parent)


def check_extends(value: Any, folder: Path = Path()) -> None:
    """Make sure that a file named in place of the settings of a class extends only what can be used.

    Args:
        value: Value of ``model`` or ``data``; anything but the path of a file is left to the parser.
        folder: Folder that the path starts from.

    Raises:
        ExtendsError: If an ``extends`` in the file cannot be resolved.
    """
    if not (isinstance(value, str) and value.endswith(SUFFIXES)):
        return
    try:
        path = next((path for path in (folder / value, Path(value)) if path.is_file()), None)
        if path is not None:
            read_settings(path)
    except ExtendsError:
        raise
    except (OSError, ConfigFileError):
        return  # the parser says what else is wrong with the file


def _judge(text: str, settings: Mapping[Any, Any], known: list[str]) -> None:
    name = Path(text).stem
    if {"experiment", "variants"} <= settings.keys():
        raise ConfigFileError(
            f"--config {text!r} is an ablation: `make ablation EXP={name}` or `python -m tools.ablation {text}` runs it"
        )
    if "class_path" in settings:
        path = str(settings["class_path"])
        option = {"datamodules": "data", "lightning_modules": "model"}.get(path.split(".")[0], "")
        what = {"data": "a data set", "model": "a model"}.get(option, "one class")
        advice = (
            f"beside --config experiments/NAME.yaml give --{option} {text}" if option else "an experiment is needed"
        )
        raise ConfigFileError(f"--config {text!r} describes {what} ({path}), no experiment: {advice}")
    for key in settings:
        if not isinstance(key, str):
            raise ConfigFileError(f"--config {text!r} has the key {key!r}, where the name of a setting is needed")
        if key.removesuffix("+").split(".")[0] not in known:
            similar = did_you_mean(key, known) or f"; known are {', '.join(known)}"
            raise ConfigFileError(f"--config {text!r}: there is no setting '{key}'{similar}")


def _similar_file(path: Path) -> str:
    """End of a sentence about a missing file: a file of similar name in its folder, or an experiment of its name."""
    folder = path.parent
    if not folder.is_dir():
        return f": there is no folder '{folder}'"
    experiment = EXPERIMENTS / f"{path.stem}.yaml"
    if experiment.is_file() and not path.with_suffix(".yaml").is_file():
        return f"; did you mean '{os.path.relpath(experiment)}'?"
    similar = nearest(path.stem, [file.stem for file in folder.glob("*.y*ml")])
    found = next((file for file in sorted(folder.glob("*.y*ml")) if file.stem == similar), None)
    return "" if found is None else f"; did you mean '{found}'?"
