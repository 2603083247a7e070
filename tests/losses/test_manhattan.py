"""Alignment of normals in closed form (a box room seen by a turned camera) and against the released GAM-Depth."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from losses.manhattan import align_normals, cosine_threshold, normal_alignment_loss
from losses.planar import planar_mask

GOLDEN = Path(__file__).parents[1] / "golden"


def rotation(yaw: float, pitch: float, roll: float) -> torch.Tensor:
    (sy, cy), (sp, cp), (sr, cr) = ((math.sin(a), math.cos(a)) for a in (yaw, pitch, roll))
    about_y = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]], dtype=torch.float64)
    about_x = torch.tensor([[1, 0, 0], [0, cp, -sp], [0, sp, cp]], dtype=torch.float64)
    about_z = torch.tensor([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]], dtype=torch.float64)
    return about_z @ about_x @ about_y


def box_room(R_camera_world: torch.Tensor, height: int = 40, width: int = 60) -> torch.Tensor:
    """Exact normals ``(1, 3, H, W)``, away from the camera, of a box of 4 x 3 x 5 m around a camera at its middle."""
    x, y = torch.arange(width).double() + 0.5 - width / 2, torch.arange(height).double() + 0.5 - height / 2
    rays = torch.stack([x.expand(height, width) / 40, y[:, None].expand(height, width) / 40, torch.ones(height, width)])
    world = torch.einsum("ji,jyx->iyx", R_camera_world, rays.double())
    wall = (world.abs() / torch.tensor([2.0, 1.5, 2.5]).view(3, 1, 1)).argmax(dim=0)
    normals = torch.nn.functional.one_hot(wall, 3).permute(2, 0, 1) * world.sign()
    return torch.einsum("ij,jyx->iyx", R_camera_world, normals)[None]


def tilted(normals: torch.Tensor, angle: float) -> torch.Tensor:
    """Turn every normal by an angle, about an axis that stands on it."""
    aside = torch.linalg.cross(normals, torch.tensor([0.3, -0.5, 0.8], dtype=normals.dtype).view(1, 3, 1, 1), dim=1)
    aside = aside / aside.norm(dim=1, keepdim=True)
    return math.cos(angle) * normals + math.sin(angle) * aside


def test_exact_normals_of_a_box_room_align_with_themselves():
    R = rotation(0.5, -0.3, 0.1)
    normals = box_room(R)
    assert len(normals.flatten(2).unique(dim=2)[0].T) >= 3  # three walls at least are in view
    # The rows are the world's axes in the camera, in any order and of any sign.
    vanishing = (R.T[[2, 0, 1]] * torch.tensor([-1.0, 1, -1]).view(3, 1))[None]
    aligned, mask = align_normals(normals, vanishing=vanishing, min_cosine=0.98, border=0, border_top=0)
    torch.testing.assert_close(aligned, normals, rtol=0, atol=1e-12)
    assert mask.all()
    assert normal_alignment_loss(normals, aligned=aligned, mask=mask).item() == pytest.approx(0, abs=1e-12)


def test_tilted_normals_go_back_to_their_walls_and_cost_one_minus_cosine():
    R = rotation(-0.4, 0.2, 0.05)
    exact = box_room(R)
    normals = tilted(exact, math.radians(20))
    for degrees, expected in ((21, 1 - math.cos(math.radians(20))), (19, 0.0)):
        threshold = math.cos(math.radians(degrees))
        aligned, mask = align_normals(normals, vanishing=R.T[None], min_cosine=threshold, border=0, border_top=0)
        torch.testing.assert_close(aligned, exact, rtol=0, atol=1e-12)
        loss = normal_alignment_loss(normals, aligned=aligned, mask=mask)
        assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_the_mean_runs_over_all_pixels():
    normals = torch.tensor([0.6, 0.0, 0.8]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    aligned = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand_as(normals)
    mask = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    mask[0, 0, 1, :3] = True
    assert normal_alignment_loss(normals, aligned=aligned, mask=mask).item() == pytest.approx(3 * 0.2 / 40)


def test_the_borders_are_masked_out():
    normals = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand(1, 3, 10, 12)
    _, mask = align_normals(normals, vanishing=torch.eye(3)[None], min_cosine=0.9, border=2, border_top=3)
    expected = torch.zeros(10, 12, dtype=torch.bool)
    expected[3:8, 2:10] = True
    assert torch.equal(mask[0, 0], expected)
    _, mask = align_normals(normals, vanishing=torch.eye(3)[None], min_cosine=0.9, border=8, border_top=20)
    assert not mask.any()


def test_an_image_without_vanishing_directions_keeps_its_normals_unmasked():
    normals = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).expand(2, 3, 6, 6)
    vanishing = torch.stack([torch.zeros(3, 3), torch.eye(3)])
    for min_cosine in (-1.0, 0.9):
        aligned, mask = align_normals(normals, vanishing=vanishing, min_cosine=min_cosine, border=0, border_top=0)
        assert torch.equal(aligned, normals)
        assert not mask[0].any()
        assert mask[1].all()


def test_undefined_normals_never_pass():
    normals = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1).repeat(1, 1, 5, 5)
    normals[:, :, 1, 1] = 0
    normals[:, 0, 2, 2] = float("nan")
    aligned, mask = align_normals(normals, vanishing=torch.eye(3)[None], min_cosine=-1.0, border=0, border_top=0)
    assert mask.sum() == 23
    assert not mask[0, 0, [1, 2], [1, 2]].any()
    assert not aligned[0, :, [1, 2], [1, 2]].any()
    normals.requires_grad_(True)
    loss = normal_alignment_loss(normals, aligned=aligned, mask=mask)
    (gradient,) = torch.autograd.grad(loss, normals)
    assert loss.item() == 0
    assert gradient.isfinite().all()


def test_the_gradient_flows_through_the_normals_only():
    normals = tilted(box_room(rotation(0.3, 0.1, 0)), 0.2).requires_grad_(True)
    aligned, mask = align_normals(normals, vanishing=rotation(0.3, 0.1, 0).T[None], min_cosine=0.9)
    assert not aligned.requires_grad
    other = aligned.clone().requires_grad_(True)
    mask[:] = True
    normal_alignment_loss(normals, aligned=other, mask=mask).backward()
    assert other.grad is None
    torch.testing.assert_close(normals.grad, -aligned / mask.numel())


def test_threshold_is_the_papers_at_both_ends():
    for epoch in (0, 10, 49):
        assert cosine_threshold(epoch / 49) == pytest.approx((900 + 1.633 * epoch) / 1000, abs=2e-5)
    with pytest.raises(ValueError, match=r"progress is 1\.5"):
        cosine_threshold(1.5)


def released_normals(points: np.ndarray, radius: int = 3) -> np.ndarray:
    """The released normals with their shift: that of pixel ``(y, x)`` is stored at ``(y + 3, x - 3)``."""
    height, width = points.shape[2:]

    def at(y: int, x: int) -> np.ndarray:
        return points[:, :, radius + y : height - radius + y, radius + x : width - radius + x]

    def cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.cross(first, second, axis=1)

    r, centre = radius, at(0, 0)
    raw = cross(centre - at(0, r), at(r, 0) - centre) + cross(centre - at(0, -r), at(-r, 0) - centre)
    raw += cross(centre - at(r, -r), at(-r, -r) - centre) + cross(at(-r, r) - centre, centre - at(r, r))
    normals = np.zeros_like(points)
    normals[:, :, 2 * r :, : width - 2 * r] = -raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return normals


def test_loss_equals_the_released_gam_depth():
    with np.load(GOLDEN / "gam_losses_inputs.npz") as golden:
        depth = 1 / (0.1 + 9.9 * golden["disp"].astype(np.float64))
        y, x = np.mgrid[: depth.shape[2], : depth.shape[3]]
        rays = np.einsum("bij,jyx->biyx", golden["inv_K"][:, :3, :3], np.stack([x, y, np.ones_like(x)]))
        segments, vanishing = torch.from_numpy(golden["segment"]).long(), torch.from_numpy(golden["vps"])[:, :3]
    normals = torch.from_numpy(released_normals(depth * rays))
    aligned, mask = align_normals(normals, vanishing=vanishing, min_cosine=cosine_threshold(0))
    loss = normal_alignment_loss(normals, aligned=aligned, mask=mask & planar_mask(segments))
    with np.load(GOLDEN / "gam_losses_scalars.npz") as golden:
        assert loss.item() == pytest.approx(golden["norm"].item(), rel=1e-5)


@pytest.mark.parametrize("vanishing", [torch.eye(3), torch.zeros(2, 6, 3)])
def test_another_shape_is_named(vanishing):
    with pytest.raises(ValueError, match="normals and vanishing have the shapes"):
        align_normals(torch.zeros(2, 3, 4, 5), vanishing=vanishing, min_cosine=0.9)
    with pytest.raises(ValueError, match="mask is"):
        normal_alignment_loss(torch.zeros(2, 3, 4, 5), aligned=torch.zeros(2, 3, 4, 5), mask=torch.ones(2, 1, 4, 5))
