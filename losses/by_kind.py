"""One loss for a batch whose samples have ground truth of different kinds: metric, affine or ordinal.

Mixed training as MiDaS (Ranftl et al. 2020, https://arxiv.org/abs/1907.01341) and LeReS (Yin et al. 2021) do it, for a
network that predicts positive depth. Each sample is compared in the space of its own ground truth: depth ``D`` for
metric and affine depth, ``1 / D`` for affine disparity, and the order of ``log D`` for ordinal ground truth.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from geometry.alignment import least_squares_scale, scale_and_shift
from geometry.stencils import (
    fill_outside,
    masked_deviation_per_image,
    masked_mean,
    masked_mean_per_image,
    masked_median_per_image,
    trimmed_moments_per_image,
)
from losses.affine import robust_scale_and_shift, rounding_spread, trimmed_mean_per_image
from losses.gradient_matching import gradient_matching_per_image
from losses.ilnr import TRIM as ILNR_TRIM
from losses.ilnr import ilnr_per_image
from losses.inputs import prepare
from losses.pixel_pairs import PixelPairs, random_pairs
from losses.ranking import ranking_per_image
from structures.depth_kind import DepthKind

BaseLoss = Literal["ssi", "ssi_squared", "ssi_trimmed", "ilnr"]
MetricAlignment = Literal["affine", "scale", "none"]

RANDOM_PAIRS = 3000
"""Pairs of pixels drawn in each image for the ranking loss where none are given."""


class MixedTruthTerms(NamedTuple):
    """Unweighted terms of the loss, scalars; each is a zero that stays in the graph where it applies to no sample."""

    ssi: Tensor
    """Base loss, mean over the samples with metric, affine depth and affine disparity ground truth."""
    gradient: Tensor
    """Multi-scale gradient matching, mean over the same samples."""
    ranking: Tensor
    """Ranking loss, mean over the samples with ordinal ground truth."""


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _positive_alignment(prediction: Tensor, target: Tensor, mask: Tensor, base: BaseLoss) -> tuple[Tensor, Tensor]:
    """Scale and shift ``(B,)`` from the prediction to its target, the scale never negative."""
    if base == "ssi_trimmed":
        return robust_scale_and_shift(prediction, target=target, mask=mask)
    # The unknown scale of a source is positive. With a negative solution the loss would decrease while a reversed
    # prediction becomes more reversed; with its absolute value the loss decreases with the correlation throughout.
    scale = scale_and_shift(prediction, target=target, mask=mask)[0].abs()
    return scale, masked_mean_per_image(target, mask) - scale * masked_mean_per_image(prediction, mask)


def _location_and_spread(target: Tensor, mask: Tensor, base: BaseLoss) -> tuple[Tensor, Tensor]:
    """Location and spread ``(B,)`` that the ground truth is normalised by."""
    if base == "ilnr":
        return trimmed_moments_per_image(target, mask, trim=ILNR_TRIM)
    if base == "ssi_trimmed":
        return masked_median_per_image(target, mask), masked_deviation_per_image(target, mask)
    mean = masked_mean_per_image(target, mask)
    return mean, masked_mean_per_image((target - _per_image(mean)).abs(), mask)


def _base_per_image(prediction: Tensor, target: Tensor, mask: Tensor, base: BaseLoss) -> Tensor:
    """The base loss ``(B,)`` of an aligned and normalised prediction."""
    if base == "ilnr":
        return ilnr_per_image(prediction, target, mask)
    error = (prediction - target).abs()
    if base == "ssi_squared":
        return masked_mean_per_image(error.square(), mask) / 2
    return trimmed_mean_per_image(error, mask) if base == "ssi_trimmed" else masked_mean_per_image(error, mask)


def mixed_truth_loss(
    depth: Tensor,
    *,
    truth: Tensor,
    truth_mask: Tensor,
    kind: Tensor,
    base: BaseLoss = "ssi",
    metric_alignment: MetricAlignment = "affine",
    gradient_scales: int = 4,
    pairs: PixelPairs | None = None,
    generator: torch.Generator | None = None,
) -> MixedTruthTerms:
    """Loss of predicted depth against ground truth of mixed kinds.

    Unless its ground truth is ordinal, a prediction is aligned to it by scale and shift in the space of the ground
    truth, with gradients through the solution, and the residual is divided by the spread of the ground truth, so that
    metres, millimetres and pixels have equal weight. This alignment leaves the shift of the network undetermined;
    render consistency determines it. All samples have equal weight, however many pixels they have; one whose ground
    truth is constant or empty does not count.

    The base losses, of the residual ``r`` in units of the spread:

    - ``ssi``: mean of ``|r|`` after least squares; the spread is the mean absolute deviation from the mean.
    - ``ssi_squared``: mean of ``r^2 / 2`` after least squares, MiDaS's eq. 3 and 4 on normalised truth; same spread.
    - ``ssi_trimmed``: mean of the smallest 80 % of ``|r|`` after alignment by median and mean absolute deviation from
      it, MiDaS's trimmed loss: for ground truth with outliers.
    - ``ilnr``: mean of ``|r|`` plus the mean difference of ``tanh(0.01 .)``, after least squares, both sides normalised
      by the mean and deviation of the ground truth without 10 % at each end. LeReS does not align, as its network's
      output is unbounded and can learn the normalised ground truth itself; positive depth cannot.

    A negative least-squares scale is replaced by its absolute value, unlike in MiDaS, whose loss decreases as a
    reversed prediction becomes more reversed.

    Args:
        depth: ``(B, 1, H, W)``, predicted depth, positive inside the mask, any scale.
        truth: ``(B, 1, H, W)``, ground truth in the unit of each sample's kind.
        truth_mask: bool ``(B, 1, H, W)``, where it was measured.
        kind: int64 ``(B,)``, a :class:`~structures.depth_kind.DepthKind` for each sample.
        base: which base loss.
        metric_alignment: how metric samples are aligned: ``affine`` by scale and shift as the others, ``scale`` by a
            least-squares scale alone, ``none`` not at all (the prediction is then in metres).
        gradient_scales: number of scales of the gradient term, at least 1.
        pairs: pairs of pixels for the ranking loss of ordinal samples; None draws 3000 random pairs in each image.
        generator: random generator for these; None takes torch's default one.

    Returns:
        :class:`MixedTruthTerms` in at least float32.

    Raises:
        ValueError: if a shape or type is wrong or a choice is unknown.
    """
    if base not in ("ssi", "ssi_squared", "ssi_trimmed", "ilnr"):
        raise ValueError(f"base is {base!r}, but it must be 'ssi', 'ssi_squared', 'ssi_trimmed' or 'ilnr'.")
    if metric_alignment not in ("affine", "scale", "none"):
        raise ValueError(f"metric_alignment is {metric_alignment!r}, but it must be 'affine', 'scale' or 'none'.")
    if kind.shape != depth.shape[:1]:
        raise ValueError(f"kind has the shape {tuple(kind.shape)}, but it must be {tuple(depth.shape[:1])}.")
    depth, truth = prepare(depth, truth, truth_mask, fill=1.0)
    ordinal = _per_image(kind == DepthKind.ORDINAL)
    measured = truth_mask & ~ordinal
    reciprocal = _per_image(kind == DepthKind.AFFINE_DISPARITY) & measured
    prediction = torch.where(reciprocal, 1 / fill_outside(depth, reciprocal, 1.0), depth)
    prediction, target = fill_outside(prediction, measured), fill_outside(truth, measured)

    scale, shift = _positive_alignment(prediction, target, measured, base)
    if metric_alignment != "affine":
        metric = kind == DepthKind.METRIC
        metric_scale = torch.ones_like(scale)
        if metric_alignment == "scale":
            metric_scale = least_squares_scale(prediction, target=target, mask=measured)
        scale, shift = torch.where(metric, metric_scale, scale), fill_outside(shift, ~metric)

    location, spread = _location_and_spread(target.detach(), measured, base)
    usable = ~(spread <= rounding_spread(target, measured))  # a NaN has to stay visible
    spread = _per_image(fill_outside(spread, usable, 1.0))
    aligned = (_per_image(scale) * prediction + _per_image(shift) - _per_image(location)) / spread
    normalised = (target - _per_image(location)) / spread
    compared = measured & _per_image(usable)
    aligned, normalised = fill_outside(aligned, compared), fill_outside(normalised, compared)
    data = masked_mean(_base_per_image(aligned, normalised, compared, base), usable)
    gradient = masked_mean(gradient_matching_per_image(aligned - normalised, compared, scales=gradient_scales), usable)

    ranked = truth_mask & ordinal
    if pairs is None:
        pairs = random_pairs(ranked, RANDOM_PAIRS, generator=generator)
    # Ratios of ordinal ground truth mean nothing, so only equal values count as equal.
    order, has_pairs = ranking_per_image(
        fill_outside(depth, ranked, 1.0).log(), target=truth, mask=ranked, pairs=pairs, equal_ratio=1.0
    )
    return MixedTruthTerms(data, gradient, masked_mean(order, has_pairs))
