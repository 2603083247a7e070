"""One loss for a batch whose samples have truth of different kinds: metres, depth or disparity up to affinity, order.

Mixed training as MiDaS (Ranftl et al. 2020, https://arxiv.org/abs/1907.01341) and LeReS (Yin et al. 2021) do it, for a
network that predicts positive depth. Every sample is compared in the space of its own truth: depth ``D`` for metric
and affine depth, ``1 / D`` for affine disparity, and the order of ``log D`` where only an order is known.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from geometry.alignment import least_squares_scale, scale_and_shift
from geometry.stencils import (
    fill_outside,
    forward_differences,
    masked_deviation_per_image,
    masked_mean,
    masked_mean_per_image,
    masked_median_per_image,
    neighbour_masks,
    smallest_sum_per_image,
    strided_pyramid,
    trimmed_moments_per_image,
)
from losses.inputs import prepare
from losses.pixel_pairs import PixelPairs, random_pairs
from losses.ranking import ranking_per_image

# The numbers of structures.depth_kind.DepthKind, which losses may not import.
_METRIC, _AFFINE_DEPTH, _AFFINE_DISPARITY, _ORDINAL = range(4)

BaseLoss = Literal["ssi", "ssi_squared", "ssi_trimmed", "ilnr"]
MetricAlignment = Literal["affine", "scale", "none"]

TRIM = 0.2
"""Share of the largest residuals that ``ssi_trimmed`` drops (MiDaS)."""
ILNR_TRIM = 0.1
"""Share of the truth left out at each end before its mean and deviation are taken (LeReS)."""
ILNR_SQUASH = 0.01
"""Factor inside the hyperbolic tangent of ILNR, which makes far outliers count less (LeReS)."""
RANDOM_PAIRS = 3000
"""Pairs an image drawn for the order where none are given."""


class MixedTruthTerms(NamedTuple):
    """Terms of the loss, unweighted scalars; each a zero that stays in the graph where it applies to no sample."""

    ssi: Tensor
    """Base loss, mean over the samples of metric, affine depth and affine disparity truth."""
    gradient: Tensor
    """Multi-scale gradient matching, mean over the same samples."""
    ranking: Tensor
    """Mean over the samples of ordinal truth."""


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _positive_alignment(prediction: Tensor, target: Tensor, mask: Tensor, base: BaseLoss) -> tuple[Tensor, Tensor]:
    """Scale and shift ``(B,)`` from the prediction to its target, the scale never negative."""
    if base == "ssi_trimmed":
        # By median and deviation, on which the outliers that are to be trimmed have little hold.
        spread = masked_deviation_per_image(prediction, mask)
        contrast = spread > _rounding(prediction, mask)
        scale = masked_deviation_per_image(target, mask) / fill_outside(spread, contrast, 1.0)
        scale = fill_outside(scale, contrast)
        return scale, masked_median_per_image(target, mask) - scale * masked_median_per_image(prediction, mask)
    # The unknown scale of a source is positive. A negative solution would reward a prediction that runs against the
    # truth for running against it even more; its absolute value makes the loss fall with the correlation throughout.
    scale = scale_and_shift(prediction, target=target, mask=mask)[0].abs()
    return scale, masked_mean_per_image(target, mask) - scale * masked_mean_per_image(prediction, mask)


def _rounding(values: Tensor, mask: Tensor) -> Tensor:
    """Spread ``(B,)`` below which an image is constant but for the rounding of its values."""
    return 100 * torch.finfo(values.dtype).eps * masked_mean_per_image(values.detach().abs(), mask)


def _location_and_spread(target: Tensor, mask: Tensor, base: BaseLoss) -> tuple[Tensor, Tensor]:
    """What the truth is normalised by, ``(B,)`` each."""
    if base == "ilnr":
        return trimmed_moments_per_image(target, mask, trim=ILNR_TRIM)
    if base == "ssi_trimmed":
        return masked_median_per_image(target, mask), masked_deviation_per_image(target, mask)
    mean = masked_mean_per_image(target, mask)
    return mean, masked_mean_per_image((target - _per_image(mean)).abs(), mask)


def _base_per_image(prediction: Tensor, target: Tensor, mask: Tensor, base: BaseLoss) -> Tensor:
    """The base loss ``(B,)`` of an aligned and normalised prediction."""
    error = (prediction - target).abs()
    if base == "ssi_squared":
        return masked_mean_per_image(error.square(), mask) / 2
    if base == "ssi_trimmed":
        total, kept = smallest_sum_per_image(error, mask, drop=TRIM)
        return total / kept.clamp(min=1)
    if base == "ilnr":
        squashed = ((ILNR_SQUASH * prediction).tanh() - (ILNR_SQUASH * target).tanh()).abs()
        return masked_mean_per_image(error + squashed, mask)
    return masked_mean_per_image(error, mask)


def _gradient_per_image(residual: Tensor, mask: Tensor, scales: int) -> Tensor:
    """Multi-scale gradient matching (MiDaS, eq. 11) of each image, ``(B,)``."""
    loss = residual.new_zeros(len(residual))
    for level, level_mask in zip(strided_pyramid(residual, scales), strided_pyramid(mask, scales), strict=True):
        total = residual.new_zeros(len(residual))
        for difference, both in zip(forward_differences(level), neighbour_masks(level_mask), strict=True):
            total = total + fill_outside(difference.abs(), both).flatten(1).sum(dim=1)
        loss = loss + total / level_mask.flatten(1).sum(dim=1).clamp(min=1)
    return loss


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
    """Compare predicted depth with truth of mixed kinds.

    A sample with truth in numbers is aligned to it by scale and shift in the space of the truth, with gradients through
    the solution, and the residual is divided by the spread of the truth, so that metres, millimetres and pixels weigh
    alike. The network's own shift is free under this alignment: it is what render consistency finds. Samples count
    alike however many pixels they have; one without contrast in its truth (constant, or without measurement) does not
    count.

    The base losses, of the residual ``r`` in units of the spread:

    - ``ssi``: mean of ``|r|`` after least squares; the spread is the mean absolute deviation from the mean.
    - ``ssi_squared``: mean of ``r^2 / 2`` after least squares, MiDaS's eq. 3 and 4 on normalised truth; same spread.
    - ``ssi_trimmed``: mean of the smallest 80 % of ``|r|`` after alignment by median and mean absolute deviation from
      it, MiDaS's trimmed loss: for truth with outliers.
    - ``ilnr``: mean of ``|r|`` and of the difference of ``tanh(0.01 .)``, after least squares, both normalised by the
      truth's mean and deviation without 10 % at each end. LeReS has no alignment there, as its network's output is
      unbounded and may learn the normalised truth itself; positive depth can not.

    A least-squares scale below zero counts with its absolute value, unlike in MiDaS, whose loss rewards a reversed
    prediction for being more reversed.

    Args:
        depth: ``(B, 1, H, W)``, predicted depth, positive inside the mask, any scale.
        truth: ``(B, 1, H, W)``, in the unit of each sample's kind.
        truth_mask: bool ``(B, 1, H, W)``, where it was measured.
        kind: int64 ``(B,)``, the number of a ``structures.depth_kind.DepthKind``.
        base: which base loss.
        metric_alignment: how metric samples are aligned: ``affine`` as the others, ``scale`` by a least-squares factor
            alone, ``none`` not at all (the prediction is then in metres).
        gradient_scales: number of scales of the gradient term, at least 1.
        pairs: pixels whose order to compare, for ordinal samples; None draws 3000 random ones an image.
        generator: source of randomness for these; None takes torch's own.

    Returns:
        :class:`MixedTruthTerms` in at least float32.

    Raises:
        ValueError: if shapes or types do not fit or a choice is unknown.
    """
    if base not in ("ssi", "ssi_squared", "ssi_trimmed", "ilnr"):
        raise ValueError(f"base is {base!r}, but it must be 'ssi', 'ssi_squared', 'ssi_trimmed' or 'ilnr'.")
    if metric_alignment not in ("affine", "scale", "none"):
        raise ValueError(f"metric_alignment is {metric_alignment!r}, but it must be 'affine', 'scale' or 'none'.")
    if kind.shape != depth.shape[:1]:
        raise ValueError(f"kind has the shape {tuple(kind.shape)}, but it must be {tuple(depth.shape[:1])}.")
    depth, truth = prepare(depth, truth, truth_mask, fill=1.0)
    ordinal = _per_image(kind == _ORDINAL)
    measured = truth_mask & ~ordinal
    reciprocal = _per_image(kind == _AFFINE_DISPARITY) & measured
    prediction = torch.where(reciprocal, 1 / fill_outside(depth, reciprocal, 1.0), depth)
    prediction, target = fill_outside(prediction, measured), fill_outside(truth, measured)

    scale, shift = _positive_alignment(prediction, target, measured, base)
    if metric_alignment != "affine":
        metric = kind == _METRIC
        alone = torch.ones_like(scale)
        if metric_alignment == "scale":
            alone = least_squares_scale(prediction, target=target, mask=measured)
        scale, shift = torch.where(metric, alone, scale), fill_outside(shift, ~metric)

    location, spread = _location_and_spread(target.detach(), measured, base)
    usable = ~(spread <= _rounding(target, measured))  # a NaN has to stay visible
    spread = _per_image(fill_outside(spread, usable, 1.0))
    aligned = (_per_image(scale) * prediction + _per_image(shift) - _per_image(location)) / spread
    normalised = (target - _per_image(location)) / spread
    compared = measured & _per_image(usable)
    aligned, normalised = fill_outside(aligned, compared), fill_outside(normalised, compared)
    data = masked_mean(_base_per_image(aligned, normalised, compared, base), usable)
    gradient = masked_mean(_gradient_per_image(aligned - normalised, compared, gradient_scales), usable)

    ranked = truth_mask & ordinal
    if pairs is None:
        pairs = random_pairs(ranked, RANDOM_PAIRS, generator=generator)
    # Of an ordinal truth nothing but the order means anything, so only equal values are equal.
    order, has_pairs = ranking_per_image(
        fill_outside(depth, ranked, 1.0).log(), target=truth, mask=ranked, pairs=pairs, equal_ratio=1.0
    )
    return MixedTruthTerms(data, gradient, masked_mean(order, has_pairs))
