"""Bipartite matching of a teacher's predictions to ground-truth boxes, with depth as part of the score.

"Boosting Box-supervised Instance Segmentation with Pseudo Depth", https://arxiv.org/abs/2403.01214.
"""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geometry.boxes import NEIGHBOUR_OFFSETS, neighbours
from geometry.stencils import fill_outside

IMPOSSIBLE = -1.0
"""Score of a pair that must not be matched: below every possible score, which is at least 0."""


def depth_agreement(masks: Tensor, similarity: Tensor, *, threshold: float, dilation: int) -> Tensor:
    """``S_depth``: the share of the neighbouring pixel pairs within a mask whose depth is similar.

    Args:
        masks: bool ``(M, h, w)``, predictions of one image.
        similarity: ``(8, h, w)`` of :func:`losses.pairwise_affinity.depth_similarity`, 0 where depth is unknown.
        threshold: A pair is similar where its similarity exceeds this.
        dilation: Distance to the neighbours, the same as for the similarity.

    Returns:
        ``(M,)`` in [0, 1]; 0 for a mask without a pair of known depth.
    """
    pairs, agreeing = similarity.new_zeros(2, len(masks))
    for i in range(len(NEIGHBOUR_OFFSETS) // 2):  # the other four are the same pairs
        here, there = neighbours(masks, i, dilation=dilation)
        alike, _ = neighbours(similarity[i], i, dilation=dilation)
        both = here & there & (alike > 0)
        pairs = pairs + both.sum(dim=(1, 2))
        agreeing = agreeing + (both & (alike > threshold)).sum(dim=(1, 2))
    return agreeing / pairs.clamp(min=1)


def match(
    overlap: Tensor, *, same_class: Tensor, depth: Tensor, confidence: Tensor, alpha: float, beta: float, min_iou: float
) -> tuple[Tensor, Tensor]:
    """Assign at most one prediction to every box so that the sum of the scores is largest (Hungarian algorithm).

    The score is ``alpha IoU + beta S_depth + (1 - alpha - beta) confidence``. Pairs of different classes and pairs
    with a smaller IoU than ``min_iou`` are not matched.

    Args:
        overlap: ``(N, M)`` IoU of N boxes with M predictions.
        same_class: bool ``(N, M)``.
        depth: ``(M,)`` of :func:`depth_agreement`.
        confidence: ``(M,)`` in [0, 1].
        alpha: Weight of the IoU.
        beta: Weight of the depth agreement.
        min_iou: Least IoU.

    Returns:
        int64 ``(N,)`` prediction of each box, -1 for none, and ``(N,)`` its score, 0 for none.
    """
    chosen = torch.full(overlap.shape[:1], -1, dtype=torch.int64, device=overlap.device)
    scores = overlap.new_zeros(overlap.shape[0])
    if overlap.numel() == 0:
        return chosen, scores
    score = alpha * overlap + beta * depth + (1 - alpha - beta) * confidence
    score = fill_outside(score, same_class & (overlap >= min_iou), IMPOSSIBLE)
    table = score.detach().double().cpu().numpy()
    # An impossible pair costs as much as no pair; otherwise it would displace possible pairs.
    rows, columns = linear_sum_assignment(np.maximum(table, 0), maximize=True)
    possible = table[rows, columns] > IMPOSSIBLE
    boxes, found = (torch.from_numpy(i[possible]).to(chosen.device) for i in (rows, columns))
    chosen[boxes] = found
    scores[boxes] = score[boxes, found]
    return chosen, scores
