"""AbsRel and delta1 over subsets of the pixels of an image, as a function and as a torchmetrics class.

A prediction is aligned over *all* valid pixels of its image and clamped, as in :class:`metrics.depth.DepthMetrics`;
then the errors are averaged over the valid pixels of each subset. The alignment is therefore the same for all subsets.
With g the target and p the aligned and clamped prediction:

    abs_rel   mean |g - p| / g                      delta1    mean [max(g / p, p / g) < 1.25]

Results are means over the images that have at least ``min_pixels`` pixels of the subset, since a mean over a few pixels
is noisy and would have the same weight as that of a whole image. Accumulators are float64 sums, so that batches and
ranks may have different sizes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from geometry.stencils import at_least_float32, fill_outside, sums_per_image
from metrics.edges import depth_edges, truncated_distance
from metrics.protocol import Crop, DepthProtocol
from structures.choices import Alignment

SUBSETS = ("plain", "textured", "thin", "glossy", "boundary")
"""Subsets that are reported by default; ``textured`` and ``boundary`` are derived, see the class."""

_ERRORS = ("abs_rel", "delta1")


def _check(prediction_m: Tensor, target_m: Tensor, masks: Mapping[str, Tensor]) -> None:
    shape = tuple(target_m.shape)
    if len(shape) != 4 or shape[1] != 1 or tuple(prediction_m.shape) != shape:
        raise ValueError(
            f"prediction_m and target_m have the shapes {tuple(prediction_m.shape)} and {shape}, but both must be the "
            "same (B, 1, H, W)."
        )
    for name, mask in masks.items():
        if tuple(mask.shape) != shape or mask.dtype is not torch.bool:
            raise ValueError(
                f"The mask '{name}' is {mask.dtype} of shape {tuple(mask.shape)}, but torch.bool of {shape} is needed."
            )


def near_depth_edges(target_m: Tensor, valid: Tensor, *, relative_jump: float, distance_px: float) -> Tensor:
    """Pixels within a distance of a true depth edge.

    Args:
        target_m: ``(B, 1, H, W)``, metres, positive inside ``valid``.
        valid: bool ``(B, 1, H, W)``.
        relative_jump: see :func:`metrics.edges.depth_edges`.
        distance_px: largest Euclidean distance to an edge pixel that still counts, pixels.

    Returns:
        Bool ``(B, 1, H, W)``; edge pixels themselves are the nearer ones of each jump.
    """
    edges = depth_edges(target_m, valid, relative_jump=relative_jump)
    # The truncation has to exceed the distance, or every pixel of an image without edges would count.
    return truncated_distance(edges, max_distance_px=distance_px + 1) <= distance_px


def _update(
    prediction_m: Tensor,
    target_m: Tensor,
    mask: Tensor,
    subsets: Mapping[str, Tensor],
    names: Sequence[str],
    protocol: DepthProtocol,
    min_pixels: int,
) -> tuple[Tensor, Tensor]:
    """Contribution of a batch: sums of both errors of each subset ``(S, 2)``, and numbers of images ``(S,)``."""
    _check(prediction_m, target_m, {"mask": mask, **subsets})
    target_m = at_least_float32(target_m)
    valid = protocol.valid(target_m, mask)
    target_m = fill_outside(target_m, valid, protocol.min_depth_m)
    aligned = protocol.align(prediction_m.detach(), target_m, valid)
    # An infinite prediction has to stay visible as NaN; clamping would turn it into a plausible value.
    clamped = torch.where(aligned.isfinite(), aligned, torch.nan).clamp(protocol.min_depth_m, protocol.max_depth_m)
    abs_rel = (target_m - clamped).abs() / target_m
    within = torch.maximum(target_m / clamped, clamped / target_m) < 1.25
    known = dict(subsets)
    if "textured" in names and "plain" in subsets:
        known.setdefault("textured", ~subsets["plain"])
    if "boundary" in names:
        known.setdefault(
            "boundary",
            near_depth_edges(target_m, valid, relative_jump=protocol.edge_jump, distance_px=protocol.edge_tolerance_px),
        )
    nowhere = torch.zeros_like(valid)
    errors, counts = [], []
    for name in names:
        part = valid & known.get(name, nowhere)
        n_pixels, *sums = sums_per_image((part, fill_outside(abs_rel, part), within & part)).unbind(dim=1)
        counted = n_pixels >= min_pixels
        means = torch.stack([fill_outside(total / n_pixels, counted) for total in sums], dim=1)
        errors.append(means.sum(dim=0))
        counts.append(counted.sum().to(torch.float64))
    return torch.stack(errors), torch.stack(counts)


def _compute(
    error_totals: Tensor, n_images: Tensor, names: Sequence[str], protocol: DepthProtocol
) -> dict[str, Tensor]:
    """Named means from the accumulated sums."""
    means = error_totals / n_images.unsqueeze(1)
    return {
        f"{error}_{name}{protocol.suffix}": means[i, j]
        for i, name in enumerate(names)
        for j, error in enumerate(_ERRORS)
    }


def _check_options(names: Sequence[str], min_pixels: int) -> None:
    if not names or len(set(names)) < len(names) or "mask" in names:
        raise ValueError(
            f"subsets is {tuple(names)}, but one or more different names, none of them 'mask', are needed."
        )
    if min_pixels < 1:
        raise ValueError(f"min_pixels is {min_pixels}, but it must be at least 1.")


def subset_depth_errors(
    prediction_m: Tensor,
    *,
    target_m: Tensor,
    mask: Tensor,
    subsets: Mapping[str, Tensor],
    names: Sequence[str] = SUBSETS,
    **options: Any,
) -> dict[str, Tensor]:
    """Errors of one batch; :class:`SubsetDepthErrors` accumulates the same over many.

    Args:
        prediction_m: ``(B, 1, H, W)``, metres.
        target_m: ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``.
        subsets: bool ``(B, 1, H, W)`` by name; may hold more than is reported.
        names: subsets that are reported.
        options: the other arguments of :class:`SubsetDepthErrors`.

    Returns:
        float64 scalars by name, as :meth:`SubsetDepthErrors.compute` returns them.

    Raises:
        ValueError: if an argument is out of range, or a shape or the type of a mask is wrong.
    """
    metric = SubsetDepthErrors(names, **options).to(prediction_m.device)
    metric.update(prediction_m, target_m=target_m, mask=mask, subsets=subsets)
    return metric.compute()


class SubsetDepthErrors(Metric):
    """AbsRel and delta1 on named pixel subsets, accumulated over batches and ranks.

    Two subsets are derived if no mask is given for them: ``textured`` is every pixel that is not ``plain``, and
    ``boundary`` every pixel within ``boundary_px`` of a true depth edge. Other subsets without a mask are NaN.

    Args:
        subsets: names of the subsets that are reported.
        alignment: none, ratio of medians, or least-squares scale and shift, over all valid pixels of each image.
        min_depth_m: valid targets begin here, and predictions are clamped to it after the alignment, metres.
        max_depth_m: valid targets end here, and predictions are clamped to it after the alignment, metres.
        crop: fractions ``(top, bottom, left, right)``, or None.
        min_pixels: an image counts for a subset if it has at least this many valid pixels of it, >= 1.
        edge_jump: relative depth jump between neighbours that makes an edge.
        boundary_px: distance to a true edge up to which a pixel belongs to ``boundary``, pixels > 0.

    Raises:
        ValueError: if an argument is out of range.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    error_totals: Tensor
    n_images: Tensor

    def __init__(
        self,
        subsets: Sequence[str] = SUBSETS,
        alignment: Alignment = "median",
        min_depth_m: float = 1e-3,
        max_depth_m: float = 10.0,
        crop: Crop | None = None,
        min_pixels: int = 20,
        edge_jump: float = 0.1,
        boundary_px: float = 2.0,
    ) -> None:
        super().__init__()
        _check_options(subsets, min_pixels)
        self.subsets = tuple(subsets)
        self.min_pixels = min_pixels
        self.protocol = DepthProtocol(alignment, min_depth_m, max_depth_m, crop, "image", False, edge_jump, boundary_px)
        sizes = {"error_totals": (len(self.subsets), len(_ERRORS)), "n_images": (len(self.subsets),)}
        for name, size in sizes.items():
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, prediction_m: Tensor, *, target_m: Tensor, mask: Tensor, subsets: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            prediction_m: ``(B, 1, H, W)``, metres (any scale if an alignment follows), half precision allowed.
            target_m: ``(B, 1, H, W)``, metres; arbitrary outside the mask.
            mask: bool ``(B, 1, H, W)``, True where depth was measured.
            subsets: bool ``(B, 1, H, W)`` by name; a subset without a mask here is not updated, unless it is derived,
                and masks of other names are ignored.

        Raises:
            ValueError: if a shape or the type of a mask is wrong.
        """
        errors, counts = _update(prediction_m, target_m, mask, subsets, self.subsets, self.protocol, self.min_pixels)
        self.error_totals = self.error_totals + errors
        self.n_images = self.n_images + counts

    def compute(self) -> dict[str, Tensor]:
        """Errors over everything added so far.

        Returns:
            float64 scalars such as ``abs_rel_plain_img_median``: the error, the subset, then average and alignment as
            in the names of :class:`metrics.depth.DepthMetrics`. NaN where no image had enough pixels of the subset.
        """
        return _compute(self.error_totals, self.n_images, self.subsets, self.protocol)
