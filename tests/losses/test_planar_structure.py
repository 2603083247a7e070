"""The structural terms together: a plane in a room costs nothing, bent depth costs both terms."""

import torch

from losses.planar_structure import PixelConstants, planar_and_normal_loss, planar_structure
from tests.data.make_clips import SLOPES, plane_clips

PIXELS = PixelConstants(normal_radius=1, min_segment=20, min_plane=40, border=2, border_top=3)


def frames_along_the_planes():
    """Rows are the normal of each clip's plane and two directions orthogonal to it, in the camera frame."""
    first = torch.nn.functional.normalize(torch.tensor([[-x, -y, 1.0] for x, y in SLOPES]), dim=1)
    second = torch.nn.functional.normalize(torch.linalg.cross(first, torch.eye(3)[:2]), dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=1)


def structure_of(depth, vanishing, **pixels):
    batch = plane_clips(3)
    limits = {"min_cosine": 0.9, "min_depth_m": 0.1, "max_depth_m": 10.0}
    return planar_structure(
        depth, batch["K"], image=batch["image"], vanishing=vanishing, pixels=PIXELS._replace(**pixels), **limits
    )


def test_the_defaults_are_those_of_the_paper():
    assert PixelConstants() == (3, 1.0, 50, 200, 8, 20)


def test_depth_of_planes_costs_nothing_and_bent_depth_does():
    depth, directions = plane_clips(3)["depth"], frames_along_the_planes()
    bend = 1 + 0.1 * torch.linspace(-1, 1, depth.shape[-1]).square()
    costs = []
    for values in (depth, bend * depth):
        structure = structure_of(values, directions)
        costs.append(torch.stack(planar_and_normal_loss(values, structure, pixels=PIXELS)))
    assert (costs[0] < torch.tensor([2e-3, 1e-3])).all()
    assert (costs[1] > 5 * costs[0]).all()


def test_borders_and_unknown_directions_are_masked_out():
    depth = plane_clips(3)["depth"]
    mask = structure_of(depth, frames_along_the_planes()).mask
    assert mask.any()
    assert not mask[:, :, :3].any()
    assert not mask[..., :2].any()
    assert not structure_of(depth, torch.zeros(2, 3, 3)).mask.any()


def test_gradients_reach_depth_through_both_terms():
    depth = (plane_clips(3)["depth"] * 1.05 ** torch.linspace(0, 1, 40)).requires_grad_()
    losses = planar_and_normal_loss(depth, structure_of(depth, frames_along_the_planes()), pixels=PIXELS)
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, depth, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0
