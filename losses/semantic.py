"""Semantic supervision by proxy labels of a teacher."""

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.processes import denominator
from geometry.stencils import at_least_float32


def proxy_cross_entropy(logits: Tensor, *, labels: Tensor, ignore_index: int = 0) -> Tensor:
    """Mean cross-entropy over the labelled pixels of the batch.

    It is computed from logits. The released code of GAM-Depth passes probabilities, so that a second softmax over
    values in [0, 1] keeps the loss of 40 classes between 2.73 and 3.73 and its gradient small; this is not reproduced.

    Args:
        logits: ``(B, C, H, W)``, scores before any softmax, one channel for every class id from 0 to C - 1. The channel
            of ``ignore_index`` is never a target.
        labels: int64 ``(B, H, W)``, class ids below C.
        ignore_index: id of pixels without a label.

    Returns:
        Scalar in at least float32. Without a labelled pixel a zero that stays in the graph.

    Raises:
        ValueError: if the shapes do not fit, the labels are not int64 or an id is not below C.
    """
    if logits.ndim != 4 or labels.shape != logits[:, 0].shape:
        raise ValueError(
            f"logits have the shape {tuple(logits.shape)} and labels {tuple(labels.shape)}, but they must be "
            "(B, C, H, W) and (B, H, W)."
        )
    if labels.dtype is not torch.int64:
        raise ValueError(f"labels have type {labels.dtype}, but torch.int64 is needed.")
    labelled = labels != ignore_index
    if labels.device.type == "cpu":  # on a GPU the check would synchronise, and torch asserts there
        wrong = labels[labelled & ((labels < 0) | (labels >= logits.shape[1]))]
        if wrong.numel():
            raise ValueError(
                f"A label is {wrong[0].item()}, but the logits have the classes 0 to {logits.shape[1] - 1}."
            )
    total = F.cross_entropy(at_least_float32(logits), labels, ignore_index=ignore_index, reduction="sum")
    return total / denominator(labelled.sum())
