"""Batches of image files for prediction."""

from typing import TypedDict

from torch import Tensor


class ImageFileBatch(TypedDict):
    """One image of any size, prepared for a network; batches of one, because sizes vary."""

    image: Tensor
    """float32 ``(1, 3, H, W)``, RGB in [0, 1], resized, then padded at the right and bottom by replication."""
    content_size: Tensor
    """int64 ``(1, 2)``, rows and columns of ``image`` without padding."""
    K: Tensor
    """float32 ``(1, 3, 3)``, pixels of ``image``, corner convention."""
    K_known: Tensor
    """bool ``(1,)``, False where K is computed from the field of view that was assumed in training."""
    original_image: Tensor
    """uint8 ``(1, 3, H0, W0)``, RGB, as it was read."""
    name: list[str]
    """Unique, a file stem with slashes: the path below the input folder."""
    video: list[str]
    """Name of the video that the image is a frame of, or an empty string."""
    frame_rate: Tensor
    """float64 ``(1,)``, frames a second of that video; 0 for images, and where the video does not state it."""
    error: list[str]
    """Why the file could not be used, or an empty string; in the first case the image is black."""
