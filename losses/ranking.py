"""Ranking loss on pairs of pixels (Chen et al. 2016, "Single-Image Depth Perception in the Wild"; Xian et al. 2020).

It needs only the order of the depths of pairs of pixels, which come from ``losses/pixel_pairs.py``.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.stencils import fill_outside, masked_mean, masked_mean_per_image
from losses.inputs import prepare
from losses.pixel_pairs import PixelPairs, values_at

EQUAL_RATIO = 1.03
"""Two depths count as equal if their ratio is below this, either way (LeReS)."""
_RATIO_FLOOR = 1e-6
"""Added to both depths of a ratio, so that zeros (the disparity of the sky) are equal (LeReS)."""


def _order(first: Tensor, second: Tensor, equal_ratio: float) -> tuple[Tensor, Tensor]:
    """Bool masks: the first value is larger, the second value is larger."""
    if equal_ratio > 1:
        first, second = first + _RATIO_FLOOR, second + _RATIO_FLOOR
    return first > equal_ratio * second, second > equal_ratio * first


def ranking_per_image(
    prediction: Tensor, *, target: Tensor, mask: Tensor, pairs: PixelPairs, equal_ratio: float = EQUAL_RATIO
) -> tuple[Tensor, Tensor]:
    """The ranking loss of each image; see :func:`ranking`.

    Returns:
        ``(B,)`` loss in at least float32, 0 (in the graph) where an image has no valid pair; and bool ``(B,)``, where
        it has one.

    Raises:
        ValueError: as :func:`ranking`.
    """
    if equal_ratio < 1:
        raise ValueError(f"equal_ratio is {equal_ratio}, but it must be at least 1.")
    prediction, target = prepare(prediction, target, mask)
    valid = pairs.valid & (values_at(mask, pairs.first) & values_at(mask, pairs.second)).squeeze(1)
    p_first, p_second = (values_at(prediction, index).squeeze(1) for index in pairs[:2])
    g_first, g_second = (values_at(target, index).squeeze(1) for index in pairs[:2])
    larger, smaller = _order(g_first, g_second, equal_ratio)
    difference = p_first - p_second
    # softplus is log(1 + exp(.)) without its overflow.
    ordered = F.softplus(torch.where(larger, -difference, difference))
    per_pair = torch.where(larger | smaller, ordered, difference.square())
    return masked_mean_per_image(fill_outside(per_pair, valid), valid), valid.any(dim=1)


def ranking(
    prediction: Tensor, *, target: Tensor, mask: Tensor, pairs: PixelPairs, equal_ratio: float = EQUAL_RATIO
) -> Tensor:
    """``log(1 + exp(-l (p_a - p_b)))`` where the order ``l`` of two pixels is known, ``(p_a - p_b)^2`` where equal.

    The loss is averaged over the valid pairs of each image, then over the images that have any. (LeReS divides by the
    number of all pairs, valid or not, so that images with few measurements have less weight.)

    Args:
        prediction: ``(B, 1, H, W)``, any real values; for a positive depth its logarithm.
        target: ``(B, 1, H, W)``; larger must mean larger in the prediction. With ``equal_ratio`` above 1 it must not
            be negative.
        mask: bool ``(B, 1, H, W)``; pairs with a pixel outside do not count.
        pairs: which pixels to compare.
        equal_ratio: two target values whose ratio is at most this, either way, count as equal, LeReS's 1.03; with 1
            only equal values count as equal, for a target of which only the order is known.

    Returns:
        Scalar, without unit. No valid pair gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or the ratio is below 1.
    """
    return masked_mean(*ranking_per_image(prediction, target=target, mask=mask, pairs=pairs, equal_ratio=equal_ratio))
