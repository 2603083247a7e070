"""Every augmentation against projection: a painted dot must remain the projection of its 3-D point."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from datamodules.samples.frame import Frame
from datamodules.samples.transforms import DepthAugmentation, crop, flip, resize, rotate

HEIGHT, WIDTH = 96, 128
K = np.array([[110.0, 0, 70.3], [0, 117.0, 41.9], [0, 0, 1]])  # neither square pixels nor a centred principal point


def dot_frame(centre: tuple[float, float], depth_m: float = 2.5) -> Frame:
    """Return a black frame with a Gaussian dot in the image and a disc in every map; corner convention."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    squared = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    image = np.repeat(np.exp(-squared / (2 * 2.5**2))[..., None], 3, axis=2).astype(np.float32)
    disc = squared < 5.0**2
    normals = np.zeros((HEIGHT, WIDTH, 3), dtype=np.float32)
    normals[disc] = np.array([0.6, 0.48, -0.64])
    return Frame(
        image=image,
        depth=np.where(disc, depth_m, 0).astype(np.float32),
        K=K.copy(),
        name="dot",
        labels={"instance": disc.astype(np.int64) * 300_000},
        flags={"thin": disc},
        boxes=np.array([[centre[0] - 5, centre[1] - 5, centre[0] + 5, centre[1] + 5]], dtype=np.float32),
        normals=normals,
        T_world_camera=np.eye(4),
    )


def centroid(weights: np.ndarray) -> np.ndarray:
    """Return the centre of mass in corner-convention pixels."""
    weights = weights.astype(np.float64)
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def project(K: np.ndarray, point: np.ndarray) -> np.ndarray:
    homogeneous = K @ point
    return homogeneous[:2] / homogeneous[2]


STEPS: dict[str, tuple[Callable[[Frame], Frame], bool]] = {
    "half": (lambda f: resize(f, (48, 64)), False),
    "odd size": (lambda f: resize(f, (83, 97)), False),
    "twice": (lambda f: resize(f, (192, 256)), False),
    "crop": (lambda f: crop(f, top=7, left=11, height=80, width=90), False),
    "flip": (flip, True),
    "turn clockwise": (lambda f: rotate(f, 5.0), False),
    "turn back": (lambda f: rotate(f, -9.0), False),
    "all": (lambda f: resize(flip(crop(rotate(f, 4.0), top=5, left=9, height=85, width=100)), (64, 80)), True),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("centre", [(64.0, 48.0), (50.5, 30.5), (90.0, 70.0)])
def test_point_projects_to_its_transformed_dot(name: str, centre: tuple[float, float]) -> None:
    step, mirrored = STEPS[name]
    frame = dot_frame(centre)
    new = step(frame)
    point = 2.5 * np.linalg.solve(K, np.array([*centre, 1.0]))  # in the old camera, here also the world
    if mirrored:
        point = point * [-1, 1, 1]  # a flip mirrors the world
    camera = np.linalg.inv(new.T_world_camera)
    pixel = project(new.K, camera[:3, :3] @ point + camera[:3, 3])
    scale = new.image.shape[1] / frame.image.shape[1]
    np.testing.assert_allclose(centroid(new.image[..., 0]), pixel, atol=0.1 * max(1, scale))
    for values in (new.depth, new.labels["instance"], new.flags["thin"], new.normals[..., 2] != 0):
        np.testing.assert_allclose(centroid(values > 0), pixel, atol=0.6 * max(1, scale))
    assert set(np.unique(new.depth)) == {np.float32(0), np.float32(2.5)}
    assert set(np.unique(new.labels["instance"])) == {0, 300_000}
    box = new.boxes[0]
    np.testing.assert_allclose([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], pixel, atol=1e-3)
    # Distances along z stay, so the camera may only have rolled or mirrored.
    np.testing.assert_allclose((camera[:3, :3] @ point + camera[:3, 3])[2], 2.5, rtol=1e-12)
    np.testing.assert_allclose(new.T_world_camera[:3, :3] @ new.T_world_camera[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(new.T_world_camera[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize("name", STEPS)
def test_normals_belong_to_the_new_camera(name: str) -> None:
    step, mirrored = STEPS[name]
    new = step(dot_frame((64.0, 48.0)))
    seen = new.normals[new.depth > 0]
    world = seen @ new.T_world_camera[:3, :3].T
    expected = np.array([-0.6 if mirrored else 0.6, 0.48, -0.64])
    np.testing.assert_allclose(world, np.broadcast_to(expected, world.shape), atol=1e-6)


def test_square_pixels_keep_their_focal_length_and_have_no_skew() -> None:
    frame = dot_frame((64, 48))
    frame.K[1, 1] = frame.K[0, 0]
    new = rotate(frame, 7.0)
    turned = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), -7.0, 1.0) @ np.array([70.3, 41.9, 1.0])
    np.testing.assert_allclose(new.K, [[110, 0, turned[0]], [0, 110, turned[1]], [0, 0, 1]], atol=1e-9)


def test_exposed_borders_are_unknown_in_every_map() -> None:
    frame = dot_frame((64, 48))
    frame.depth[:] = 3.0
    frame.labels["instance"][:] = 7
    new = rotate(frame, 10.0)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5 - WIDTH / 2, np.arange(HEIGHT) + 0.5 - HEIGHT / 2)
    angle = np.radians(10)
    old_x, old_y = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    inside = (np.abs(old_x) < WIDTH / 2) & (np.abs(old_y) < HEIGHT / 2)
    np.testing.assert_array_equal(new.depth > 0, inside)
    np.testing.assert_array_equal(new.labels["instance"] == 7, inside)
    assert 0.02 < 1 - inside.mean() < 0.3


def test_quarter_turn_moves_every_pixel_to_a_pixel() -> None:
    frame = random_frame()
    square = crop(frame, top=0, left=3, height=HEIGHT, width=HEIGHT)
    turned = rotate(square, 90.0)  # clockwise
    np.testing.assert_array_equal(turned.image, np.rot90(square.image, -1))
    np.testing.assert_array_equal(turned.depth, np.rot90(square.depth, -1))


def random_frame(seed: int = 0, dtype: type = np.uint8) -> Frame:
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return Frame(
        image=image if dtype is np.uint8 else image.astype(np.float32) / 255,
        depth=generator.uniform(0.5, 9, (HEIGHT, WIDTH)).astype(np.float32),
        K=K.copy(),
        name="noise",
        boxes=np.array([[10, 20, 30, 50]], dtype=np.float32),
        normals=generator.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32),
        T_world_camera=np.eye(4),
    )


def test_flip_twice_changes_nothing() -> None:
    frame = random_frame()
    again = flip(flip(frame))
    for name in ("image", "depth", "K", "boxes", "normals", "T_world_camera"):
        np.testing.assert_allclose(getattr(again, name), getattr(frame, name), atol=1e-5)


def test_intrinsics_come_back_from_round_trips() -> None:
    frame = random_frame()
    np.testing.assert_allclose(rotate(rotate(frame, 6.0), -6.0).K, K, atol=1e-9)
    np.testing.assert_allclose(resize(resize(frame, (48, 64)), (HEIGHT, WIDTH)).K, K, atol=1e-9)
    np.testing.assert_allclose(rotate(frame, 0.0).K, K, atol=1e-12)


@pytest.mark.parametrize("size", [(48, 64), (37, 97), (192, 256), (37, 129)])
def test_depth_is_sampled_like_opencvs_exact_nearest(size: tuple[int, int]) -> None:
    frame = random_frame()
    expected = cv2.resize(frame.depth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    np.testing.assert_array_equal(resize(frame, size).depth, expected)


def test_shrunk_image_is_the_mean_of_its_areas() -> None:
    frame = random_frame(dtype=np.float32)
    expected = frame.image.reshape(HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(frame, (HEIGHT // 4, WIDTH // 4)).image, expected, atol=1e-5)


def test_augmentation_modifies_no_input_and_is_deterministic() -> None:
    augmentation = DepthAugmentation(crop=(60, 70), contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=0.1, noise_std=0.05)
    frame, same = random_frame(), random_frame()
    first = augmentation(frame, np.random.default_rng(4), image_size=(32, 40))
    second = augmentation(frame, np.random.default_rng(4), image_size=(32, 40))
    other = augmentation(frame, np.random.default_rng(5), image_size=(32, 40))
    for name in ("image", "depth", "K", "boxes", "normals"):
        np.testing.assert_array_equal(getattr(frame, name), getattr(same, name))
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (32, 40, 3)
    assert first.image.dtype == np.float32
    assert first.image.min() >= 0
    assert first.image.max() <= 1
    assert np.isfinite(first.K).all()


def neutral(**changes) -> DepthAugmentation:
    return DepthAugmentation(**({"rotation_degrees": 0, "crop": None, "flip": 0.0, "brightness": (1, 1)} | changes))


def augment(augmentation: DepthAugmentation, seed: int = 0) -> np.ndarray:
    frame = random_frame()
    frame.image = np.full_like(frame.image, 100)
    return augmentation(frame, np.random.default_rng(seed), image_size=(HEIGHT, WIDTH)).image


def test_colours_change_by_the_stated_amounts() -> None:
    np.testing.assert_allclose(augment(neutral()), 100 / 255, rtol=1e-6)
    np.testing.assert_allclose(augment(neutral(brightness=(1.2, 1.2))), 120 / 255, rtol=1e-5)
    np.testing.assert_allclose(augment(neutral(brightness=(3.0, 3.0))), 1.0)
    factors = [augment(neutral(brightness=(0.8, 1.2)), seed).mean() * 255 / 100 for seed in range(200)]
    assert 0.8 <= min(factors) < 0.83
    assert 1.17 < max(factors) <= 1.2
    noise = augment(neutral(noise_std=0.03)) - 100 / 255
    assert abs(noise.mean()) < 1e-3
    assert noise.std() == pytest.approx(0.03, rel=0.02)
    image = random_frame().image.astype(np.float64) / 255
    grey = image @ [0.299, 0.587, 0.114]
    halved = neutral(contrast=(0.5, 0.5))(random_frame(), np.random.default_rng(0), image_size=(HEIGHT, WIDTH))
    np.testing.assert_allclose(halved.image, 0.5 * image + 0.5 * grey.mean(), atol=1e-4)


def test_crop_and_flip_are_drawn_from_the_whole_range() -> None:
    lefts, flipped = set(), 0
    for seed in range(300):
        new = neutral(crop=(90, 120), flip=0.5)(random_frame(), np.random.default_rng(seed), image_size=(90, 120))
        cx = new.K[0, 2]
        is_flipped = new.T_world_camera is not None and new.normals[0, 0, 0] not in random_frame().normals[..., 0]
        flipped += is_flipped
        lefts.add(round(K[0, 2] - (120 - cx if is_flipped else cx)))
    assert lefts == set(range(9))
    assert 110 < flipped < 190


def test_scaled_crop_keeps_fractions_inside_its_range() -> None:
    focals = [
        neutral(crop_scale=(0.5, 1.0))(random_frame(), np.random.default_rng(seed), image_size=(HEIGHT, WIDTH)).K[0, 0]
        for seed in range(200)
    ]
    assert 110 <= min(focals) < 113
    assert 210 < max(focals) <= 220


def test_wrong_settings_are_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"crops 480x480 .* noise has only 96x128"):
        DepthAugmentation()(random_frame(), np.random.default_rng(0), image_size=(32, 32))
    with pytest.raises(ValueError, match="either crop"):
        DepthAugmentation(crop_scale=(0.5, 1.0))
    with pytest.raises(ValueError, match=r"brightness is a range .* got \(1.2, 0.8\)"):
        DepthAugmentation(brightness=(1.2, 0.8))
    with pytest.raises(ValueError, match="flip is a probability, got 2"):
        DepthAugmentation(flip=2)
