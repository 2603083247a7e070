"""Properties that every renderer of points has."""

import torch
from torch import Tensor

from geometry.se3 import transform_from_axis_angle
from renderers.point_render import PointRender, PointRenderer, scene_points


def draw_batch_and_single_images(
    renderer: PointRenderer, depth: Tensor, image: Tensor, K: Tensor
) -> tuple[PointRender, dict]:
    """Draw scenes of different cameras and motions together and alone, and assert that both are equal.

    Args:
        renderer: the renderer.
        depth: ``(B, 1, H, W)``.
        image: ``(B, 3, H, W)``.
        K: ``(B, 3, 3)``; the second camera is made longer in place.

    Returns:
        What was drawn of all, and the arguments with which it was drawn.
    """
    K[1, 0, 0] *= 1.3
    size = (depth.shape[-2], depth.shape[-1])
    angles = torch.tensor([[0.0, 0.1 * k, 0.0] for k in range(len(depth))]).to(depth)
    shifts = torch.tensor([[0.1, 0.0, 0.1 * k] for k in range(len(depth))]).to(depth)
    points, mask, _ = scene_points(depth, K)
    scene = {"points": points, "features": image.flatten(2), "K": K, "mask": mask}
    scene["T_view_source"] = transform_from_axis_angle(angles, shifts)
    together = renderer(**scene, size=size)
    for k in range(len(depth)):
        alone = renderer(**{name: value[k : k + 1] for name, value in scene.items()}, size=size)
        for a, b in zip(alone, together, strict=True):
            assert torch.equal(a, b[k : k + 1])
    return together, scene
