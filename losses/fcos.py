"""Losses of FCOS (Tian et al. 2019, https://arxiv.org/abs/1904.01355) as CondInst and BoxInst train with them.

Arguments hold all locations of the batch, in any shape ``(...)``. Locations that are not positive are excluded by masks
or weights instead of indexing, which would synchronise the GPU. A box is given by the distances
``(left, top, right, bottom)`` from the location to its sides, in units of the level's stride. Sums are divided by the
counts of all processes, see :mod:`geometry.processes`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from geometry.processes import denominator
from geometry.stencils import at_least_float32, fill_outside

LEAST_SUM = 1e-6
"""Floor of the sum of weights that the box loss is divided by."""


def focal_loss(logits: Tensor, *, labels: Tensor, n_positives: Tensor, alpha: float = 0.25, gamma: float = 2) -> Tensor:
    """Sigmoid focal loss of each class (Lin et al. 2017, https://arxiv.org/abs/1708.02002, eq. 5).

    Args:
        logits: ``(..., C)``.
        labels: int64 ``(...)``, 1 to C, 0 for background.
        n_positives: scalar, number of positive locations of this process; at least 1 over all.
        alpha: weight of positives; negatives have ``1 - alpha``.
        gamma: exponent of the error, which reduces the weight of easy examples.

    Returns:
        Scalar in at least float32: sum over locations and classes, divided by ``n_positives``.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if logits.ndim < 1 or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"logits and labels have the shapes {tuple(logits.shape)} and {tuple(labels.shape)}, but (..., C) and "
            "(...) are needed."
        )
    logits = at_least_float32(logits)
    classes = torch.arange(1, logits.shape[-1] + 1, device=labels.device)
    target = (labels.unsqueeze(-1) == classes).to(logits.dtype)
    total = sigmoid_focal_loss(logits, target, alpha=alpha, gamma=gamma, reduction="sum")
    return total / denominator(n_positives)


def box_overlaps(ltrb: Tensor, *, target: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of two boxes around one location, as the released FCOS computes them.

    With the intersection ``I``, union ``U`` and the smallest box around both ``C``: ``IoU = (I + 1) / (U + 1)`` and
    ``GIoU = IoU - (C - U) / C``. The ones are areas in squared strides; they increase the IoU of boxes as small as a
    cell, compared with the exact ``I / U`` of torchvision. Both agree for large boxes.

    Args:
        ltrb: ``(..., 4)``, not negative.
        target: the shape of ``ltrb``, positive.

    Returns:
        ``(...)`` IoU in (0, 1] and ``(...)`` GIoU in (-1, 1], in at least float32.

    Raises:
        ValueError: if the shapes differ or the last dimension is not 4.
    """
    _check_ltrb(ltrb)
    if ltrb.shape != target.shape:
        raise ValueError(f"The boxes have the shapes {tuple(ltrb.shape)} and {tuple(target.shape)}, but need the same.")
    ltrb, target = at_least_float32(ltrb), at_least_float32(target)
    # The location is inside both, so that the nearer side bounds the intersection and the farther one the hull.
    intersection = _area(torch.minimum(ltrb, target))
    union = _area(ltrb) + _area(target) - intersection
    hull = _area(torch.maximum(ltrb, target))
    iou = (intersection + 1) / (union + 1)
    return iou, iou - (hull - union) / hull


def giou_loss(ltrb: Tensor, *, target: Tensor, weights: Tensor, normaliser: Tensor | None = None) -> Tensor:
    """``sum(w (1 - GIoU)) / normaliser`` with the GIoU of :func:`box_overlaps` (Rezatofighi et al. 2019).

    Args:
        ltrb: ``(..., 4)``, not negative.
        target: ``(..., 4)``, positive where the weight is; arbitrary elsewhere.
        weights: ``(...)``: for positive locations their centerness, or 1 if the box quality is the IoU; 0 for all
            others.
        normaliser: scalar, what the sum is divided by, such as the number of positive locations; None is the sum of
            these weights. At least 1e-6 over all processes.

    Returns:
        Scalar in at least float32; if all weights are 0, a zero that stays in the graph.

    Raises:
        ValueError: if the shapes do not fit.
    """
    _check_ltrb(ltrb)
    if target.shape != ltrb.shape or weights.shape != ltrb.shape[:-1]:
        raise ValueError(
            f"ltrb, target and weights have the shapes {tuple(ltrb.shape)}, {tuple(target.shape)} and "
            f"{tuple(weights.shape)}, but (..., 4), (..., 4) and (...) are needed."
        )
    positive = (weights > 0).unsqueeze(-1)
    _, giou = box_overlaps(
        fill_outside(at_least_float32(ltrb), positive, 1.0), target=fill_outside(target, positive, 1.0)
    )
    weights = at_least_float32(weights)
    total = weights.sum() if normaliser is None else normaliser
    return (weights * (1 - giou)).sum() / denominator(total, least=LEAST_SUM)


def quality_loss(logits: Tensor, *, target: Tensor, positive: Tensor, n_positives: Tensor) -> Tensor:
    """Binary cross-entropy between the predicted and the true quality of the boxes of positive locations.

    Args:
        logits: ``(...)``.
        target: ``(...)`` in [0, 1], the centerness (``losses/fcos_targets.py``) or the IoU of :func:`box_overlaps`; no
            gradient flows to it.
        positive: bool ``(...)``.
        n_positives: scalar, number of positive locations of this process; at least 1 over all.

    Returns:
        Scalar in at least float32: sum divided by ``n_positives``; without positives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ or ``positive`` is not bool.
    """
    if not logits.shape == target.shape == positive.shape or positive.dtype != torch.bool:
        raise ValueError(
            f"logits, target and positive are {tuple(logits.shape)}, {tuple(target.shape)} and {positive.dtype} "
            f"{tuple(positive.shape)}, but need one shape and bool."
        )
    logits = at_least_float32(logits)
    target = fill_outside(target.detach().to(logits.dtype), positive)
    errors = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return fill_outside(errors, positive).sum() / denominator(n_positives)


def _area(ltrb: Tensor) -> Tensor:
    left, top, right, bottom = ltrb.unbind(dim=-1)
    return (left + right) * (top + bottom)


def _check_ltrb(ltrb: Tensor) -> None:
    if ltrb.ndim < 1 or ltrb.shape[-1] != 4:
        raise ValueError(f"The distances have the shape {tuple(ltrb.shape)}, but (..., 4) is needed.")
