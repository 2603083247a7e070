"""The photometric error of self-supervised depth: per pixel, and its minimum over warped and unwarped source images.

The kernels are in ``losses/photometric_kernels.py``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from geometry.stencils import at_least_float32
from losses.photometric_kernels import PhotometricError, target_statistics


class Photometric:
    """The photometric error against one target: ``w (1 - SSIM) / 2 + (1 - w) |x - y|``, averaged over the channels.

    The window statistics of the target are computed once, in the constructor. SSIM uses a 3x3 box window with a
    reflected border and biased variances (Godard et al. 2019, eq. 3 and its released code). ``(1 - SSIM) / 2`` lies in
    [0, 1] without the clamp of that code.

    Args:
        target: ``(B, C, H, W)``, values in [0, 1], at least 2x2 pixels. Half precision is raised to float32. No
            gradient flows to it.
        ssim_weight: ``w``, the paper's 0.85.

    Raises:
        ValueError: if the shape, the type or the weight is not as described, or the target requires a gradient.
    """

    def __init__(self, target: Tensor, *, ssim_weight: float = 0.85) -> None:
        if target.ndim != 4 or min(target.shape) < 1 or min(target.shape[-2:]) < 2:
            raise ValueError(
                f"target has the shape {tuple(target.shape)}, but it must be (B, C, H, W) with at least 2x2 pixels."
            )
        if not target.is_floating_point():
            raise ValueError(f"target has type {target.dtype}, but it must be floating point.")
        if target.requires_grad and torch.is_grad_enabled():
            raise ValueError("target requires a gradient, but the photometric error has none for it; detach it.")
        if not 0 <= ssim_weight <= 1:
            raise ValueError(f"ssim_weight is {ssim_weight}, but it must lie in [0, 1].")
        self.ssim_weight = ssim_weight
        self._statistics = target_statistics(at_least_float32(target.detach()).contiguous())

    def __call__(self, images: Tensor) -> Tensor:
        """Error maps of the candidates.

        Args:
            images: ``(B, S, C, H, W)``, ``S`` candidates for each target, values in [0, 1]. Where they require no
                gradient (unwarped sources), nothing is stored for the backward pass.

        Returns:
            ``(B, S, H, W)`` between 0 and 1, in the target's precision. Differentiable once in ``images``; the
            absolute value has derivative 0 at 0.

        Raises:
            ValueError: if the shape or type does not fit the target.
        """
        target = self._statistics.image
        if images.ndim != 5 or images.shape[1] == 0 or images[:, 0].shape != target.shape:
            raise ValueError(
                f"images have the shape {tuple(images.shape)}, but for a target of {tuple(target.shape)} they must be "
                "(B, S, C, H, W) with the same B, C, H and W and at least one candidate."
            )
        images = at_least_float32(images)
        if images.dtype != target.dtype:
            raise ValueError(f"images have type {images.dtype}, but the target has {target.dtype}.")
        error: Tensor = PhotometricError.apply(images, self._statistics, self.ssim_weight)
        return error


def photometric_error(images: Tensor, *, target: Tensor, ssim_weight: float = 0.85) -> Tensor:
    """Photometric error of candidates against a target; :class:`Photometric` serves several sets of candidates.

    Args:
        images: ``(B, S, C, H, W)``, values in [0, 1].
        target: ``(B, C, H, W)``, values in [0, 1].
        ssim_weight: the paper's 0.85.

    Returns:
        ``(B, S, H, W)`` between 0 and 1.

    Raises:
        ValueError: as :class:`Photometric`.
    """
    return Photometric(target, ssim_weight=ssim_weight)(images)


def minimum_error(
    warped_error: Tensor, identity_error: Tensor, *, noise: Tensor | None = None, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Per-pixel minimum over warped and unwarped sources (Godard et al. 2019, eqs. 4 and 5, as in GAM-Depth).

    Where an unwarped source has the smallest error (the pixel moves with the camera or has no texture), the warped ones
    receive no gradient: this is Monodepth2's auto-mask.

    Args:
        warped_error: ``(B, S, H, W)``, errors of the warped sources.
        identity_error: ``(B, S, H, W)``, errors of the unwarped sources.
        noise: ``(B, S, H, W)``, added to ``identity_error`` to break ties in saturated or textureless regions at
            random; the papers draw ``1e-5 N(0, 1)``. None adds nothing, and the first of equal candidates is taken.
        valid: bool ``(B, S, H, W)``, False where a warped pixel has no source pixel (behind the camera or outside the
            image); it is then not the minimum. None uses the values of border padding there, as the papers do.

    Returns:
        ``(error, winner)``: ``(B, H, W)`` in at least float32, and int64 ``(B, H, W)``: 0 to S - 1 for the unwarped,
        S to 2 S - 1 for the warped sources. Only the source with the smallest error receives a gradient.

    Raises:
        ValueError: if the shapes differ or ``valid`` is not bool.
    """
    for name, values in (("identity_error", identity_error), ("noise", noise), ("valid", valid)):
        if values is not None and (values.shape != warped_error.shape or values.ndim != 4):
            raise ValueError(
                f"{name} has the shape {tuple(values.shape)} and warped_error {tuple(warped_error.shape)}, but both "
                "must be the same (B, S, H, W)."
            )
    if warped_error.shape[1] == 0:
        raise ValueError("There are no sources, but a minimum needs at least one.")
    warped_error, identity_error = at_least_float32(warped_error), at_least_float32(identity_error)
    if noise is not None:
        identity_error = identity_error + noise
    if valid is not None:
        if valid.dtype is not torch.bool:
            raise ValueError(f"valid has type {valid.dtype}, but torch.bool is needed.")
        warped_error = warped_error.masked_fill(~valid, float("inf"))
    error, winner = _Minimum.apply(identity_error, warped_error)
    return error, winner


class _Minimum(Function):
    """Per-pixel minimum of two stacks of maps and its index; only the smallest value receives a gradient."""

    @staticmethod
    def forward(ctx: Any, identity: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
        maps = [*identity.unbind(1), *warped.unbind(1)]
        smallest = maps[0].clone(memory_format=torch.contiguous_format)
        winner = torch.zeros_like(smallest, dtype=torch.int64)
        for index, candidate in enumerate(maps[1:], start=1):
            winner.masked_fill_(candidate < smallest, index)
            torch.minimum(smallest, candidate, out=smallest)  # passes a NaN on, which `<` would hide
        ctx.n_candidates = warped.shape[1]
        ctx.mark_non_differentiable(winner)
        ctx.save_for_backward(winner)
        return smallest, winner

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (winner,) = ctx.saved_tensors
        n_images, height, width = winner.shape
        results: list[Tensor | None] = [None, None]
        n_candidates = ctx.n_candidates
        for stack, needed in enumerate(ctx.needs_input_grad):
            if needed:
                result = gradient.new_empty(n_images, n_candidates, height, width)
                for index in range(n_candidates):
                    torch.mul(gradient, winner == stack * n_candidates + index, out=result[:, index])
                results[stack] = result
        return results[0], results[1]
