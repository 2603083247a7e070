"""Depth errors, as a function and as a torchmetrics class.

Every error is computed from sums over valid pixels. ``average="image"`` turns the sums of each image into errors and
averages those over the images that have a valid pixel; ``average="pixel"`` adds the sums over all images first.
Accumulators are float64 sums, so that batches and ranks may have different sizes.

With g the target, p the aligned and clamped prediction, d = log p - log g and means over valid pixels:

    abs_rel   mean |g - p| / g                      sq_rel    mean (g - p)^2 / g, metres
    rmse      sqrt(mean (g - p)^2), metres          rmse_log  sqrt(mean d^2)
    log10     mean |log10 p - log10 g|              silog     100 sqrt(mean d^2 - (mean d)^2)
    delta k   mean [max(g / p, p / g) < 1.25^k]
    l1_scaled, mse_scaled   mean |q|, mean q^2 with q = (p' - g) / depth_scale and p' aligned but *not* clamped: the
                            scaled depth on which a network is trained has no cap
    edge_accuracy, edge_completeness (pixels), edge_f1      see :mod:`metrics.edges`

The formulas of the first nine are those of Eigen et al. 2014; deltas and edge_f1 are better when higher, all others
when lower.
"""

from math import log
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from geometry.stencils import at_least_float32, fill_outside, sums_per_image
from metrics.edges import EDGE_SCORES, edge_scores, edge_sums
from metrics.protocol import EIGEN_CROP, Crop, DepthProtocol, check_maps
from structures.choices import Alignment, Average

__all__ = ["DEPTH_ERRORS", "EIGEN_CROP", "DepthMetrics", "depth_errors"]

DEPTH_ERRORS = (
    "abs_rel",
    "sq_rel",
    "rmse",
    "rmse_log",
    "log10",
    "silog",
    "delta1",
    "delta2",
    "delta3",
    "l1_scaled",
    "mse_scaled",
)
"""Names of the pixel-wise errors, in the order of the result of ``_errors_from_sums``."""

_N_PIXEL_SUMS = 12
_N_EDGE_SUMS = 6


def _check(prediction_m: Tensor, target_m: Tensor, mask: Tensor, depth_scale_m: Tensor) -> None:
    check_maps(prediction_m, target_m, mask)
    if tuple(depth_scale_m.shape) != (len(mask),):
        raise ValueError(f"depth_scale_m has shape {tuple(depth_scale_m.shape)}, but ({len(mask)},) is needed.")


def _pixel_sums(clamped: Tensor, aligned: Tensor, target: Tensor, valid: Tensor, depth_scale_m: Tensor) -> Tensor:
    """Sums over the valid pixels of each image, float64 ``(B, 12)``: the count, then one column per quantity.

    Outside ``valid`` target and predictions are equal and within the caps, so that every residual is zero there.
    """
    residual = target - clamped
    squared = residual.square()
    log_residual = clamped.log() - target.log()
    ratio = torch.maximum(target / clamped, clamped / target)
    scaled = (aligned - target) / depth_scale_m.view(-1, 1, 1, 1)
    columns = (
        valid,
        residual.abs() / target,
        squared / target,
        squared,
        log_residual,
        log_residual.square(),
        log_residual.abs() / log(10),
        (ratio < 1.25) & valid,
        (ratio < 1.25**2) & valid,
        (ratio < 1.25**3) & valid,
        scaled.abs(),
        scaled.square(),
    )
    return sums_per_image(columns)


def _errors_from_sums(sums: Tensor) -> Tensor:
    """Errors ``(..., 11)`` in the order of ``DEPTH_ERRORS`` from the sums ``(..., 12)``; NaN where the count is 0."""
    means = sums[..., 1:] / sums[..., :1]
    abs_rel, sq_rel, squared, log_residual, log_squared, log10, delta1, delta2, delta3, l1, mse = means.unbind(dim=-1)
    # The variance of exactly scaled predictions may be slightly negative due to rounding.
    silog = 100 * (log_squared - log_residual.square()).clamp(min=0).sqrt()
    errors = (abs_rel, sq_rel, squared.sqrt(), log_squared.sqrt(), log10, silog, delta1, delta2, delta3, l1, mse)
    return torch.stack(errors, dim=-1)


def _total(sums: Tensor, counts: Tensor, errors: Tensor, average: Average) -> tuple[Tensor, Tensor]:
    """Contribution of a batch to the state: its sums or the errors of its images, and the number of counted images."""
    counted = counts > 0
    rows = sums if average == "pixel" else fill_outside(errors, counted.unsqueeze(1))
    return rows.sum(dim=0), counted.sum().to(torch.float64)


def _update(
    prediction_m: Tensor, target_m: Tensor, mask: Tensor, depth_scale_m: Tensor, protocol: DepthProtocol
) -> dict[str, Tensor]:
    """The contribution of one batch to each state; contributions of batches and ranks are added."""
    _check(prediction_m, target_m, mask, depth_scale_m)
    target_m = at_least_float32(target_m)
    valid = protocol.valid(target_m, mask)
    target_m = fill_outside(target_m, valid, protocol.min_depth_m)
    aligned = protocol.align(prediction_m.detach(), target_m, valid)
    # An infinite prediction has to stay visible as NaN; clamping would turn it into a plausible value.
    aligned = torch.where(aligned.isfinite(), aligned, torch.nan)
    clamped = aligned.clamp(protocol.min_depth_m, protocol.max_depth_m)
    sums = _pixel_sums(clamped, aligned, target_m, valid, at_least_float32(depth_scale_m))
    state = dict(
        zip(
            ("error_totals", "n_images"),
            _total(sums, sums[:, 0], _errors_from_sums(sums), protocol.average),
            strict=True,
        )
    )
    if protocol.edges:
        sums = edge_sums(
            clamped,
            target=target_m,
            mask=valid,
            relative_jump=protocol.edge_jump,
            tolerance_px=protocol.edge_tolerance_px,
            max_distance_px=protocol.edge_max_distance_px,
        )
        scores = edge_scores(sums, max_distance_px=protocol.edge_max_distance_px)
        n_true = sums[:, 3]
        state["edge_totals"], state["n_edge_images"] = _total(sums, n_true, scores, protocol.average)
    return state


def _compute(state: dict[str, Tensor], protocol: DepthProtocol) -> dict[str, Tensor]:
    """Named errors from the accumulated state."""
    by_pixel = protocol.average == "pixel"
    totals = state["error_totals"]
    errors = _errors_from_sums(totals) if by_pixel else totals / state["n_images"]
    result = dict(zip(DEPTH_ERRORS, errors.unbind(), strict=True))
    if protocol.edges:
        totals = state["edge_totals"]
        scores = (
            edge_scores(totals, max_distance_px=protocol.edge_max_distance_px)
            if by_pixel
            else totals / state["n_edge_images"]
        )
        result |= dict(zip(EDGE_SCORES, scores.unbind(), strict=True))
    return {name + protocol.suffix: value for name, value in result.items()}


def depth_errors(
    prediction_m: Tensor,
    *,
    target_m: Tensor,
    mask: Tensor,
    depth_scale_m: Tensor,
    **protocol: Any,
) -> dict[str, Tensor]:
    """Errors of one batch; :class:`DepthMetrics` accumulates the same over many.

    Args:
        prediction_m: ``(B, 1, H, W)``, metres.
        target_m: ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``.
        depth_scale_m: ``(B,)``, metres that the scaled depth 1.0 stands for.
        protocol: arguments of :class:`metrics.protocol.DepthProtocol`.

    Returns:
        float64 scalars by name, as :meth:`DepthMetrics.compute` returns them.

    Raises:
        ValueError: if an argument is out of range, a shape wrong, or the mask not bool.
    """
    taken = DepthProtocol(**protocol)
    return _compute(_update(prediction_m, target_m, mask, depth_scale_m, taken), taken)


class DepthMetrics(Metric):
    """Errors of metric depth, accumulated over batches and ranks.

    Valid pixels are those with a measurement, a target between the two caps, and a centre inside the crop. The
    prediction is aligned over the valid pixels, then clamped to the caps. Images without a valid pixel (such as the
    padding samples of a rank) are ignored; images without a true edge are ignored by the edge scores.

    Args:
        alignment: none, ratio of medians, or least-squares scale and shift, for each image.
        min_depth_m: lower cap in metres.
        max_depth_m: upper cap in metres.
        crop: fractions ``(top, bottom, left, right)``, for example :data:`EIGEN_CROP`, or None.
        average: mean over images or over all valid pixels.
        edges: whether to take the edge scores.
        edge_jump: relative depth jump between neighbours that makes an edge.
        edge_tolerance_px: distance up to which an edge pixel counts as found in ``edge_f1``, pixels.
        edge_max_distance_px: truncation of the edge distances, pixels.

    Raises:
        ValueError: if an argument is out of range.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(
        self,
        alignment: Alignment = "none",
        min_depth_m: float = 1e-3,
        max_depth_m: float = 10.0,
        crop: Crop | None = None,
        average: Average = "image",
        edges: bool = True,
        edge_jump: float = 0.1,
        edge_tolerance_px: float = 1.0,
        edge_max_distance_px: float = 10.0,
    ) -> None:
        super().__init__()
        self.protocol = DepthProtocol(
            alignment,
            min_depth_m,
            max_depth_m,
            crop,
            average,
            edges,
            edge_jump,
            edge_tolerance_px,
            edge_max_distance_px,
        )
        by_pixel = average == "pixel"
        sizes = {"error_totals": (_N_PIXEL_SUMS if by_pixel else len(DEPTH_ERRORS),), "n_images": ()}
        if edges:
            sizes |= {"edge_totals": (_N_EDGE_SUMS if by_pixel else len(EDGE_SCORES),), "n_edge_images": ()}
        self.state_names = tuple(sizes)
        for name, size in sizes.items():
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction_m: Tensor, *, target_m: Tensor, mask: Tensor, depth_scale_m: Tensor) -> None:
        """Add a batch.

        Args:
            prediction_m: ``(B, 1, H, W)``, metres (any scale if an alignment follows), half precision allowed.
            target_m: ``(B, 1, H, W)``, metres; arbitrary outside the mask.
            mask: bool ``(B, 1, H, W)``, True where depth was measured.
            depth_scale_m: ``(B,)``, metres that the scaled depth 1.0 stands for.

        Raises:
            ValueError: if a shape or the type of the mask is wrong.
        """
        for name, value in _update(prediction_m, target_m, mask, depth_scale_m, self.protocol).items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        """Errors over everything added so far.

        Returns:
            float64 scalars; each name ends in the average (``_img`` or ``_px``) and the alignment (``_median`` or
            ``_lsq``). NaN without a valid pixel or, for edge scores, without a true edge.
        """
        return _compute({name: getattr(self, name) for name in self.state_names}, self.protocol)
