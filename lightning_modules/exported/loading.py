"""Loads a trained network from a checkpoint or from an exported file."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_modules.exported.formats import format_of, read_metadata, runner
from lightning_modules.exported.graph import Run, run_by
from lightning_modules.runs.loading import RECIPE_KEY, build_module, check_recipe, load_module
from lightning_modules.runs.trained_data import DATA_KEY, trained_settings, valid_settings


def load_trained(path: Path) -> tuple[LightningModule, dict[str, Any]]:
    """The network of a file, and the settings of its training data.

    Args:
        path: A checkpoint (``.ckpt``) or an exported file (``.onnx``, ``.ts``, ``.pt2``). Loading a ``.ts`` or ``.pt2``
            file may run its code.

    Returns:
        The module on the CPU, in eval mode, and the settings of ``lightning_modules/runs/trained_data.py``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, or damaged.
        ImportError: If it is a file of ONNX and ONNX Runtime is not installed.
    """
    if format_of(path) is None:
        return load_module(path), trained_settings(path)
    metadata = read_metadata(path)
    recipe = metadata["recipe"]
    check_recipe(recipe, path)
    module = build_module(recipe, path)
    run_by(module, runner(path) if metadata["dynamic"] else _of_size(runner(path), metadata, path))
    module.on_load_checkpoint({RECIPE_KEY: recipe})
    return module.eval(), valid_settings(recipe.get(DATA_KEY) or {})


def _of_size(run: Run, metadata: dict[str, Any], path: Path) -> Run:
    """A function that runs a graph of one size on single images, and refuses other sizes."""
    size = tuple(metadata["size"])

    def checked(*inputs: Tensor) -> tuple[Tensor, ...]:
        found = tuple(inputs[0].shape[-2:])
        if found != size:
            raise ValueError(
                f"'{path}' takes images of {size[0]}x{size[1]} (height x width) alone, but this one is "
                f"{found[0]}x{found[1]} after resizing and padding: give photos of that aspect ratio"
            )
        if len(inputs[0]) != 1:
            raise ValueError(f"'{path}' takes one image at a time, but the batch has {len(inputs[0])}")
        return run(*inputs)

    return checked
