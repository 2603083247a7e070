"""What a checkpoint says of the data that it was trained on, and a test that follows it.

A network is used as it was trained: at the same image size, and with the same assumption about cameras that nobody
knows. Both stand in the checkpoint, or, for those of older runs, in the ``config.yaml`` of the run around it.
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
"""What data modules call their assumption."""


def settings_of_data(data: LightningDataModule | None) -> dict[str, Any]:
    """Return what a checkpoint has to keep of a data module, as plain values; nothing of one that has no such thing."""
    found = {name: getattr(data, name) for name in SETTINGS if getattr(data, name, None) is not None}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def trained_settings(path: Path) -> dict[str, Any]:
    """Return the settings of the data that a checkpoint was trained on, as far as they are known.

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
    return _sound(stored)


def settings_of_config(path: Path) -> dict[str, Any]:
    """Return the same from the ``config.yaml`` of a run; empty where the file or the entry is missing."""
    try:
        settings: Any = yaml.safe_load(path.read_text())["data"]["init_args"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return {}
    if not isinstance(settings, dict):
        return {}
    views = [settings[name] for name in FIELD_OF_VIEW_ARGUMENTS if settings.get(name) is not None]
    return _sound({**settings, FIELD_OF_VIEW: views[0] if views else None})


def _sound(settings: dict[str, Any]) -> dict[str, Any]:
    """The known ones among some settings, those of another type left out."""
    found: dict[str, Any] = {}
    size, view, scale = (settings.get(name) for name in SETTINGS)
    if isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size):
        found[IMAGE_SIZE] = (size[0], size[1])
    if isinstance(view, int | float) and not isinstance(view, bool):
        found[FIELD_OF_VIEW] = float(view)
    if isinstance(scale, str):
        found["depth_scale"] = scale
    return found


def follow_training(config: Namespace, checkpoint: Path, words: Sequence[str]) -> list[str]:
    """Make the settings of the training those of a test, wherever the command line itself does not say otherwise.

    Configuration files do not count as saying otherwise: they are written for any network.

    Args:
        config: Resolved configuration of a subcommand; its data are written to.
        checkpoint: What is tested.
        words: The command line.

    Returns:
        A line for each setting that differs from the training's, or from what the configuration said.

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
        here = _said(arguments[argument])
        if setting not in trained:
            lines.append(f"'{checkpoint}' does not say with which {setting} it was trained: {here} is taken.")
        elif here != (there := _said(trained[setting])):
            if any(word.split("=")[0].endswith(f".{argument}") for word in words):
                lines.append(f"{argument} is {here}, as given, but '{checkpoint}' was trained with {there}.")
            else:
                arguments[argument] = trained[setting]
                lines.append(
                    f"{argument} is {there}, as '{checkpoint}' was trained with, not {here} of the configuration: "
                    f"--data.init_args.{argument} says another."
                )
    return lines


def _is_depth(class_path: str) -> bool:
    module, _, name = class_path.rpartition(".")
    model = getattr(importlib.import_module(module), name)
    return isinstance(model, type) and issubclass(model, DepthModule)


def _said(value: Any) -> str:
    return f"[{value[0]}, {value[1]}]" if isinstance(value, list | tuple) else f"{value:g}"
