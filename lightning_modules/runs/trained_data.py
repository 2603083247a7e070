"""Settings of the training data that a checkpoint stores, and their use in a test.

A network is evaluated as it was trained: at the same image size, and with the same field of view assumed for unknown
cameras. Both are stored in the checkpoint or, for older ones, in the ``config.yaml`` of its run.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule

from lightning_modules.runs.loading import RECIPE_KEY, read_checkpoint
from lightning_modules.tasks.depth import DepthModule

DATA_KEY = "data"
"""Key of the settings in the recipe of a checkpoint."""

IMAGE_SIZE = "image_size"
FIELD_OF_VIEW = "assumed_field_of_view_degrees"
SETTINGS = (IMAGE_SIZE, FIELD_OF_VIEW, "depth_scale")

FIELD_OF_VIEW_ARGUMENTS = ("default_field_of_view_degrees", FIELD_OF_VIEW)
"""Names of the assumed field of view in data modules."""


def settings_of_data(data: LightningDataModule | None) -> dict[str, Any]:
    """Settings of a data module for its checkpoints, as plain values; those that it lacks are left out."""
    found = {name: getattr(data, name) for name in SETTINGS if getattr(data, name, None) is not None}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def trained_settings(path: Path) -> dict[str, Any]:
    """Settings of the data that a checkpoint was trained on, as far as they are known.

    Args:
        path: A checkpoint of this project.

    Returns:
        ``image_size`` (a pair of int), ``assumed_field_of_view_degrees`` and ``depth_scale``, each if known.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is no checkpoint of this project.
    """
    stored = read_checkpoint(path)[RECIPE_KEY].get(DATA_KEY)
    if not isinstance(stored, dict):
        stored = settings_of_config(path.resolve().parent.parent / "config.yaml")
    return valid_settings(stored)


def settings_of_config(path: Path) -> dict[str, Any]:
    """The same settings from the ``config.yaml`` of a run; empty if the file or the entry is missing."""
    try:
        settings: Any = yaml.safe_load(path.read_text())["data"]["init_args"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return {}
    if not isinstance(settings, dict):
        return {}
    views = [settings[name] for name in FIELD_OF_VIEW_ARGUMENTS if settings.get(name) is not None]
    return valid_settings({**settings, FIELD_OF_VIEW: views[0] if views else None})


def valid_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Stored settings of known name and right type; the others are left out."""
    found: dict[str, Any] = {}
    size, view, scale = (settings.get(name) for name in SETTINGS)
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        found[IMAGE_SIZE] = (size[0], size[1])
    if isinstance(view, int | float) and not isinstance(view, bool):
        found[FIELD_OF_VIEW] = float(view)
    if isinstance(scale, str):
        found["depth_scale"] = scale
    return found


def use_training_settings(config: Namespace, checkpoint: Path, words: Sequence[str]) -> list[str]:
    """Replace settings of a test by those of the training, except the ones given as options on the command line.

    Settings in configuration files are replaced, since these files are written for any network.

    Args:
        config: Resolved configuration of a subcommand; its data settings are changed.
        checkpoint: The tested checkpoint.
        words: The command line.

    Returns:
        A line for each setting that differs from the training's or was replaced.

    Raises:
        CheckpointError: If the file is no checkpoint of this project.
    """
    arguments = config.data.get("init_args") if "data" in config and config.data is not None else None
    if arguments is None or not _is_depth(config.model.class_path):
        return []
    trained = trained_settings(checkpoint)
    lines = []
    wanted = [(IMAGE_SIZE, IMAGE_SIZE), *((name, FIELD_OF_VIEW) for name in FIELD_OF_VIEW_ARGUMENTS)]
    for argument, setting in wanted:
        if argument not in arguments or arguments[argument] is None:
            continue
        here = _text(arguments[argument])
        if setting not in trained:
            lines.append(f"'{checkpoint}' has no record of the {setting} of its training: {here} is used.")
        elif here != (there := _text(trained[setting])):
            if any(word.split("=")[0].endswith(f".{argument}") for word in words):
                lines.append(f"{argument} is {here}, as given, but '{checkpoint}' was trained with {there}.")
            else:
                arguments[argument] = trained[setting]
                lines.append(
                    f"{argument} is {there}, as '{checkpoint}' was trained with, not {here} of the configuration: "
                    f"--data.init_args.{argument} overrides it."
                )
    return lines


def _is_depth(class_path: str) -> bool:
    module, _, name = class_path.rpartition(".")
    model = getattr(importlib.import_module(module), name)
    return isinstance(model, type) and issubclass(model, DepthModule)


def _text(value: Any) -> str:
    return f"[{value[0]}, {value[1]}]" if isinstance(value, list | tuple) else f"{value:g}"
