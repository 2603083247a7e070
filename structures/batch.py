"""Batches of images with depth, and the conventions of the project.

Images
    float32 RGB in [0, 1], shape ``(B, 3, H, W)``. Networks normalise inside, so that losses and pictures get
    unnormalised colours.
Depth
    float32 metres along the camera's z axis, shape ``(B, 1, H, W)``; 0 means *no measurement*. Validity is a bool mask
    of the same shape, never NaN.
Pixels
    ``(0, 0)`` is the top-left *corner* of the first pixel and centres lie at +0.5 (torch's ``align_corners=False``,
    PyTorch3D's screen space, COLMAP). Cropping subtracts from ``cx, cy``, resizing multiplies the rows of ``K``, a
    flip is ``cx -> W - cx``. The ``K`` of a data set in pixel-centre convention (OpenCV, NYU) is converted once, in its
    data module, by :func:`from_pixel_centres`.
Frames
    Camera x right, y down, z forward. ``T_a_b`` maps points of frame b into frame a: ``T_a_c = T_a_b @ T_b_c``.
    Angles are radians, lengths metres.
Boxes, labels, masks
    Boxes are xyxy float pixels, labels count from 1, instance masks are bool ``(N, H, W)``; predictions use the keys
    of torchvision's detection models.
"""

from typing import NotRequired, TypedDict

import torch
from torch import Tensor

PADDING_INDEX = -1
"""``index`` of a padding sample, which makes the numbers of samples of all ranks equal; its ``depth_mask`` is False."""


class DepthBatch(TypedDict):
    """A batch of images with depth, from any depth data module."""

    image: Tensor
    """float32 ``(B, 3, H, W)``, RGB in [0, 1]."""
    depth: Tensor
    """float32 ``(B, 1, H, W)``, metres, 0 where unknown."""
    depth_mask: Tensor
    """bool ``(B, 1, H, W)``, True where depth was measured."""
    K: Tensor
    """float32 ``(B, 3, 3)``, pixels, corner convention."""
    K_known: Tensor
    """bool ``(B,)``, False where K is computed from a default field of view."""
    depth_scale_m: Tensor
    """float32 ``(B,)``, depth in metres of the scaled depth 1.0: a constant, or the image's own maximum."""
    index: Tensor
    """int64 ``(B,)``, position in the split, or ``PADDING_INDEX``."""
    name: list[str]
    """Unique in the split and usable as a file stem (slashes allowed)."""
    semantic: NotRequired[Tensor]
    """int64 ``(B, H, W)``, class ids of the data set's own category table, 0 = none."""
    instance: NotRequired[Tensor]
    """int64 ``(B, H, W)``, instance ids, 0 = background."""
    plane: NotRequired[Tensor]
    """int64 ``(B, H, W)``, plane ids, 0 = not planar."""
    plain: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``, pixels of textureless surfaces."""
    thin: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``, pixels of thin structures."""
    glossy: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``, pixels of reflecting surfaces."""
    camouflaged: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``, pixels of objects that have the colour of their background."""
    boxes: NotRequired[Tensor]
    """float32 ``(B, N, 4)``, xyxy pixels of ``image``, corner convention; N is equal in all samples of a batch."""
    normals: NotRequired[Tensor]
    """float32 ``(B, 3, H, W)``, unit vectors in the camera frame (x right, y down, z forward), 0 where unknown."""
    T_world_camera: NotRequired[Tensor]
    """float32 ``(B, 4, 4)``, camera pose, metres."""


def from_pixel_centres(K: Tensor) -> Tensor:
    """Intrinsics in pixel-centre convention (OpenCV, NYU) converted to the corner convention.

    Args:
        K: ``(..., 3, 3)``, pixels, ``(0, 0)`` at the centre of the first pixel.

    Returns:
        ``(..., 3, 3)`` with 0.5 added to ``cx`` and ``cy``; the input is not modified.
    """
    shift = torch.zeros_like(K)
    shift[..., 0, 2] = 0.5
    shift[..., 1, 2] = 0.5
    return K + shift
