"""The part of a trained module that is exported: images in, tensors out, without a trainer."""

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from networks.condinst import CondInst
from networks.fcos_head import HeadOutputs

Run = Callable[..., tuple[Tensor, ...]]
"""Runs a graph: tensors in, tensors out."""


class DepthGraph(nn.Module):
    """Depth of images, and for a canonical camera of their intrinsics too."""

    outputs = ("depth",)

    def __init__(self, module: DepthModule) -> None:
        super().__init__()
        self.module = module
        canonical = isinstance(module, SupervisedDepth) and module.canonical_focal_px is not None
        self.inputs: tuple[str, ...] = ("image", "K") if canonical else ("image",)

    def forward(self, image: Tensor, K: Tensor | None = None) -> tuple[Tensor, ...]:
        """Depth ``(B, 1, H, W)`` of images ``(B, 3, H, W)`` and, if the graph has it, K ``(B, 3, 3)``."""
        return (self.module(image) if K is None else self.module(image, K),)


class InstanceGraph(nn.Module):
    """Outputs of CondInst that depend on weights; locations, thresholds and mask heads need none."""

    inputs: tuple[str, ...] = ("image",)
    outputs = (*HeadOutputs._fields, "mask_features")

    def __init__(self, module: InstanceSegmentationModule) -> None:
        super().__init__()
        self.network = module.network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the head at all locations, and the features of the masks, of images ``(B, 3, H, W)``."""
        head, features = self.network.maps(image)
        return (*head, features)


def graph_of(module: LightningModule) -> DepthGraph | InstanceGraph:
    """The exported part of a module.

    Raises:
        ValueError: If the module predicts neither depth nor instances.
    """
    if isinstance(module, InstanceSegmentationModule):
        return InstanceGraph(module)
    if isinstance(module, DepthModule):
        return DepthGraph(module)
    raise ValueError(f"a {type(module).__name__} cannot be exported: it predicts neither depth nor instances")


def run_by(module: LightningModule, run: Run) -> None:
    """Replace the weights of a module by a function that runs its exported part.

    The rest of the module stays: thresholds and mask heads of instances, flip post-processing, the assumed camera.

    Args:
        module: A module of the exported class; it is changed.
        run: Runs the exported graph.
    """
    if isinstance(module, InstanceSegmentationModule):
        network: CondInst = module.network

        def maps(image: Tensor) -> tuple[HeadOutputs, Tensor]:
            *head, features = run(image)
            return HeadOutputs(*head), features

        network.maps = maps  # type: ignore[method-assign]
        for part in ("backbone", "pyramid", "mask_branch"):
            setattr(network, part, nn.Identity())
        return
    inputs = graph_of(module).inputs

    def forward(image: Tensor, K: Tensor | None = None) -> Tensor:
        if "K" not in inputs:
            return run(image)[0]
        known = cast(SupervisedDepth, module).assumed_intrinsics(image) if K is None else K
        return run(image, known.expand(len(image), 3, 3).contiguous())[0]

    module.forward = forward  # type: ignore[method-assign]
    for name in ("network", "depth_network", "pose_network"):
        if isinstance(getattr(module, name, None), nn.Module):
            setattr(module, name, nn.Identity())


def examples(inputs: tuple[str, ...], sizes: list[tuple[int, int, int]]) -> list[tuple[Tensor, ...]]:
    """Inputs of seeded noise.

    Args:
        inputs: Names of the inputs of a graph.
        sizes: Batch, height and width of each example.
    """
    generator = torch.Generator().manual_seed(0)
    found: list[tuple[Tensor, ...]] = []
    for batch, height, width in sizes:
        image = torch.rand(batch, 3, height, width, generator=generator)
        focal = width * (0.6 + 0.4 * torch.rand(batch, generator=generator))
        K = torch.eye(3).repeat(batch, 1, 1)
        K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = focal, focal, width / 2, height / 2
        found.append((image, K) if "K" in inputs else (image,))
    return found


def stride_of(module: LightningModule) -> int:
    """Divisor of the height and the width of images."""
    network: Any = getattr(module, "network", None) or getattr(module, "depth_network", None)
    return int(getattr(network, "stride", 32))
