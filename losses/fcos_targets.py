"""Targets of the FCOS head at each location, and the locations whose masks are trained."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.boxes import has_area
from geometry.stencils import fill_outside

BACKGROUND = 0
"""Label of a location without an instance."""
NO_INSTANCE = -1
"""Index of the instance of such a location."""


class FCOSTargets(NamedTuple):
    """Targets at the L locations of all levels."""

    labels: Tensor
    """int64 (B, L), from 1; 0 = background."""
    ltrb: Tensor
    """(B, L, 4) distances to the edges of the box in strides of the level; 0 at background."""
    instance: Tensor
    """int64 (B, L), index of the instance within its image; -1 at background."""


class SelectedLocations(NamedTuple):
    """P locations of a batch."""

    image: Tensor
    """int64 (P,), image within the batch."""
    location: Tensor
    """int64 (P,), location within the L of the image."""
    instance: Tensor
    """int64 (P,), instance within the image."""


def assign(
    locations: Tensor,
    *,
    strides: Tensor,
    size_ranges: Tensor,
    boxes: Tensor,
    labels: Tensor,
    centres: Tensor | None = None,
    radius: float = 1.5,
) -> FCOSTargets:
    """Assign to every location the smallest instance that it is responsible for.

    A location is positive for an instance if it lies within `radius` strides of the instance's centre (in x and in y)
    and strictly inside the box, and if the largest of its distances to the four edges is in the range of its level
    (FCOS with centre sampling, https://arxiv.org/abs/1904.01355). Of several instances the one with the smallest box is
    assigned; of boxes of equal area the first.

    Args:
        locations: (L, 2) image positions (x, y), pixels.
        strides: (L,) stride of each location's level, pixels.
        size_ranges: (L, 2) smallest and largest distance of each location's level, inclusive, pixels.
        boxes: (B, N, 4) xyxy, pixels, padded.
        labels: int64 (B, N), from 1; 0 = padding.
        centres: (B, N, 2) centres (x, y) around which locations are positive; None takes those of the boxes. CondInst
            and BoxInst use the centroid of a mask, see `mask_centres` and `raster_centres`.
        radius: half the side of the sampling window, in strides.

    Returns:
        The targets, without gradient.

    Raises:
        ValueError: the shapes do not fit, or the radius is not positive.
    """
    _check(locations, strides, size_ranges, boxes, labels)
    if not radius > 0:
        raise ValueError(f"The radius is {radius}, but it must be positive.")
    boxes = boxes.detach()
    if boxes.shape[1] == 0:  # a minimum needs at least one element, so one padding instance is added
        boxes, labels = F.pad(boxes, (0, 0, 0, 1)), F.pad(labels, (0, 1))
        centres = None
    if centres is None:
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    place, near, far = locations[None, :, None], boxes[:, None, :, :2], boxes[:, None, :, 2:]  # (B, L, N, 2)
    reach = radius * strides[None, :, None, None]
    # Inside the window clipped to the box is inside both.
    inside = (place > torch.maximum(centres[:, None] - reach, near)).all(dim=-1)
    inside &= (place < torch.minimum(centres[:, None] + reach, far)).all(dim=-1)
    largest = torch.maximum(place - near, far - place).amax(dim=-1)
    ranges = size_ranges[None, :, None]
    taken = inside & (largest >= ranges[..., 0]) & (largest <= ranges[..., 1]) & (labels[:, None] > BACKGROUND)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
    smallest, index = fill_outside(area[:, None].expand(taken.shape), taken, float("inf")).min(dim=-1)
    positive = smallest.isfinite()
    chosen = boxes.gather(1, index[..., None].expand(-1, -1, 4))
    ltrb = torch.cat((locations - chosen[..., :2], chosen[..., 2:] - locations), dim=-1) / strides[:, None]
    return FCOSTargets(
        labels=torch.where(positive, labels.gather(1, index), BACKGROUND),
        ltrb=fill_outside(ltrb, positive[..., None]),
        instance=torch.where(positive, index, NO_INSTANCE),
    )


def centerness(ltrb: Tensor) -> Tensor:
    """``sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))``: 1 at the centre of a box, 0 at its edge.

    Args:
        ltrb: (..., 4) distances in any unit, not negative.

    Returns:
        (...) in [0, 1]; 0 where all distances are 0 (background).
    """
    left, top, right, bottom = ltrb.unbind(dim=-1)
    tiny = torch.finfo(ltrb.dtype).tiny
    across = torch.minimum(left, right) / torch.maximum(left, right).clamp(min=tiny)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom).clamp(min=tiny)
    return (across * down).sqrt()


def mask_centres(masks: Tensor) -> Tensor:
    """Centroids of masks, corner convention: the pixel (0, 0) alone has the centroid (0.5, 0.5).

    The released code of CondInst uses pixel-centre coordinates here, which are half a pixel smaller.

    Args:
        masks: bool (..., H, W).

    Returns:
        (..., 2) (x, y), pixels, float32; 0 where a mask is empty.
    """
    height, width = masks.shape[-2:]
    across = masks.sum(dim=-2, dtype=torch.float32)
    down = masks.sum(dim=-1, dtype=torch.float32)
    count = across.sum(dim=-1).clamp(min=1)
    x = (across * (torch.arange(width, device=masks.device) + 0.5)).sum(dim=-1) / count
    y = (down * (torch.arange(height, device=masks.device) + 0.5)).sum(dim=-1) / count
    return torch.stack((x, y), dim=-1)


def raster_centres(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Centroids of rasterised boxes (BoxInst), in closed form: equal to `mask_centres` of `geometry.boxes.box_masks`.

    Args:
        boxes: (..., 4) xyxy, pixels.
        size: height and width of the image that the rasters are clipped to.

    Returns:
        (..., 2) (x, y), pixels; 0 where a box has no area or nothing of it is in the image.
    """
    limit = boxes.new_tensor((size[1], size[0]))
    first = boxes[..., :2].floor().clamp(min=0)
    beyond = torch.minimum((boxes[..., 2:] + 1).floor(), limit)
    covers = has_area(boxes) & (beyond > first).all(dim=-1)
    return fill_outside((first + beyond) / 2, covers[..., None])


def select_for_masks(instance: Tensor, scores: Tensor, *, per_image: int = 64) -> SelectedLocations:
    """Positive locations whose masks are trained: the ones with the highest scores of each instance.

    An image with k distinct instances among its positives keeps up to ``max(floor(per_image / k), 1)`` locations of
    each (TOPK_PROPOSALS_PER_IM of the released CondInst).

    Args:
        instance: int64 (B, L) of the targets, -1 at background.
        scores: (B, L) largest class probability times the predicted quality.
        per_image: approximate maximum number of locations of an image.

    Returns:
        The locations, ordered by image, then instance, then decreasing score. Their number varies, which synchronises
        the device once.

    Raises:
        ValueError: the shapes differ or the number is not positive.
    """
    if instance.ndim != 2 or instance.shape != scores.shape:
        raise ValueError(
            f"instance and scores must have the same shape (B, L), got {tuple(instance.shape)} and "
            f"{tuple(scores.shape)}."
        )
    if per_image < 1:
        raise ValueError(f"per_image is {per_image}, but at least 1 location has to be kept.")
    # Sorted by score, then stably by instance: background first, then one run of locations for each instance.
    by_score = scores.detach().argsort(dim=1, descending=True, stable=True)
    runs, by_instance = instance.gather(1, by_score).sort(dim=1, stable=True)
    order = by_score.gather(1, by_instance)
    starts = F.pad(runs[:, 1:] != runs[:, :-1], (1, 0), value=True)
    place = torch.arange(runs.shape[1], device=runs.device).expand(runs.shape)
    rank = place - torch.where(starts, place, 0).cummax(dim=1).values
    positive = runs > NO_INSTANCE
    distinct = (starts & positive).sum(dim=1, keepdim=True)
    quota = (per_image // distinct.clamp(min=1)).clamp(min=1)
    image, position = (positive & (rank < quota)).nonzero(as_tuple=True)
    return SelectedLocations(image, order[image, position], runs[image, position])


def _check(locations: Tensor, strides: Tensor, size_ranges: Tensor, boxes: Tensor, labels: Tensor) -> None:
    """Raise a clear error unless the shapes fit together."""
    count = len(locations)
    if locations.shape != (count, 2) or strides.shape != (count,) or size_ranges.shape != (count, 2):
        raise ValueError(
            "locations, strides and size_ranges must be (L, 2), (L,) and (L, 2), got "
            f"{tuple(locations.shape)}, {tuple(strides.shape)} and {tuple(size_ranges.shape)}."
        )
    if boxes.ndim != 3 or boxes.shape[-1] != 4 or labels.shape != boxes.shape[:2]:
        raise ValueError(
            f"boxes and labels must be (B, N, 4) and (B, N), got {tuple(boxes.shape)} and {tuple(labels.shape)}."
        )
