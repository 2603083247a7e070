"""Point rendering by PyTorch3D, the reference of ``renderers/splat.py``.

Importing this module needs no PyTorch3D; making a :class:`PyTorch3DRenderer` does.
"""

import importlib
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from geometry.stencils import fill_outside
from renderers.point_render import InView, PointRender, PointRenderer


class Fragments(NamedTuple):
    """Fragments of each pixel, from near to far; -1 in empty slots."""

    point: Tensor
    """int64 ``(B, K, H, W)``, numbers of points in the flat list of all ``B N``."""
    z: Tensor
    """``(B, K, H, W)``, z of the points in the camera; without a gradient."""
    distance: Tensor
    """``(B, K, H, W)``, squared distance from the pixel to the point, where the shorter side of the image spans 2."""


def _library() -> Any:
    """``pytorch3d.renderer``.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        return importlib.import_module("pytorch3d.renderer")
    except ImportError as error:
        raise ImportError(
            "PyTorch3D is not installed: install the extra `pytorch3d` of this project or build PyTorch3D from source, "
            "or choose the renderer `splat`, which needs neither."
        ) from error


class PyTorch3DRenderer(PointRenderer):
    """Renders points as discs with PyTorch3D's ``PointsRasterizer`` and one of its compositors.

    A pixel blends the ``points_per_pixel`` nearest points whose discs cover it, with weights ``1 - d^2 / r^2``.
    ``norm_weighted`` divides their weighted sum by the sum of weights; ``alpha`` takes the weights as opacities from
    near to far, and the depth is divided by the accumulated opacity where the colours are not, as in PyTorch3D.

    PyTorch3D's ``norm_weighted`` blends all points of a pixel, however far they are behind each other, so that the
    background bleeds into the foreground. With ``softness`` points that lie farther behind the nearest one than this
    lose their weight, as in :class:`~renderers.splat.SplatRenderer`; None is PyTorch3D's original behaviour. It also
    does not limit the sum of weights that it divides by, so that gradients are unbounded where only the rim of a disc
    covers a pixel: such pixels are holes here, unless ``min_weight`` is 0.

    Gradients flow to features, and through weights and z to points, intrinsics and pose; the selection of points and
    their occlusion are constants. ``spacing_m`` is checked but not used: all discs have one radius.

    On the CPU PyTorch3D compares every pixel with every point (half a second and more for an image of 128x160).

    Args:
        radius_px: radius of the discs, pixels. PyTorch3D uses units in which the shorter side of the image is 2:
            ``r = 2 radius_px / min(H, W)``.
        points_per_pixel: nearest points that a pixel blends.
        compositor: ``norm_weighted`` or ``alpha``.
        softness: relative depth difference within a surface; weights decrease to zero at twice that. None keeps all.
        min_weight: pixels with a sum of weights of at most this are holes; a surface with one point per pixel has about
            3.5 (opacity 1). 0 keeps every pixel that a disc covers.

    Raises:
        ValueError: if a setting is out of range.
        ImportError: if PyTorch3D is not installed.
    """

    def __init__(
        self,
        *,
        radius_px: float = 1.5,
        points_per_pixel: int = 8,
        compositor: Literal["norm_weighted", "alpha"] = "norm_weighted",
        softness: float | None = 0.05,
        min_weight: float = 0.5,
    ) -> None:
        super().__init__()
        if compositor not in ("norm_weighted", "alpha"):
            raise ValueError(f"compositor is {compositor!r}, but it must be 'norm_weighted' or 'alpha'.")
        if not radius_px > 0 or points_per_pixel < 1:
            raise ValueError(
                f"radius_px is {radius_px} and points_per_pixel {points_per_pixel}, but both must be positive."
            )
        if softness is not None and not softness > 0:
            raise ValueError(f"softness is {softness}, but it must be positive or None.")
        if not min_weight >= 0:
            raise ValueError(f"min_weight is {min_weight}, but it must not be negative.")
        _library()
        self.radius_px = radius_px
        self.points_per_pixel = points_per_pixel
        self.compositor = compositor
        self.softness = softness
        self.min_weight = min_weight

    def draw(self, scene: InView, *, K: Tensor, size: tuple[int, int], spacing_m: Tensor | None) -> PointRender:
        """Render the points that the new camera sees; see :meth:`PointRenderer.draw`."""
        dtype = scene.points.dtype  # PyTorch3D computes in float32
        radius = 2 * self.radius_px / min(size)
        z = scene.points[:, 2:]
        columns = torch.cat([scene.features, z, torch.ones_like(z)], dim=1).float()
        with torch.autocast(scene.points.device.type, enabled=False):
            # PyTorch3D ignores points behind the camera.
            seen = torch.where(scene.kept, scene.points, -torch.ones_like(scene.points)).float()
            fragments = self.rasterize(seen, K.float(), size=size, radius=radius)
            weight = 1 - fragments.distance / radius**2
            weight = fill_outside(weight * self._on_surface(fragments.z), fragments.point >= 0)
            image = self.composite(fragments.point, weight, columns).to(dtype)
        blended_z, opacity = image[:, -2:-1], image[:, -1:]
        total = opacity if self.compositor == "alpha" else weight.sum(dim=1, keepdim=True).to(dtype)
        visible = (fragments.z[:, :1] > 0) & (total > self.min_weight)
        depth = fill_outside(blended_z, visible) / fill_outside(opacity, visible, 1.0)
        return PointRender(fill_outside(image[:, :-2], visible), depth, total, visible)

    def rasterize(self, points: Tensor, K: Tensor, *, size: tuple[int, int], radius: float) -> Fragments:
        """Fragments: the points that cover each pixel.

        Args:
            points: ``(B, 3, N)`` in the camera frame (x right, y down, z forward); those with negative z are left out.
            K: ``(B, 3, 3)``, pixels, corner convention, which is PyTorch3D's too.
            size: height and width.
            radius: radius of the discs; the shorter side of the image is 2.

        Returns:
            :class:`Fragments`.
        """
        B, _, N = points.shape
        if N == 0:
            empty = points.new_full((B, self.points_per_pixel, *size), -1.0)
            return Fragments(empty.long(), empty, empty)
        library = _library()
        x, y, z = points.unbind(dim=1)
        # In PyTorch3D x points left and y up, and cameras have no skew.
        skewed = x + (K[:, 0, 1] / K[:, 0, 0]).unsqueeze(1) * y
        cloud = importlib.import_module("pytorch3d.structures").Pointclouds(torch.stack([-skewed, -y, z], dim=-1))
        cameras = library.PerspectiveCameras(
            focal_length=torch.stack([K[:, 0, 0], K[:, 1, 1]], dim=1),
            principal_point=K[:, :2, 2],
            in_ndc=False,
            image_size=(size,) * B,
            device=points.device,
        )
        settings = library.PointsRasterizationSettings(
            image_size=size,
            radius=radius,
            points_per_pixel=self.points_per_pixel,
            bin_size=None if points.is_cuda else 0,  # bins work on a GPU only
        )
        found = library.PointsRasterizer(cameras, settings)(cloud)
        index, nearest, distance = (values.permute(0, 3, 1, 2) for values in (found.idx, found.zbuf, found.dists))
        return Fragments(index.long(), nearest.detach(), distance)

    def composite(self, index: Tensor, weight: Tensor, columns: Tensor) -> Tensor:
        """Blended values of the fragments of each pixel.

        Args:
            index: int64 ``(B, K, H, W)``, as in :class:`Fragments`.
            weight: ``(B, K, H, W)``.
            columns: ``(B, C, N)``, values of the points.

        Returns:
            ``(B, C, H, W)``, 0 in pixels without fragments.
        """
        if columns.shape[-1] == 0:
            nothing = columns.sum() + weight.sum() * 0  # of no point, but in the graph
            return nothing.expand(len(columns), columns.shape[1], *weight.shape[2:])
        library = _library()
        make = library.AlphaCompositor if self.compositor == "alpha" else library.NormWeightedCompositor
        blended: Tensor = make()(index, weight, columns.transpose(0, 1).flatten(1))
        return blended

    def _on_surface(self, z: Tensor) -> Tensor:
        """Weight factor ``(B, K, H, W)`` of each fragment: 1 on the nearest surface of the pixel, 0 far behind it."""
        if self.softness is None:
            return torch.ones_like(z)
        behind = z / z[:, :1] - 1
        return (2 - behind / self.softness).clamp(0, 1)
