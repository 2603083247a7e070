"""Splatting against PyTorch3D's rasterizer and compositor: speed, memory, pictures and gradients of the same setting.

The scene is smooth and has an object before it; it is turned about its middle and moved, as in training. One point a
pixel is drawn, with colours and depth, and the backward pass goes to the depth map. Both engines stand as they train:
``SplatRenderer()`` and ``PyTorch3DRenderer()``, whose soft z-buffer and lower limit of weights keep a background from
bleeding through. The pictures are compared with PyTorch3D's as released, too.
"""

import importlib.util
import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.self_supervised_step import peak_bytes
from benchmarks.timing import median_seconds
from geometry.camera import intrinsics_from_field_of_view
from geometry.se3 import transform_from_axis_angle
from renderers.point_render import PointRender, PointRenderer, scene_points
from renderers.pytorch3d_points import PyTorch3DRenderer
from renderers.splat import SplatRenderer

CPU_SIZES = ((1, 128, 160), (8, 128, 160))
GPU_SIZES = ((8, 288, 384),)
"""Batch, height and width."""
REPEATS = 3
RUNS_PER_TURN = 10
"""Runs of ours, which are short, for each one of PyTorch3D's."""
FIELD_OF_VIEW = 1.05
PIVOT_M = 2.5
AXIS_ANGLE = (0.07, -0.13, 0.0)
SHIFT_M = (0.1, -0.05, -0.15)
LEAST_PSNR_DB, LEAST_COSINE = 35.0, 0.9


class Scene(NamedTuple):
    """A point cloud and the camera that views it."""

    image: Tensor
    depth: Tensor
    K: Tensor
    T_view_source: Tensor
    target: Tensor
    """``(B, 4, H, W)``, what the loss compares colours and depth with."""


class Agreement(NamedTuple):
    """Agreement of two engines on the pixels that both of them fill."""

    psnr_db: float
    cosine_colours: float
    cosine_depth: float
    seen: float


def make_scene(batch: int, height: int, width: int, device: str = "cpu") -> Scene:
    """Smooth colours and depths of 2 to 3 m, an object at 1.4 m, and a view from elsewhere."""
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int, coarse: int) -> Tensor:
        values = torch.rand(batch, channels, height // coarse, width // coarse, generator=generator)
        return F.interpolate(values, size=(height, width), mode="bicubic", align_corners=False).clamp(0, 1)

    depth = 2 + smooth(1, 32)
    depth[..., height // 3 : height * 3 // 4, width // 3 : width * 3 // 5] = 1.4
    T = transform_from_axis_angle(torch.tensor([AXIS_ANGLE]), torch.zeros(1, 3))
    pivot = torch.tensor([0.0, 0.0, PIVOT_M])
    T[0, :3, 3] = pivot - T[0, :3, :3] @ pivot + torch.tensor(SHIFT_M)
    K = intrinsics_from_field_of_view(FIELD_OF_VIEW, height=height, width=width)
    target = torch.cat([smooth(3, 8), 2 + smooth(1, 8)], dim=1)
    parts = (smooth(3, 8), depth, K.repeat(batch, 1, 1), T.repeat(batch, 1, 1), target)
    return Scene(*(values.contiguous().to(device) for values in parts))


def draw(renderer: PointRenderer, scene: Scene, depth: Tensor) -> PointRender:
    """Points of the depth map from the new view."""
    points, mask, _ = scene_points(depth, scene.K)
    return renderer(
        points,
        scene.image.flatten(2),
        K=scene.K,
        T_view_source=scene.T_view_source,
        size=(depth.shape[-2], depth.shape[-1]),
        mask=mask,
    )


def step(renderer: PointRenderer, scene: Scene) -> Tensor:
    """Forward and backward; the gradient of the depth map."""
    depth = scene.depth.clone().requires_grad_()
    drawn = draw(renderer, scene, depth)
    error = (torch.cat([drawn.features, drawn.depth_m], dim=1) - scene.target) * drawn.visible
    (gradient,) = torch.autograd.grad(error.square().sum(), depth)
    return gradient


def compare(ours: PointRenderer, reference: PointRenderer, scene: Scene) -> Agreement:
    """PSNR of the colours and the cosine between gradients, both on pixels that both engines fill."""
    depths = [scene.depth.clone().requires_grad_() for _ in range(2)]
    drawn = [draw(renderer, scene, depth) for renderer, depth in zip((ours, reference), depths, strict=True)]
    both = drawn[0].visible & drawn[1].visible
    squared = (drawn[0].features - drawn[1].features).square().mean(dim=1, keepdim=True)
    psnr_db = -10 * squared[both].mean().log10().item()
    cosines = []
    for targets, name in ((scene.target[:, :3], "features"), (scene.target[:, 3:], "depth_m")):
        gradients = []
        for render, depth in zip(drawn, depths, strict=True):
            error = (getattr(render, name) - targets) * both
            gradients.append(torch.autograd.grad(error.square().sum(), depth, retain_graph=True)[0].flatten())
        cosines.append(F.cosine_similarity(gradients[0], gradients[1], dim=0).item())
    return Agreement(psnr_db, cosines[0], cosines[1], both.float().mean().item())


def rows(device: str = "cpu") -> list[tuple[str, float, float]]:
    """The table of one run.

    Args:
        device: Where to run.

    Returns:
        ``(name, ours, reference)``: renderings per second, megabytes, decibels and cosines in percent; for the last two
        the reference is the required minimum.

    Raises:
        RuntimeError: if the engines do not draw the same, since their times would then mean nothing.
    """
    if importlib.util.find_spec("pytorch3d") is None:
        return []
    ours, reference = SplatRenderer(), PyTorch3DRenderer()
    released = PyTorch3DRenderer(softness=None, min_weight=0)
    table: list[tuple[str, float, float]] = []
    for size in CPU_SIZES if device == "cpu" else GPU_SIZES:
        scene = make_scene(*size, device)
        batch, height, width = size
        name = f"points as images, {batch} of {height}x{width}{'' if device == 'cpu' else ', on the GPU'}"
        step(reference, scene)
        works: list[Callable[[], object]] = [partial(step, renderer, scene) for renderer in (ours, reference)]
        *short, long = median_seconds(*works[:1] * RUNS_PER_TURN, works[1], repeats=REPEATS, device=device)
        seconds = (statistics.median(short), long)
        table.append((f"{name}, forward and backward, runs/s: splat | PyTorch3D", 1 / seconds[0], 1 / seconds[1]))
        peaks = [peak_bytes(work, device) / 1e6 for work in works]
        table.append((f"{name}, peak memory in MB (less is better): splat | PyTorch3D", peaks[0], peaks[1]))
        found = compare(ours, reference, scene)
        if found.psnr_db < LEAST_PSNR_DB or min(found.cosine_colours, found.cosine_depth) < LEAST_COSINE:
            raise RuntimeError(f"The engines do not agree: {found}.")
        plain = compare(ours, released, scene)
        for other, values in (("PyTorch3D", found), ("PyTorch3D without a soft z-buffer", plain)):
            table += [
                (f"{name}, PSNR in dB to {other} | required", values.psnr_db, LEAST_PSNR_DB),
                (f"{name}, gradient of colours, cosine in % to {other} | required", *_percent(values.cosine_colours)),
                (f"{name}, gradient of depth, cosine in % to {other} | required", *_percent(values.cosine_depth)),
            ]
    return table


def _percent(cosine: float) -> tuple[float, float]:
    return 100 * cosine, 100 * LEAST_COSINE
