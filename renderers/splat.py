"""A point renderer in pure torch: points are splatted over a few pixels, with a soft z-buffer.

An image is rendered in two passes of scattered sums and maxima, without a loop over points or pixels. The first finds
the nearest surface at each pixel; the second sums the features of the points on it, weighted by their distance from the
pixel. The result is differentiable with respect to points, features, intrinsics and pose, at about the cost of a warp.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from geometry.stencils import fill_outside
from renderers.point_render import InView, PointRender, PointRenderer
from renderers.scatter import FootprintSums, footprint_cells, shifted

Footprint = Literal["bilinear", "gaussian"]

_STEEP = 1e30
"""Large factor: any positive number times this, clamped to 1, is 1."""
_SIGMAS = 2.5
"""Radius of the Gaussian footprint, in standard deviations."""


def _profile(distance: Tensor, radius: Tensor | float, footprint: Footprint) -> Tensor:
    """Weight along one axis: 1 at the point, decreasing continuously to 0 at the radius."""
    relative = distance / radius
    if footprint == "bilinear":
        return (1 - relative.abs()).clamp(min=0)
    end = math.exp(-(_SIGMAS**2) / 2)
    return ((-(_SIGMAS**2) / 2 * relative.square()).exp() - end).clamp(min=0) / (1 - end)


class SplatRenderer(PointRenderer):
    """Splatting with a soft z-buffer.

    The **footprint** of a point is a product of two profiles, over x and over y. ``gaussian`` with its radius of 1.5
    pixels (sigma 0.6) is recommended for training: its gradients approximate those of a densely sampled surface (cosine
    0.99 for smooth images; 0.95 for ``bilinear``). ``bilinear`` decreases linearly to zero at the radius: with one
    pixel it is the transpose of bilinear sampling, sharper, and reproduces the image if the camera does not move. Both
    leave no hole while points are less than two pixels apart. With ``spacing_m`` a footprint grows with the surface
    patch of its point, from ``radius_px`` for patches of a pixel or less up to ``max_radius_px``, if that is larger, so
    that a surface that comes nearer has no holes.

    The **soft z-buffer** keeps points within ``softness`` (relative to z) of the nearest point that covers the pixel
    with a weight of at least ``min_weight``; the weight of points up to twice as far decreases to zero. Within the
    surface, weights do not depend on depth, so that slanted surfaces are interpolated without bias; an exponential in
    depth would favour the near side. Points that far *in front* have a small weight in the pixel and are faded in the
    same way. Blending is ``sum(w f) / sum(w)``.

    Gradients are those of the rendered image, also through the size of footprints, with the z-buffer as a constant:
    there is no gradient through changes of visibility. On the CPU sums have a fixed order and results are reproducible
    to the bit; on a GPU only with ``torch.use_deterministic_algorithms(True)``.

    Args:
        footprint: ``gaussian`` or ``bilinear``.
        radius_px: distance along x or y at which the footprint ends; None takes 1.5 for Gaussian and 1 for bilinear.
        max_radius_px: largest radius with ``spacing_m``; each point is splatted over ``ceil(2 max_radius_px)`` by as
            many pixels, 5 by 5 for 2.5, and time grows with their number. With None, ``spacing_m`` has no effect.
        softness: relative depth difference within a surface; 0.05 goes with the jump of 0.1 that is an edge for
            :func:`~renderers.point_render.scene_points`.
        min_weight: pixels with a smaller sum of weights are holes; a surface with one point per pixel has about 1
            (bilinear) or 2 (Gaussian). A point with a smaller weight in a pixel does not occlude others there.

    Raises:
        ValueError: if a setting is out of range.
    """

    def __init__(
        self,
        footprint: Footprint = "gaussian",
        *,
        radius_px: float | None = None,
        max_radius_px: float | None = None,
        softness: float = 0.05,
        min_weight: float = 0.05,
    ) -> None:
        super().__init__()
        if footprint not in ("bilinear", "gaussian"):
            raise ValueError(f"footprint is {footprint!r}, but it must be 'bilinear' or 'gaussian'.")
        if radius_px is None:
            radius_px = 1.5 if footprint == "gaussian" else 1.0
        if max_radius_px is None:
            max_radius_px = radius_px
        if not 0.5 < radius_px <= max_radius_px:
            raise ValueError(
                f"radius_px is {radius_px} and max_radius_px {max_radius_px}, but 0.5 < radius_px <= max_radius_px is "
                "needed."
            )
        if not softness > 0 or not min_weight > 0:
            raise ValueError(f"softness is {softness} and min_weight {min_weight}, but both must be positive.")
        self.footprint: Footprint = footprint
        self.radius_px = radius_px
        self.max_radius_px = max_radius_px
        self.softness = softness
        self.min_weight = min_weight

    def draw(self, scene: InView, *, K: Tensor, size: tuple[int, int], spacing_m: Tensor | None) -> PointRender:
        """Render the points that the new camera sees; see :meth:`PointRenderer.draw`."""
        z = scene.points[:, 2:]
        if spacing_m is None or self.max_radius_px == self.radius_px:
            radii: tuple[Tensor | float, Tensor | float] = (self.radius_px, self.radius_px)
            largest = self.radius_px
        else:
            radii = self._radii(fill_outside(spacing_m.to(z.dtype), scene.kept), z, K)
            largest = self.max_radius_px
        profile_x, first_x, width = self._spread(scene.pixels[:, :1], scene.kept, size[1], radii[0], largest)
        profile_y, first_y, height = self._spread(scene.pixels[:, 1:], scene.kept, size[0], radii[1], largest)
        first = (first_y * width + first_x).squeeze(1)
        share = self._on_surface(profile_x.detach(), profile_y.detach(), z.detach(), first, width, width * height)
        columns = torch.cat([scene.features, z], dim=1)
        total = FootprintSums.apply(columns, profile_x, profile_y, share, first, width, width * height)

        border = (width - size[1]) // 2
        total = total.unflatten(-1, (height, width))[..., border:-border, border:-border]
        blended, covered = total[:, :-1], total[:, -1:]
        visible = covered > self.min_weight
        image = fill_outside(blended, visible) / fill_outside(covered, visible, 1.0)
        return PointRender(image[:, :-1], image[:, -1:], covered, visible)

    def _radii(self, spacing_m: Tensor, z: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        """Radius ``(B, 1, N)`` of each footprint along x and along y, pixels."""
        grown = self.radius_px * spacing_m / z
        x, y = (
            (grown * K[:, i, i].to(z.dtype).view(-1, 1, 1)).clamp(self.radius_px, self.max_radius_px) for i in (0, 1)
        )
        return x, y

    def _spread(
        self, coordinate: Tensor, kept: Tensor, length: int, radius: Tensor | float, largest: float
    ) -> tuple[Tensor, Tensor, int]:
        """Footprints along one axis of the image.

        Args:
            coordinate: ``(B, 1, N)``, pixels, from 0 to ``length`` inside the image.
            kept: bool ``(B, 1, N)``.
            length: pixels along this axis.
            radius: ``(B, 1, N)``, or one for all, pixels.
            largest: upper limit of the radii.

        Returns:
            Weight ``(B, T, N)`` at each pixel of the footprints; index ``(B, 1, N)`` of their first pixel in the image
            with a border; and the length with the border on both sides. Dropped points and points outside lie in the
            border.
        """
        n_taps = math.ceil(2 * largest)
        border = n_taps + 1
        beyond = largest + 1.0  # where a footprint of any radius covers no pixel of the image
        position = fill_outside(coordinate - 0.5, kept, -beyond).clamp(-beyond, length - 1 + beyond)
        first = (position.detach() - largest).ceil()
        taps = torch.arange(n_taps, dtype=position.dtype, device=position.device).view(1, -1, 1)
        profile = _profile(taps - (position - first), radius, self.footprint)
        return profile, first.long() + border, length + 2 * border

    @torch.no_grad()
    def _on_surface(
        self, profile_x: Tensor, profile_y: Tensor, z: Tensor, first: Tensor, width: int, cells: int
    ) -> Tensor:
        """Factor ``(B, T, T, N)`` of each point at each pixel of its footprint: 1 on the nearest surface, 0 beyond it.

        The nearest surface is that of the points with a weight of at least ``min_weight`` in the pixel; without any, of
        all points. Comparisons are written as clamped products, which take a fifth of the time of boolean tensors on a
        CPU.
        """
        n_taps = profile_x.shape[1]
        reach = (n_taps - 1) * (width + 1)
        z = z.squeeze(1)
        nearness = z.reciprocal()
        covering, brushing = z.new_zeros(2, len(z), cells)
        for y, x, shift in footprint_cells(n_taps, width):
            footprint = profile_y[:, y] * profile_x[:, x]
            for best, least in ((covering, self.min_weight), (brushing, 0.0)):
                above = (footprint - least).mul_(_STEEP).clamp_(0, 1)
                shifted(best, shift, reach).scatter_reduce_(1, first, above.mul_(nearness), "amax")
        scaled_nearness = torch.where(covering > 0, covering, brushing) / self.softness
        share = z.new_empty(len(z), n_taps, n_taps, z.shape[-1])
        for y, x, shift in footprint_cells(n_taps, width):
            distance = shifted(scaled_nearness, shift, reach).gather(1, first).mul_(z).sub_(1 / self.softness).abs_()
            torch.clamp(2 - distance, 0, 1, out=share[:, y, x])
        return share
