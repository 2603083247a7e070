"""Predicted scenes looked at from new cameras, and photos as they follow from what the network says of those views."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geometry.alignment import least_absolute_scale
from geometry.camera import scale_intrinsics
from geometry.masks import erode
from geometry.novel_views import Views, turn_direction
from geometry.se3 import invert_transform, matrix_product
from lightning_modules.render_consistency.view_sampling import About, SampledViews
from renderers.point_render import PointRenderer, scene_points
from renderers.turned_view import turn_view, warp_between_views

Ask = Callable[[Tensor], Tensor]
"""Depth ``(V, 1, H, W)`` that the network says pictures ``(V, 3, H, W)`` have."""


class SeenAgain(NamedTuple):
    """A scene from a new camera, and what the network says of that picture."""

    image: Tensor
    """``(V, 3, H, W)``, the picture, holes filled with the middle grey."""
    carried: Tensor
    """``(V, 1, H, W)``, depth of the first prediction in the view."""
    visible: Tensor
    """bool ``(V, 1, H, W)``, False in holes and near them."""
    predicted: Tensor
    """``(V, 1, H, W)``, the network's own depth of the picture, times the factor that aligns it."""
    turn: Tensor
    """``(V, 1, H, W)``, ``sin(yaw) x / f + sin(pitch) y / f``: along it a wrong shift tilts the two apart."""


class SeenBack(NamedTuple):
    """Photos and their depth as they follow from what the network said of views."""

    image: Tensor
    """``(V, 3, H, W)``."""
    depth: Tensor
    """``(V, 1, H, W)``."""
    visible: Tensor
    """bool ``(V, 1, H, W)``, False in holes and near them."""


def scale_to(K: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """Intrinsics of an image of one size for the image resized to another, each ``(height, width)``."""
    return scale_intrinsics(K, scale_x=new_size[1] / size[1], scale_y=new_size[0] / size[0])


class SceneViewer(nn.Module):
    """Looks at scenes from new cameras and back. Has no weights.

    Args:
        about: What the views turn about, see :class:`~lightning_modules.render_consistency.view_sampling.ViewSampler`.
        renderer: Draws scenes that turn about themselves; unused about the camera.
        render_scale: Size of the views as a share of the photo's.
        stride: What the sides of views of another size than the photo's are multiples of.
        edge_jump: Points at a larger relative jump of depth are not rendered (flying pixels).
        hole_margin_px: Pixels around holes that are not compared.
        detach_carried: Whether the depth that was carried into a view is a constant.
    """

    def __init__(
        self,
        about: About,
        renderer: PointRenderer,
        *,
        render_scale: float,
        stride: int,
        edge_jump: float,
        hole_margin_px: int,
        detach_carried: bool,
    ) -> None:
        super().__init__()
        self.about = about
        self.renderer = renderer
        self.render_scale = render_scale
        self.stride = stride
        self.edge_jump = edge_jump
        self.hole_margin_px = hole_margin_px
        self.detach_carried = detach_carried

    def forward(self, image: Tensor, depth: Tensor, K: Tensor, sampled: SampledViews, *, ask: Ask) -> SeenAgain:
        """Look at scenes from new cameras, ask the network what it sees, and hold that against what is known already.

        About the scene that is the depth of the photo, carried into the view by rendering. About the camera it is what
        the network says of the *opposite* view of the pair. The two are pictures of one sort; the photo, which shows
        more, is of another, and a network could learn to answer views otherwise than photos.

        Args:
            image: ``(B, 3, H, W)``, the photos.
            depth: ``(B, 1, H, W)``, their predicted depth; unused about the camera.
            K: ``(B, 3, 3)`` of the photos.
            sampled: ``2 B`` cameras, with intrinsics for the photos' size.
            ask: What the network says of pictures of the views.

        Returns:
            Of ``2 B`` views, in the order of the cameras.
        """
        size, K_view = self._view_camera(image, sampled.views)
        photos, K = image.repeat(2, 1, 1, 1), K.repeat(2, 1, 1)
        if self.about == "camera":
            return self._opposite_views(photos, K, sampled, size, K_view, ask)
        return self._rendered_views(photos, depth, K, sampled, size, K_view, ask)

    def back(self, seen: SeenAgain, K: Tensor, views: Views, size: tuple[int, int]) -> SeenBack:
        """The photos and their depth as they follow from what the network said of the views.

        Args:
            seen: What it said, about ``2 B`` views.
            K: ``(B, 3, 3)`` of the photos.
            views: The views.
            size: Height and width of the photos.

        Returns:
            Of each of the ``2 B`` views, at the size of the photos.
        """
        K, K_view = K.repeat(2, 1, 1), scale_to(views.K_view, size, (seen.image.shape[-2], seen.image.shape[-1]))
        back = invert_transform(views.T_view_source)
        if self.about == "camera":
            R = back[:, :3, :3]
            turned = turn_view(seen.image, seen.predicted, K=K_view, K_view=K, R_view_source=R, size=size)
            return SeenBack(turned.image, turned.depth, turned.visible)
        points, kept, spacing = scene_points(seen.predicted, K_view, edge_jump=self.edge_jump)
        kept = kept & seen.visible.flatten(2)
        drawn = self.renderer(
            points, seen.image.flatten(2), K=K, T_view_source=back, size=size, mask=kept, spacing_m=spacing
        )
        return SeenBack(drawn.features, drawn.depth_m, erode(drawn.visible, self.hole_margin_px))

    def _opposite_views(
        self, photos: Tensor, K: Tensor, sampled: SampledViews, size: tuple[int, int], K_view: Tensor, ask: Ask
    ) -> SeenAgain:
        """Views about the camera: what is said of each against what is said of the other of its pair."""
        R, pairs = sampled.views.T_view_source[:, :3, :3], len(photos) // 2
        turned = turn_view(photos, photos[:, :1], K=K, K_view=K_view, R_view_source=R, size=size)
        predicted = ask(turned.image)
        partner, there, R_partner = (torch.cat([maps[pairs:], maps[:pairs]]) for maps in (predicted, turned.visible, R))
        partner = partner.detach() if self.detach_carried else partner
        between = matrix_product(R, R_partner.transpose(1, 2))
        other = warp_between_views(partner, partner, there=there, K=K_view, R_view_source=between, size=size)
        visible = turned.visible & other.visible
        # The cameras of a pair differ by twice the turn of each from the photo.
        turn = turn_direction(2 * sampled.yaw, 2 * sampled.pitch, K=K_view, size=size)
        return SeenAgain(turned.image, other.depth, visible, _aligned(predicted, other.depth, visible), turn)

    def _rendered_views(
        self,
        photos: Tensor,
        depth: Tensor,
        K: Tensor,
        sampled: SampledViews,
        size: tuple[int, int],
        K_view: Tensor,
        ask: Ask,
    ) -> SeenAgain:
        """Views about the scene: what is said of each against the depth that was rendered into it."""
        carried_from = (depth.detach() if self.detach_carried else depth).repeat(2, 1, 1, 1)
        points, kept, spacing = scene_points(carried_from, K, edge_jump=self.edge_jump)
        drawn = self.renderer(
            points,
            photos.flatten(2),
            K=K_view,
            T_view_source=sampled.views.T_view_source,
            size=size,
            mask=kept,
            spacing_m=spacing,
        )
        # A picture depends on depth only through where its points fall: no gradient goes that way.
        picture = torch.where(drawn.visible, drawn.features, torch.full_like(drawn.features, 0.5)).detach()
        visible = erode(drawn.visible, self.hole_margin_px)
        predicted = _aligned(ask(picture), drawn.depth_m, visible)
        turn = turn_direction(sampled.yaw, sampled.pitch, K=K_view, size=size)
        return SeenAgain(picture, drawn.depth_m, visible, predicted, turn)

    def _view_camera(self, image: Tensor, views: Views) -> tuple[tuple[int, int], Tensor]:
        """Size and intrinsics of the views: a share of the photo's, in multiples of the network's stride."""
        height, width = image.shape[-2:]
        if self.render_scale == 1:
            return (height, width), views.K_view
        size = tuple(
            max(self.stride, round(side * self.render_scale / self.stride) * self.stride) for side in (height, width)
        )
        return (size[0], size[1]), scale_to(views.K_view, (height, width), (size[0], size[1]))


def _aligned(predicted: Tensor, carried: Tensor, visible: Tensor) -> Tensor:
    """What is said of the views, times the factor of the least absolute error, a constant."""
    factor = least_absolute_scale(predicted.detach(), target=carried.detach(), mask=visible)
    return factor.view(-1, 1, 1, 1) * predicted
