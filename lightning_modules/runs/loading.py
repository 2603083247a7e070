"""Loads a trained module from its checkpoint alone, without the experiment file and without a download.

Every :class:`~lightning_modules.tasks.base.PaperModule` writes a recipe of itself into its checkpoints, under the key
``RECIPE_KEY``: ``{"class_path": ..., "model": {init args as plain values}}``. Where weights were averaged (Lightning's
``WeightAveraging`` callback), ``state_dict`` holds the average and ``current_model_state`` the raw weights; the
average is what gets loaded.
"""

import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError, Namespace
from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_modules.command_line.checked_parser import CheckedParser
from lightning_modules.command_line.classes import (
    ClassPathError,
    ClassRefusedError,
    check_path,
    find_class,
    parameters_of,
    settings_named,
)
from lightning_modules.runs.sealed_file import is_whole
from structures.archives import check_archive
from structures.errors import plain_reason

RECIPE_KEY = "plumbline"
"""Key of the recipe in a checkpoint."""

_SHOWN_KEYS = 4


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message is one sentence with the reason."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of this project onto the CPU, without executing code that it may contain.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a checkpoint of this project and version, or damaged.
    """
    if path.is_dir():
        raise CheckpointError(f"checkpoint '{path}' is a folder; name the file in it{_others_beside(path)}")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint '{path}' does not exist{_others_beside(path)}")
    try:
        check_archive(path)
    except ValueError as error:
        raise CheckpointError(f"checkpoint {error}") from error
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            message = f"checkpoint '{path}' holds more than tensors and plain values, so it is not loaded"
        else:
            message = f"'{path}' is not a checkpoint{_others_beside(path)}"
        raise CheckpointError(message) from error
    except Exception as error:  # torch's reader and unpickler raise a dozen unrelated types on foreign bytes
        if isinstance(error, OSError) and error.filename is not None:  # not readable, e.g. without permission
            raise
        raise CheckpointError(
            f"checkpoint '{path}' is damaged or truncated, or not a checkpoint{_others_beside(path)}"
        ) from error
    if not is_whole(path):  # torch loads altered bytes as other weights
        raise CheckpointError(
            f"checkpoint '{path}' is damaged: its bytes do not match its checksum{_others_beside(path)}"
        )
    recipe = checkpoint.get(RECIPE_KEY) if isinstance(checkpoint, dict) else None
    complete = isinstance(recipe, dict) and {"class_path", "model"} <= recipe.keys()
    if recipe is None or not complete or not isinstance(checkpoint.get("state_dict"), dict):
        raise CheckpointError(f"checkpoint '{path}' was not written by this project: it has no key '{RECIPE_KEY}'")
    check_recipe(recipe, path)
    return checkpoint


def check_recipe(recipe: dict[str, Any], path: Path) -> None:
    """Refuse a recipe that names classes it may not name, or whose settings have moved into a group since.

    Args:
        recipe: With ``class_path`` and ``model``.
        path: Its file, for the message.

    Raises:
        CheckpointError: If it does.
    """
    try:
        for class_path in _class_paths(recipe["model"]):
            check_path(class_path)
        parameters = parameters_of(find_class(recipe["class_path"], ()))
    except ClassRefusedError as error:
        raise CheckpointError(f"checkpoint '{path}' names a class that is not used: {error}") from error
    except ClassPathError:  # reported when the module is built
        return
    for name in recipe["model"] or {}:
        moved = settings_named(name, parameters) if name not in parameters else []
        if moved:
            raise CheckpointError(
                f"checkpoint '{path}' was written by an earlier version, whose setting model.init_args.{name} is "
                f"model.init_args.{moved[0]} now: train it again"
            )


def _class_paths(value: Any) -> Iterator[str]:
    """Every class path in plain settings."""
    if isinstance(value, dict):
        if isinstance(value.get("class_path"), str):
            yield value["class_path"]
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _class_paths(inner)


def _others_beside(path: Path) -> str:
    """End of a sentence that lists other complete checkpoints in the folder of a path; may be empty."""
    folder = path if path.is_dir() else path.parent
    names = sorted(other.name for other in folder.glob("*.ckpt") if other != path and zipfile.is_zipfile(other))
    return f"; {folder} also holds {', '.join(names[:_SHOWN_KEYS])}" if names else ""


def load_module(checkpoint_path: Path) -> LightningModule:
    """Build the module of a checkpoint and load its weights strictly.

    Args:
        checkpoint_path: A ``.ckpt`` file written in training.

    Returns:
        The module on the CPU, in eval mode. Pretrained weights are not read.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is not a checkpoint of this project, is damaged, or its weights do not fit its class.
    """
    checkpoint = read_checkpoint(checkpoint_path)
    recipe = checkpoint[RECIPE_KEY]
    module = build_module(recipe, checkpoint_path)
    _check_fit(module, checkpoint["state_dict"], checkpoint_path, recipe["class_path"])
    module.load_state_dict(checkpoint["state_dict"], strict=True)
    module.on_load_checkpoint(checkpoint)
    return module.eval()


def check_checkpoint(path: Path, model: Namespace) -> dict[str, Any]:
    """Make sure that the weights of a checkpoint fit the model of a configuration.

    Args:
        path: A ``.ckpt`` file.
        model: The model's configuration, ``class_path`` and ``init_args``.

    Returns:
        Content of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a checkpoint of this project, is damaged, or holds another model.
    """
    checkpoint = read_checkpoint(path)
    init_args = model.get("init_args")
    recipe = {"class_path": model.class_path, "model": init_args.as_dict() if init_args is not None else {}}
    # Building a module must not change the random state of the run.
    with torch.random.fork_rng(devices=[]):
        module = build_module(recipe, path)
    _check_fit(module, checkpoint["state_dict"], path, recipe["class_path"])
    return checkpoint


def without_pretrained(value: Any) -> Any:
    """A copy of a configuration (namespaces, dicts, lists, tuples) in which every ``encoder_weights`` is None.

    For modules whose weights come from a checkpoint, so that nothing is downloaded.
    """
    if isinstance(value, Namespace):
        return Namespace(**without_pretrained(vars(value)))
    if isinstance(value, dict):
        return {k: None if k == "encoder_weights" else without_pretrained(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [without_pretrained(v) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)  # a named tuple, or any other
    return value


def innermost_reason(error: BaseException) -> str:
    """The message of a constructor's error, extracted from jsonargparse's report of all the types that it tried."""
    while error.__cause__ is not None and "against any of the Union subtypes" in str(error):
        error = error.__cause__
    return plain_reason(error)


def build_module(recipe: dict[str, Any], path: Path) -> LightningModule:
    """The module of a recipe, with weights that are not trained.

    Args:
        recipe: With ``class_path``, ``model`` and, where known, ``data``.
        path: Its file, for the message.

    Raises:
        CheckpointError: If it cannot be built.
    """
    parser = CheckedParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningModule, "module", required=True)
    settings = {"class_path": recipe["class_path"], "init_args": recipe["model"]}
    try:
        # Removed after parsing, so that defaults of arguments that are not in the recipe are included.
        config = without_pretrained(parser.parse_object({"module": settings}))
        module: LightningModule = parser.instantiate(config).module
    except (ArgumentError, ImportError, TypeError, ValueError) as error:
        reason = " ".join(innermost_reason(error).split())
        raise CheckpointError(f"cannot build {recipe['class_path']} for checkpoint '{path}': {reason}") from error
    view = (recipe.get("data") or {}).get("assumed_field_of_view_degrees")
    if view is not None and hasattr(module, "assumed_field_of_view_degrees"):
        module.assumed_field_of_view_degrees = float(view)  # type: ignore[assignment]  # a Module may hold any value
    return module


def _check_fit(module: LightningModule, state_dict: dict[str, Tensor], path: Path, class_path: str) -> None:
    problems = _mismatches(module.state_dict(), state_dict)
    if problems:
        raise CheckpointError(
            f"checkpoint '{path}' holds the weights of another model than this {class_path}: {'; '.join(problems)}"
        )


def _mismatches(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """The reasons why a state dict cannot be loaded strictly, with the first few keys of each."""
    reshaped = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    lists = {
        "missing": [key for key in wanted if key not in found],
        "unknown": [key for key in found if key not in wanted],
        "of another shape": reshaped,
    }
    return [
        f"{len(keys)} {what} ({', '.join(keys[:_SHOWN_KEYS])}{', ...' if len(keys) > _SHOWN_KEYS else ''})"
        for what, keys in lists.items()
        if keys
    ]
