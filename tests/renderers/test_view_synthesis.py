"""Inverse warping against closed-form scenes, matrix products in float64 and the released Monodepth2."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from geometry.camera import pixel_grid, project, unproject
from geometry.se3 import apply_transform, transform_from_axis_angle
from renderers.view_synthesis import synthesize_views

GOLDEN = Path(__file__).parents[1] / "golden"


def camera(height: int, width: int, batch: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    K = torch.eye(3, dtype=dtype).repeat(batch, 1, 1)
    K[:, 0, 0], K[:, 1, 1] = 0.9 * width, 1.1 * height
    K[:, 0, 1] = 0.4
    K[:, 0, 2], K[:, 1, 2] = 0.48 * width, 0.53 * height
    return K


def motions(batch: int, n_sources: int, size: float = 0.05, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    draws = torch.randn(2, batch, n_sources, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return transform_from_axis_angle(size * draws[0], size * draws[1]).to(dtype)


def scene(batch: int = 2, n_sources: int = 3, height: int = 12, width: int = 16, channels: int = 3):
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(batch, n_sources, channels, height, width, generator=generator, dtype=torch.float64)
    depth = 1 + torch.rand(batch, 1, height, width, generator=generator, dtype=torch.float64)
    return sources, depth, camera(height, width, batch), motions(batch, n_sources)


def step_by_step(sources, depth, K, T_source_target):
    """Lift, move, project and sample one source after the other, by functions that are tested on their own."""
    height, width = sources.shape[-2:]
    images, valid, z = [], [], []
    for s in range(sources.shape[1]):
        points = apply_transform(T_source_target[:, s], unproject(depth, K))
        pixels, in_front = project(points, K)
        size = torch.tensor([width, height], dtype=pixels.dtype)
        grid = 2 * pixels.permute(0, 2, 3, 1) / size - 1
        images.append(F.grid_sample(sources[:, s], grid, padding_mode="border", align_corners=False))
        inside = ((pixels >= 0) & (pixels <= size.view(2, 1, 1))).all(dim=1, keepdim=True)
        valid.append(in_front & inside)
        z.append(points[:, 2:])
    return torch.stack(images, dim=1), torch.stack(valid, dim=1), torch.stack(z, dim=1)


def test_all_sources_equal_the_steps_one_by_one():
    sources, depth, K, T = scene(channels=5)
    warped = synthesize_views(sources, depth=depth, K=K, T_source_target=T)
    image, valid, z = step_by_step(sources, depth, K, T)
    torch.testing.assert_close(warped.image, image)
    assert torch.equal(warped.valid, valid)
    assert 0.1 < valid.double().mean() < 0.99
    torch.testing.assert_close(warped.depth_m, z)


@pytest.mark.parametrize(("height", "width"), [(32, 64), (30, 47), (96, 128)])
def test_no_motion_is_the_identity(height, width):
    sources, depth, K, _ = scene(2, 2, height, width)
    T = torch.eye(4, dtype=torch.float64).expand(2, 2, 4, 4)
    for padding in ("border", "zeros"):
        warped = synthesize_views(sources, depth=depth, K=K, T_source_target=T, padding=padding)
        torch.testing.assert_close(warped.image, sources, rtol=0, atol=1e-12)
        assert warped.valid.all()
        torch.testing.assert_close(warped.depth_m, depth.unsqueeze(1).expand_as(warped.depth_m), rtol=0, atol=1e-12)
    # Single precision: grid_sample itself rounds positions to width * 2^-23 pixels, of noise from 0 to 1.
    single = synthesize_views(sources.float(), depth=depth.float(), K=K.float(), T_source_target=T.float())
    torch.testing.assert_close(single.image, sources.float(), rtol=0, atol=3 * width * 2**-23)
    smooth = F.avg_pool2d(F.pad(sources.flatten(0, 1), (12,) * 4, mode="replicate"), 25, stride=1).view_as(sources)
    single = synthesize_views(smooth.float(), depth=depth.float(), K=K.float(), T_source_target=T.float())
    torch.testing.assert_close(single.image, smooth.float(), rtol=0, atol=1e-6)


def plane_view(T_camera_world: torch.Tensor, K: torch.Tensor, height: int, width: int):
    """Image and depth of the textured plane ``n . X = 2`` of the world, by meeting it with the ray of each pixel."""
    normal = F.normalize(torch.tensor([0.2, -0.3, 0.9], dtype=torch.float64), dim=0)
    T_world_camera = torch.linalg.inv(T_camera_world)
    x, y = pixel_grid(height, width, like=K)
    pixels = torch.stack([x, y, torch.ones_like(x)])
    rays = torch.einsum("ij,jhw->ihw", torch.linalg.inv(K), pixels)  # z = 1 in the camera
    turned = torch.einsum("ij,jhw->ihw", T_world_camera[:3, :3], rays)
    origin = T_world_camera[:3, 3]
    depth = (2 - normal @ origin) / torch.einsum("i,ihw->hw", normal, turned)
    X = origin.view(3, 1, 1) + depth * turned
    texture = torch.stack([(0.9 * X[0]).sin(), (0.7 * X[1] + 0.3 * X[0]).cos(), (0.5 * X[2] - X[1]).sin()])
    return 0.5 + 0.5 * texture, depth


def test_a_textured_plane_is_seen_from_elsewhere():
    height, width = 96, 128
    K = camera(height, width)[0]
    axis_angle = torch.tensor([[0.05, -0.08, 0.1], [-0.03, 0.04, -0.2]], dtype=torch.float64)
    shift = torch.tensor([[0.2, -0.1, 0.15], [-0.15, 0.1, -0.3]], dtype=torch.float64)
    T = transform_from_axis_angle(axis_angle, shift)
    image, depth = plane_view(torch.eye(4, dtype=torch.float64), K, height, width)
    sources, source_depth = zip(*(plane_view(T[s], K, height, width) for s in range(2)), strict=True)
    parts = [torch.stack(sources), torch.stack(source_depth).unsqueeze(1), torch.ones(2, 1, height, width).double()]
    warped = synthesize_views(
        torch.cat(parts, dim=1)[None], depth=depth[None, None], K=K[None], T_source_target=T[None], padding="zeros"
    )
    colours, sampled_depth, cover = warped.image.split([3, 1, 1], dim=2)
    # Nearer to the border than half a pixel there is nothing to interpolate with.
    inner = cover > 1 - 1e-9
    assert warped.valid[inner].all()
    assert inner.double().mean() > 0.5
    assert (colours - image).abs().amax(dim=2, keepdim=True)[inner].max() < 1e-4
    # The sources' depth, sampled by the same call, is that of the target's points in the source.
    assert (sampled_depth - warped.depth_m)[inner].abs().max() < 2e-4


def released_warp(golden, *, consistent: bool, padding: str):
    """The warp as Monodepth2 writes it: pixel centres at integers, a grid scaled by W - 1 and H - 1."""
    depth, img, T = (torch.from_numpy(golden[k]) for k in ("depth", "img", "T"))
    K, inverse = (torch.from_numpy(golden[k]) for k in ("K", "inv_K"))
    height, width = img.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).float().flatten(1)
    points = depth.flatten(2) * (inverse[:, :3, :3] @ pixels)
    q = K[:, :3, :3] @ (T[:, :3, :3] @ points + T[:, :3, 3:])
    pixels = (q[:, :2] / (q[:, 2:] + 1e-7)).view(-1, 2, height, width).permute(0, 2, 3, 1)
    grid = 2 * (pixels / torch.tensor([width - 1, height - 1]) - 0.5)
    return grid, F.grid_sample(img, grid, padding_mode=padding, align_corners=consistent)


def test_the_warp_is_the_released_one_but_for_its_grid():
    with np.load(GOLDEN / "md2_warp.npz") as golden:
        grid, quirky = released_warp(golden, consistent=False, padding="border")
        np.testing.assert_allclose(grid, golden["pix_coords"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(quirky, golden["warped_border_acFalse"], rtol=1e-4, atol=1e-5)
        _, zeros = released_warp(golden, consistent=False, padding="zeros")
        np.testing.assert_allclose(zeros, golden["warped_zeros_acFalse"], rtol=1e-4, atol=1e-5)
        K = torch.from_numpy(golden["K"])[:, :3, :3].contiguous()
        K[:, :2, 2] += 0.5  # from centres to corners
        sources, depth, T = (torch.from_numpy(golden[k]) for k in ("img", "depth", "T"))
        ours = synthesize_views(sources[:, None], depth=depth, K=K, T_source_target=T[:, None]).image[:, 0]
        # Scaled by W - 1, its grid is right where corners are aligned, which its trainers do not ask for.
        np.testing.assert_allclose(ours, golden["warped_border_acTrue"], rtol=1e-4, atol=1e-5)
        _, consistent = released_warp(golden, consistent=True, padding="border")
        np.testing.assert_allclose(ours, consistent, rtol=1e-4, atol=1e-5)
        assert (ours - quirky).abs().max() > 0.05


def test_what_is_behind_or_missing_is_outside_with_finite_gradients():
    sources, depth, K, _ = scene(1, 3, 4, 6)
    depth[0, 0, 0, 0], depth[0, 0, 1, 1], depth[0, 0, 2, 2] = 0.0, 1e-30, 10.0
    T = torch.eye(4, dtype=torch.float64).repeat(1, 3, 1, 1)
    T[0, 1, 2, 3] = -1.5  # some points behind the camera, some in front
    T[0, 2, :3, :3] = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64))  # looking back
    for dtype in (torch.float32, torch.float64):
        leaves = [t.to(dtype).requires_grad_() for t in (sources, depth, K, T)]
        warped = synthesize_views(leaves[0], depth=leaves[1], K=leaves[2], T_source_target=leaves[3], padding="zeros")
        behind = (warped.depth_m <= 1e-3) | (depth <= 0)
        assert torch.equal(warped.valid[:, 0], ~behind[:, 0])
        assert 0 < warped.valid[:, 1].sum() < 20
        assert not warped.valid[:, 2].any()
        assert not (warped.valid & behind).any()
        assert (warped.image.amax(dim=2, keepdim=True)[behind] == 0).all()
        for gradient in torch.autograd.grad(warped.image.sum() + warped.depth_m.sum(), leaves):
            assert gradient.isfinite().all()
        back = synthesize_views(leaves[0], depth=leaves[1], K=leaves[2], T_source_target=leaves[3]).image[:, 2]
        assert (torch.autograd.grad(back.sum(), leaves[1])[0] == 0).all()


def test_a_depth_of_zero_is_missing_even_where_its_point_would_be_seen():
    sources, depth, K, T = scene(1, 1)
    T[0, 0] = torch.eye(4, dtype=torch.float64)
    T[0, 0, 2, 3] = 1.0  # the camera's centre is a metre before the source
    depth[0, 0, 5, 5] = 0.0
    warped = synthesize_views(sources, depth=depth, K=K, T_source_target=T)
    assert not warped.valid[0, 0, 0, 5, 5]
    assert warped.depth_m[0, 0, 0, 5, 5] == 1
    assert warped.valid.sum() == warped.valid.numel() - 1


def test_inside_ends_at_the_border_of_the_image():
    # Across a wall one metre away, a shift of 0.3 and 0.7 pixels around the middle of the border pixel.
    K = torch.tensor([[[10.0, 0.0, 4.0], [0.0, 10.0, 3.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    T = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    T[0, 0, 0, 3], T[0, 1, 0, 3] = 0.04, 0.06
    sources = torch.arange(8.0, dtype=torch.float64).expand(1, 2, 1, 6, 8)
    depth = torch.ones(1, 1, 6, 8, dtype=torch.float64)
    border = synthesize_views(sources, depth=depth, K=K, T_source_target=T)
    assert border.valid[0, 0].all()
    assert torch.equal(border.valid[0, 1, 0, 0], torch.tensor([True] * 7 + [False]))
    row = border.image[0, 1, 0, 2]
    torch.testing.assert_close(row, (torch.arange(8.0, dtype=torch.float64) + 0.6).clamp(max=7))
    zeros = synthesize_views(sources, depth=depth, K=K, T_source_target=T, padding="zeros")
    assert zeros.image[0, 1, 0, 2, 7].item() == pytest.approx(7 * 0.4)


def test_gradients():
    # Zero padding has kinks only where a bilinear cell ends; the motion keeps away from those.
    sources, depth, K, T = scene(1, 2, 3, 4, 2)
    leaves = [t.clone().requires_grad_() for t in (sources, depth, K, T)]

    def run(sources, depth, K, T):
        warped = synthesize_views(sources, depth=depth, K=K, T_source_target=T, padding="zeros")
        return warped.image, warped.depth_m

    assert torch.autograd.gradcheck(run, leaves, eps=1e-7, atol=1e-5)


def test_gradients_reach_the_motion_through_the_whole_image():
    sources, depth, K, T = scene()
    leaf, other = (T.clone().requires_grad_() for _ in range(2))
    weights = torch.rand(sources.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    depth.requires_grad_()
    ours = synthesize_views(sources, depth=depth, K=K, T_source_target=leaf).image
    steps = step_by_step(sources, depth, K, other)[0]
    torch.testing.assert_close(
        torch.autograd.grad((ours * weights).sum(), (leaf, depth)),
        torch.autograd.grad((steps * weights).sum(), (other, depth)),
    )


def test_autocast_does_not_round():
    sources, depth, K, T = (t.float() for t in scene())
    plain = synthesize_views(sources, depth=depth, K=K, T_source_target=T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = synthesize_views(sources, depth=depth, K=K, T_source_target=T)
    for a, b in zip(inside, plain, strict=True):
        assert torch.equal(a, b)
    half = synthesize_views(sources.half(), depth=depth.half(), K=K, T_source_target=T)
    assert half.image.dtype is torch.float32


def test_all_sources_go_through_one_call_and_the_host_waits_for_no_value(monkeypatch):
    calls = []
    sample = F.grid_sample
    monkeypatch.setattr(F, "grid_sample", lambda *a, **k: calls.append(a[0].shape) or sample(*a, **k))
    sources, depth, K, T = (t.to("meta") for t in scene())
    warped = synthesize_views(sources, depth=depth, K=K, T_source_target=T)
    assert calls == [(6, 3, 12, 16)]
    assert [t.shape for t in warped] == [(2, 3, 3, 12, 16), (2, 3, 1, 12, 16), (2, 3, 1, 12, 16)]
    assert warped.valid.dtype is torch.bool


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": torch.ones(2, 3, 12, 16)}, r"sources has shape \(2, 3, 12, 16\)"),
        ({"depth": torch.ones(2, 1, 6, 8)}, r"depth has shape \(2, 1, 6, 8\).*\(2, 1, 12, 16\)"),
        ({"K": torch.eye(3)}, r"K has shape \(3, 3\)"),
        ({"T_source_target": torch.eye(4).expand(2, 2, 4, 4)}, r"T_source_target has shape \(2, 2, 4, 4\)"),
        ({"padding": "reflect"}, "padding is 'reflect'"),
    ],
)
def test_bad_input_is_named(change, message):
    sources, depth, K, T = scene()
    arguments = {"sources": sources, "depth": depth, "K": K, "T_source_target": T, **change}
    with pytest.raises(ValueError, match=message):
        synthesize_views(arguments.pop("sources"), **arguments)


def test_turning_by_half_a_circle_swaps_left_and_right():
    # About the optical axis through the middle of the image.
    K = torch.tensor([[[10.0, 0.0, 4.0], [0.0, 10.0, 3.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    sources = torch.rand(1, 1, 3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half_turn = torch.tensor([[[0.0, 0.0, math.pi]]], dtype=torch.float64)
    T = transform_from_axis_angle(half_turn, torch.zeros_like(half_turn))
    depth = torch.ones(1, 1, 6, 8, dtype=torch.float64)
    warped = synthesize_views(sources, depth=depth, K=K, T_source_target=T)
    torch.testing.assert_close(warped.image, sources.flip((-1, -2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_nan_stays_visible_and_does_not_reach_the_sampler(padding):
    """On a CPU a NaN coordinate makes ``grid_sample`` leave its memory, or gives a plausible colour with ``border``."""
    sources = torch.rand(1, 1, 3, 6, 8, requires_grad=True)
    depth = torch.full((1, 1, 6, 8), 2.0)
    depth[0, 0, 1, 2] = float("nan")
    K = torch.tensor([[[8.0, 0, 4], [0, 8, 3], [0, 0, 1]]])
    warped = synthesize_views(sources, depth=depth, K=K, T_source_target=torch.eye(4).view(1, 1, 4, 4), padding=padding)
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[1, 2] = True
    assert torch.equal(warped.image[0, 0].isnan().all(dim=0), expected)
    assert not warped.valid[0, 0, 0, 1, 2]
    warped.image.nansum().backward()
    assert sources.grad.isfinite().all()
