"""Disagreement of a network's predictions for different views of a scene, given a constant added to its output."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from geometry.alignment import least_absolute_scale
from geometry.masks import erode
from geometry.novel_views import turn_about
from geometry.stencils import fill_outside, masked_deviation_per_image, masked_mean_per_image, masked_median_per_image
from lightning_modules.render_consistency.calibration_views import (
    Network,
    Turn,
    ViewPredictions,
    rotation_of,
    turn_regressor,
)
from lightning_modules.render_consistency.shifted_depth import FLOOR_OF_MEDIAN
from losses.consistency import signed_slope
from renderers.point_render import PointRenderer, scene_points
from structures.choices import Quantity


class Disagreement(NamedTuple):
    """Disagreement of the two depths of each view after alignment of their scale; ``(V, N)`` each."""

    slope: Tensor
    """Slope along the rotation, in medians of depth; an estimate of the missing constant with its sign."""
    relative: Tensor
    """Mean of ``|a - b| / (a + b)``, the bounded form."""
    spread: Tensor
    """Mean of ``|a - b|`` over the spread of depth, which is invariant to a constant."""
    compared: Tensor
    """Share of the view's pixels that were compared: visible, and with positive depth in both predictions."""


def _to_depth(output: Tensor, shift: Tensor | float, kind: Quantity) -> tuple[Tensor, Tensor]:
    """Depth of shifted output, and where it is large enough to be used."""
    values = output + shift
    floor = FLOOR_OF_MEDIAN * values.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    usable = (values > floor) & (floor > 0)
    values = fill_outside(values, usable, 1.0)
    return (values if kind == "depth" else 1 / values), usable


def compare_depths(predicted: Tensor, warped: Tensor, mask: Tensor, regressor: Tensor) -> Disagreement:
    """Disagreement of two depths of each image, after aligning the scale of the first.

    Args:
        predicted: ``(N, 1, H, W)``, depth predicted for a view.
        warped: ``(N, 1, H, W)``, depth of the scene, warped into the view.
        mask: bool ``(N, 1, H, W)``, where both are positive and visible.
        regressor: ``(N, 1, H, W)``, see
            :func:`~lightning_modules.render_consistency.calibration_views.turn_regressor`.

    Returns:
        The disagreement, ``(N,)`` each; 0 for an image without a compared pixel.
    """
    scale = least_absolute_scale(predicted, target=warped, mask=mask).view(-1, 1, 1, 1)
    residual = fill_outside(scale * predicted - warped, mask)
    median = masked_median_per_image(warped, mask)
    unit = fill_outside(median, median > 0, 1.0).view(-1, 1, 1, 1)
    slope = signed_slope(residual / unit, regressor=regressor, mask=mask)
    total = fill_outside(scale * predicted + warped, mask, 1.0)
    spread = masked_deviation_per_image(warped, mask)
    spread = fill_outside(spread, spread > 0, 1.0)
    relative = masked_mean_per_image(residual.abs() / total, mask)
    spread_error = masked_mean_per_image(residual.abs(), mask) / spread
    return Disagreement(slope, relative, spread_error, mask.float().mean(dim=(1, 2, 3)))


def disagreement(predictions: ViewPredictions, shift: float | Tensor, *, output: Quantity) -> Disagreement:
    """Disagreement between the predictions for opposite views once a constant is added to the output.

    Args:
        predictions: The network's output for the views.
        shift: The constant, in the unit of the output: one for all photos, or ``(N,)``.
        output: Whether the output is depth or disparity.
    """
    if isinstance(shift, Tensor):
        shift = shift.view(-1, 1, 1, 1)
    views = []
    for warped, z_ratio, predicted, visible, regressor in zip(*predictions, strict=True):
        source, source_usable = _to_depth(warped, shift, output)
        depth, usable = _to_depth(predicted, shift, output)
        views.append(compare_depths(depth, source / z_ratio, visible & source_usable & usable, regressor))
    return Disagreement(*(torch.stack(values) for values in zip(*views, strict=True)))


@torch.no_grad()
def rendered_disagreement(
    network: Network,
    renderer: PointRenderer,
    image: Tensor,
    K: Tensor,
    turns: Sequence[Turn],
    shift: float | Tensor,
    *,
    output: Quantity,
    hole_margin_px: int = 3,
) -> Disagreement:
    """Disagreement between a photo and its scene rotated about a pivot at the median depth and rendered (the paper's).

    The rendered view depends on the constant, so that network and renderer run again for each one.

    Args:
        network: Maps images and intrinsics to the output.
        renderer: Renders the points.
        image: ``(N, 3, H, W)``.
        K: ``(N, 3, 3)``.
        turns: The turns, in opposite pairs.
        shift: The constant, one for all or ``(N,)``.
        output: Whether the output is depth or disparity.
        hole_margin_px: Radius of the erosion of the visible pixels.
    """
    if isinstance(shift, Tensor):
        shift = shift.view(-1, 1, 1, 1)
    size = (image.shape[-2], image.shape[-1])
    depth, usable = _to_depth(network(image, K), shift, output)
    median = masked_median_per_image(depth, usable)
    pivot = torch.stack([torch.zeros_like(median), torch.zeros_like(median), median], dim=-1)
    points, kept, spacing = scene_points(fill_outside(depth, usable), K, edge_jump=0.1)
    views = []
    for turn in turns:
        T = turn_about(rotation_of(turn, K), pivot=pivot, translation=torch.zeros_like(pivot))
        drawn = renderer(points, image.flatten(2), K=K, T_view_source=T, size=size, mask=kept, spacing_m=spacing)
        picture = torch.where(drawn.visible, drawn.features.clamp(0, 1), 0.5)
        predicted, predicted_usable = _to_depth(network(picture, K), shift, output)
        mask = erode(drawn.visible, hole_margin_px) & predicted_usable
        views.append(compare_depths(predicted, drawn.depth_m, mask, turn_regressor(turn, K, size)))
    return Disagreement(*(torch.stack(values) for values in zip(*views, strict=True)))


def shift_curves(predictions: ViewPredictions, shifts: Tensor, *, output: Quantity) -> Disagreement:
    """Disagreement over a grid of constants, mean over the views: ``(G, N)`` each.

    Args:
        predictions: The network's output for the views.
        shifts: ``(G,)``, in the unit of the output.
        output: Whether the output is depth or disparity.
    """
    rows = [disagreement(predictions, float(shift), output=output) for shift in shifts]
    return Disagreement(*(torch.stack([view.mean(dim=0) for view in values]) for values in zip(*rows, strict=True)))


def comparable_part(grid: Tensor, curves: Disagreement) -> tuple[Tensor, Disagreement]:
    """The usable part of a grid of constants, and the curves of the images that can be compared over all of it.

    A constant far below zero puts much of a scene behind the camera. The few pixels left agree trivially, so the curve
    would have its minimum at the end of the range. An image counts as compared at a constant if it has at least half of
    the pixels that it has at its best constant. Constants at which more than a fifth of the images are not compared are
    left out, then the images that are not compared at one of the remaining constants.

    Args:
        grid: ``(G,)``, ascending.
        curves: ``(G, N)`` each.

    Returns:
        The shorter grid and curves.

    Raises:
        ValueError: If fewer than three constants or no image are left.
    """
    enough = (curves.compared >= 0.5 * curves.compared.amax(dim=0)) & (curves.compared > 0)
    usable = enough.float().mean(dim=1) >= 0.8
    images = enough[usable].all(dim=0)
    if int(usable.sum()) < 3 or not bool(images.any()):
        raise ValueError(
            f"{int(usable.sum())} of {len(grid)} constants leave enough of the images in front of the camera, but at "
            "least three are needed: the network's output is not positive enough"
        )
    return grid[usable], Disagreement(*(values[usable][:, images] for values in curves))
