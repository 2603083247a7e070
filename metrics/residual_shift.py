"""The shift that a predicted depth lacks, in median depths of the ground truth."""

import torch
from torch import Tensor

from geometry.alignment import scale_and_shift
from geometry.stencils import masked_median_per_image


def residual_shift(prediction: Tensor, *, target_m: Tensor, mask: Tensor) -> Tensor:
    """Missing shift of each image: ``t`` of the least-squares fit ``s * prediction + t`` to the ground truth.

    It is positive where a constant has to be added to the prediction. Errors that are not an affine function of the
    ground truth flatten the fit: s becomes smaller and t larger, so that the mean over images of a network without any
    shift is somewhat above zero.

    Args:
        prediction: depth of any scale, ``(B, 1, H, W)``.
        target_m: ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``, with measured, positive depth.

    Returns:
        float64 ``(B,)``: ``t`` in units of the median of the ground truth; NaN where the mask is empty.
    """
    _, shift = scale_and_shift(prediction.detach().double(), target=target_m.double(), mask=mask)
    median = masked_median_per_image(target_m.double(), mask)
    return torch.where(median > 0, shift / torch.where(median > 0, median, 1.0), torch.nan)
