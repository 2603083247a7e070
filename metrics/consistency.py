"""How consistent depth predictions are between views of held-out scenes, without any ground truth."""

import torch
from torch import Tensor
from torchmetrics import Metric

from geometry.stencils import (
    at_least_float32,
    fill_outside,
    masked_deviation_per_image,
    masked_mean_per_image,
    masked_median_per_image,
)


class Inconsistency(Metric):
    """Mean absolute difference of two depths of the same views over their spread, accumulated over batches and ranks.

    Both are in medians of the second depth, as in :func:`losses.consistency.spread_difference`; sums over all views are
    divided, since a view of a single wall has next to no spread. A constant added to both depths does not change the
    result, and flat predictions do not lower it. Lower is better. After "Robust Geometry-Preserving Depth Estimation
    Using Differentiable Rendering", https://arxiv.org/abs/2309.09724; the paper gives no formula.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    error: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        for state in ("error", "spread"):
            self.add_state(state, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, warped: Tensor, *, mask: Tensor) -> None:
        """Add views.

        Args:
            predicted: depth predicted for the views, ``(V, 1, H, W)``, aligned with ``warped`` by a scale.
            warped: depth that was warped into the views, ``(V, 1, H, W)``.
            mask: bool ``(V, 1, H, W)``; a view without a pixel of positive depth inside it does not count.

        Raises:
            ValueError: if the shapes differ or the mask is not bool.
        """
        if not (predicted.shape == warped.shape == mask.shape) or mask.dtype != torch.bool:
            raise ValueError(
                f"predicted, warped and mask have the shapes {tuple(predicted.shape)}, {tuple(warped.shape)} and "
                f"{tuple(mask.shape)} and the mask is {mask.dtype}, but the shapes must be equal and the mask bool."
            )
        predicted, warped = at_least_float32(predicted), at_least_float32(warped)
        mask = mask & (predicted > 0) & (warped > 0)
        median = masked_median_per_image(warped, mask)
        usable = median > 0
        unit = fill_outside(median, usable, 1.0)

        def total(values: Tensor) -> Tensor:
            return fill_outside(values / unit, usable).double().sum()

        self.error = self.error + total(masked_mean_per_image((predicted - warped).abs(), mask))
        self.spread = self.spread + total(masked_deviation_per_image(warped, mask))

    def compute(self) -> Tensor:
        """The quotient, a float64 scalar; NaN without a usable view."""
        return self.error / self.spread
