"""Inverse warping: source images sampled at the projections of the target's pixels.

Pixel coordinates are in the corner convention (centres at +0.5), which is ``align_corners=False`` of ``grid_sample``:
the identity motion reproduces the image, also at the borders.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.camera import pixel_grid
from geometry.se3 import matrix_product

_NEAR_M = 1e-3
"""A point with a smaller z counts as behind the camera, since x / z and y / z could overflow."""
_OUTSIDE = 2.0
"""Sampling coordinate of points behind the camera, outside the image, which spans -1 to 1."""


class Warped(NamedTuple):
    """The sources at the points of the target's pixels."""

    image: Tensor
    """``(B, S, C, H, W)``: the sources, bilinearly sampled."""
    valid: Tensor
    """bool ``(B, S, 1, H, W)``: the point has a depth, is in front of the source's camera and inside its image."""
    depth_m: Tensor
    """``(B, S, 1, H, W)``: z of the target's points in the source's camera; negative behind it."""


def _inverse_intrinsics(K: Tensor) -> Tensor:
    """``K^-1`` in closed form; ``torch.linalg.inv`` would synchronise the GPU."""
    fx, skew, cx, fy, cy = (K[:, i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    entries = [1 / fx, -skew / (fx * fy), (skew * cy / fy - cx) / fx, zero, 1 / fy, -cy / fy, zero, zero, one]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def _check(sources: Tensor, depth: Tensor, K: Tensor, T_source_target: Tensor, padding: str) -> None:
    if sources.ndim != 5:
        raise ValueError(f"sources has shape {tuple(sources.shape)}, but (B, S, C, H, W) is needed.")
    B, S, _, H, W = sources.shape
    for name, tensor, shape in (
        ("depth", depth, (B, 1, H, W)),
        ("K", K, (B, 3, 3)),
        ("T_source_target", T_source_target, (B, S, 4, 4)),
    ):
        if tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but sources of {tuple(sources.shape)} need {shape}."
            )
    if padding not in ("border", "zeros"):
        raise ValueError(f"padding is {padding!r}, but it must be 'border' or 'zeros'.")


def synthesize_views(
    sources: Tensor,
    *,
    depth: Tensor,
    K: Tensor,
    T_source_target: Tensor,
    padding: Literal["border", "zeros"] = "border",
) -> Warped:
    """Sources sampled at the projections of the target's pixels.

    A pixel u with depth d is projected to ``d K R K^-1 u + K t``. The matrix and the vector are computed once for each
    source and include the scaling of the image to [-1, 1]; a pixel then takes three multiply-adds for each of three
    coordinates and one division. Points that are not in front of the camera are moved outside the image and have no
    gradient. Any channels may be sampled: to sample the depth of the sources as well, concatenate it to their colours.

    Args:
        sources: ``(B, S, C, H, W)``, S images of any channels that share ``K`` with the target.
        depth: ``(B, 1, H, W)``, z of the target's pixels, metres; 0 means no measurement.
        K: ``(B, 3, 3)``, pixels.
        T_source_target: ``(B, S, 4, 4)``, maps points of the target's camera into each source's.
        padding: values outside a source: its border, or zeros.

    Returns:
        :class:`Warped` in at least float32. Gradients flow to all tensors.

    Raises:
        ValueError: if a shape does not fit or ``padding`` is unknown.
    """
    _check(sources, depth, K, T_source_target, padding)
    B, S, C, H, W = sources.shape
    dtype = torch.promote_types(torch.promote_types(sources.dtype, depth.dtype), torch.float32)
    depth, K, T = depth.to(dtype), K.to(dtype), T_source_target.to(dtype)

    # K R K^-1 is computed as I + K (R - I) K^-1, which is exactly I without a rotation.
    turn = T[..., :3, :3] - torch.eye(3, dtype=dtype, device=T.device)
    homography = matrix_product(matrix_product(K.unsqueeze(1), turn), _inverse_intrinsics(K).unsqueeze(1))
    shift = (K.unsqueeze(1) * T[..., None, :3, 3]).sum(dim=-1)
    x, y = pixel_grid(H, W, like=depth)
    x, y = x[:1], y[:, :1]

    def coordinate(turned: Tensor, identity: Tensor | float, shifted: Tensor) -> Tensor:
        """``d (turned^T (x, y, 1) + identity) + shifted``, ``(B, S, H, W)``."""
        a, b, c = turned[..., None, None].unbind(dim=2)
        return torch.addcmul(shifted[..., None, None], depth, (a * x + (c + identity)) + b * y)

    def scaled(row: int, size: int) -> tuple[Tensor, Tensor]:
        """A row of the homography and of the shift with image coordinates from -1 to 1."""
        return homography[:, :, row] * (2 / size) - homography[:, :, 2], shift[..., row] * (2 / size) - shift[..., 2]

    turned_x, shifted_x = scaled(0, W)
    turned_y, shifted_y = scaled(1, H)
    z = coordinate(homography[:, :, 2], 1.0, shift[..., 2])
    in_front = (z > _NEAR_M) & (depth > 0)
    # An infinite z makes both quotients and their gradients zero.
    inverse_z = torch.where(in_front, z, torch.inf).reciprocal()
    off = (~in_front).to(dtype) * _OUTSIDE
    grid_x = torch.addcmul(off, coordinate(turned_x, x * (2 / W) - 1, shifted_x), inverse_z)
    grid_y = torch.addcmul(off, coordinate(turned_y, y * (2 / H) - 1, shifted_y), inverse_z)
    # A grid whose last dimension is contiguous halves the time of the backward pass on a CPU.
    grid = torch.stack([grid_x, grid_y], dim=-1).flatten(0, 1)
    # On a CPU grid_sample reads and writes out of bounds where a coordinate is NaN. A NaN has to stay visible, so that
    # a diverged training stops: it is written into the image instead.
    undefined = grid.detach().isnan().any(dim=-1)
    grid = grid.masked_fill(undefined.unsqueeze(-1), _OUTSIDE)
    image = F.grid_sample(
        sources.to(dtype).flatten(0, 1), grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
    image = image.masked_fill(undefined.unsqueeze(1), torch.nan)
    valid = (grid_x.detach().abs() <= 1) & (grid_y.detach().abs() <= 1)
    return Warped(image.view(B, S, C, H, W), valid.unsqueeze(2), z.unsqueeze(2))
