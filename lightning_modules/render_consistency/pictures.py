"""Pictures of a new view of a predicted scene, of the predictions for it, and of its rendering back."""

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.alignment import median_scale
from lightning_modules.render_consistency.novel_views import BackRendering, NovelViews
from renderers.display import colorize, depth_range
from structures.batch import DepthBatch


def consistency_pictures(batch: DepthBatch, depth: Tensor, views: NovelViews, back: BackRendering) -> dict[str, Tensor]:
    """RGB pictures ``(B, 3, H, W)`` in [0, 1] by name.

    All depths of an image share one range of colours, after alignment with the ground truth by medians if there is
    some.

    Args:
        batch: Photos and their ground truth.
        depth: ``(B, 1, H, W)``, the prediction, up to scale.
        views: One view of each photo, of any size.
        back: The views, rendered back.
    """
    truth, mask = batch["depth"], batch["depth_mask"]
    size = batch["image"].shape[-2:]
    near, far = depth_range(depth)
    known = mask.flatten(1).any(dim=1)
    to_metres = torch.where(known, median_scale(depth, target=truth, mask=mask), 1.0)

    def resized(picture: Tensor) -> Tensor:
        return F.interpolate(picture, size=size, mode="nearest")

    def coloured(values: Tensor, visible: Tensor | None = None) -> Tensor:
        return resized(colorize(values, mask=visible, near_m=near, far_m=far))

    return {
        "image": batch["image"],
        "truth": colorize(truth, mask=mask, near_m=near * to_metres, far_m=far * to_metres),
        "depth": coloured(depth),
        "view": resized(views.image),
        "visible": resized(views.visible.float().expand(-1, 3, -1, -1)),
        "warped depth": coloured(views.warped_depth, views.visible),
        "predicted depth": coloured(views.predicted_depth, views.visible),
        "back": torch.where(back.visible, back.image, torch.zeros_like(back.image)),
        "back depth": coloured(back.depth, back.visible),
    }
