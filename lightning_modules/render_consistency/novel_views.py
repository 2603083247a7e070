"""Views of predicted scenes from new cameras, predictions for them, and the views rendered back into the photos."""

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

Predict = Callable[[Tensor], Tensor]
"""Maps images ``(V, 3, H, W)`` to the depth ``(V, 1, H, W)`` that the network predicts for them."""


class NovelViews(NamedTuple):
    """Views of scenes from new cameras, with two depths to compare."""

    image: Tensor
    """``(V, 3, H, W)``, the view, holes filled with middle grey."""
    warped_depth: Tensor
    """``(V, 1, H, W)``, the depth of another image of the scene, warped into the view."""
    visible: Tensor
    """bool ``(V, 1, H, W)``, False in holes and near them."""
    predicted_depth: Tensor
    """``(V, 1, H, W)``, the network's prediction for the view, aligned in scale to the warped depth."""
    regressor: Tensor
    """``(V, 1, H, W)``, ``sin(yaw) x / f + sin(pitch) y / f``; a wrong shift makes the residual linear in it."""


class BackRendering(NamedTuple):
    """The photos and their depth, rendered from the views and the predictions for them."""

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
    """Renders predicted scenes from new cameras and back. Has no weights.

    Args:
        about: Centre of rotation of the views, see
            :class:`~lightning_modules.render_consistency.view_sampling.ViewSampler`.
        renderer: Renders the points of a scene; not used with views about the camera.
        render_scale: Size of the views as a share of the photo's.
        stride: The sides of views of another size than the photo's are multiples of it.
        edge_jump: Points at a larger relative jump of depth are not rendered (flying pixels).
        hole_margin_px: Radius of the erosion of the visible pixels, which leaves out the surroundings of holes.
        detach_warped: Whether the depth warped into a view has no gradient.
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
        detach_warped: bool,
    ) -> None:
        super().__init__()
        self.about = about
        self.renderer = renderer
        self.render_scale = render_scale
        self.stride = stride
        self.edge_jump = edge_jump
        self.hole_margin_px = hole_margin_px
        self.detach_warped = detach_warped

    def forward(
        self, image: Tensor, depth: Tensor, K: Tensor, sampled: SampledViews, *, predict: Predict
    ) -> NovelViews:
        """Make the views, predict their depth, and warp the depth of another image of the scene into them.

        With views about the scene the warped depth is that of the photo, rendered. With views about the camera it is
        the prediction for the *opposite* view of the pair. Opposite views come from one distribution; photos, which
        show more, come from another, and a network could learn to treat views differently from photos.

        Args:
            image: ``(B, 3, H, W)``, the photos.
            depth: ``(B, 1, H, W)``, their predicted depth; not used with views about the camera.
            K: ``(B, 3, 3)`` of the photos.
            sampled: ``2 B`` cameras, with intrinsics for the photos' size.
            predict: The network's depth of images.

        Returns:
            ``2 B`` views, in the order of the cameras.
        """
        size, K_view = self._view_camera(image, sampled.views)
        photos, K = image.repeat(2, 1, 1, 1), K.repeat(2, 1, 1)
        if self.about == "camera":
            return self._opposite_views(photos, K, sampled, size, K_view, predict)
        return self._rendered_views(photos, depth, K, sampled, size, K_view, predict)

    def back(self, views: NovelViews, K: Tensor, cameras: Views, size: tuple[int, int]) -> BackRendering:
        """Render the views with their predicted depth from the cameras of the photos.

        Args:
            views: ``2 B`` views with predictions.
            K: ``(B, 3, 3)`` of the photos.
            cameras: Cameras of the views.
            size: Height and width of the photos.

        Returns:
            One rendering for each of the ``2 B`` views, at the size of the photos.
        """
        K, K_view = K.repeat(2, 1, 1), scale_to(cameras.K_view, size, (views.image.shape[-2], views.image.shape[-1]))
        back = invert_transform(cameras.T_view_source)
        if self.about == "camera":
            R = back[:, :3, :3]
            turned = turn_view(views.image, views.predicted_depth, K=K_view, K_view=K, R_view_source=R, size=size)
            return BackRendering(turned.image, turned.depth, turned.visible)
        points, kept, spacing = scene_points(views.predicted_depth, K_view, edge_jump=self.edge_jump)
        kept = kept & views.visible.flatten(2)
        drawn = self.renderer(
            points, views.image.flatten(2), K=K, T_view_source=back, size=size, mask=kept, spacing_m=spacing
        )
        return BackRendering(drawn.features, drawn.depth_m, erode(drawn.visible, self.hole_margin_px))

    def _opposite_views(
        self, photos: Tensor, K: Tensor, sampled: SampledViews, size: tuple[int, int], K_view: Tensor, predict: Predict
    ) -> NovelViews:
        """Views about the camera: the prediction for each and that for its opposite, warped into it."""
        R, pairs = sampled.views.T_view_source[:, :3, :3], len(photos) // 2
        turned = turn_view(photos, photos[:, :1], K=K, K_view=K_view, R_view_source=R, size=size)
        predicted = predict(turned.image)
        partner, there, R_partner = (torch.cat([maps[pairs:], maps[:pairs]]) for maps in (predicted, turned.visible, R))
        partner = partner.detach() if self.detach_warped else partner
        between = matrix_product(R, R_partner.transpose(1, 2))
        other = warp_between_views(partner, partner, there=there, K=K_view, R_view_source=between, size=size)
        visible = turned.visible & other.visible
        # The cameras of a pair differ by twice the turn of each from the photo.
        regressor = turn_direction(2 * sampled.yaw, 2 * sampled.pitch, K=K_view, size=size)
        return NovelViews(turned.image, other.depth, visible, _scaled(predicted, other.depth, visible), regressor)

    def _rendered_views(
        self,
        photos: Tensor,
        depth: Tensor,
        K: Tensor,
        sampled: SampledViews,
        size: tuple[int, int],
        K_view: Tensor,
        predict: Predict,
    ) -> NovelViews:
        """Views about the scene: the prediction for each and the depth of the photo, rendered into it."""
        source_depth = (depth.detach() if self.detach_warped else depth).repeat(2, 1, 1, 1)
        points, kept, spacing = scene_points(source_depth, K, edge_jump=self.edge_jump)
        drawn = self.renderer(
            points,
            photos.flatten(2),
            K=K_view,
            T_view_source=sampled.views.T_view_source,
            size=size,
            mask=kept,
            spacing_m=spacing,
        )
        # A view depends on depth only through the positions of its points: its colours have no gradient.
        picture = torch.where(drawn.visible, drawn.features, torch.full_like(drawn.features, 0.5)).detach()
        visible = erode(drawn.visible, self.hole_margin_px)
        predicted = _scaled(predict(picture), drawn.depth_m, visible)
        regressor = turn_direction(sampled.yaw, sampled.pitch, K=K_view, size=size)
        return NovelViews(picture, drawn.depth_m, visible, predicted, regressor)

    def _view_camera(self, image: Tensor, views: Views) -> tuple[tuple[int, int], Tensor]:
        """Size and intrinsics of the views: a share of the photo's, in multiples of the network's stride."""
        height, width = image.shape[-2:]
        if self.render_scale == 1:
            return (height, width), views.K_view
        size = tuple(
            max(self.stride, round(side * self.render_scale / self.stride) * self.stride) for side in (height, width)
        )
        return (size[0], size[1]), scale_to(views.K_view, (height, width), (size[0], size[1]))


def _scaled(predicted: Tensor, warped: Tensor, visible: Tensor) -> Tensor:
    """Predicted depth, scaled to the warped depth by the scale of the least absolute error, without gradient."""
    factor = least_absolute_scale(predicted.detach(), target=warped.detach(), mask=visible)
    return factor.view(-1, 1, 1, 1) * predicted
