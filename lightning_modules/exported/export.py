"""Exports a trained module to a file, after a comparison of the file with PyTorch."""

import os
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_modules.exported.formats import ExportError, Format, runner, serialise
from lightning_modules.exported.graph import DepthGraph, InstanceGraph, examples, graph_of, stride_of
from lightning_modules.runs.folder import git_commit
from lightning_modules.runs.loading import RECIPE_KEY, load_module, read_checkpoint
from lightning_modules.runs.trained_data import DATA_KEY, IMAGE_SIZE, trained_settings
from lightning_modules.tasks.depth import DepthModule
from structures.output_paths import check_output_file

TOLERANCE = 1e-4
"""Largest accepted difference of a file to PyTorch, relative to the larger of 1 and the magnitude of the output."""
DEFAULT_SIZE = (96, 128)
"""Height and width of the compared images if the training's are unknown."""


class Exported(NamedTuple):
    """What was exported."""

    path: Path
    """The file."""
    dynamic: bool
    """Whether batch, height and width may change."""
    difference: float
    """Largest difference to PyTorch over three inputs, relative to the larger of 1 and the output's magnitude."""
    note: str
    """Why the batch and the size are fixed, or ""."""


def export(checkpoint: Path, path: Path, format_: Format) -> Exported:
    """Export the network of a checkpoint.

    The batch and the size are dynamic if the network and the format allow it, otherwise those of one image at the size
    of the training. The file is compared with PyTorch on three inputs before it gets its name.

    Args:
        checkpoint: A checkpoint of this project.
        path: The file to write.
        format_: Its format.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ExportError: If the network cannot be exported, or the file differs from PyTorch.
        ValueError: If the checkpoint cannot be used, or predicts neither depth nor instances.
        OSError: If the file cannot be written.
    """
    module = load_module(checkpoint)
    check_output_file(path)
    stride = stride_of(module)
    size = _multiple(trained_settings(checkpoint).get(IMAGE_SIZE, DEFAULT_SIZE), stride)
    note = ""
    for dynamic in (True, False):
        temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")  # the suffix is that of the format
        try:
            graph = graph_of(module).eval()
            content = serialise(
                graph,
                examples(graph.inputs, [(2 if dynamic else 1, *size)])[0],
                format_=format_,
                inputs=graph.inputs,
                outputs=graph.outputs,
                stride=stride,
                dynamic=dynamic,
                metadata=describe(module, graph, checkpoint, size=size, stride=stride, dynamic=dynamic),
            )
            temporary.write_bytes(content)
            difference = compare(graph, temporary, size=size, stride=stride, dynamic=dynamic)
            os.replace(temporary, path)
            return Exported(path, dynamic, difference, note)
        except ExportError as error:
            if not dynamic or "operator" in str(error):
                raise
            note = str(error)
        finally:
            temporary.unlink(missing_ok=True)
    raise AssertionError  # the second pass returns or raises


def compare(
    graph: DepthGraph | InstanceGraph, path: Path, *, size: tuple[int, int], stride: int, dynamic: bool
) -> float:
    """Largest difference of an exported file to PyTorch on three inputs.

    Args:
        graph: The graph in PyTorch.
        path: The exported file.
        size: Height and width of the training.
        stride: Divisor of height and width.
        dynamic: Whether batch and size of the inputs may change.

    Raises:
        ExportError: If the file fails, or the difference is above :data:`TOLERANCE`.
    """
    height, width = size
    other = [(1, height, width), (3, height + stride, width), (2, width + stride, height)]
    run, largest = runner(path), 0.0
    with torch.no_grad():
        for inputs in examples(graph.inputs, other if dynamic else [(1, height, width)] * 3):
            wanted = graph(*inputs)
            try:
                found = run(*inputs)
            except Exception as error:  # the runtimes raise unrelated types
                lines = str(error).splitlines() or [type(error).__name__]
                raise ExportError(f"the exported file fails on an image of {_text(inputs[0])}: {lines[0]}") from error
            for name, ours, theirs in zip(graph.outputs, wanted, found, strict=True):
                if ours.shape != theirs.shape:
                    raise ExportError(
                        f"the exported file returns '{name}' of shape {tuple(theirs.shape)} for an image of "
                        f"{_text(inputs[0])}, but PyTorch {tuple(ours.shape)}"
                    )
                difference = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))
                if not difference <= TOLERANCE:  # also NaN
                    raise ExportError(
                        f"the exported file differs from PyTorch by {difference:.2g} in '{name}' for an image of "
                        f"{_text(inputs[0])}, but {TOLERANCE:g} is accepted"
                    )
                largest = max(largest, difference)
    return largest


def describe(
    module: LightningModule,
    graph: DepthGraph | InstanceGraph,
    checkpoint: Path,
    *,
    size: tuple[int, int],
    stride: int,
    dynamic: bool,
) -> dict[str, Any]:
    """Metadata of an exported file, as plain values of JSON."""
    recipe = dict(read_checkpoint(checkpoint)[RECIPE_KEY])
    recipe[DATA_KEY] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in trained_settings(checkpoint).items()
    }
    depth = isinstance(module, DepthModule)
    unit = ("metres" if module.scale_known else "up to scale") if isinstance(module, DepthModule) else "pixels"
    return {
        "recipe": recipe,
        "checkpoint": checkpoint.name,
        "commit": git_commit(),
        "torch": torch.__version__,
        "task": "depth" if depth else "instances",
        "inputs": {
            "image": f"float32 (B, 3, H, W), RGB in [0, 1], H and W multiples of {stride}; normalised inside",
            **({"K": "float32 (B, 3, 3), intrinsics in pixels of the image, corner convention"} if "K" in graph.inputs
               else {}),
        },
        "outputs": list(graph.outputs),
        "parameters": sum(p.numel() for p in module.parameters()),
        "unit": unit,
        "stride": stride,
        "size": list(size),
        "dynamic": dynamic,
    }  # fmt: skip


def _multiple(size: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = (max(-(-side // stride), 2) * stride for side in size)
    return height, width


def _text(image: Tensor) -> str:
    return "x".join(str(side) for side in image.shape)
