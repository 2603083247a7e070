"""Similarity of the depth of neighbouring pixels, judged by the planes that both may lie on."""

import torch
from torch import Tensor

from geometry.boxes import NEIGHBOUR_OFFSETS, neighbours
from geometry.stencils import at_least_float32, fill_outside
from losses.pairwise_affinity import DILATION, check_depth


@torch.no_grad()
def plane_similarity(
    depth: Tensor, *, depth_scale: float, depth_mask: Tensor | None = None, dilation: int = DILATION
) -> Tensor:
    """``exp(-depth_scale max(e_ij, e_ji))`` between pixels and their 8 neighbours, ``e`` the error of extrapolation.

    ``e_ij = |d_i + k (d_i - d_h) - d_j|`` extrapolates depth from pixel i to its neighbour j at the distance ``k``,
    with the slope between i and the adjacent pixel h on the side away from j. Inverse depth is affine in the position
    on the image of a plane, so two pixels of one plane have an error of zero however much the plane slopes, whereas
    :func:`losses.pairwise_affinity.depth_similarity` compares the depths themselves. The slope does not cross the pair,
    so that an edge between i and j does not enter it. It amplifies noise by up to ``2 k + 2``, so that the errors of
    noisy depth exceed every useful threshold. A scale of 138.6 and a threshold of 0.5 keep pairs with an error below
    0.005.

    An end whose slope is not known, as h has no depth, is left out, and the other end decides. This function is this
    project's own. No gradient flows through it.

    Args:
        depth: ``(B, 1, h, w)`` inverse depth; depth itself is not affine on planes.
        depth_scale: factor on the errors, per unit of ``depth``, positive.
        depth_mask: bool ``(B, 1, h, w)``, False where there is no depth; None takes all.
        dilation: distance to the neighbours, in pixels of ``depth``.

    Returns:
        ``(B, 8, h, w)`` in [0, 1], in at least float32: 0 where the pixel or its neighbour has no depth, where the
        neighbour is outside the image, and where neither end has a slope.

    Raises:
        ValueError: if the shapes do not fit, the mask is not bool, or the scale is not positive.
    """
    known = check_depth(depth, depth_scale=depth_scale, depth_mask=depth_mask)
    values = fill_outside(at_least_float32(depth), known)
    result = values.new_zeros(len(values), len(NEIGHBOUR_OFFSETS), *values.shape[2:])
    slopes = [_slope_away_from(values, known, i) for i in range(len(NEIGHBOUR_OFFSETS))]
    for i in range(len(NEIGHBOUR_OFFSETS) // 2):
        opposite = len(NEIGHBOUR_OFFSETS) - 1 - i
        here, there = neighbours(values, i, dilation=dilation)
        errors, extrapolated = [], []
        for end, other, k, which in ((here, there, i, 0), (there, here, opposite, 1)):
            slope, has_slope = (neighbours(part, i, dilation=dilation)[which] for part in slopes[k])
            errors.append(fill_outside((end + dilation * slope - other).abs(), has_slope))
            extrapolated.append(has_slope)
        both = torch.logical_and(*neighbours(known, i, dilation=dilation)) & torch.logical_or(*extrapolated)
        alike = fill_outside(torch.exp(-depth_scale * torch.maximum(*errors)), both).squeeze(1)
        neighbours(result[:, i], i, dilation=dilation)[0].copy_(alike)
        neighbours(result[:, opposite], i, dilation=dilation)[1].copy_(alike)
    return result


def _slope_away_from(values: Tensor, known: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Rise of the values per step towards a neighbour, from the adjacent pixel behind, and where it is known.

    Args:
        values: ``(B, 1, h, w)``.
        known: bool ``(B, 1, h, w)``.
        index: the neighbour, 0 to 7.
    """
    slope, has_slope = torch.zeros_like(values), torch.zeros_like(known)
    before, after = neighbours(values, index)
    neighbours(slope, index)[1].copy_(after - before)
    neighbours(has_slope, index)[1].copy_(torch.logical_and(*neighbours(known, index)))
    return slope, has_slope
