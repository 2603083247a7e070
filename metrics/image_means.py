"""Means over images of named values: the base of all shape metrics.

Accumulators are float64 sums with a count for each name, so that batches and ranks may have different sizes and an
image may count for one value and not for another.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from geometry.stencils import fill_outside


class ImageValues(NamedTuple):
    """One number of each image of a batch."""

    values: Tensor
    """float64 ``(B,)``; arbitrary where not counted. A NaN that counts makes the mean NaN."""
    counted: Tensor
    """bool ``(B,)``, True where the value is defined for the image."""

    def or_nan(self) -> Tensor:
        """float64 ``(B,)`` with NaN where the image does not count."""
        return fill_outside(self.values, self.counted, float("nan"))


class MeanOverImages(Metric):
    """Base of metrics that are means over images; a subclass names its values and calls :meth:`add` in ``update``.

    Args:
        names: names of the values, in the order of the result.
    """

    is_differentiable = False
    higher_is_better: bool | None = None
    full_state_update = False
    totals: Tensor
    n_images: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        for state in ("totals", "n_images"):
            self.add_state(state, torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")

    def add(self, numbers: Mapping[str, ImageValues]) -> None:
        """Add a batch; names that are missing are left unchanged."""
        totals, counts = torch.zeros_like(self.totals), torch.zeros_like(self.n_images)
        for position, name in enumerate(self.names):
            if name in numbers:
                values, counted = numbers[name]
                totals[position] = fill_outside(values.to(totals.dtype), counted).sum()
                counts[position] = counted.sum()
        self.totals = self.totals + totals
        self.n_images = self.n_images + counts

    def compute(self) -> dict[str, Tensor]:
        """Means over all images added so far, float64 scalars by name; NaN where no image counted."""
        return dict(zip(self.names, (self.totals / self.n_images).unbind(), strict=True))
