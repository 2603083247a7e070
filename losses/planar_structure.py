"""Normals, planar segments and planes of predicted depth: the inputs of the planar and the normal loss.

From StructDepth (Li et al. 2021, https://arxiv.org/abs/2108.08574, sections 3.2 to 3.4) as used by GAM-Depth (2024,
https://arxiv.org/abs/2402.14354).
"""

from typing import NamedTuple

from torch import Tensor

from geometry.camera import unproject
from geometry.normals import normals_from_points
from geometry.planes import fit_planes, planar_depth
from losses.manhattan import align_normals, normal_alignment_loss
from losses.planar import planar_loss, planar_mask, segment_planes


class PixelConstants(NamedTuple):
    """Sizes in pixels of the structural terms; the defaults are StructDepth's for images of 384x288."""

    normal_radius: int = 3
    """Distance of the neighbours that a normal is computed from."""
    segment_scale: float = 1.0
    """Size of the planar segments, which scales with the area of the image."""
    min_segment: int = 50
    """Smaller segments are merged with a neighbour."""
    min_plane: int = 200
    """Larger segments count as planes."""
    border: int = 8
    """Pixels at each side without planar and normal terms."""
    border_top: int = 20
    """The same at the top, for the normal term."""


class PlanarStructure(NamedTuple):
    """Inputs of the planar and the normal loss."""

    normals: Tensor
    """``(B, 3, H, W)`` unit vectors of the depth, with gradient."""
    aligned: Tensor
    """``(B, 3, H, W)``: the nearest Manhattan direction of each normal, without gradient."""
    mask: Tensor
    """bool ``(B, 1, H, W)``: planar, and close to its direction."""
    segments: Tensor
    """int64 ``(B, H, W)``: planar segments from 1, 0 means none."""
    planar_depth_m: Tensor
    """``(B, 1, H, W)``: depth of the plane fitted to each segment, metres, with gradient."""


def planar_structure(
    depth: Tensor,
    K: Tensor,
    *,
    image: Tensor,
    vanishing: Tensor,
    min_cosine: float,
    min_depth_m: float,
    max_depth_m: float,
    pixels: PixelConstants,
) -> PlanarStructure:
    """Segment an image into planes by its colours and the normals of its depth, and fit a plane to each segment.

    Args:
        depth: ``(B, 1, H, W)``, metres.
        K: ``(B, 3, 3)`` intrinsics, pixels.
        image: ``(B, 3, H, W)``, any range.
        vanishing: ``(B, 3, 3)``: rows are the Manhattan directions in the camera frame, all zero where unknown.
        min_cosine: Cosine between a normal and its direction above which the pixel is in the mask.
        min_depth_m: Smallest planar depth, metres.
        max_depth_m: Largest planar depth, metres.
        pixels: Sizes in pixels.

    Returns:
        Normals, segments and planar depth.

    Raises:
        ValueError: If shapes do not fit or a number is out of range.
    """
    points = unproject(depth, K)
    normals, defined = normals_from_points(points, radius=pixels.normal_radius)
    aligned, close = align_normals(
        normals, vanishing=vanishing, min_cosine=min_cosine, border=pixels.border, border_top=pixels.border_top
    )
    distance = -(aligned * points.detach()).sum(dim=1, keepdim=True)
    scale, size = pixels.segment_scale, pixels.min_segment
    segments = segment_planes(image, aligned, distance, valid=defined, scale=scale, min_size=size)
    planes = fit_planes(points, segments)
    planar = planar_depth(planes, segments, K, min_depth_m=min_depth_m, max_depth_m=max_depth_m)
    mask = close & planar_mask(segments, min_area=pixels.min_plane, border=pixels.border)
    return PlanarStructure(normals, aligned, mask, segments, planar)


def planar_and_normal_loss(
    depth: Tensor, structure: PlanarStructure, *, pixels: PixelConstants
) -> tuple[Tensor, Tensor]:
    """The planar loss in metres and the normal loss in [0, 2], both scalars (StructDepth, equations 9 and 8).

    Args:
        depth: ``(B, 1, H, W)``, metres: the depth that ``structure`` was computed from.
        structure: Result of :func:`planar_structure`.
        pixels: Sizes in pixels, the same as there.
    """
    area, border = pixels.min_plane, pixels.border
    planar = structure.planar_depth_m
    planar = planar_loss(depth, planar_depth_m=planar, segments=structure.segments, min_area=area, border=border)
    normal = normal_alignment_loss(structure.normals, aligned=structure.aligned, mask=structure.mask)
    return planar, normal
