"""Photometric and geometric consistency of two views whose depths are both predicted (SC-Depth, Bian et al. 2021).

The depth of a point of the target in the camera of a source is compared with the depth predicted for that source. Their
relative difference is a loss of its own, and reduces the weight of the photometric error where it is large (moving
objects, occlusions).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside
from losses.ssim import ssim_map


class ViewErrors(NamedTuple):
    """Errors of each source against one target, before any averaging; all ``(B, S, H, W)``."""

    photometric: Tensor
    """Between 0 and 1, already times the weight mask."""
    color: Tensor
    """Mean absolute colour difference, without gradient, by which the source is chosen."""
    depth: Tensor
    """``|D_c - D_p| / (D_c + D_p)``, between 0 and 1; 0 where the warp is not valid."""
    mask: Tensor
    """bool: the warp is valid and, with the auto-mask, its colour difference is smaller than without motion."""


class BestView(NamedTuple):
    """Errors of each pixel for the source with the smallest colour difference; all ``(B, H, W)``."""

    photometric: Tensor
    """0 (in the graph) outside of the mask."""
    depth: Tensor
    """0 (in the graph) outside of the mask."""
    mask: Tensor
    """bool: the mask of :class:`ViewErrors` is True for at least one source. The loss is a mean over these pixels."""


def _check(warped: Tensor, target: Tensor, sources: Tensor, depths: tuple[Tensor, Tensor], valid: Tensor) -> None:
    if warped.ndim != 5 or sources.shape != warped.shape or target.shape != warped[:, 0].shape:
        raise ValueError(
            f"warped, sources and target have the shapes {tuple(warped.shape)}, {tuple(sources.shape)} and "
            f"{tuple(target.shape)}, but they must be twice (B, S, C, H, W), and (B, C, H, W)."
        )
    expected = warped[:, :, :1].shape
    for name, values in (("projected_depth_m", depths[0]), ("sampled_depth_m", depths[1]), ("valid", valid)):
        if values.shape != expected:
            raise ValueError(f"{name} has the shape {tuple(values.shape)}, but it must be {tuple(expected)}.")
    if valid.dtype is not torch.bool:
        raise ValueError(f"valid has type {valid.dtype}, but torch.bool is needed.")


def geometry_consistency(
    warped: Tensor,
    *,
    target: Tensor,
    sources: Tensor,
    projected_depth_m: Tensor,
    sampled_depth_m: Tensor,
    valid: Tensor,
    ssim_weight: float = 0.85,
    ssim_window: int = 7,
    auto_mask: bool = True,
    weight_mask: bool = True,
) -> ViewErrors:
    """Photometric and depth errors of warped sources against the target.

    Per pixel, ``diff = |D_c - D_p| / (D_c + D_p)``; the photometric error ``w (1 - SSIM) / 2 + (1 - w) |x - y|``,
    averaged over the channels, is multiplied by ``1 - diff``, without gradient through this weight. The paper's
    symmetric loss takes the sum over both directions. A pixel is valid if its point is in front of the source's camera
    and inside its image; the released code takes black pixels as invalid instead.

    Args:
        warped: ``(B, S, C, H, W)``, the sources seen from the target, values in [0, 1].
        target: ``(B, C, H, W)``.
        sources: ``(B, S, C, H, W)``, unwarped, for the auto-mask.
        projected_depth_m: ``(B, S, 1, H, W)``, ``D_c``: z of the target's points in the sources' cameras, metres.
        sampled_depth_m: ``(B, S, 1, H, W)``, ``D_p``: the depth predicted for the sources, sampled at these points.
        valid: bool ``(B, S, 1, H, W)``, pixels that are compared; both depths must be positive there.
        ssim_weight: ``w``, the released code's 0.85; 0 omits SSIM.
        ssim_window: odd side of the box window in pixels; the released code's 7, Monodepth2's is 3.
        auto_mask: whether to exclude pixels whose unwarped colour difference is not larger than the warped one.
        weight_mask: whether to apply the weight ``1 - diff``.

    Returns:
        :class:`ViewErrors` in at least float32.

    Raises:
        ValueError: if shapes do not fit, ``valid`` is not bool or the weight lies outside of [0, 1].
    """
    _check(warped, target, sources, (projected_depth_m, sampled_depth_m), valid)
    if not 0 <= ssim_weight <= 1:
        raise ValueError(f"ssim_weight is {ssim_weight}, but it must lie in [0, 1].")
    warped, sources = at_least_float32(warped), at_least_float32(sources)
    target = at_least_float32(target).unsqueeze(1)

    projected, sampled = (
        fill_outside(at_least_float32(depth), valid, 1.0) for depth in (projected_depth_m, sampled_depth_m)
    )
    depth_error = ((projected - sampled).abs() / (projected + sampled)).squeeze(2)

    color = (warped - target).abs().mean(dim=2)
    photometric = color
    if ssim_weight > 0:
        stacked = target.expand_as(warped).flatten(0, 1)
        similarity = ssim_map(
            warped.flatten(0, 1), stacked, window_size=ssim_window, window="box", padding="reflect"
        ).mean(dim=1)
        photometric = ssim_weight * (1 - similarity.view_as(color)) / 2 + (1 - ssim_weight) * color
    if weight_mask:
        photometric = photometric * (1 - depth_error.detach())

    mask = valid.squeeze(2)
    color = color.detach()
    if auto_mask:
        mask = mask & (color < (sources - target).abs().mean(dim=2).detach())
    return ViewErrors(photometric, color, depth_error, mask)


def best_view(errors: ViewErrors) -> BestView:
    """Both errors of each pixel for the source with the smallest colour difference.

    The source is chosen among those in the mask. (The released code chooses among all sources, then applies the mask,
    and chooses among both directions of a pair although their pixels differ.)

    Args:
        errors: of all sources of one target.

    Returns:
        :class:`BestView`; the gradient goes to the chosen sources only.
    """
    best = fill_outside(errors.color, errors.mask, float("inf")).argmin(dim=1, keepdim=True)
    mask = errors.mask.any(dim=1)
    photometric, depth = (
        fill_outside(values.gather(1, best).squeeze(1), mask) for values in (errors.photometric, errors.depth)
    )
    return BestView(photometric, depth, mask)
