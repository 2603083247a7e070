"""Views of a camera that is rotated about its own centre: a homography of the photo, independent of depth.

The view is a natural image of the same scene, without holes and the artefacts of rendered points. The depth changes as
``z' = z (R r)_z``, which a constant shift of depth does not follow, so that the shift can be estimated.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.camera import pixel_grid
from geometry.stencils import at_least_float32


class TurnedView(NamedTuple):
    """A photo and its depth in a rotated camera."""

    image: Tensor
    """``(B, C, h, w)``, bilinearly sampled; the photo's border is repeated outside of it."""
    depth: Tensor
    """``(B, 1, h, w)``, z in the rotated camera."""
    visible: Tensor
    """bool ``(B, 1, h, w)``, True where the photo shows this direction."""


def turn_view(
    image: Tensor,
    depth: Tensor,
    *,
    K: Tensor,
    K_view: Tensor,
    R_view_source: Tensor,
    size: tuple[int, int],
) -> TurnedView:
    """View of a photo with depth from a camera rotated about its centre.

    The ray ``q`` of a pixel of the view is ``p = R^T q`` in the source; the point on it has ``z = z' p_z``, so
    ``z' = z / p_z``. Depth is sampled bilinearly, like colours, and therefore interpolated across edges.

    Args:
        image: ``(B, C, H, W)``, any channels.
        depth: ``(B, 1, H, W)``, z in the source camera, any unit.
        K: ``(B, 3, 3)``, pixels of the photo, zero skew.
        K_view: ``(B, 3, 3)``, pixels of the view, zero skew.
        R_view_source: ``(B, 3, 3)``.
        size: height and width of the view.

    Returns:
        :class:`TurnedView`; gradients flow to ``image`` and ``depth``, not to the cameras.

    Raises:
        ValueError: if a shape is wrong.
    """
    B, _, H, W = image.shape
    if depth.shape != (B, 1, H, W) or K.shape != (B, 3, 3) or K_view.shape != K.shape or R_view_source.shape != K.shape:
        raise ValueError(
            f"depth, K, K_view and R_view_source have the shapes {tuple(depth.shape)}, {tuple(K.shape)}, "
            f"{tuple(K_view.shape)} and {tuple(R_view_source.shape)}, but an image of {tuple(image.shape)} needs "
            f"{(B, 1, H, W)} and three times {(B, 3, 3)}."
        )
    image, depth = at_least_float32(image), at_least_float32(depth)
    K, K_view, R = (matrix.detach().to(depth.dtype) for matrix in (K, K_view, R_view_source))
    h, w = size
    x, y = pixel_grid(h, w, like=depth)

    def entry(matrix: Tensor, i: int, j: int) -> Tensor:
        return matrix[:, i, j].view(B, 1, 1)

    ray_x = (x - entry(K_view, 0, 2)) / entry(K_view, 0, 0)
    ray_y = (y - entry(K_view, 1, 2)) / entry(K_view, 1, 1)
    p = [entry(R, 0, i) * ray_x + entry(R, 1, i) * ray_y + entry(R, 2, i) for i in range(3)]
    in_front = p[2] > 1e-3
    p_z = torch.where(in_front, p[2], torch.ones_like(p[2]))
    grid_x = (entry(K, 0, 0) * p[0] / p_z + entry(K, 0, 2)) * (2 / W) - 1
    grid_y = (entry(K, 1, 1) * p[1] / p_z + entry(K, 1, 2)) * (2 / H) - 1
    grid = torch.stack([grid_x, grid_y], dim=-1).where(in_front.unsqueeze(-1), torch.full_like(p_z, 2.0).unsqueeze(-1))
    # On a CPU grid_sample reads out of bounds at a NaN; the view of a NaN camera is not visible anywhere.
    grid = grid.nan_to_num(nan=2.0)
    sampled = F.grid_sample(
        torch.cat([image, depth], dim=1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    visible = (grid.abs() <= 1).all(dim=-1).unsqueeze(1)
    return TurnedView(sampled[:, :-1], sampled[:, -1:] / p_z.unsqueeze(1), visible)


def warp_between_views(
    values: Tensor, depth: Tensor, *, there: Tensor, K: Tensor, R_view_source: Tensor, size: tuple[int, int]
) -> TurnedView:
    """Maps of one view of a photo, warped into another view of the same photo with the same intrinsics.

    Args:
        values: ``(B, C, H, W)``, any maps of the first view.
        depth: ``(B, 1, H, W)``, z of the first view.
        there: bool ``(B, 1, H, W)``, pixels of the first view that show the photo.
        K: ``(B, 3, 3)``, pixels of both views.
        R_view_source: ``(B, 3, 3)``, rotation from the first view to the second.
        size: height and width of the views.

    Returns:
        :class:`TurnedView` of the values; visible are pixels that are inside the first view and show the photo there.
    """
    maps = torch.cat([values, there.to(values.dtype)], dim=1)
    turned = turn_view(maps, depth, K=K, K_view=K, R_view_source=R_view_source, size=size)
    # A pixel that is interpolated with one outside the photo is not visible.
    return TurnedView(turned.image[:, :-1], turned.depth, turned.visible & (turned.image[:, -1:] > 0.99))
