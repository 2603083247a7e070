"""Interface of the point renderers, and the points of a scene from its depth map.

A novel view of a scene is made by unprojecting each pixel, transforming the points and rendering them. Pixel
coordinates are in the corner convention (centres at +0.5), ``T_a_b`` maps points of frame b into frame a, lengths are
metres.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geometry.camera import project, unproject
from geometry.se3 import apply_transform
from geometry.stencils import at_least_float32, fill_outside
from renderers.point_cloud import depth_edges

_NEAR_M = 1e-3
"""A point with a smaller z counts as behind the camera, since x / z and y / z could overflow."""
_MAX_TANGENT = 1e4
"""Points farther off the optical axis than this times z are outside every image; x / z and y / z could overflow."""


class PointRender(NamedTuple):
    """An image rendered from points."""

    features: Tensor
    """``(B, C, H, W)``: blended features of the points; 0 in holes."""
    depth_m: Tensor
    """``(B, 1, H, W)``: z of the points in the new camera, blended with the same weights; 0 in holes."""
    weight: Tensor
    """``(B, 1, H, W)``, at least 0: sum of the weights with which points cover the pixel; differentiable."""
    visible: Tensor
    """bool ``(B, 1, H, W)``: False in holes, where no kept point covers the pixel."""


class InView(NamedTuple):
    """Points in the new camera; dropped points hold constants without gradient."""

    points: Tensor
    """``(B, 3, N)`` in the camera frame; ``(0, 0, 1)`` where dropped."""
    pixels: Tensor
    """``(B, 2, N)``: x and y in the image, corner convention; outside the image for some points that are kept."""
    features: Tensor
    """``(B, C, N)``; 0 where dropped."""
    kept: Tensor
    """bool ``(B, 1, N)``: in the mask, finite and in front of the camera."""


class PointRenderer(nn.Module, ABC):
    """Renderer of points with features for a pinhole camera, without trainable weights.

    Dropped are points outside ``mask``, points that are not finite, and points that are not in front of the camera.
    They leave holes, where ``visible`` is False, and their gradient is exactly zero. A NaN among the *points* therefore
    does not appear in the image: callers have to check their depth or count the holes. A NaN among the *features* of a
    rendered point stays visible as NaN.
    """

    def forward(
        self,
        points: Tensor,
        features: Tensor,
        *,
        K: Tensor,
        T_view_source: Tensor,
        size: tuple[int, int],
        mask: Tensor | None = None,
        spacing_m: Tensor | None = None,
    ) -> PointRender:
        """Render the points.

        Args:
            points: ``(B, 3, N)`` in the source frame; N may be 0.
            features: ``(B, C, N)``, colours or anything else.
            K: ``(B, 3, 3)`` of the new view, pixels.
            T_view_source: ``(B, 4, 4)``, maps points of the source frame into the new view's.
            size: height and width of the new view.
            mask: bool ``(B, 1, N)``, points to render; None renders all.
            spacing_m: ``(B, 1, N)``, side of the surface patch that a point represents (see :func:`scene_points`), for
                a footprint that grows as the patch comes nearer; None gives all points the same footprint.

        Returns:
            :class:`PointRender` in at least float32.

        Raises:
            ValueError: if a shape does not fit.
        """
        _check(points, features, size, K=K, T_view_source=T_view_source, mask=mask, spacing_m=spacing_m)
        scene = view_points(points, features, K=K, T_view_source=T_view_source, mask=mask)
        return self.draw(scene, K=K, size=size, spacing_m=spacing_m)

    @abstractmethod
    def draw(self, scene: InView, *, K: Tensor, size: tuple[int, int], spacing_m: Tensor | None) -> PointRender:
        """Render the points that the new camera sees.

        Args:
            scene: of :func:`view_points`.
            K: as for :meth:`forward`, as are the others.
            size: height and width.
            spacing_m: ``(B, 1, N)`` or None.

        Returns:
            :class:`PointRender` in at least float32.
        """


def _check(points: Tensor, features: Tensor, size: tuple[int, int], **others: Tensor | None) -> None:
    if points.ndim != 3 or points.shape[1] != 3:
        raise ValueError(f"points has shape {tuple(points.shape)}, but (B, 3, N) is needed.")
    B, _, N = points.shape
    shapes: dict[str, tuple[int | str, ...]] = {
        "features": (B, features.shape[1] if features.ndim == 3 else "C", N),
        "K": (B, 3, 3),
        "T_view_source": (B, 4, 4),
        "mask": (B, 1, N),
        "spacing_m": (B, 1, N),
    }
    for name, tensor in {"features": features, **others}.items():
        shape = shapes[name]
        if tensor is not None and tensor.shape != shape:
            needed = ", ".join(str(side) for side in shape)
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, but points of {tuple(points.shape)} need ({needed})."
            )
    mask = others["mask"]
    if mask is not None and mask.dtype is not torch.bool:
        raise ValueError(f"The mask has type {mask.dtype}, but torch.bool is needed.")
    if min(size) < 1:
        raise ValueError(f"The size of the view is {size}, but both sides must be at least 1.")


def view_points(points: Tensor, features: Tensor, *, K: Tensor, T_view_source: Tensor, mask: Tensor | None) -> InView:
    """Points transformed into the new view and projected.

    Args:
        points: see :meth:`PointRenderer.forward`, as for all others.
        features: ``(B, C, N)``.
        K: ``(B, 3, 3)``.
        T_view_source: ``(B, 4, 4)``.
        mask: bool ``(B, 1, N)`` or None.

    Returns:
        :class:`InView` in at least float32, also under autocast.
    """
    dtype = torch.promote_types(at_least_float32(points).dtype, features.dtype)
    finite = points.sum(dim=1, keepdim=True).isfinite()  # a sum over NaN or infinity is not finite either
    kept = finite if mask is None else finite & mask
    moved = apply_transform(T_view_source.to(dtype), fill_outside(points.to(dtype), kept).unsqueeze(2)).squeeze(2)
    x, y, z = moved.split(1, dim=1)
    # Dropped points have to be replaced before the division, or their gradient would be 0 times infinity.
    kept = kept & (z > _NEAR_M) & (x.abs() < _MAX_TANGENT * z) & (y.abs() < _MAX_TANGENT * z)
    moved = torch.where(kept, moved, moved.new_tensor([0.0, 0.0, 1.0]).view(1, 3, 1))
    pixels, _ = project(moved.unsqueeze(2), K.to(dtype))
    return InView(moved, pixels.squeeze(2), fill_outside(features.to(dtype), kept), kept)


def _stretch(depth: Tensor, K: Tensor, largest: float) -> Tensor:
    """Length of a pixel's surface patch relative to one facing the camera, 1 to ``largest``, ``(B, 1, H, W)``.

    A surface whose log depth changes by ``g`` from one pixel to the next is longer by ``sqrt(1 + (f g)^2)`` there. The
    longer direction is taken; at edges of objects the limit applies.
    """
    log_depth = fill_outside(depth, depth > 0, 1.0).log()
    (by_y,) = torch.gradient(log_depth, dim=-2)
    (by_x,) = torch.gradient(log_depth, dim=-1)
    focal_x, focal_y = (K[:, i, i].view(-1, 1, 1, 1) for i in (0, 1))
    squared = torch.maximum((focal_x * by_x).square(), (focal_y * by_y).square())
    return (1 + squared).sqrt().clamp(max=largest)


def scene_points(
    depth: Tensor, K: Tensor, *, edge_jump: float | None = 0.1, max_stretch: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Points of a scene from its depth map, one for each pixel in row-major order, without flying pixels.

    Networks blur the edges of objects, and the points of the blurred pixels lie between the surfaces: they are masked
    out.

    Args:
        depth: ``(B, 1, H, W)``, metres along z; zero, negative and non-finite depth gives no point.
        K: ``(B, 3, 3)``, pixels.
        edge_jump: largest relative jump to a neighbouring pixel that is still a surface (``far / near - 1``); both
            pixels of a larger one are masked out. None keeps all.
        max_stretch: largest enlargement of the patches of surfaces that are seen obliquely. A patch has one size for
            both directions, so that it becomes wider, too, and the image softer; this is useful only for rotations
            after which an oblique surface faces the camera. With 1, patches are squares facing the camera.

    Returns:
        Points ``(B, 3, H W)`` in the camera frame; mask, bool ``(B, 1, H W)``; and the side ``z / f`` of the patch that
        a pixel sees, ``(B, 1, H W)``, metres (``f`` is the geometric mean of both focal lengths). Where the mask is
        False, points and sides are arbitrary finite values. All in at least float32; gradients flow to depth and K.

    Raises:
        ValueError: if a shape does not fit, ``edge_jump`` is not positive or ``max_stretch`` is below 1.
    """
    if not max_stretch >= 1:
        raise ValueError(f"max_stretch is {max_stretch}, but it must be at least 1.")
    dtype = torch.promote_types(at_least_float32(depth).dtype, K.dtype)
    depth, K = depth.to(dtype), K.to(dtype)
    mask = depth.isfinite() & (depth > 0)
    depth = fill_outside(depth, mask)
    points = unproject(depth, K)
    spacing_m = depth / (K[:, 0, 0] * K[:, 1, 1]).sqrt().view(-1, 1, 1, 1)
    if max_stretch > 1:
        spacing_m = spacing_m * _stretch(depth.detach(), K.detach(), max_stretch)
    if edge_jump is not None:
        mask = mask & ~depth_edges(depth.detach(), max_jump=edge_jump)
    return points.flatten(2), mask.flatten(2), spacing_m.flatten(2)
