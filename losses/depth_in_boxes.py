"""Depth regression inside boxes (Boosting Box-supervised Instance Segmentation with Pseudo Depth, arXiv 2403.01214)."""

from torch import Tensor

from geometry.stencils import fill_outside, masked_mean_per_image
from losses.inputs import prepare


def depth_regression_loss(depth_probability: Tensor, *, pseudo_depth: Tensor, box_masks: Tensor) -> Tensor:
    """Squared difference between a head's depth and the pseudo depth: mean over a box's pixels, then over instances.

    The paper gives ``B * |P_depth - D|^2``; the two means are this project's.

    Args:
        depth_probability: ``(N, 1, h, w)`` in [0, 1], after the sigmoid.
        pseudo_depth: ``(N, 1, h, w)`` inverse depth stretched to [0, 1], near = 1, of each instance's image.
        box_masks: bool ``(N, 1, h, w)``, the pixels of each instance's box with pseudo depth.

    Returns:
        Scalar in [0, 1], in at least float32. A box without a pixel counts as 0; without instances it is a zero that
        stays in the graph.

    Raises:
        ValueError: if the shapes differ or the box masks are not bool.
    """
    probability, target = prepare(depth_probability, pseudo_depth, box_masks)
    squares = fill_outside((probability - target).square(), box_masks)
    return masked_mean_per_image(squares, box_masks).sum() / max(probability.shape[0], 1)
