"""Key-point selector: comparison with a slow reference, known images, and the source of frames."""

import cv2
import numpy as np
import pytest

from datamodules.preprocessing.keypoints import KeypointSource, grey_levels, select_keypoints
from datamodules.samples.frame import Frame
from datamodules.samples.transforms import flip, resize


def texture(height: int, width: int, *, blur: float, seed: int = 0) -> np.ndarray:
    """Return blurred noise, scaled to 0 to 255."""
    noise = np.random.default_rng(seed).uniform(size=(height, width))
    noise = cv2.GaussianBlur(noise, (0, 0), blur) if blur > 0 else noise
    return 255 * (noise - noise.min()) / (noise.max() - noise.min())


def reference(grey: np.ndarray, side: int) -> list[tuple[int, int]]:
    """Return one selection with blocks of ``side``, by sorting candidates instead of nested loops."""
    height, width = grey.shape
    squares, level = [], grey
    for _ in range(3):
        dy, dx = (np.gradient(level, axis=axis) if min(level.shape) > 1 else 0 * level for axis in (0, 1))
        inner = np.zeros(level.shape)
        inner[1:-1, 1:-1] = 1
        squares.append((dx**2 + dy**2) * inner)
        even = level[: level.shape[0] // 2 * 2, : level.shape[1] // 2 * 2]
        level = sum(even[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4

    thresholds = {}
    for row in range(-(-height // 32)):
        for column in range(-(-width // 32)):
            rows = slice(max(1, 32 * row), min(height - 1, 32 * row + 32))
            columns = slice(max(1, 32 * column), min(width - 1, 32 * column + 32))
            lengths = np.sort(np.minimum(48, np.floor(np.sqrt(squares[0][rows, columns])).ravel()))
            # The first value that more than half of all are at or below is the upper median.
            thresholds[row, column] = (lengths[len(lengths) // 2] if len(lengths) else 0) + 7

    def tau(y: int, x: int) -> float:
        near = [
            thresholds[r, c]
            for r in (y // 32 - 1, y // 32, y // 32 + 1)
            for c in (x // 32 - 1, x // 32, x // 32 + 1)
            if (r, c) in thresholds
        ]
        return (sum(near) / len(near)) ** 2

    pixels = [(y, x) for y in range(4, height - 3) for x in range(4, width - 5)]
    blocks = {p: tuple((p[0] // (k * side), p[1] // (k * side)) for k in (4, 2, 1)) for p in pixels}
    pixels.sort(key=lambda p: (*blocks[p], p))  # block by block, so that the first of equals is the same
    chosen, served = [], set()
    for number, (factor, whole) in enumerate(zip((1, 0.75, 0.421875), (2, 1, 0), strict=True)):
        best: dict[tuple[int, int], tuple[float, tuple[int, int]]] = {}
        for y, x in pixels:
            own = blocks[y, x]
            value = squares[number][y >> number, x >> number]
            if ("done", whole, own[whole]) in served or value <= factor * tau(y, x):
                continue
            if own[whole] not in best or value > best[own[whole]][0]:
                best[own[whole]] = (value, (y, x))
        for _, point in best.values():
            chosen.append(point)
            served |= {("done", k, blocks[point][k]) for k in range(whole)}
    return sorted(chosen)


@pytest.mark.parametrize(("blur", "size"), [(0, (64, 96)), (1.5, (70, 101)), (6, (96, 64)), (12, (96, 130))])
@pytest.mark.parametrize("side", [1, 3, 5])
def test_points_are_those_of_the_reference(blur: float, size: tuple[int, int], side: int) -> None:
    grey = texture(*size, blur=blur)
    expected = reference(grey, side)
    # As many as there are: no change of the side, no thinning.
    points = select_keypoints(grey, wanted=max(1, len(expected)), potential=side)
    assert points.dtype == np.float32
    assert [(y, x) for x, y in (points - 0.5).astype(int).tolist()] == expected


def test_every_size_of_the_image_contributes_to_the_comparison() -> None:
    # If all points were found at full resolution, the comparison would not cover the two coarser levels.
    grey = texture(96, 130, blur=6)
    dy, dx = np.gradient(grey)
    found = select_keypoints(grey, wanted=len(reference(grey, 3))).astype(int)
    lengths = np.hypot(dx, dy)[found[:, 1], found[:, 0]]
    assert lengths.max() > 12
    assert lengths.min() < 9  # 7 grey levels over a median of at least 2


def test_plain_and_nearly_plain_images_have_no_points() -> None:
    assert select_keypoints(np.full((480, 640), 90.0), wanted=2000).shape == (0, 2)
    ramp = np.tile(np.linspace(0, 255, 640), (480, 1))  # the same gradient everywhere stands out nowhere
    assert len(select_keypoints(ramp, wanted=2000)) == 0
    faint = 90 + np.random.default_rng(0).uniform(-2, 2, (480, 640))
    assert len(select_keypoints(faint, wanted=2000)) == 0


def test_a_step_edge_gives_one_point_per_block_beside_it() -> None:
    # Gradients are 50 in the columns left and right of the edge at x=66 and 0 elsewhere. Blocks of 3 pixels begin at
    # multiples of 3, so the columns lie in different ones, 65 in [63, 66) and 66 in [66, 69), and whatever a smaller
    # image sees of the edge lies in the same block of 12, [60, 72). The border cuts off rows 0 to 3
    # and 93 to 95.
    grey = np.full((96, 128), 50.0)
    grey[:, 66:] = 150.0
    points = select_keypoints(grey, wanted=60)
    rows = [4, *range(6, 93, 3)]
    assert sorted(map(tuple, points.tolist())) == sorted((x + 0.5, y + 0.5) for x in (65, 66) for y in rows)


@pytest.mark.parametrize(("strength", "found"), [(1.2, True), (1.0, True), (0.8, True), (0.6, False)])
def test_a_faint_edge_is_found_at_half_and_quarter_size_with_lower_thresholds(strength: float, found: bool) -> None:
    # A ramp of 12.5 grey levels over two pixels has the gradient 6.25 at every size. The block's median is 0, so full
    # size needs 7 (met at strength 1.2), half size 7 * sqrt(0.75) = 6.06 and a quarter 7 * sqrt(0.421875) = 4.55.
    grey = np.full((96, 128), 100.0)
    grey[:, 64] += 6.25 * strength
    grey[:, 65:] += 12.5 * strength
    columns = select_keypoints(grey, wanted=9)[:, 0]
    assert set(columns.tolist()) == ({64.5} if found else set())


@pytest.mark.parametrize("blur", [0, 1, 2, 4])
def test_textured_images_give_about_as_many_points_as_wanted(blur: float) -> None:
    points = select_keypoints(texture(480, 640, blur=blur), wanted=2000)
    assert 2000 / 1.25 <= len(points) <= 2000 * 1.1
    assert len({tuple(point) for point in points.tolist()}) == len(points)
    assert points.min(axis=0).tolist() >= [4.5, 4.5]
    assert (points.max(axis=0) <= [640 - 5.5, 480 - 3.5]).all()
    assert (points % 1 == 0.5).all()


def test_the_border_is_that_of_the_released_selector() -> None:
    # Noise has points everywhere, so that the outermost ones lie on the border: 4 <= x < w - 5 and 4 <= y <= h - 4.
    points = select_keypoints(texture(96, 128, blur=0), wanted=10_000, potential=1)
    assert points.min(axis=0).tolist() == [4.5, 4.5]
    assert points.max(axis=0).tolist() == [128 - 6 + 0.5, 96 - 4 + 0.5]


def test_points_spread_over_the_whole_image() -> None:
    points = select_keypoints(texture(480, 640, blur=2), wanted=2000)
    counts = np.histogram2d(points[:, 1], points[:, 0], bins=(4, 4), range=((0, 480), (0, 640)))[0]
    assert counts.min() > 0.7 * counts.mean()


def test_surplus_is_thinned_by_a_fixed_table() -> None:
    grey = texture(120, 160, blur=1)
    every = select_keypoints(grey, wanted=len(reference(grey, 3)))
    wanted = len(every) // 2
    some = select_keypoints(grey, wanted=wanted)
    table = np.random.default_rng(3141592).integers(0, 256, size=len(every))
    np.testing.assert_array_equal(some, every[table <= 255 * wanted / len(every)])
    np.testing.assert_array_equal(some, select_keypoints(grey, wanted=wanted))
    assert {tuple(p) for p in some.tolist()} != {
        tuple(p) for p in select_keypoints(grey, wanted=wanted, seed=1).tolist()
    }


def test_side_of_the_blocks_follows_the_number_of_points() -> None:
    grey = texture(120, 160, blur=1)
    have = len(reference(grey, 3))
    few = have // 6  # ratio below 1/4: the side grows, to floor(sqrt(have * 16 / few) - 1)
    larger = reference(grey, int(np.sqrt(have * 16 / few) - 1))
    points = {(int(y), int(x)) for x, y in select_keypoints(grey, wanted=few)}
    assert points <= set(larger)
    assert len(points) > 0.7 * few
    many = len(reference(grey, 1))  # ratio above 1.25: the side falls to 1
    assert many > 1.25 * have
    assert len(select_keypoints(grey, wanted=many)) == many


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 5), (9, 9), (3, 200), (33, 31)])
def test_images_of_any_size_are_taken(size: tuple[int, int]) -> None:
    points = select_keypoints(texture(*size, blur=0) if min(size) > 1 else np.zeros(size), wanted=20)
    assert points.shape[1] == 2
    assert (points < [size[1], size[0]]).all()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"grey image \(H, W\), got an array of shape \(4, 4, 3\)"):
        select_keypoints(np.zeros((4, 4, 3)), wanted=5)
    with pytest.raises(ValueError, match=r"wanted \(0\) and potential \(3\) have to be at least 1"):
        select_keypoints(np.zeros((4, 4)), wanted=0)
    with pytest.raises(ValueError, match=r"positive density of key points, got 0"):
        KeypointSource(OneFrame(np.zeros((4, 4, 3), np.uint8)), wanted_per_pixel=0)


class OneFrame:
    def __init__(self, image: np.ndarray) -> None:
        self.image = image

    def __len__(self) -> int:
        return 1

    def read(self, index: int) -> Frame:
        depth = np.ones(self.image.shape[:2], np.float32)
        return Frame(image=self.image, depth=depth, K=np.eye(3), name="one")


def test_source_selects_in_luma_at_the_size_of_the_frame() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    source = KeypointSource(OneFrame(image))
    assert len(source) == 1
    frame = source.read(0)
    luma = image @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey_levels(frame), luma, atol=1e-4)
    assert frame.keypoints is not None
    np.testing.assert_array_equal(frame.keypoints, select_keypoints(luma, wanted=80))  # 96 * 128 * 2000 / (640 * 480)
    bright = KeypointSource(OneFrame((image / 255).astype(np.float32))).read(0)  # float images are in [0, 1]
    np.testing.assert_array_equal(bright.keypoints, frame.keypoints)


def test_points_move_with_the_image() -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, 66:] = 200
    frame = KeypointSource(OneFrame(image), wanted_per_pixel=60 / (96 * 128)).read(0)
    small = resize(flip(frame), (48, 64))
    assert small.keypoints is not None
    assert set(small.keypoints[:, 0].tolist()) == {(128 - 65.5) / 2, (128 - 66.5) / 2}
