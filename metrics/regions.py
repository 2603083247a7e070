"""Sums over the regions of id maps, for all images of a batch at once."""

from typing import NamedTuple

import torch
from torch import Tensor


class Regions(NamedTuple):
    """The regions of a batch that are large enough, numbered consecutively over all images."""

    number: Tensor
    """int64 ``(B H W,)``: the region of each pixel, from 0; G for a pixel without a region."""
    image: Tensor
    """int64 ``(G,)``: the image of each region."""
    ids: Tensor
    """int64 ``(G,)``: its id in the map."""
    n_pixels: Tensor
    """int64 ``(G,)``: its number of pixels."""

    def sums(self, values: Tensor) -> Tensor:
        """Sum over the pixels of each region: ``(B H W, C)`` in, ``(G, C)`` out."""
        n_regions = len(self.image)
        return values.new_zeros(n_regions + 1, values.shape[1]).index_add(0, self.number, values)[:n_regions]

    def means(self, values: Tensor) -> Tensor:
        """Mean over the pixels of each region: ``(B H W, C)`` in, ``(G, C)`` out."""
        return self.sums(values) / self.n_pixels.unsqueeze(1)

    def at_pixels(self, numbers: Tensor) -> Tensor:
        """Values of the region of each pixel: ``(G, C)`` in, ``(B H W, C)`` out, 0 at a pixel without a region."""
        return torch.cat([numbers, numbers.new_zeros(1, numbers.shape[1])])[self.number]

    def per_image(self, numbers: Tensor, n_images: int) -> Tensor:
        """Sum over the regions of each image: ``(G, C)`` in, ``(n_images, C)`` out."""
        return numbers.new_zeros(n_images, numbers.shape[1]).index_add(0, self.image, numbers)


def find_regions(ids: Tensor, mask: Tensor, *, min_pixels: int) -> Regions:
    """Number the regions of a batch.

    Args:
        ids: int64 ``(B, H, W)``, ids from 1; 0 means no region.
        mask: bool ``(B, 1, H, W)``, pixels that count.
        min_pixels: regions with fewer pixels are left out; at least 1.

    Raises:
        ValueError: if a shape or type is wrong, an id is negative, or ``min_pixels`` is below 1.
    """
    shape = (len(mask), *mask.shape[-2:])
    if tuple(ids.shape) != shape or ids.dtype is not torch.int64:
        raise ValueError(f"The regions are {ids.dtype} of shape {tuple(ids.shape)}, but torch.int64 {shape} is needed.")
    if min_pixels < 1:
        raise ValueError(f"min_pixels is {min_pixels}, but it must be at least 1.")
    if ids.numel() and int(ids.min()) < 0:
        raise ValueError(f"A region has the id {int(ids.min())}, but ids begin at 1, and 0 means no region.")
    stride = int(ids.max()) + 1 if ids.numel() else 1
    offset = torch.arange(len(ids), device=ids.device).view(-1, 1, 1) * stride
    keys = torch.where(mask.squeeze(1) & (ids > 0), offset + ids, -1).flatten()
    found, inverse, count = keys.unique(return_inverse=True, return_counts=True)
    kept = (found >= 0) & (count >= min_pixels)
    found, count = found[kept], count[kept]
    number = torch.where(kept, kept.cumsum(dim=0) - 1, len(found))
    return Regions(number[inverse], found // stride, found % stride, count)
