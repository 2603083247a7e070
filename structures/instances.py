"""Batches, detections and ground truth of instance segmentation.

Boxes are xyxy float pixels with (0, 0) at the top-left corner of the first pixel, labels count from 1, masks are bool.
The number of instances differs between images, so batches are padded with label 0 and boxes of zeros.

Pseudo depth is *inverse* depth everywhere, near = 1 and far = 0 (nearness): a network that gates or compares it would
mean another thing with depth that grows outwards.
"""

from typing import Any, NotRequired, TypedDict

from torch import Tensor

SIZE_DIVISOR = 32
"""Height and width of a batch are multiples of this, the largest stride of a backbone."""

RunLengths = dict[str, Any]
"""A mask in COCO's compressed run lengths: ``size`` (height and width) and ``counts`` (bytes or ASCII text)."""


class Truth(TypedDict):
    """Ground truth of one image for evaluation, at its original size."""

    boxes: Tensor
    """float32 ``(N, 4)``, pixels of the original image."""
    labels: Tensor
    """int64 ``(N,)``, from 1."""
    crowd: Tensor
    """bool ``(N,)``: a region of many objects, which any number of detections may match (COCO's ``iscrowd``)."""
    ignored: Tensor
    """bool ``(N,)``: an object that counts neither as a miss nor as a false positive, such as one below a size
    limit."""
    area: Tensor
    """float64 ``(N,)``, pixels, by which objects count as small, medium or large."""
    masks: list[RunLengths] | None
    """One for each box, or None where the data have no masks."""
    unmasked: NotRequired[Tensor]
    """bool ``(N,)``: the mask is unknown and empty in ``masks``; mask scores ignore the region of its box."""
    camouflaged: NotRequired[Tensor]
    """bool ``(N,)``, objects that have the colour of their background."""
    standing: NotRequired[Tensor]
    """bool ``(N,)``, objects that stand in front of their background."""
    flush: NotRequired[Tensor]
    """bool ``(N,)``, objects that lie flush with a wall, such as a door."""


class InstanceBatch(TypedDict):
    """A batch of images with boxes, from any instance data module; N is at least 1."""

    image: Tensor
    """float32 ``(B, 3, H, W)``, RGB in [0, 1], 0 on padding at the right and the bottom; multiples of 32."""
    image_mask: Tensor
    """bool ``(B, 1, H, W)``, True on real pixels."""
    boxes: Tensor
    """float32 ``(B, N, 4)``, xyxy pixels of ``image``."""
    labels: Tensor
    """int64 ``(B, N)``, from 1; 0 = no instance."""
    masks: NotRequired[Tensor]
    """bool ``(B, N, H, W)``, all False where ``has_masks`` is False; absent if no image of the split has usable
    masks."""
    has_masks: Tensor
    """bool ``(B,)``, images whose masks may be used; the others are supervised by boxes alone."""
    camouflaged: NotRequired[Tensor]
    """bool ``(B, N)``, objects that have the colour of their background."""
    standing: NotRequired[Tensor]
    """bool ``(B, N)``, objects that stand in front of their background."""
    flush: NotRequired[Tensor]
    """bool ``(B, N)``, objects that lie flush with a wall, such as a door."""
    pseudo_depth: NotRequired[Tensor]
    """float32 ``(B, 1, H, W)``, inverse depth scaled to [0, 1] over each image, near = 1; 0 where unknown."""
    depth_mask: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``, True where ``pseudo_depth`` is known."""
    image_id: Tensor
    """int64 ``(B,)``, the data set's own id; ``PADDING_INDEX`` for a padding sample."""
    scale: Tensor
    """float32 ``(B, 2)``, factors from the original to the network's rows and columns."""
    original_size: Tensor
    """int64 ``(B, 2)``, height and width of the original image."""
    index: Tensor
    """int64 ``(B,)``, position in the split, or ``PADDING_INDEX``."""
    name: list[str]
    """Unique in the split and usable as a file stem (slashes allowed)."""
    truth: list[Truth | None]
    """Ground truth for evaluation; None for padding samples and in training."""


class Detections(TypedDict):
    """Detections in one image, at its original size; the keys of torchvision's models."""

    boxes: Tensor
    """float32 ``(M, 4)``, xyxy pixels."""
    labels: Tensor
    """int64 ``(M,)``, from 1."""
    scores: Tensor
    """float32 ``(M,)`` in [0, 1]."""
    masks: Tensor
    """bool ``(M, H, W)``."""
