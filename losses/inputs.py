"""Validation and masking of the inputs of dense losses."""

import torch
from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside


def prepare(prediction: Tensor, target: Tensor, mask: Tensor, *, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """Prediction and target in at least float32, with a constant outside the mask; shapes are checked.

    Unmeasured values have to be replaced *before* the first subtraction: a NaN would otherwise reach the gradient, as
    zero times NaN.

    Args:
        prediction: ``(B, C, H, W)``.
        target: the shape of ``prediction``.
        mask: bool, the shape of ``prediction``.
        fill: value of both tensors outside the mask.

    Returns:
        ``prediction`` and ``target`` in at least float32; outside the mask both are ``fill``, with zero gradient.

    Raises:
        ValueError: if the shapes differ or are not four-dimensional, or the mask is not bool.
    """
    if not prediction.ndim == 4 or not prediction.shape == target.shape == mask.shape:
        raise ValueError(
            f"prediction, target and mask have the shapes {tuple(prediction.shape)}, {tuple(target.shape)} and "
            f"{tuple(mask.shape)}, but all three must be the same (B, C, H, W)."
        )
    if mask.dtype is not torch.bool:
        raise ValueError(f"The mask has type {mask.dtype}, but torch.bool is needed.")
    return (
        fill_outside(at_least_float32(prediction), mask, fill),
        fill_outside(at_least_float32(target), mask, fill),
    )
