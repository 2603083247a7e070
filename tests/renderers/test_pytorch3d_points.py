import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from geometry.camera import pixel_grid
from geometry.se3 import transform_from_axis_angle
from renderers import pytorch3d_points
from renderers.point_render import scene_points
from renderers.pytorch3d_points import PyTorch3DRenderer
from renderers.splat import SplatRenderer
from tests.data.renderer_checks import draw_batch_and_single_images

GOLDEN = Path(__file__).parents[1] / "golden"
SIZE = (24, 32)

pytest.importorskip("pytorch3d")  # `make setup` installs it


def camera(height=24, width=32, batch=1):
    K = torch.tensor([[1.2 * width, 0.0, 0.48 * width], [0.0, 1.25 * width, 0.53 * height], [0.0, 0.0, 1.0]])
    return K.repeat(batch, 1, 1)


def moved(axis_angle, shift):
    return transform_from_axis_angle(torch.tensor([axis_angle]), torch.tensor([shift]))


def smooth(batch, channels, height, width, seed=0):
    coarse = torch.rand(batch, channels, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def cosine(a, b):
    return F.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


def psnr(found, expected, mask):
    return -10 * (found - expected).square().mean(dim=1, keepdim=True)[mask].mean().log10().item()


@pytest.mark.parametrize(("tag", "radius", "per_pixel"), [("r05_k4", 0.05, 4), ("r03_k8", 0.03, 8)])
@pytest.mark.parametrize("compositor", ["norm_weighted", "alpha"])
def test_it_is_pytorch3d(tag, radius, per_pixel, compositor):
    """The whole renderer, from points in the source frame, against what PyTorch3D made of them in the new one."""
    with np.load(GOLDEN / "p3d_points_render.npz") as golden:
        arrays = {name: torch.from_numpy(np.asarray(golden[name])) for name in golden}
    height, width = arrays["depth"].shape
    K = torch.tensor([[[38.0, 0.0, 20.0], [0.0, 38.0, 16.0], [0.0, 0.0, 1.0]]])
    renderer = PyTorch3DRenderer(
        radius_px=radius * height / 2, points_per_pixel=per_pixel, compositor=compositor, softness=None, min_weight=0
    )
    points = arrays["points_new_opencv"].T[None]
    fragments = renderer.rasterize(points, K, size=(height, width), radius=radius)
    index, z, distance = (values[0].permute(1, 2, 0) for values in fragments)
    same = index == arrays[f"{tag}_idx"]
    assert same.double().mean() >= 0.995
    assert (index >= 0).any()
    torch.testing.assert_close(z[same], arrays[f"{tag}_zbuf"][same], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(distance[same], arrays[f"{tag}_dist2_ndc"][same], rtol=1e-4, atol=1e-5)
    rgb = arrays["rgb"].flatten(1)[None]
    drawn = renderer(points, rgb, K=K, T_view_source=torch.eye(4)[None], size=(height, width))
    expected = arrays[f"{tag}_{compositor.replace('_', '')}_rgb"][None]
    torch.testing.assert_close(drawn.features, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(drawn.visible[0, 0], arrays[f"{tag}_zbuf"][..., 0] > 0)

    # The same points from the depth map and the motion, which the golden file has with its own convention: pixels count
    # from the corner there too.
    depth = arrays["depth"][None, None]
    lifted, _, _ = scene_points(depth, K, edge_jump=None)
    T = torch.eye(4)[None]
    T[0, :3, :3], T[0, :3, 3] = arrays["R"], arrays["t"]
    again = renderer(lifted, rgb, K=K, T_view_source=T, size=(height, width))
    differs = ((again.features - expected).abs().amax(dim=1) > 1e-3).double().mean()
    assert differs <= 0.005


def by_hand(points, features, K, size, *, radius_px, per_pixel, softness, alpha):
    """The definition in loops over pixels, of points in the camera frame that are all in front of it."""
    x, y, z = points
    u, v = K[0, 0] * x / z + K[0, 1] * y / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    image = torch.zeros(len(features) + 2, *size)
    for row in range(size[0]):
        for column in range(size[1]):
            weight = 1 - ((column + 0.5 - u) ** 2 + (row + 0.5 - v) ** 2) / radius_px**2
            found = [n for n in z.argsort().tolist() if weight[n] > 0][:per_pixel]
            if not found:
                continue
            w = weight[found]
            if softness is not None:
                w = w * (2 - (z[found] / z[found[0]] - 1) / softness).clamp(0, 1)
            if alpha:
                w = w * torch.cat([torch.ones(1), (1 - w).cumprod(0)[:-1]])
            colours = features[:, found] @ w
            image[:-2, row, column] = colours if alpha else colours / w.sum()
            image[-2, row, column] = (z[found] @ w) / w.sum()
            image[-1, row, column] = w.sum()
    return image


@pytest.mark.parametrize("softness", [None, 0.05])
@pytest.mark.parametrize("compositor", ["norm_weighted", "alpha"])
@pytest.mark.parametrize("size", [(24, 32), (32, 24)])
def test_it_is_the_definition(compositor, softness, size):
    K = camera(*size)
    K[0, 0, 1] = 3.0  # skew
    draws = torch.rand(6, 300, generator=torch.Generator().manual_seed(0))
    points = torch.stack([draws[0] - 0.5, draws[1] - 0.5, 1 + draws[2]])
    features = draws[3:]
    renderer = PyTorch3DRenderer(
        radius_px=1.7, points_per_pixel=5, compositor=compositor, softness=softness, min_weight=0
    )
    drawn = renderer(points[None], features[None], K=K, T_view_source=torch.eye(4)[None], size=size)
    expected = by_hand(
        points, features, K[0], size, radius_px=1.7, per_pixel=5, softness=softness, alpha=compositor == "alpha"
    )
    torch.testing.assert_close(drawn.features[0], expected[:-2], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(drawn.depth_m[0], expected[-2:-1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(drawn.weight[0], expected[-1:], rtol=1e-3, atol=1e-4)
    assert torch.equal(drawn.visible[0], expected[-1:] > 0)
    limited = PyTorch3DRenderer(
        radius_px=1.7, points_per_pixel=5, compositor=compositor, softness=softness, min_weight=0.3
    )(points[None], features[None], K=K, T_view_source=torch.eye(4)[None], size=size)
    assert torch.equal(limited.visible, drawn.weight > 0.3)
    assert torch.equal(limited.features, drawn.features * limited.visible)


def test_it_moves_points_like_the_splats():
    """A bright point on a dark wall is drawn at the same place by both."""
    K = camera()
    point = torch.tensor([[[0.1], [-0.15], [1.0]]])
    T = moved([0.05, -0.1, 0.2], [0.05, -0.02, 0.4])
    x, y = pixel_grid(*SIZE, like=K)
    centres = []
    for renderer in (SplatRenderer(), PyTorch3DRenderer()):
        drawn = renderer(point, torch.ones(1, 1, 1), K=K, T_view_source=T, size=SIZE)
        weight = drawn.weight[0, 0]
        centres.append(torch.stack([(weight * x).sum(), (weight * y).sum()]) / weight.sum())
        assert drawn.depth_m[drawn.visible].std() < 1e-5
    torch.testing.assert_close(centres[0], centres[1], rtol=0, atol=0.1)


def two_layers(size):
    """A smooth scene with an object before it, seen from where both overlap."""
    height, width = size
    depth = 2 + smooth(1, 1, *size, seed=3)
    depth[..., height // 4 : height * 5 // 8, width // 4 : width * 5 // 8] = 1.2
    return smooth(1, 3, *size), depth, camera(*size), moved([0.05, -0.1, 0.0], [0.25, 0.1, 0.0])


def test_both_engines_draw_the_same_picture_with_the_same_gradients():
    size = (96, 128)
    image, depth, K, T = two_layers(size)
    target = smooth(1, 4, *size, seed=7)
    drawn, leaves = [], []
    for renderer in (SplatRenderer(), PyTorch3DRenderer()):
        leaf = [depth.clone().requires_grad_(), image.clone().requires_grad_(), K.clone().requires_grad_()]
        points, mask, spacing = scene_points(leaf[0], leaf[2])
        drawn.append(
            renderer(points, leaf[1].flatten(2), K=leaf[2], T_view_source=T, size=size, mask=mask, spacing_m=spacing)
        )
        leaves.append(leaf)
    both = drawn[0].visible & drawn[1].visible
    assert both.double().mean() > 0.7
    assert psnr(drawn[0].features, drawn[1].features, both) > 35
    near = (drawn[0].depth_m / drawn[1].depth_m - 1).abs() < 0.01
    assert near[both].double().mean() > 0.97

    for part, least in (("features", (0.9, 0.98, 0.9)), ("depth_m", (0.98, None, 0.98))):
        gradients = []
        for render, leaf in zip(drawn, leaves, strict=True):
            found = getattr(render, part)
            loss = ((found - target[:, : found.shape[1]]) * both).square().sum()
            gradients.append(torch.autograd.grad(loss, leaf, retain_graph=True, allow_unused=True))
        for ours, theirs, bound in zip(*gradients, least, strict=True):
            if bound is not None:
                assert cosine(ours, theirs) > bound


def test_without_a_soft_z_buffer_the_background_bleeds_into_what_stands_before_it():
    size = (48, 64)
    image, depth, K, T = two_layers(size)
    points, mask, _ = scene_points(depth, K)
    drawn = [
        renderer(points, image.flatten(2), K=K, T_view_source=T, size=size, mask=mask)
        for renderer in (PyTorch3DRenderer(softness=None), PyTorch3DRenderer())
    ]
    front = (drawn[1].depth_m - 1.2).abs() < 0.1
    assert front.sum() > 150
    assert ((drawn[0].depth_m - 1.2).abs() > 0.2)[front].double().mean() > 0.1


# Opacities depend on the order of points in depth, which for some of them is near a tie.
@pytest.mark.parametrize(("compositor", "tolerance"), [("norm_weighted", 0.02), ("alpha", 0.05)])
def test_gradients_are_finite_differences(compositor, tolerance):
    size = (16, 16)
    K, T = camera(*size), moved([0.03, -0.05, 0.0], [0.05, 0.02, 0.1])
    image = smooth(1, 3, *size)
    depth = 2 + 0.3 * smooth(1, 1, *size, seed=3)
    weights = smooth(1, 3, *size, seed=4)
    renderer = PyTorch3DRenderer(compositor=compositor, points_per_pixel=16)

    def loss(depth):
        points, mask, _ = scene_points(depth, K)
        drawn = renderer(points, image.flatten(2), K=K, T_view_source=T, size=size, mask=mask)
        return (drawn.features * weights).double().sum() + drawn.depth_m.double().sum()

    leaf = depth.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    direction = 3e-4 * smooth(1, 1, *size, seed=6)
    difference = loss(depth + direction) - loss(depth - direction)
    torch.testing.assert_close((gradient * 2 * direction).sum().double(), difference, rtol=tolerance, atol=0)


@pytest.mark.parametrize("compositor", ["norm_weighted", "alpha"])
@pytest.mark.parametrize("kind", ["no points", "behind", "masked", "nan"])
def test_what_cannot_be_drawn_leaves_holes_with_zero_gradients(kind, compositor):
    points = torch.rand(2, 3, 20, generator=torch.Generator().manual_seed(0)) - torch.tensor([0.5, 0.5, -1]).view(3, 1)
    features, mask = torch.ones(2, 2, 20), torch.ones(2, 1, 20, dtype=torch.bool)
    if kind == "no points":
        points, features, mask = points[..., :0], features[..., :0], mask[..., :0]
    elif kind == "behind":
        points = -points
    elif kind == "masked":
        features, mask = torch.full_like(features, torch.nan), ~mask
    else:
        points = torch.full_like(points, torch.nan)
    leaves = [t.requires_grad_() for t in (points, features, camera(batch=2), torch.eye(4).repeat(2, 1, 1))]
    drawn = PyTorch3DRenderer(compositor=compositor)(
        leaves[0], leaves[1], K=leaves[2], T_view_source=leaves[3], size=SIZE, mask=mask
    )
    assert not drawn.visible.any()
    assert all((values == 0).all() for values in drawn[:3])
    assert drawn.features.shape == (2, 2, *SIZE)
    loss = sum(values.sum() for values in drawn[:3])
    for gradient in torch.autograd.grad(loss, leaves, allow_unused=True):
        assert gradient is None or (gradient == 0).all()


def test_images_of_a_batch_do_not_mix():
    depth, image = 1 + smooth(2, 1, *SIZE), smooth(2, 3, *SIZE, seed=1)
    together, _ = draw_batch_and_single_images(PyTorch3DRenderer(), depth, image, camera(batch=2))
    assert together.visible.any()


def test_a_missing_library_is_named_when_the_renderer_is_made(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(pytorch3d_points, "importlib", type("nothing", (), {"import_module": staticmethod(missing)}))
    with pytest.raises(ImportError, match=r"extra `pytorch3d`.*`splat`"):
        PyTorch3DRenderer()


def test_the_module_imports_no_pytorch3d():
    source = Path(importlib.import_module("renderers.pytorch3d_points").__file__).read_text()
    assert "import pytorch3d" not in source


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compositor": "sum"}, "compositor is 'sum'"),
        ({"radius_px": 0.0}, r"radius_px is 0\.0"),
        ({"points_per_pixel": 0}, "points_per_pixel 0"),
        ({"softness": -1.0}, r"softness is -1\.0"),
        ({"min_weight": -1.0}, r"min_weight is -1\.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PyTorch3DRenderer(**settings)
