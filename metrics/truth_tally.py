"""Counts of pixels with ground truth and of those that a protocol excludes, to explain scores that are NaN."""

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics.protocol import DepthProtocol


class TruthTally(Metric):
    """Counts of pixels with a measurement, and of those that a protocol excludes, over batches and ranks.

    Args:
        protocol: The range and crop that count.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    measured: Tensor
    near: Tensor
    far: Tensor
    counted: Tensor
    smallest: Tensor
    largest: Tensor

    def __init__(self, protocol: DepthProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        for name in ("measured", "near", "far", "counted"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("smallest", torch.tensor(torch.inf), dist_reduce_fx="min")
        self.add_state("largest", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, target_m: Tensor, mask: Tensor) -> None:
        """Add a batch.

        Args:
            target_m: ``(B, 1, H, W)``, metres.
            mask: bool ``(B, 1, H, W)``, True where depth was measured.
        """
        self.measured += mask.sum()
        self.near += (mask & (target_m < self.protocol.min_depth_m)).sum()
        self.far += (mask & (target_m > self.protocol.max_depth_m)).sum()
        self.counted += self.protocol.valid(target_m, mask).sum()
        inside = target_m.float()
        self.smallest = torch.minimum(self.smallest, inside.masked_fill(~mask, torch.inf).amin())
        self.largest = torch.maximum(self.largest, inside.masked_fill(~mask, 0.0).amax())

    def compute(self) -> dict[str, float]:
        """Counts by name, and the smallest and largest measured depth in metres."""
        names = ("measured", "near", "far", "counted", "smallest", "largest")
        return {name: float(getattr(self, name)) for name in names}

    def why_nan(self) -> str | None:
        """Return why a score is NaN, one sentence, or None where there was no ground truth at all."""
        counts = self.compute()
        if counts["measured"] == 0:
            return None
        low, high = self.protocol.min_depth_m, self.protocol.max_depth_m
        span = f"{counts['smallest']:.4g} to {counts['largest']:.4g} m"
        measured = f"{counts['measured']:.0f} pixels have ground truth, from {span}"
        if counts["counted"] > 0:
            return f"{measured}, and {counts['counted']:.0f} of them count, so the prediction is NaN or infinite."
        return (
            f"{measured}, but none of them counts: {counts['near'] / counts['measured']:.0%} lie below min_depth_m "
            f"({low:g} m), {counts['far'] / counts['measured']:.0%} above max_depth_m ({high:g} m)"
            f"{'' if self.protocol.crop is None else ', and the rest outside of crop'}. Check the unit of the depth "
            "files, or set model.init_args.evaluation.max_depth_m."
        )
