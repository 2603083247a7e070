"""Pairs of pixels for ranking and normal losses: at random positions and across the edges of an image.

After Xian et al. 2020, "Structure-Guided Ranking Loss", and LeReS (Yin et al. 2021). The numbers of pairs are fixed, so
that no tensor shape depends on the content of an image and the GPU is never synchronised.

Deviation: the line of an edge pair runs along the image gradient. In the released code of LeReS the vertical Sobel
filter has the opposite sign, so that its lines run along the mirrored gradient: across vertical and horizontal edges,
but not across diagonal ones (along them at 45 degrees).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.stencils import at_least_float32

EDGE_FRACTION = 0.1
"""An edge pixel has at least this fraction of the image's longest gradient (LeReS)."""


class PixelPairs(NamedTuple):
    """Pairs of pixels of each image."""

    first: Tensor
    """int64 ``(B, P)``, index into the flattened ``H * W``."""
    second: Tensor
    """int64 ``(B, P)``."""
    valid: Tensor
    """bool ``(B, P)``; invalid pairs hold arbitrary indices inside the image and must not be used."""


def join(*pairs: PixelPairs) -> PixelPairs:
    """Concatenate the pairs of each image."""
    return PixelPairs(*(torch.cat(fields, dim=1) for fields in zip(*pairs, strict=True)))


def values_at(values: Tensor, index: Tensor) -> Tensor:
    """Values of a map at pixels.

    Args:
        values: ``(B, C, H, W)``.
        index: int64 ``(B, P)`` into the flattened ``H * W``.

    Returns:
        ``(B, C, P)``.
    """
    return values.flatten(2).gather(2, index.unsqueeze(1).expand(-1, values.shape[1], -1))


def pixels_by_rank(mask: Tensor, position: Tensor) -> Tensor:
    """The masked pixel of each image at a relative position among all its masked pixels.

    Args:
        mask: bool ``(B, ..., H, W)``, flattened from the second dimension on.
        position: ``(B, P)`` in [0, 1).

    Returns:
        int64 ``(B, P)``, uniform over the masked pixels for a uniform ``position``; 0 where an image has none.
    """
    cumulative = mask.flatten(1).cumsum(dim=1)
    count = cumulative[:, -1:]
    rank = (position.to(torch.float64) * count).floor().to(torch.int64)
    return torch.searchsorted(cumulative, rank + 1).clamp(max=cumulative.shape[1] - 1) * (count > 0)


def uniform_numbers(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform random numbers in [0, 1), drawn on the generator's device and moved to that of ``like``.

    Args:
        shape: shape of the result.
        like: a tensor on the wanted device.
        generator: random generator; None takes torch's default one.

    Returns:
        float32 of the shape.
    """
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).to(like.device)


def random_pairs(mask: Tensor, count: int, *, generator: torch.Generator | None = None) -> PixelPairs:
    """Random pairs of pixels, both drawn uniformly among the masked pixels of the image.

    Args:
        mask: bool ``(B, 1, H, W)``.
        count: number of pairs in each image, at least 1.
        generator: random generator; None takes torch's default one.

    Returns:
        ``count`` pairs in each image, invalid where the mask is empty or both pixels are the same.

    Raises:
        ValueError: if ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"The number of pairs is {count}, but at least 1 is needed.")
    drawn = pixels_by_rank(mask, uniform_numbers((mask.shape[0], 2 * count), mask, generator))
    first, second = drawn.chunk(2, dim=1)
    return PixelPairs(first, second, mask.flatten(1).any(dim=1, keepdim=True) & (first != second))


def image_gradient(image: Tensor, *, strongest_channel: bool = False) -> tuple[Tensor, Tensor]:
    """Sobel gradient to the right and down, zero on the border of one pixel (LeReS).

    Args:
        image: ``(B, C, H, W)``.
        strongest_channel: whether to take, at each pixel, the channel with the longest gradient instead of the gradient
            of the mean of the channels, in which opposite changes cancel.

    Returns:
        Two maps ``(B, 1, H, W)``.
    """
    values = image if strongest_channel else image.mean(dim=1, keepdim=True)
    if min(values.shape[-2:]) < 3:
        return torch.zeros_like(values[:, :1]), torch.zeros_like(values[:, :1])
    down = values[..., :-2, :] + 2 * values[..., 1:-1, :] + values[..., 2:, :]
    right = values[..., :-2] + 2 * values[..., 1:-1] + values[..., 2:]
    inner = (down[..., 2:] - down[..., :-2], right[..., 2:, :] - right[..., :-2, :])
    x, y = F.pad(inner[0], (1, 1, 1, 1)), F.pad(inner[1], (1, 1, 1, 1))
    if not strongest_channel:
        return x, y
    strongest = torch.hypot(x, y).argmax(dim=1, keepdim=True)
    return x.gather(1, strongest), y.gather(1, strongest)


@torch.no_grad()
def edge_pairs(
    image: Tensor,
    count: int,
    *,
    mask: Tensor,
    nearest: int = 2,
    farthest: int = 30,
    edge_fraction: float = EDGE_FRACTION,
    exclude: Tensor | None = None,
    strongest_channel: bool = False,
    generator: torch.Generator | None = None,
) -> PixelPairs:
    """Pairs of pixels along the image gradient, across edges and on either side of them (Xian et al. 2020; LeReS).

    Anchors are drawn among the edge pixels; the border of one pixel has none. Four points lie on the line through each
    anchor along the gradient, a and b before and c and d behind the edge, at integer distances of ``nearest`` to
    ``farthest`` pixels, moved onto the border where they would leave the image. The pairs are (a, b), (b, c) and
    (c, d).

    Args:
        image: ``(B, C, H, W)``; by default the gradient is that of the mean of the channels (LeReS takes the red one).
        count: number of anchors in each image, at least 1; LeReS takes as many as there are edge pixels.
        mask: bool ``(B, 1, H, W)``, where both pixels of a valid pair must lie.
        nearest: smallest distance, at least 1; 2 for ranking and 3 for normals.
        farthest: largest distance; 30 for ranking and 19 for normals.
        edge_fraction: a pixel is an edge pixel if its gradient has at least this fraction of the image's longest.
        exclude: bool ``(B, 1, H, W)``, pixels that cannot be anchors, such as depth edges when normals are compared.
        strongest_channel: see :func:`image_gradient`; for maps of normals.
        generator: random generator; None takes torch's default one.

    Returns:
        ``3 * count`` pairs in each image, those of one anchor ``count`` apart.

    Raises:
        ValueError: if the count, the distances or the fraction are out of range or a shape is wrong.
    """
    if count < 1:
        raise ValueError(f"The number of anchors is {count}, but at least 1 is needed.")
    if not 1 <= nearest <= farthest:
        raise ValueError(f"The distances are {nearest} to {farthest}, but they must ascend from at least 1.")
    if not 0 < edge_fraction <= 1:
        raise ValueError(f"edge_fraction is {edge_fraction}, but it must lie above 0 and not above 1.")
    if image.ndim != 4 or mask.shape != image[:, :1].shape:
        raise ValueError(
            f"image and mask have the shapes {tuple(image.shape)} and {tuple(mask.shape)}, but they must be "
            "(B, C, H, W) and (B, 1, H, W)."
        )
    height, width = image.shape[-2:]
    right, down = image_gradient(at_least_float32(image), strongest_channel=strongest_channel)
    magnitude = torch.hypot(right, down)
    edge = (magnitude > 0) & (magnitude >= edge_fraction * magnitude.flatten(1).amax(dim=1).view(-1, 1, 1, 1))
    if exclude is not None:
        edge = edge & ~exclude
    uniform = uniform_numbers((image.shape[0], 5, count), image, generator)
    anchor = pixels_by_rank(edge, uniform[:, 0])
    length = values_at(magnitude, anchor).squeeze(1)
    length = length + (length == 0)
    step_x, step_y = (values_at(part, anchor).squeeze(1) / length for part in (right, down))
    distance = nearest + (uniform[:, 1:] * (farthest - nearest + 1)).floor().clamp(max=farthest - nearest)
    distance = distance * distance.new_tensor([-1, -1, 1, 1]).view(1, 4, 1)
    x = (anchor % width).unsqueeze(1) + (distance * step_x.unsqueeze(1)).round()
    # Floor division: true division would leave a fraction of the column in the row.
    y = anchor.div(width, rounding_mode="floor").unsqueeze(1) + (distance * step_y.unsqueeze(1)).round()
    pixel = y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()
    first, second = pixel[:, :3].flatten(1), pixel[:, 1:].flatten(1)
    measured = values_at(mask, pixel.flatten(1)).view_as(pixel)
    valid = measured[:, :3] & measured[:, 1:] & edge.flatten(1).any(dim=1).view(-1, 1, 1)
    return PixelPairs(first, second, valid.flatten(1) & (first != second))
