"""Plane fits against a loop of numpy solves, exact planes and the released GAM-Depth."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geometry.camera import unproject
from geometry.planes import fit_planes, planar_depth

GOLDEN = Path(__file__).parents[1] / "golden"
K = torch.tensor([[[30.0, 0.0, 6.0], [0.0, 28.0, 4.0], [0.0, 0.0, 1.0]]] * 2, dtype=torch.float64)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Points and segments 0 to 5 of two images; segment 4 is empty, and 5 as well in the first image."""
    generator = torch.Generator().manual_seed(0)
    depth = 1 + torch.rand(2, 1, 8, 12, generator=generator, dtype=torch.float64)
    segments = torch.randint(0, 4, (2, 8, 12), generator=generator)
    segments[1, 2:4] = 5
    return unproject(depth, K), segments


def numpy_planes(points: torch.Tensor, segments: torch.Tensor, n: int, ridge: float) -> np.ndarray:
    planes = np.zeros((len(points), n, 3))
    for b in range(len(points)):
        for s in range(1, n + 1):
            X = points[b, :, segments[b] == s].numpy()
            planes[b, s - 1] = np.linalg.solve(X @ X.T + ridge * np.eye(3), X.sum(axis=1))
    return planes


@pytest.mark.parametrize("ridge", [0.01, 1e-6])
def test_planes_equal_a_loop_of_solves(ridge):
    points, segments = scene()
    planes = fit_planes(points, segments, ridge=ridge)
    assert planes.shape == (2, 5, 3)
    np.testing.assert_allclose(planes, numpy_planes(points, segments, 5, ridge), rtol=1e-9, atol=1e-12)
    assert (planes[:, 3] == 0).all()
    assert (planes[0, 4] == 0).all()
    # Sums are double also where points are not.
    single = fit_planes(points.float(), segments, ridge=ridge)
    torch.testing.assert_close(single, planes.float(), rtol=1e-4, atol=1e-5)


def test_more_segments_than_there_are():
    points, segments = scene()
    wide = fit_planes(points, segments, n_segments=9)
    assert torch.equal(wide[:, :5], fit_planes(points, segments))
    assert (wide[:, 5:] == 0).all()
    assert fit_planes(points, torch.zeros_like(segments)).shape == (2, 0, 3)


def test_planar_depth_equals_the_released_gam_depth():
    with np.load(GOLDEN / "gam_planar_depth.npz") as golden:
        depth, segments = torch.from_numpy(golden["depth"]), torch.from_numpy(golden["segment"]).long()
        camera = torch.linalg.inv(torch.from_numpy(golden["inv_K"]))[:, :3, :3].contiguous()
        camera[:, :2, 2] += 0.5  # it counts pixels from their centres
        planes = fit_planes(unproject(depth, camera), segments)
        ours = planar_depth(planes, segments, camera, min_depth_m=0.1, max_depth_m=10.0)
        inside = segments.unsqueeze(1) > 0  # it also fits a plane to what belongs to no segment
        np.testing.assert_allclose(ours[inside], golden["planar_depth"][inside], rtol=1e-3, atol=1e-4)
        mask = torch.from_numpy(golden["planar_mask"])
        assert not mask[~inside].any()
        assert ((depth - ours).abs() * mask).mean().item() == pytest.approx(golden["loss"].item(), rel=1e-4)


def test_points_of_planes_get_their_own_depth():
    rays = unproject(torch.ones(2, 1, 8, 12, dtype=torch.float64), K)
    segments = torch.ones(2, 8, 12, dtype=torch.int64)
    segments[:, :, 6:] = 2
    segments[:, 0] = 0
    normals = torch.tensor([[0.1, -0.2, 0.4], [-0.3, 0.2, 0.6]], dtype=torch.float64)
    depth = 1 / (normals[(segments - 1).clamp(min=0)].permute(0, 3, 1, 2) * rays).sum(dim=1, keepdim=True)
    planes = fit_planes(depth * rays, segments, ridge=1e-12)
    torch.testing.assert_close(planes, normals.expand(2, 2, 3), rtol=1e-8, atol=1e-8)
    ours = planar_depth(planes, segments, K, min_depth_m=0.1, max_depth_m=10.0)
    torch.testing.assert_close(ours, torch.where(segments.unsqueeze(1) > 0, depth, 0.0))


def test_depth_is_limited_and_its_gradient_finite_beyond_the_horizon():
    camera = torch.tensor([[[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]]])
    # A wall on the right, seen by rays (0, 0, 1), (0.5, 0, 1) .. (2, 0, 1), and one so close that it is cut.
    segments = torch.tensor([[[1, 1, 1, 1, 2]]])
    planes = torch.tensor([[[0.3, 0.0, -0.3], [0.0, 0.0, 100.0]]]).requires_grad_()
    depth = planar_depth(planes, segments, camera, min_depth_m=0.1, max_depth_m=10.0)
    # x - z = 10 / 3: the first ray meets it behind the camera, the third (1, 0, 1) never.
    torch.testing.assert_close(depth.flatten(), torch.tensor([10.0, 10.0, 10.0, 1 / 0.15, 0.1]))
    (gradient,) = torch.autograd.grad(depth.sum(), planes)
    torch.testing.assert_close(gradient[0, 0], -torch.tensor([1.5, 0.0, 1.0]) / 0.15**2)
    assert (gradient[0, 1] == 0).all()


def test_nothing_leaks_from_outside_the_segments():
    points, segments = scene()
    expected = fit_planes(points, segments)
    points[:, 0][segments == 0] = float("nan")
    points.requires_grad_()
    planes = fit_planes(points, segments)
    assert torch.equal(planes, expected)
    (gradient,) = torch.autograd.grad(planes.sum(), points)
    assert gradient.isfinite().all()
    assert (gradient.permute(0, 2, 3, 1)[segments == 0] == 0).all()


def test_gradients():
    points, segments = scene()
    points, segments = points[:, :, :4, :5].clone().requires_grad_(), segments[:, :4, :5].contiguous()

    def flattened(points: torch.Tensor) -> torch.Tensor:
        planes = fit_planes(points, segments)
        return planar_depth(planes, segments, K, min_depth_m=0.01, max_depth_m=100.0)

    assert torch.autograd.gradcheck(lambda p: fit_planes(p, segments), points)
    assert torch.autograd.gradcheck(flattened, points)


def test_autocast_does_not_round():
    points, segments = scene()
    points, camera = points.float(), K.float()

    def both() -> torch.Tensor:
        return planar_depth(fit_planes(points, segments), segments, camera, min_depth_m=0.1, max_depth_m=10.0)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = both()
    assert torch.equal(inside, both())


def test_the_host_waits_for_no_value_when_it_knows_the_number_of_segments():
    points, segments = (t.to("meta") for t in scene())
    planes = fit_planes(points, segments, n_segments=5)
    assert planes.shape == (2, 5, 3)
    assert planar_depth(planes, segments, K.to("meta"), min_depth_m=0.1, max_depth_m=10.0).shape == (2, 1, 8, 12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, s: fit_planes(p[0], s), r"points has shape \(3, 8, 12\)"),
        (lambda p, s: fit_planes(p, s.int()), "segments are torch.int32"),
        (lambda p, s: fit_planes(p, s[:, :4]), r"\(2, 4, 12\), but torch.int64 \(2, 8, 12\)"),
        (lambda p, s: fit_planes(p, s, ridge=0.0), "ridge is 0.0"),
        (lambda p, s: planar_depth(p, s, K, min_depth_m=0.1, max_depth_m=1), "planes has shape"),
        (lambda p, s: planar_depth(p[:, 0, :, :3], s[0], K, min_depth_m=0.1, max_depth_m=1), "segments has shape"),
        (lambda p, s: planar_depth(p[:, 0, :, :3], s, K, min_depth_m=1, max_depth_m=1), "depths are 1 and 1 m"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*scene())
