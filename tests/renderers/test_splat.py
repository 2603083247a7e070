import math

import pytest
import torch
import torch.nn.functional as F

from geometry.camera import pixel_grid
from geometry.se3 import transform_from_axis_angle
from renderers.point_render import scene_points
from renderers.splat import SplatRenderer
from tests.data.renderer_checks import draw_batch_and_single_images

SIZE = (24, 32)
GAUSSIAN = {"footprint": "gaussian"}
BILINEAR = {"footprint": "bilinear"}


def camera(height=24, width=32, batch=1):
    focal = 1.2 * width
    K = torch.tensor([[focal, 0.0, 0.48 * width], [0.0, 1.05 * focal, 0.53 * height], [0.0, 0.0, 1.0]])
    return K.double().repeat(batch, 1, 1)


def still(batch=1):
    return torch.eye(4, dtype=torch.float64).repeat(batch, 1, 1)


def moved(axis_angle, shift):
    return transform_from_axis_angle(torch.tensor([axis_angle]).double(), torch.tensor([shift]).double())


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(batch, channels, height, width, seed=0):
    coarse = noise(batch, channels, height // 8, width // 8, seed=seed)
    return F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)


def psnr(found, expected, mask):
    error = (found - expected).square().mean(dim=1, keepdim=True)[mask].mean()
    return -10 * error.log10().item()


def one_by_one(
    points, features, K, T, size, *, footprint="gaussian", radius=1.5, softness=0.05, spacing=None, most=1.5
):
    """The definition in plain loops: for one image, of points that are all in front of the camera."""
    height, width = size
    X = (T[:3, :3] @ points + T[:3, 3:]).T.tolist()
    seen = []
    for n, (x, y, z) in enumerate(X):
        u, v = (K[0, 0] * x / z + K[0, 2]).item(), (K[1, 1] * y / z + K[1, 2]).item()
        radii = [radius, radius]
        if spacing is not None:
            radii = [min(max(radius * spacing[n].item() * K[i, i].item() / z, radius), most) for i in (0, 1)]
        seen.append((u, v, z, radii))

    def profile(distance, end):
        share = abs(distance) / end
        if share >= 1:
            return 0.0
        if footprint == "bilinear":
            return 1 - share
        cut = math.exp(-0.5 * 2.5**2)
        return (math.exp(-0.5 * (2.5 * share) ** 2) - cut) / (1 - cut)

    image = torch.zeros(len(features) + 2, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            found = []
            for n, (u, v, z, radii) in enumerate(seen):
                w = profile(column + 0.5 - u, radii[0]) * profile(row + 0.5 - v, radii[1])
                if w > 0:
                    found.append((w, z, n))
            if not found:
                continue
            covering = [z for w, z, _ in found if w >= 0.05]
            nearest = min(covering or [z for _, z, _ in found])
            weights = [w * min(max(2 - abs(z / nearest - 1) / softness, 0), 1) for w, z, _ in found]
            if sum(weights) > 0.05:
                for w, (_, z, n) in zip(weights, found, strict=True):
                    image[:-2, row, column] += w * features[:, n] / sum(weights)
                    image[-2, row, column] += w * z / sum(weights)
            image[-1, row, column] = sum(weights)
    return image


@pytest.mark.parametrize("footprint", ["gaussian", "bilinear"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_it_is_the_definition(footprint, adaptive):
    K, T = camera(), moved([0.1, -0.2, 0.3], [0.1, 0.0, -0.4])
    points = torch.stack([2 * noise(300, seed=1) - 1, 2 * noise(300, seed=2) - 1, 1 + noise(300, seed=3)])
    features, spacing = noise(2, 300, seed=4), 0.05 + 0.05 * noise(300, seed=5)
    radius = {"gaussian": 1.5, "bilinear": 1.0}[footprint]
    renderer = SplatRenderer(footprint, max_radius_px=2.3)
    given = {"spacing_m": spacing.view(1, 1, -1)} if adaptive else {}
    found = renderer(points[None], features[None], K=K, T_view_source=T, size=SIZE, **given)
    expected = one_by_one(
        points, features, K[0], T[0], SIZE, footprint=footprint, radius=radius, most=2.3,
        spacing=spacing if adaptive else None,
    )  # fmt: skip
    torch.testing.assert_close(found.features[0], expected[:-2])
    torch.testing.assert_close(found.depth_m[0], expected[-2:-1])
    torch.testing.assert_close(found.weight[0], expected[-1:])
    assert torch.equal(found.visible[0], expected[-1:] > 0.05)
    assert 0.2 < found.visible.double().mean() < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("most", [None, 2.5])
def test_no_motion_is_the_identity(dtype, most):
    depth, image, K = 1 + smooth(2, 1, *SIZE).to(dtype), noise(2, 3, *SIZE).to(dtype), camera(batch=2).to(dtype)
    K[:, 1, 1] = K[:, 0, 0]
    points, mask, spacing = scene_points(depth, K)
    renderer = SplatRenderer("bilinear", max_radius_px=most)
    drawn = renderer(
        points, image.flatten(2), K=K, T_view_source=still(2).to(dtype), size=SIZE, mask=mask, spacing_m=spacing
    )
    assert drawn.features.dtype is dtype
    assert drawn.visible.all()
    atol = 1e-12 if dtype is torch.float64 else 2e-5
    torch.testing.assert_close(drawn.features, image, rtol=0, atol=atol)
    torch.testing.assert_close(drawn.depth_m, depth, rtol=0, atol=atol)
    torch.testing.assert_close(drawn.weight, torch.ones_like(depth), rtol=0, atol=atol)


def test_a_sub_pixel_shift_is_the_bilinear_closed_form():
    image, K = noise(1, 3, *SIZE), camera()
    points, _, _ = scene_points(torch.full((1, 1, *SIZE), 2.0).double(), K)
    dx, dy = 0.25, -0.4  # the image moves by this many pixels
    T = moved([0.0, 0.0, 0.0], [2 * dx / K[0, 0, 0].item(), 2 * dy / K[0, 1, 1].item(), 0.0])
    drawn = SplatRenderer("bilinear")(points, image.flatten(2), K=K, T_view_source=T, size=SIZE)
    right, up = image.roll(1, -1), image.roll(-1, -2)
    expected = 0.75 * (0.6 * image + 0.4 * up) + 0.25 * (0.6 * right + 0.4 * right.roll(-1, -2))
    torch.testing.assert_close(drawn.features[..., :-1, 1:], expected[..., :-1, 1:])
    torch.testing.assert_close(drawn.weight[..., :-1, 1:], torch.ones(1, 1, 23, 31).double())
    torch.testing.assert_close(drawn.weight[0, 0, -1, 5], torch.tensor(0.6).double())


def test_twice_the_focal_length_shows_every_other_place():
    image, K = noise(1, 3, *SIZE), camera()
    points, mask, spacing = scene_points(torch.full((1, 1, *SIZE), 2.0).double(), K)
    zoomed = K.clone()
    zoomed[:, :2] *= 2
    renderer = SplatRenderer("bilinear", max_radius_px=2.5)
    drawn = renderer(
        points, image.flatten(2), K=zoomed, T_view_source=still(), size=(48, 64), mask=mask, spacing_m=1.03 * spacing
    )
    # Footprints of about two pixels, half the distance of points: upsampling with half-pixel centres.
    expected = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
    assert drawn.visible.all()
    assert psnr(drawn.features[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], torch.ones(1, 1, 44, 60).bool()) > 28
    torch.testing.assert_close(drawn.depth_m, torch.full((1, 1, 48, 64), 2.0).double())


def plane_view(T, K, size, normal, distance):
    """Image and depth of a textured plane ``n . X = d`` of the world, by meeting it with the ray of each pixel."""
    height, width = size
    normal = F.normalize(torch.tensor(normal, dtype=torch.float64), dim=0)
    T_world_camera = torch.linalg.inv(T)
    x, y = pixel_grid(height, width, like=K)
    rays = torch.einsum("ij,jhw->ihw", torch.linalg.inv(K), torch.stack([x, y, torch.ones_like(x)]))
    turned = torch.einsum("ij,jhw->ihw", T_world_camera[:3, :3], rays)
    origin = T_world_camera[:3, 3]
    depth = (distance - normal @ origin) / torch.einsum("i,ihw->hw", normal, turned)
    X = origin.view(3, 1, 1) + depth * turned
    texture = torch.stack([(4 * X[0]).sin(), (3 * X[1] + 2 * X[0]).cos(), (2 * X[2] - 4 * X[1]).sin()])
    return (0.5 + 0.5 * texture)[None], depth[None, None]


@pytest.mark.parametrize("settings", [GAUSSIAN, BILINEAR, {**BILINEAR, "max_radius_px": 2.5}])
@pytest.mark.parametrize("normal", [[0.0, 0.0, 1.0], [0.5, -0.3, 0.8]])
def test_a_textured_plane_is_seen_from_elsewhere(settings, normal):
    size = (72, 96)
    K = camera(*size)
    T = moved([0.05, -0.12, 0.1], [0.2, -0.1, -0.15])
    image, depth = plane_view(still()[0], K[0], size, normal, 2.0)
    expected, expected_depth = plane_view(T[0], K[0], size, normal, 2.0)
    points, mask, spacing = scene_points(depth, K)
    drawn = SplatRenderer(**settings)(
        points, image.flatten(2), K=K, T_view_source=T, size=size, mask=mask, spacing_m=spacing
    )
    assert drawn.visible.double().mean() > 0.7
    # At the border, of the image as of what is seen, blending is one-sided.
    inner = F.avg_pool2d(drawn.visible.double(), 5, stride=1, padding=2) == 1
    assert psnr(drawn.features, expected, inner) > 40
    assert psnr(drawn.features, expected, drawn.visible) > 35
    relative = (drawn.depth_m / expected_depth - 1).abs()
    assert relative[inner].max() < 2e-3


def square_before_wall(size=(48, 64)):
    depth = torch.full((1, 1, *size), 3.0).double()
    depth[..., 16:32, 20:44] = 1.5
    image = torch.zeros(1, 2, *size).double()
    image[:, 1] = 1.0
    image[:, 0, 16:32, 20:44], image[:, 1, 16:32, 20:44] = 1.0, 0.0
    return depth, image


@pytest.mark.parametrize("settings", [GAUSSIAN, BILINEAR])
def test_what_is_near_hides_what_is_far(settings):
    depth, image = square_before_wall()
    K = camera(48, 64)
    points, mask, _ = scene_points(depth, K)
    T = moved([0.0, 0.0, 0.0], [0.3, 0.0, 0.0])
    order = torch.randperm(points.shape[-1], generator=torch.Generator().manual_seed(0))
    drawn = SplatRenderer(**settings)(
        points[..., order], image.flatten(2)[..., order], K=K, T_view_source=T, size=(48, 64), mask=mask[..., order]
    )
    # The square moves by f t / z = 15.4 pixels and the wall by half of that: between them lies a hole on the left.
    shift = 0.3 * K[0, 0, 0].item() / 1.5
    left, right = 20 + shift + 2, 44 + shift - 2
    inside = slice(18, 30), slice(math.ceil(left), math.floor(right))
    near = drawn.features[0, 0][inside]
    assert near.shape[1] > 15
    torch.testing.assert_close(near, torch.ones_like(near))
    torch.testing.assert_close(drawn.depth_m[0, 0][inside], torch.full_like(near, 1.5))
    assert not drawn.visible[0, 0, 24, 31]
    assert (drawn.features[0, :, 24, 31] == 0).all()
    assert drawn.depth_m[0, 0, 24, 31] == 0
    assert drawn.depth_m[0, 0, 24, 62] == pytest.approx(3.0)


@pytest.mark.parametrize(("settings", "times"), [(GAUSSIAN, 2.5), (BILINEAR, 2.4)])
def test_a_wall_that_comes_near_stays_closed_and_nothing_shines_through(settings, times):
    size, K = (48, 64), camera(48, 64)
    K[:, 1, 1] = K[:, 0, 0]
    wall = torch.full((1, 1, *size), 2.0).double()
    points, mask, spacing = scene_points(wall, K)
    far, far_mask, far_spacing = scene_points(4 * wall, K)
    points, mask, spacing = (torch.cat(pair, -1) for pair in ((points, far), (mask, far_mask), (spacing, far_spacing)))
    colours = torch.cat([torch.ones(1, 1, 48 * 64), torch.zeros(1, 1, 48 * 64)], dim=-1).double()
    T = moved([0.0, 0.0, 0.0], [0.013, 0.021, 2 / times - 2])

    def draw(most):
        renderer = SplatRenderer(**settings, max_radius_px=most)
        drawn = renderer(points, colours, K=K, T_view_source=T, size=size, mask=mask, spacing_m=spacing)
        assert drawn.visible.all()
        return drawn

    drawn = draw(2.5)
    torch.testing.assert_close(drawn.features, torch.ones_like(drawn.features))
    torch.testing.assert_close(drawn.depth_m, torch.full_like(drawn.depth_m, 2 / times))
    assert draw(None).features.min() < 0.5


def test_an_oblique_wall_that_turns_to_the_camera_needs_its_patches_stretched():
    size, K = (48, 64), camera(48, 64)
    K[:, 1, 1] = K[:, 0, 0]
    angle = math.radians(72)
    x, _ = pixel_grid(*size, like=K)
    depth = (1 / (math.cos(angle) + (x - K[0, 0, 2]) / K[0, 0, 0] * math.sin(angle))).view(1, 1, *size)
    depth = torch.where((depth > 0.5) & (depth < 9), depth, 0.0)
    middle = 1 / math.cos(angle)
    turn = moved([0.0, angle, 0.0], [0.0, 0.0, 0.0])
    pivot = torch.tensor([0.0, 0.0, middle]).double()
    turn[0, :3, 3] = pivot - turn[0, :3, :3] @ pivot
    renderer = SplatRenderer("bilinear", max_radius_px=3.5)
    visible = []
    for stretch in (1.0, 4.0):
        points, mask, spacing = scene_points(depth, K, edge_jump=None, max_stretch=stretch)
        drawn = renderer(points, points, K=K, T_view_source=turn, size=size, mask=mask, spacing_m=spacing)
        visible.append(drawn.visible[0, 0, 20:28, 28:36].double().mean().item())
    assert visible[0] < 0.8
    assert visible[1] == 1.0


def layered(seed=0, size=(7, 9), n=12):
    """Points in two layers far behind each other, none near the edge of a footprint of another kind."""
    generator = torch.Generator().manual_seed(seed)
    K = camera(*size)
    u = torch.stack(
        [size[1] * torch.rand(1, n, generator=generator), size[0] * torch.rand(1, n, generator=generator)], 1
    )
    z = torch.where(torch.arange(n) % 2 == 0, 1.0, 3.0).view(1, 1, n) + 0.02 * torch.rand(1, 1, n, generator=generator)
    u, z = u.double(), z.double()
    x = (u[:, :1] - K[0, 0, 2]) / K[0, 0, 0] * z
    y = (u[:, 1:] - K[0, 1, 2]) / K[0, 1, 1] * z
    features = torch.rand(1, 2, n, generator=generator).double()
    spacing = 1.4 * z / K[0, 0, 0]
    return torch.cat([x, y, z], dim=1), features, K, spacing


@pytest.mark.parametrize(
    ("settings", "adaptive"),
    [
        (GAUSSIAN, False),
        (BILINEAR, False),
        ({**GAUSSIAN, "max_radius_px": 2.5}, True),
        ({**BILINEAR, "max_radius_px": 2.5}, True),
    ],
)
def test_gradients_are_those_of_the_picture(settings, adaptive):
    points, features, K, spacing = layered()
    axis_angle = torch.tensor([[0.02, -0.03, 0.05]], dtype=torch.float64)
    shift = torch.tensor([[0.02, -0.01, 0.03]], dtype=torch.float64)
    leaves = [t.clone().requires_grad_() for t in (points, features, K, axis_angle, shift, spacing)]

    def run(points, features, K, axis_angle, shift, spacing):
        T = transform_from_axis_angle(axis_angle, shift)
        drawn = SplatRenderer(**settings)(
            points, features, K=K, T_view_source=T, size=(7, 9), spacing_m=spacing if adaptive else None
        )
        return drawn.features, drawn.depth_m, drawn.weight

    assert torch.autograd.gradcheck(run, leaves, eps=1e-7, atol=1e-5)


def test_gradients_in_single_precision_are_those_of_finite_differences():
    size = (32, 40)
    K, image = camera(*size), smooth(1, 3, *size)
    depth = 2 + 0.3 * smooth(1, 1, *size, seed=3)
    direction = 1e-4 * smooth(1, 1, *size, seed=6)
    T = moved([0.03, -0.06, 0.0], [0.05, 0.02, 0.1])
    target = smooth(1, 3, *size, seed=9)

    def loss(depth, dtype):
        points, mask, _ = scene_points(depth.to(dtype), K.to(dtype))
        drawn = SplatRenderer()(
            points, image.to(dtype).flatten(2), K=K.to(dtype), T_view_source=T.to(dtype), size=size, mask=mask
        )
        return (drawn.features - target.to(dtype)).square().sum() + drawn.depth_m.square().sum()

    leaf = depth.float().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, torch.float32), leaf)
    difference = loss(depth + direction, torch.float64) - loss(depth - direction, torch.float64)
    torch.testing.assert_close((gradient.double() * 2 * direction).sum(), difference, rtol=1e-3, atol=0)


def test_images_of_a_batch_and_the_order_of_points_do_not_matter():
    renderer = SplatRenderer()
    together, scene = draw_batch_and_single_images(
        renderer, 1 + smooth(3, 1, *SIZE), noise(3, 3, *SIZE), camera(batch=3)
    )
    order = torch.randperm(24 * 32, generator=torch.Generator().manual_seed(1))
    scene |= {name: scene[name][..., order] for name in ("points", "features", "mask")}
    shuffled = renderer(**scene, size=SIZE)
    for a, b in zip(shuffled, together, strict=True):
        torch.testing.assert_close(a, b)


def test_results_repeat_to_the_bit():
    depth, image, K = (1 + smooth(2, 1, *SIZE)).float(), noise(2, 3, *SIZE).float(), camera(batch=2).float()
    T = moved([0.0, 0.2, 0.0], [0.1, 0.0, -0.2]).float().repeat(2, 1, 1)

    def run():
        leaf = depth.clone().requires_grad_()
        points, mask, _ = scene_points(leaf, K)
        drawn = SplatRenderer()(points, image.flatten(2), K=K, T_view_source=T, size=SIZE, mask=mask)
        return (*drawn, *torch.autograd.grad(drawn.features.square().sum() + drawn.depth_m.sum(), leaf))

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first = run()
        for _ in range(3):
            for a, b in zip(run(), first, strict=True):
                assert torch.equal(a, b)
    finally:
        torch.use_deterministic_algorithms(before)


def test_autocast_and_half_precision_do_not_round():
    points, features, K, _ = (t.float() for t in layered())
    arguments = {"K": K, "T_view_source": still().float(), "size": (7, 9)}
    plain = SplatRenderer()(points, features, **arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = SplatRenderer()(points, features, **arguments)
    for a, b in zip(inside, plain, strict=True):
        assert torch.equal(a, b)
    assert SplatRenderer()(points, features.bfloat16(), **arguments).features.dtype is torch.float32
    assert SplatRenderer()(points.half(), features.half(), **arguments).features.dtype is torch.float32


def unseen(kind):
    points, features, K, spacing = layered()
    if kind == "no points":
        return points[..., :0], features[..., :0], K, spacing[..., :0], None
    if kind == "behind":
        return points * torch.tensor([1.0, 1.0, -1.0]).view(1, 3, 1), features, K, spacing, None
    if kind == "masked":
        features = torch.full_like(features, torch.nan)
        return points, features, K, torch.full_like(spacing, torch.nan), torch.zeros_like(points[:, :1]).bool()
    if kind == "beside":
        return points + torch.tensor([50.0, 0.0, 0.0]).view(1, 3, 1), features, K, spacing, None
    fill = {"nan": torch.nan, "infinite": torch.inf, "huge": 1e30, "on the camera": 0.0, "almost on it": 1e-30}[kind]
    return torch.full_like(points, fill), features, K, spacing, None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(
    "kind", ["no points", "behind", "masked", "beside", "nan", "infinite", "huge", "on the camera", "almost on it"]
)
def test_what_cannot_be_drawn_leaves_holes_with_zero_gradients(kind, adaptive, dtype):
    points, features, K, spacing, mask = unseen(kind)
    leaves = [t.to(dtype).requires_grad_() for t in (points, features, K, still())]
    drawn = SplatRenderer(max_radius_px=2.5)(
        leaves[0], leaves[1], K=leaves[2], T_view_source=leaves[3], size=(7, 9), mask=mask,
        spacing_m=spacing.to(dtype) if adaptive else None,
    )  # fmt: skip
    gradients = torch.autograd.grad(sum(values.sum() for values in drawn[:3]), leaves)
    if kind == "huge":  # at the end of the world on a ray that misses the image
        assert all(gradient.isfinite().all() for gradient in gradients)
    assert not drawn.visible.any()
    for values in drawn[:3]:
        assert (values == 0).all()
    assert drawn.features.shape == (1, 2, 7, 9)
    assert all((gradient == 0).all() for gradient in gradients)


def test_one_nan_point_is_a_hole_and_nothing_else():
    depth, K = torch.full((1, 1, *SIZE), 2.0), camera().float()
    points, _, spacing = scene_points(depth, K)
    image = noise(1, 3, *SIZE).float().flatten(2)
    points[0, 1, 32 * 10 + 7] = torch.nan
    points.requires_grad_()
    drawn = SplatRenderer("bilinear")(points, image, K=K, T_view_source=still().float(), size=SIZE, spacing_m=spacing)
    expected = torch.ones(SIZE, dtype=torch.bool)
    expected[10, 7] = False
    assert torch.equal(drawn.visible[0, 0], expected)
    assert all(values.isfinite().all() for values in drawn)
    (drawn.features.sum() + drawn.depth_m.sum()).backward()
    assert points.grad.isfinite().all()


def test_nan_features_stay_visible():
    depth, K = torch.full((1, 1, *SIZE), 2.0), camera().float()
    image = torch.ones(1, 1, *SIZE)
    image[0, 0, 4, 5] = torch.nan
    points, _, _ = scene_points(depth, K)
    drawn = SplatRenderer("bilinear")(points, image.flatten(2), K=K, T_view_source=still().float(), size=SIZE)
    assert drawn.features[0, 0, 4, 5].isnan()
    assert drawn.depth_m.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"footprint": "square"}, "footprint is 'square'"),
        ({"radius_px": 0.5}, r"radius_px is 0\.5"),
        ({"radius_px": 2.0, "max_radius_px": 1.5}, r"max_radius_px 1\.5"),
        ({"softness": 0.0}, r"softness is 0\.0"),
        ({"min_weight": 0.0}, r"min_weight 0\.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SplatRenderer(**settings)
