"""Projection loss of BoxInst (Tian et al. 2021, https://arxiv.org/abs/2012.02310, eq. 3) between mask and box."""

import torch
from torch import Tensor

from geometry.stencils import at_least_float32
from losses.dice import dice_loss


def projection_loss(logits: Tensor, *, box_masks: Tensor) -> Tensor:
    """Dice loss between mask and box, both projected onto the x axis and onto the y axis by the maximum.

    The whole image is projected, not only the box. Only the largest pixel of each row and of each column receives a
    gradient. The loss is the mean over the instances of the sum of both axes.

    Args:
        logits: ``(N, 1, h, w)`` mask logits.
        box_masks: bool ``(N, 1, h, w)``, the pixels of each instance's box.

    Returns:
        Scalar in [0, 2], in at least float32. Without instances it is a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ or the box masks are not bool.
    """
    if logits.ndim != 4 or logits.shape[1] != 1 or logits.shape != box_masks.shape or box_masks.dtype != torch.bool:
        raise ValueError(
            f"logits and box_masks are {tuple(logits.shape)} and {box_masks.dtype} {tuple(box_masks.shape)}, but both "
            "must be (N, 1, h, w), the masks bool."
        )
    logits = at_least_float32(logits)
    # The sigmoid is monotonic and can be applied after the maximum, to h + w instead of h * w values.
    columns, rows = (
        dice_loss(logits.max(dim=dim).values.sigmoid(), target=box_masks.any(dim=dim)).sum() for dim in (2, 3)
    )
    return (columns + rows) / max(logits.shape[0], 1)
