"""The photometric part of a self-supervised step against a straightforward arrangement of the same arithmetic.

Four sources are warped into the target; the error is the minimum over the four warped and the four unwarped ones.
Timed are the forward pass and the backward pass to depth and poses, or, without warps, to the warped images.

The reference goes source by source: points are lifted by a matrix product, moved, projected and sampled. It goes
candidate by candidate: both images are padded, five averages of windows are taken, all errors are concatenated.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import median_seconds
from losses.photometric import Photometric, minimum_error
from renderers.view_synthesis import synthesize_views

SIZES = ((8, 96, 128), (12, 48, 64), (2, 288, 384))
"""Batch, height and width: two of the embedded data, then the size of GAM-Depth with the batch that a CPU can hold."""
N_SOURCES = 4
REPEATS = 5
TOLERANCE = 1e-5
"""Largest difference to the numbers of float64, unless the reference's own float32 rounding is larger, as it is."""
SSIM_WEIGHT = 0.85


def _scene(batch: int, height: int, width: int, device: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def smooth(channels: int) -> Tensor:
        coarse = torch.rand(batch, channels, height // 8, width // 8, generator=generator)
        return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)

    clean = smooth(3)
    frames = clean.unsqueeze(1) + 0.05 * torch.randn(batch, 1 + N_SOURCES, 3, height, width, generator=generator)
    T = torch.eye(4).repeat(batch, N_SOURCES, 1, 1)
    T[..., :3, 3] = 0.05 * torch.randn(batch, N_SOURCES, 3, generator=generator)
    K = torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]]).repeat(batch, 1, 1)
    scene = {
        "target": frames[:, 0].clamp(0, 1),
        "sources": frames[:, 1:].clamp(0, 1),
        "depth": 1 + 3 * smooth(1),
        "T": T,
        "K": K,
        "noise": 1e-5 * torch.randn(batch, N_SOURCES, height, width, generator=generator),
    }
    return {name: values.contiguous().to(device) for name, values in scene.items()}


def straightforward_error(image: Tensor, target: Tensor) -> Tensor:
    """Photometric error of one candidate with five averages of windows, as it is usually written."""
    x, y = (F.pad(values, [1] * 4, mode="reflect") for values in (image, target))
    mean_x, mean_y = F.avg_pool2d(x, 3, 1), F.avg_pool2d(y, 3, 1)
    variance_x = F.avg_pool2d(x**2, 3, 1) - mean_x**2
    variance_y = F.avg_pool2d(y**2, 3, 1) - mean_y**2
    covariance = F.avg_pool2d(x * y, 3, 1) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
    denominator = (mean_x**2 + mean_y**2 + 1e-4) * (variance_x + variance_y + 9e-4)
    dissimilarity = ((1 - numerator / denominator) / 2).clamp(0, 1).mean(1, keepdim=True)
    return SSIM_WEIGHT * dissimilarity + (1 - SSIM_WEIGHT) * (image - target).abs().mean(1, keepdim=True)


def straightforward_warp(source: Tensor, depth: Tensor, K: Tensor, T: Tensor) -> Tensor:
    """One source warped into the target's view, through points, matrix products and a grid of its own."""
    batch, _, height, width = source.shape
    y, x = torch.meshgrid(
        torch.arange(height, dtype=depth.dtype, device=depth.device) + 0.5,
        torch.arange(width, dtype=depth.dtype, device=depth.device) + 0.5,
        indexing="ij",
    )
    pixels = torch.stack([x, y, torch.ones_like(x)]).view(1, 3, -1).expand(batch, 3, -1)
    points = depth.view(batch, 1, -1) * torch.matmul(torch.linalg.inv(K), pixels)
    points = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    projected = torch.matmul(torch.matmul(K, T[:, :3]), points)
    coordinates = (projected[:, :2] / (projected[:, 2:] + 1e-7)).view(batch, 2, height, width).permute(0, 2, 3, 1)
    size = torch.tensor([width, height], dtype=depth.dtype, device=depth.device)
    return F.grid_sample(source, 2 * coordinates / size - 1, padding_mode="border", align_corners=False)


def _straightforward_minimum(scene: dict[str, Tensor], warped: list[Tensor]) -> Tensor:
    target = scene["target"]
    identity = torch.cat([straightforward_error(source, target) for source in scene["sources"].unbind(1)], dim=1)
    errors = torch.cat([straightforward_error(image, target) for image in warped], dim=1)
    return torch.cat([identity + scene["noise"], errors], dim=1).min(dim=1).values


def _straightforward(scene: dict[str, Tensor]) -> Tensor:
    triples = zip(scene["sources"].unbind(1), scene["T"].unbind(1), strict=True)
    warped = [straightforward_warp(source, scene["depth"], scene["K"], T) for source, T in triples]
    return _straightforward_minimum(scene, warped)


def _ours_minimum(scene: dict[str, Tensor], warped: Tensor) -> Tensor:
    error = Photometric(scene["target"], ssim_weight=SSIM_WEIGHT)
    return minimum_error(error(warped), error(scene["sources"]), noise=scene["noise"])[0]


def _ours(scene: dict[str, Tensor]) -> Tensor:
    warped = synthesize_views(scene["sources"], depth=scene["depth"], K=scene["K"], T_source_target=scene["T"])
    return _ours_minimum(scene, warped.image)


def _with_gradient(scene: dict[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    return scene | {name: scene[name].clone().requires_grad_() for name in names}


def _check(name: str, ours: Tensor, reference: Tensor, exact: Tensor) -> None:
    """Compare error maps with the reference in double precision, pixel by pixel."""
    found, own = ((values.double() - exact).abs().max().item() for values in (ours, reference))
    if found > max(TOLERANCE, own):
        raise RuntimeError(f"{name}: the error is off by {found:.1e}, the reference's own rounding is {own:.1e}.")


def _compare_gradients(name: str, ours: list[Tensor], exact: list[Tensor]) -> None:
    for mine, other in zip(ours, exact, strict=True):
        difference = ((mine.double() - other).norm() / other.norm()).item()
        if difference > 1e-2:  # single pixels in which another candidate wins by rounding
            raise RuntimeError(f"{name}: the gradients differ by {difference:.1e} of their length.")


def run(device: str = "cpu") -> list[tuple[str, float, float]]:
    """Time the photometric part at several sizes, with the warps and without.

    Args:
        device: Where to run.

    Returns:
        ``(name, seconds of ours, seconds of the reference)``, each a median of several repeats.

    Raises:
        RuntimeError: if the two disagree, since their times would then mean nothing.
    """
    results = []
    for size in SIZES:
        scene = _scene(*size, device)
        warped = synthesize_views(scene["sources"], depth=scene["depth"], K=scene["K"], T_source_target=scene["T"])
        cases: tuple[tuple[str, tuple[str, ...], Callable[..., Tensor], Callable[..., Tensor]], ...] = (
            ("warps, errors and minimum", ("depth", "T"), _ours, _straightforward),
            (
                "errors and minimum",
                ("warped",),
                lambda values: _ours_minimum(values, values["warped"]),
                lambda values: _straightforward_minimum(values, list(values["warped"].unbind(1))),
            ),
        )
        for what, leaves, ours, reference in cases:
            name = f"photometric part, {what}, {size[0]} clips of {size[1]}x{size[2]}"
            inputs = _with_gradient(scene | {"warped": warped.image}, leaves)
            precise = _with_gradient({k: v.detach().double() for k, v in inputs.items()}, leaves)

            def step(
                arrangement: Callable[..., Tensor],
                values: dict[str, Tensor] = inputs,
                leaves: tuple[str, ...] = leaves,
            ) -> tuple[Tensor, list[Tensor]]:
                error = arrangement(values)
                return error, list(torch.autograd.grad(error.mean(), [values[leaf] for leaf in leaves]))

            (error, gradients), (other, _) = step(ours), step(reference)
            exact, exact_gradients = step(reference, precise)
            _check(name, error, other, exact)
            _compare_gradients(name, gradients, exact_gradients)
            ours_seconds, reference_seconds = median_seconds(
                partial(step, ours), partial(step, reference), repeats=REPEATS, device=device
            )
            results.append((name, ours_seconds, reference_seconds))
    return results
