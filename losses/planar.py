"""Segmentation of an image into planar regions, and the planar loss between depth and the planes of the regions.

From StructDepth (Li et al. 2021, https://arxiv.org/abs/2108.08574, sections 3.3 and 3.4) as used by GAM-Depth (2024,
https://arxiv.org/abs/2402.14354).
"""

import torch
from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside, neighbour_masks
from losses.graph_segmentation import segment_grid


def _normalised(values: Tensor, mask: Tensor) -> Tensor:
    """Min-max normalisation of the masked values of each image; 0 where all are equal and outside the mask."""
    flat, keep = values.flatten(1), mask.flatten(1)
    low = torch.where(keep, flat, torch.inf).amin(dim=1, keepdim=True)
    high = torch.where(keep, flat, -torch.inf).amax(dim=1, keepdim=True)
    spread = torch.where(high > low, high - low, torch.ones_like(low))
    return torch.where(keep, (flat - low) / spread, torch.zeros_like(flat)).view_as(values)


def _costs(image: Tensor, normals: Tensor, distance: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Costs ``(B, H - 1, W)`` or ``(B, H, W - 1)`` between neighbours along a dimension, in [0, 1]."""
    size = image.shape[dim] - 1
    colour, normal, offset = (
        (values.narrow(dim, 1, size) - values.narrow(dim, 0, size)).square().sum(dim=1).sqrt()  # faster than a norm
        for values in (image, normals, distance)
    )
    geometry = _normalised(_normalised(offset, mask) + _normalised(normal, mask), mask)
    cost = _normalised(torch.maximum(_normalised(colour, mask), geometry), mask)
    # There is no edge to an invalid pixel.
    return cost.masked_fill(~mask, torch.inf)


@torch.no_grad()
def segment_planes(
    image: Tensor,
    normals_aligned: Tensor,
    plane_distance: Tensor,
    *,
    valid: Tensor,
    scale: float = 1.0,
    min_size: int = 50,
) -> Tensor:
    """Segments of similar colour, normal and distance of the plane from the camera.

    Between neighbours, for each of the directions down and right, with ``N`` the min-max normalisation over an
    image's valid pairs: ``cost = N(max(N(|colour|), N(N(|distance|) + N(|normal|))))``, Euclidean norms of the
    differences. The costs are the input of graph segmentation (StructDepth, section 3.3), which runs on the CPU. No
    gradient flows through it.

    Args:
        image: ``(B, 3, H, W)``, any range.
        normals_aligned: ``(B, 3, H, W)`` unit vectors, stored at their own pixel.
        plane_distance: ``(B, 1, H, W)`` or ``(B, H, W)``: normal times point, in any unit.
        valid: bool ``(B, 1, H, W)``, where normals and distance are defined. Pixels that are not finite are excluded
            too.
        scale: size of the segments, see :func:`losses.graph_segmentation.segment_grid`; the paper's 1 is for 384x288.
        min_size: smaller segments are merged with a neighbour, pixels; the paper's 50 are for 384x288.

    Returns:
        int64 ``(B, H, W)`` on the device of ``image``: segments from 1, 0 where not valid.

    Raises:
        ValueError: if the shapes do not fit or a number is out of range.
    """
    distance = plane_distance.unsqueeze(1) if plane_distance.ndim == 3 else plane_distance
    shape = (image.shape[0], 1, *image.shape[-2:])
    if (
        image.ndim != 4
        or normals_aligned.shape != (image.shape[0], 3, *image.shape[-2:])
        or distance.shape != shape
        or valid.shape != shape
        or valid.dtype is not torch.bool
    ):
        raise ValueError(
            f"image, normals, plane distance and valid have the shapes {tuple(image.shape)}, "
            f"{tuple(normals_aligned.shape)}, {tuple(plane_distance.shape)} and {tuple(valid.shape)} ({valid.dtype}), "
            "but (B, 3, H, W), (B, 3, H, W), (B, 1, H, W) and bool (B, 1, H, W) are needed."
        )
    parts = [at_least_float32(values) for values in (image, normals_aligned, distance)]
    for values in parts:
        valid = valid & values.isfinite().all(dim=1, keepdim=True)
    colour, normals, distance = (fill_outside(values, valid) for values in parts)
    mask_right, mask_down = neighbour_masks(valid)
    labels = segment_grid(
        _costs(colour, normals, distance, mask_down[:, 0], 2).float().cpu().numpy(),
        _costs(colour, normals, distance, mask_right[:, 0], 3).float().cpu().numpy(),
        valid=valid[:, 0].cpu().numpy(),
        scale=scale,
        min_size=min_size,
        threads=torch.get_num_threads(),
    )
    return torch.from_numpy(labels).to(image.device)


def planar_mask(segments: Tensor, *, min_area: int = 200, border: int = 8) -> Tensor:
    """Mask of the segments that are large enough to count as planes, without the border of the image.

    Args:
        segments: int64 ``(B, H, W)``, 0 = none.
        min_area: pixels; a segment counts if it has more, those in the border included. The default is the paper's for
            384x288 pixels and should be scaled with the area of the image.
        border: pixels at each side that are excluded; the paper's 8 are for 384x288 and should be scaled with the
            width.

    Returns:
        bool ``(B, 1, H, W)``.

    Raises:
        ValueError: if ``segments`` has another shape or type, or a number is negative.
    """
    if segments.ndim != 3 or segments.dtype is not torch.int64:
        raise ValueError(f"segments is {segments.dtype} {tuple(segments.shape)}, but int64 (B, H, W) is needed.")
    if min_area < 0 or border < 0:
        raise ValueError(f"min_area is {min_area} and border {border} pixels, but neither must be negative.")
    height, width = segments.shape[1:]
    flat = segments.flatten(1)
    # There are at most H * W segments; reading the largest id would synchronise the GPU.
    areas = torch.zeros(len(segments), height * width + 1, dtype=torch.int64, device=segments.device)
    areas.scatter_add_(1, flat, torch.ones_like(flat))
    large = (areas.gather(1, flat) > min_area) & (flat > 0)
    inside = torch.zeros(height, width, dtype=torch.bool, device=segments.device)
    inside[border : max(height - border, 0), border : max(width - border, 0)] = True
    return (large.view_as(segments) & inside).unsqueeze(1)


def planar_loss(
    depth: Tensor, *, planar_depth_m: Tensor, segments: Tensor, min_area: int = 200, border: int = 8
) -> Tensor:
    """Mean absolute difference of depth and the depth of its planes, ``<|D - D_planar| M>`` over *all* pixels.

    ``M`` is :func:`planar_mask` without the pixels where either depth is not finite. Because the mean is taken over all
    pixels, as in StructDepth (eq. 9), images without large segments have less weight. Gradients flow to both depths.

    Args:
        depth: ``(B, 1, H, W)``, metres.
        planar_depth_m: ``(B, 1, H, W)``, depth of the planes fitted to the segments, metres.
        segments: int64 ``(B, H, W)``, 0 = none.
        min_area: pixels, see :func:`planar_mask`.
        border: pixels, see :func:`planar_mask`.

    Returns:
        Scalar, metres.

    Raises:
        ValueError: if the shapes do not fit or a number is negative.
    """
    mask = planar_mask(segments, min_area=min_area, border=border)
    if depth.shape != mask.shape or planar_depth_m.shape != mask.shape:
        raise ValueError(
            f"depth, planar depth and segments have the shapes {tuple(depth.shape)}, {tuple(planar_depth_m.shape)} and "
            f"{tuple(segments.shape)}, but (B, 1, H, W) twice and (B, H, W) are needed."
        )
    mask = mask & depth.isfinite() & planar_depth_m.isfinite()
    depth, planar_depth_m = (fill_outside(at_least_float32(d), mask) for d in (depth, planar_depth_m))
    return (depth - planar_depth_m).abs().mean()
