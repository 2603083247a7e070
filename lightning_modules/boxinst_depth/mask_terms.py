"""The loss terms of instance masks, one function each, named as in ``loss_weights``.

Notation: ``m`` is the predicted mask of an instance (the sigmoid of its logits), ``B`` the mask of its box, and ``N``
the number of supervised instances of the batch, that of all processes in a training on several. Every term is a mean
over all N instances, supervised by their box or by their mask, so that with mixed supervision all instances have the
same weight.

Equations of BoxInst: https://arxiv.org/abs/2012.02310. Depth terms and distillation: https://arxiv.org/abs/2403.01214.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from geometry.masks import sample_at_stride
from geometry.processes import denominator, n_processes, sum_over_processes
from lightning_modules.boxinst_depth.self_distillation import PseudoMasks
from losses.depth_in_boxes import depth_regression_loss
from losses.dice import dice_loss
from losses.pairwise_affinity import pairwise_loss
from losses.projection import projection_loss


class PredictedMasks(NamedTuple):
    """Predicted masks of M of the N supervised instances of a batch, on the grid of the mask head."""

    logits: Tensor
    """``(M, 1, h, w)``."""
    image: Tensor
    """int64 ``(M,)``, image of each instance within the batch."""
    instance: Tensor
    """int64 ``(M,)``, index of each instance within its image."""
    box_masks: Tensor
    """bool ``(M, 1, h, w)``, the pixels of each instance's box."""
    total: int | Tensor
    """N, at least 1. In a training on several processes, N of all of them divided by their number."""

    @property
    def share(self) -> float | Tensor:
        """``M / N``, which turns a mean over these instances into their part of the mean over all."""
        return len(self.logits) / self.total

    def share_of_all(self) -> Tensor:
        """:attr:`share` with the M and N of all processes."""
        counts = torch.tensor([float(len(self.logits)), float(self.total)], device=self.logits.device)
        instances, total = sum_over_processes(counts).unbind()
        return instances / total

    def subset(self, index: Tensor) -> "PredictedMasks":
        """The instances of an int64 index; ``total`` stays."""
        return PredictedMasks(
            self.logits[index], self.image[index], self.instance[index], self.box_masks[index], self.total
        )


def instance_total(count: int, device: torch.device) -> int | Tensor:
    """N of :class:`PredictedMasks`: the number itself in a single process, else a float32 scalar.

    Args:
        count: Number of supervised instances of this process.
        device: Device of the scalar.
    """
    return max(count, 1) if n_processes() == 1 else denominator(torch.tensor(float(count), device=device))


def mask_term(masks: PredictedMasks, index: Tensor, truth: Tensor | None, *, stride: int) -> Tensor:
    """``L_mask = 1/N sum_i Dice(m_i, g_i)`` with ``Dice(m, g) = 1 - 2 sum(m g) / (sum(m^2) + sum(g^2))`` (CondInst).

    Args:
        masks: Predictions.
        index: int64 ``(F,)``, the instances that are supervised by their ground-truth mask ``g``.
        truth: bool ``(B, N, H, W)``, ground-truth masks; None where F is 0.
        stride: Pixels of the image a cell of the masks.
    """
    probability = masks.logits[index].sigmoid()
    target = probability.new_zeros(probability.shape)
    if truth is not None:
        target = sample_at_stride(truth, stride)[masks.image[index], masks.instance[index]].unsqueeze(1)
    return dice_loss(probability, target=target).sum() / masks.total


def projection_term(masks: PredictedMasks) -> Tensor:
    """``L_proj = Dice(max_y m, max_y B) + Dice(max_x m, max_x B)``, mean over instances (BoxInst, equation 3)."""
    return masks.share * projection_loss(masks.logits, box_masks=masks.box_masks)


def pairwise_term(masks: PredictedMasks, *, pairs: Tensor, dilation: int) -> Tensor:
    """``-1/sum(w) sum_e w_e log P(y_e = 1)`` with ``P(y_e = 1) = m_i m_j + (1 - m_i)(1 - m_j)`` (BoxInst, eq. 5 to 7).

    An edge ``e`` joins a pixel i inside the box with one of its eight neighbours j. Its weight is
    ``w_e = [S_e >= tau]``: for ``pairwise_colour`` S is the colour similarity ``exp(-|LAB_i - LAB_j| / 2)``, for
    ``pairwise_depth``, the depth-consistency loss, it is ``exp(-depth_scale |d_i - d_j|)``.

    Args:
        masks: Predictions.
        pairs: bool ``(B, 8, h, w)``, edges with weight 1, of :func:`losses.pairwise_affinity.pair_weights`.
        dilation: Distance of neighbours.
    """
    loss = pairwise_loss(
        masks.logits, weights=pairs, box_masks=masks.box_masks, image_index=masks.image, dilation=dilation
    )
    # The loss is a mean over the pairs of all processes, so its part is that of the instances of all processes.
    return loss * masks.share if n_processes() == 1 else loss * masks.share_of_all()


def depth_term(masks: PredictedMasks, predicted_depth: Tensor, *, pseudo_depth: Tensor, valid: Tensor) -> Tensor:
    """``L_depth = 1/N sum_i mean_B (P_depth - D)^2``: regression of the pseudo depth inside boxes.

    Args:
        masks: Predictions.
        predicted_depth: ``(M, 1, h, w)``, ``P_depth`` of the depth-guided mask head, in (0, 1).
        pseudo_depth: ``(B, 1, h, w)``, ``D`` of each image, inverse depth in [0, 1].
        valid: bool ``(B, 1, h, w)``, where there is pseudo depth.
    """
    return masks.share * depth_regression_loss(
        predicted_depth, pseudo_depth=pseudo_depth[masks.image], box_masks=masks.box_masks & valid[masks.image]
    )


def distillation_term(masks: PredictedMasks, index: Tensor, pseudo: PseudoMasks) -> Tensor:
    """``L_distill = 1/N sum_i Dice(m_i, t_i)`` over the instances whose pseudo mask ``t`` was accepted.

    Args:
        masks: Predictions of the student.
        index: int64 ``(F,)``, the instances that are supervised by their box.
        pseudo: Masks of the teacher.
    """
    chosen = index[pseudo.accepted[masks.image[index], masks.instance[index]]]
    target = pseudo.masks[masks.image[chosen], masks.instance[chosen]].unsqueeze(1)
    return dice_loss(masks.logits[chosen].sigmoid(), target=target).sum() / masks.total
