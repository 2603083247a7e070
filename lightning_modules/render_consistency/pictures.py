"""Pictures of a new view of a predicted scene, of the predictions for it, and of its rendering back."""

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.alignment import median_scale
from lightning_modules.render_consistency.novel_views import BackRendering, NovelViews
from renderers.colour_bars import depth_bar
from renderers.depth_figure import RELATIVE
from renderers.display import colorize, depth_range
from renderers.figure import Maps
from structures.batch import DepthBatch

_TITLES = {
    "truth": "ground truth",
    "depth": "prediction",
    "view": "new view, rendered",
    "visible": "visible in the new view",
    "warped depth": "rendered depth of the view",
    "predicted depth": "predicted depth of the view",
    "back": "rendered back",
    "back depth": "depth, rendered back",
}
"""Titles of the pictures by their names."""


def consistency_pictures(batch: DepthBatch, depth: Tensor, views: NovelViews, back: BackRendering) -> Maps:
    """RGB pictures ``(B, 3, H, W)`` in [0, 1] by name.

    All depths of an image share one range of colours: that of the ground truth, to which they are aligned by medians,
    with colour bars in metres; of an image without ground truth that of the prediction.

    Args:
        batch: Photos and their ground truth.
        depth: ``(B, 1, H, W)``, the prediction, up to scale.
        views: One view of each photo, of any size.
        back: The views, rendered back.
    """
    truth, mask = batch["depth"], batch["depth_mask"]
    size = batch["image"].shape[-2:]
    known = mask.flatten(1).any(dim=1)
    to_metres = median_scale(depth, target=truth, mask=mask)
    to_metres = torch.where(known & to_metres.isfinite() & (to_metres > 0), to_metres, 1.0)
    ends = zip(depth_range(depth), depth_range(truth, mask=mask), strict=True)
    near, far = (torch.where(known, of_truth / to_metres, of_depth) for of_depth, of_truth in ends)

    def resized(picture: Tensor) -> Tensor:
        return F.interpolate(picture, size=size, mode="nearest")

    def coloured(values: Tensor, visible: Tensor | None = None) -> Tensor:
        return resized(colorize(values, mask=visible, near_m=near, far_m=far))

    maps = {
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
    in_metres = zip((near * to_metres).tolist(), (far * to_metres).tolist(), known.tolist(), strict=True)
    bars = [depth_bar(low, high, "m" if there else RELATIVE) for low, high, there in in_metres]
    of_truth = [bar if there else None for bar, there in zip(bars, known.tolist(), strict=True)]
    coloured_depths = ("depth", "warped depth", "predicted depth", "back depth")
    return Maps(maps, bars={"truth": of_truth, **dict.fromkeys(coloured_depths, bars)}, titles=_TITLES)
