"""Quality of depth edges: accuracy and completeness as distances between predicted and true edges, and F1.

Accuracy and completeness follow the depth boundary error of Koch et al. 2018 (iBims-1,
https://arxiv.org/abs/1805.01328): mean distances to the nearest edge of the other map, truncated at 10 pixels.
Two deviations: edges of prediction and ground truth are found by the same detector, and a predicted edge beyond the
truncation distance counts with that distance instead of being left out, so that spurious edges are penalised.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.stencils import fill_outside, forward_differences, neighbour_masks, sums_per_image

EDGE_SCORES = ("edge_accuracy", "edge_completeness", "edge_f1")
"""Names of the scores of :func:`edge_scores`, in order."""


def depth_edges(depth: Tensor, mask: Tensor, *, relative_jump: float = 0.1) -> Tensor:
    """Occluding pixels: the nearer one of two 4-neighbours whose depths differ by more than a ratio.

    A jump is relative, ``max / min > 1 + relative_jump``, so the detector does not depend on the unit or the scale of
    the depth. Only pairs of masked pixels are compared. A blurred edge spreads the jump over many pixels and is not
    detected if no single step reaches the threshold: blur reduces the score.

    Args:
        depth: ``(B, 1, H, W)``, positive inside the mask.
        mask: bool ``(B, 1, H, W)``.
        relative_jump: threshold on ``max / min - 1``.

    Returns:
        Bool ``(B, 1, H, W)``, True on edge pixels.

    Raises:
        ValueError: if ``relative_jump`` is not positive.
    """
    if relative_jump <= 0:
        raise ValueError(f"relative_jump is {relative_jump}, but it must be positive.")
    log_depth = fill_outside(depth, mask, 1.0).log()
    steps_x, steps_y = forward_differences(log_depth)
    mask_x, mask_y = neighbour_masks(mask)
    threshold = math.log1p(relative_jump)
    edges = torch.zeros_like(mask)
    # A positive step means that the left (upper) pixel is the nearer one.
    edges[..., :, :-1] |= mask_x & (steps_x > threshold)
    edges[..., :, 1:] |= mask_x & (steps_x < -threshold)
    edges[..., :-1, :] |= mask_y & (steps_y > threshold)
    edges[..., 1:, :] |= mask_y & (steps_y < -threshold)
    return edges


def truncated_distance(edges: Tensor, *, max_distance_px: float = 10.0) -> Tensor:
    """Exact Euclidean distance of every pixel to the nearest edge pixel, truncated.

    The squared distance is separable: first the distance to the nearest edge in each column, then the minimum over
    columns of its square plus the squared horizontal offset. Only offsets up to the truncation are needed.

    Args:
        edges: bool ``(B, 1, H, W)``.
        max_distance_px: the largest distance returned, in pixels.

    Returns:
        float32 ``(B, 1, H, W)``, pixels; ``max_distance_px`` everywhere in an image without edges.

    Raises:
        ValueError: if ``max_distance_px`` is not positive.
    """
    if max_distance_px <= 0:
        raise ValueError(f"max_distance_px is {max_distance_px}, but it must be positive.")
    squared = (~edges).to(torch.float32) * max_distance_px**2
    for dimension, sides in ((-2, (0, 0, 1, 1)), (-1, (1, 1, 0, 0))):
        size = squared.shape[dimension]
        reach = min(math.floor(max_distance_px), size - 1)
        padded = F.pad(squared, [reach * side for side in sides], value=max_distance_px**2)
        for offset in range(1, reach + 1):
            before, after = (padded.narrow(dimension, reach + step, size) for step in (-offset, offset))
            squared = torch.minimum(squared, torch.minimum(before, after).add_(offset**2))
    return squared.sqrt()


def edge_sums(
    prediction: Tensor,
    *,
    target: Tensor,
    mask: Tensor,
    relative_jump: float = 0.1,
    tolerance_px: float = 1.0,
    max_distance_px: float = 10.0,
) -> Tensor:
    """Counts and sums of distances from which the edge scores are computed; they may be added over images.

    Args:
        prediction: ``(B, 1, H, W)``, positive inside the mask.
        target: ``(B, 1, H, W)``, positive inside the mask.
        mask: bool ``(B, 1, H, W)``; edges are detected between masked pixels, in both maps.
        relative_jump: see :func:`depth_edges`.
        tolerance_px: distance up to which an edge pixel counts as found.
        max_distance_px: truncation of distances, the paper's 10 pixels.

    Returns:
        float64 ``(B, 6)``: number of predicted edge pixels, sum of their truncated distances to true edges, number
        within the tolerance; then the same three for the true edge pixels and predicted edges.
    """
    predicted = depth_edges(prediction, mask, relative_jump=relative_jump)
    true = depth_edges(target, mask, relative_jump=relative_jump)
    columns = []
    for here, there in ((predicted, true), (true, predicted)):
        distance = truncated_distance(there, max_distance_px=max_distance_px)
        # Distances in an image without edges are max_distance_px, which must not count as found at a large tolerance.
        found = here & (distance <= tolerance_px) & there.flatten(1).any(dim=1).view(-1, 1, 1, 1)
        columns += [here, distance * here, found]
    return sums_per_image(columns)


def edge_scores(sums: Tensor, *, max_distance_px: float = 10.0) -> Tensor:
    """Accuracy, completeness and F1 from the sums of :func:`edge_sums`, of one image or added over many.

    Accuracy is the mean truncated distance from predicted to true edges, completeness that from true to predicted
    ones (pixels, lower is better); F1 is the harmonic mean of precision and recall within the tolerance. Without any
    predicted edge both distances are ``max_distance_px`` and F1 is 0; without any true edge all three are undefined.

    Args:
        sums: float64 ``(..., 6)``.
        max_distance_px: the value passed to :func:`edge_sums`.

    Returns:
        float64 ``(..., 3)`` in the order of :data:`EDGE_SCORES`; NaN where there is no true edge.
    """
    predicted, predicted_distance, predicted_found, true, true_distance, true_found = sums.unbind(dim=-1)
    one = torch.ones_like(true)
    worst = torch.full_like(true, max_distance_px)
    accuracy = torch.where(predicted > 0, predicted_distance / torch.where(predicted > 0, predicted, one), worst)
    precision = predicted_found / torch.where(predicted > 0, predicted, one)
    recall = true_found / true
    both = precision + recall
    f1 = torch.where(both > 0, 2 * precision * recall / torch.where(both > 0, both, one), torch.zeros_like(both))
    scores = torch.stack([accuracy, true_distance / true, f1], dim=-1)
    return scores.masked_fill((true == 0).unsqueeze(-1), float("nan"))


def edge_errors(
    prediction: Tensor, *, target: Tensor, mask: Tensor, max_distance_px: float = 10.0, **options: float
) -> dict[str, Tensor]:
    """Edge scores of each image.

    Args:
        prediction: ``(B, 1, H, W)``, positive inside the mask.
        target: ``(B, 1, H, W)``, positive inside the mask.
        mask: bool ``(B, 1, H, W)``.
        max_distance_px: truncation of distances.
        options: other arguments of :func:`edge_sums`.

    Returns:
        float64 ``(B,)`` for each name of :data:`EDGE_SCORES`; NaN for an image without true edges.
    """
    sums = edge_sums(prediction, target=target, mask=mask, max_distance_px=max_distance_px, **options)
    return dict(zip(EDGE_SCORES, edge_scores(sums, max_distance_px=max_distance_px).unbind(dim=-1), strict=True))
