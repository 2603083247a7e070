"""Normals of a Manhattan world: alignment with its six directions, and the normal loss.

From StructDepth (Li et al. 2021, https://arxiv.org/abs/2108.08574, section 3.2) as used by GAM-Depth (2024,
https://arxiv.org/abs/2402.14354).
"""

import torch
from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside

LOOSE_COSINE = 0.9
"""A normal within 25.8 degrees of a direction is aligned at the start of training."""
STRICT_COSINE = 0.98
"""At its end only one within 11.5 degrees is: the paper's ``0.9 + 0.001633 epoch`` at the last of 50 epochs."""


def cosine_threshold(progress: float, *, start: float = LOOSE_COSINE, end: float = STRICT_COSINE) -> float:
    """Smallest cosine between an aligned normal and its Manhattan direction, which increases linearly during training.

    Args:
        progress: fraction of the training that is done, 0 to 1.
        start: cosine at 0.
        end: cosine at 1.

    Returns:
        The cosine.

    Raises:
        ValueError: if ``progress`` is not in [0, 1] or a cosine not in [-1, 1].

    >>> round(cosine_threshold(0.5), 3)
    0.94
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}, but it must lie between 0 and 1.")
    if not (-1 <= start <= 1 and -1 <= end <= 1):
        raise ValueError(f"The cosines are {start} and {end}, but both must lie between -1 and 1.")
    return start + (end - start) * progress


@torch.no_grad()
def align_normals(
    normals: Tensor, *, vanishing: Tensor, min_cosine: float, border: int = 8, border_top: int = 20
) -> tuple[Tensor, Tensor]:
    """Replace each normal by the nearest of the six directions ``+-v1, +-v2, +-v3`` of the image's Manhattan frame.

    Args:
        normals: ``(B, 3, H, W)`` unit vectors in the camera frame, 0 where undefined.
        vanishing: ``(B, 3, 3)``, rows are unit vectors in the camera frame, of either sign; all zero where unknown.
        min_cosine: smallest cosine between normal and direction of a pixel in the mask.
        border: pixels at the left, right and bottom that are not in the mask (the paper's, at 384x288).
        border_top: pixels at the top that are not in the mask (the paper's, at 384x288).

    Returns:
        ``(B, 3, H, W)`` aligned normals in at least float32, for any cosine, since segmentation uses all of them. They
        are the normals themselves in an image without vanishing directions, 0 where a normal is undefined (0 or not
        finite), and have no gradient. And the mask, bool ``(B, 1, H, W)``: the normal is defined, close enough to its
        direction and not in the border. It is False everywhere in an image without vanishing directions.

    Raises:
        ValueError: if a shape does not fit or a border is negative.
    """
    if normals.ndim != 4 or normals.shape[1] != 3 or vanishing.shape != (len(normals), 3, 3):
        raise ValueError(
            f"normals and vanishing have the shapes {tuple(normals.shape)} and {tuple(vanishing.shape)}, but "
            "(B, 3, H, W) and (B, 3, 3) are needed."
        )
    if border < 0 or border_top < 0:
        raise ValueError(f"border is {border} and border_top {border_top} pixels, but neither must be negative.")
    normals = at_least_float32(normals)
    directions = vanishing.to(normals.dtype)
    defined = normals.isfinite().all(dim=1, keepdim=True) & (normals != 0).any(dim=1, keepdim=True)
    normals = fill_outside(normals, defined)
    known = directions.isfinite().flatten(1).all(dim=1) & (directions != 0).any(dim=2).all(dim=1)
    known = known.view(-1, 1, 1, 1)
    directions = fill_outside(directions, known.squeeze(-1))

    # Products and sums instead of a matrix product, which autocast would round.
    cosines = (directions[:, :, :, None, None] * normals[:, None]).sum(dim=2)
    size, nearest = cosines.abs().max(dim=1, keepdim=True)
    sign = torch.where(cosines.gather(1, nearest) < 0, -1.0, 1.0)
    chosen = directions.transpose(1, 2).gather(2, nearest.flatten(2).expand(-1, 3, -1)).view_as(normals)
    aligned = torch.where(known, fill_outside(sign * chosen, defined), normals)

    height, width = normals.shape[-2:]
    inside = torch.zeros(height, width, dtype=torch.bool, device=normals.device)
    inside[border_top : max(height - border, 0), border : max(width - border, 0)] = True
    return aligned, defined & known & (size >= min_cosine) & inside


def normal_alignment_loss(normals: Tensor, *, aligned: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``(1 - cos(n, n_aligned)) mask`` over *all* pixels of the batch (StructDepth, eq. 8).

    Args:
        normals: ``(B, 3, H, W)`` unit vectors; arbitrary, also NaN, outside the mask.
        aligned: ``(B, 3, H, W)`` unit vectors, taken as constants.
        mask: bool ``(B, 1, H, W)``, e.g. aligned and planar.

    Returns:
        Scalar between 0 and 2. The gradient flows through ``normals`` only.

    Raises:
        ValueError: if the shapes do not fit or the mask is not bool.
    """
    if normals.ndim != 4 or normals.shape[1] != 3 or aligned.shape != normals.shape:
        raise ValueError(
            f"normals and aligned have the shapes {tuple(normals.shape)} and {tuple(aligned.shape)}, but both must be "
            "the same (B, 3, H, W)."
        )
    if mask.shape != (len(normals), 1, *normals.shape[2:]) or mask.dtype is not torch.bool:
        raise ValueError(f"The mask is {mask.dtype} {tuple(mask.shape)}, but bool (B, 1, H, W) is needed.")
    normals, aligned = (fill_outside(at_least_float32(n), mask) for n in (normals, aligned.detach()))
    cosines = (normals * aligned).sum(dim=1, keepdim=True)
    return fill_outside(1 - cosines, mask).mean()
