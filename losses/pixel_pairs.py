"""Which pixels to compare with which: pairs at random and across the edges of a picture.

For losses on pairs (Xian et al. 2020, "Structure-Guided Ranking Loss"; LeReS, Yin et al. 2021). The numbers of pairs
are fixed, so that shapes never depend on what an image shows and nothing waits for the GPU.

Deviation: the line of an edge pair runs along the gradient of the picture. In the released code of LeReS the Sobel
filter of the rows points up while rows count down, so that its lines run along the gradient mirrored in the horizontal:
across upright and level edges alike, but not across a slanted one (along it, where it slants by 45 degrees).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.stencils import at_least_float32

EDGE_FRACTION = 0.1
"""An edge pixel has at least this share of the image's largest gradient (LeReS)."""


class PixelPairs(NamedTuple):
    """Pairs of pixels of each image."""

    first: Tensor
    """int64 ``(B, P)``, index into the flattened ``H * W``."""
    second: Tensor
    """int64 ``(B, P)``."""
    valid: Tensor
    """bool ``(B, P)``; the others hold any index inside the image and must not be used."""


def join(*pairs: PixelPairs) -> PixelPairs:
    """Put the pairs of each image together."""
    return PixelPairs(*(torch.cat(fields, dim=1) for fields in zip(*pairs, strict=True)))


def values_at(values: Tensor, index: Tensor) -> Tensor:
    """Take values at pixels.

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
    """Draw numbers in [0, 1) on the generator's device and bring them to where they are used.

    Args:
        shape: of the result.
        like: gives the device.
        generator: source of randomness; None takes torch's own.

    Returns:
        float32 of the shape.
    """
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).to(like.device)


def random_pairs(mask: Tensor, count: int, *, generator: torch.Generator | None = None) -> PixelPairs:
    """Draw both pixels of every pair uniformly among the masked pixels of the image.

    Args:
        mask: bool ``(B, 1, H, W)``.
        count: pairs an image, at least 1.
        generator: source of randomness; None takes torch's own.

    Returns:
        ``count`` pairs an image, invalid where the mask is empty or both pixels are the same.

    Raises:
        ValueError: if ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"The number of pairs is {count}, but at least 1 is needed.")
    drawn = pixels_by_rank(mask, uniform_numbers((mask.shape[0], 2 * count), mask, generator))
    first, second = drawn.chunk(2, dim=1)
    return PixelPairs(first, second, mask.flatten(1).any(dim=1, keepdim=True) & (first != second))


def _sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the channels of the Sobel gradient to the right and down, zero on the border of one pixel (LeReS)."""
    grey = image.mean(dim=1, keepdim=True)
    if min(grey.shape[-2:]) < 3:
        return torch.zeros_like(grey), torch.zeros_like(grey)
    down = grey[..., :-2, :] + 2 * grey[..., 1:-1, :] + grey[..., 2:, :]
    right = grey[..., :-2] + 2 * grey[..., 1:-1] + grey[..., 2:]
    inner = (down[..., 2:] - down[..., :-2], right[..., 2:, :] - right[..., :-2, :])
    return F.pad(inner[0], (1, 1, 1, 1)), F.pad(inner[1], (1, 1, 1, 1))


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
    generator: torch.Generator | None = None,
) -> PixelPairs:
    """Pairs along the gradient of a picture, across its edges and beside them (Xian et al. 2020; LeReS).

    Anchors are drawn among the edge pixels, of which the border of one pixel has none. On a line through each along the
    gradient lie four points, a and b before and c and d behind the edge, at whole distances of ``nearest`` to
    ``farthest`` pixels, moved onto the border where they would leave the image. The pairs are (a, b), (b, c) and
    (c, d).

    Args:
        image: ``(B, C, H, W)``; the gradient is that of the mean of the channels (LeReS takes the red one).
        count: anchors an image, at least 1; LeReS takes as many as there are edge pixels.
        mask: bool ``(B, 1, H, W)``, where both pixels of a valid pair must lie.
        nearest: smallest distance, at least 1; 2 for ranking and 3 for normals.
        farthest: largest distance; 30 for ranking and 19 for normals.
        edge_fraction: share of the image's largest gradient from which on a pixel is an edge.
        exclude: bool ``(B, 1, H, W)``, pixels that are no anchors, such as the depth edges when normals are compared.
        generator: source of randomness; None takes torch's own.

    Returns:
        ``3 * count`` pairs an image, those of one anchor ``count`` apart.

    Raises:
        ValueError: if the count, the distances or the share are out of range or shapes do not fit.
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
    right, down = _sobel(at_least_float32(image))
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
