"""Flip post-processing: depth of an image blended with that of its mirror image, the "+PP" rows of depth papers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from geometry.mirrored import blend_mirrored, mirrored_intrinsics
from structures.choices import Quantity


def mirrored_batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch with mirrored images and intrinsics; its other entries are not changed.

    Padding at the right of an image (``content_size``, of batches of one) stays there; only the content is mirrored.

    Args:
        batch: ``image`` ``(B, 3, H, W)`` and, if known, ``K`` ``(B, 3, 3)``.
    """
    image, width = batch["image"], _content_width(batch)
    mirrored = {**batch, "image": torch.cat([image[..., :width].flip(-1), image[..., width:]], dim=-1)}
    if "K" in batch:
        mirrored["K"] = mirrored_intrinsics(batch["K"], width=width)
    return mirrored


def blended_with_mirror_image(
    predict: Callable[[Any], Tensor], batch: Mapping[str, Any], *, quantity: Quantity
) -> Tensor:
    """Depth of a batch, blended with that of its mirror images.

    Args:
        predict: Returns depth ``(B, 1, H, W)`` of a batch.
        batch: See :func:`mirrored_batch`.
        quantity: The blended quantity: ``disparity`` (1 / depth, as in papers that predict it; depth must be positive)
            or ``depth``.

    Returns:
        ``(B, 1, H, W)``; padding is that of the images.
    """
    depth, mirrored = predict(batch), predict(mirrored_batch(batch))
    width = _content_width(batch)
    pair = [values[..., :width] for values in (depth, mirrored)]
    if quantity == "disparity":
        blended = blend_mirrored(*(values.reciprocal() for values in pair)).reciprocal()
    else:
        blended = blend_mirrored(*pair)
    return torch.cat([blended, depth[..., width:]], dim=-1)


def _content_width(batch: Mapping[str, Any]) -> int:
    """Columns of the images without padding."""
    image = batch["image"]
    content = batch.get("content_size")
    return int(content[0, 1]) if isinstance(content, Tensor) and len(image) == 1 else image.shape[-1]
