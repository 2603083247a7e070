"""Pictures of a new view of a predicted scene, of what the network says of it, and of the way back."""

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.alignment import median_scale
from lightning_modules.render_consistency.novel_views import SeenAgain, SeenBack
from renderers.display import colorize, depth_range
from structures.batch import DepthBatch


def consistency_pictures(batch: DepthBatch, depth: Tensor, seen: SeenAgain, back: SeenBack) -> dict[str, Tensor]:
    """RGB pictures ``(B, 3, H, W)`` in [0, 1] by name.

    All depths of a row share one range of colours, after the alignment by medians with the truth where there is some.

    Args:
        batch: Photos and their truth.
        depth: ``(B, 1, H, W)``, the prediction, up to scale.
        seen: One view of each photo, of any size.
        back: The photos as they follow from the views.
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
        "view": resized(seen.image),
        "seen": resized(seen.visible.float().expand(-1, 3, -1, -1)),
        "turned": coloured(seen.carried, seen.visible),
        "said": coloured(seen.predicted, seen.visible),
        "back": torch.where(back.visible, back.image, torch.zeros_like(back.image)),
        "back depth": coloured(back.depth, back.visible),
    }
