"""Boxes, masks and pseudo depth under every augmentation."""

from dataclasses import replace

import numpy as np
import pytest

from datamodules.samples.instance_frame import InstanceFrame
from datamodules.samples.instance_transforms import (
    InstanceAugmentation,
    fitting_size,
    flip_instances,
    resize_instances,
    resize_known,
)


def frame(height: int = 40, width: int = 60) -> InstanceFrame:
    """Return an image of two bright blocks on black, with equal masks and depth."""
    boxes = np.array([[6, 4, 20, 12], [30, 20, 54, 36]], dtype=np.float32)
    masks = np.zeros((2, height, width), dtype=np.bool_)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    bright = masks.any(axis=0)
    return InstanceFrame(
        image=np.repeat(bright[..., None] * np.uint8(255), 3, axis=2).astype(np.uint8),
        boxes=boxes,
        labels=np.array([1, 2]),
        name="blocks",
        image_id=3,
        original_size=(height, width),
        masks=masks,
        pseudo_depth=bright.astype(np.float32),
        depth_mask=np.ones((height, width), dtype=np.bool_),
    )


def box_of(mask: np.ndarray) -> list[int]:
    y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [x[0], y[0], x[-1] + 1, y[-1] + 1]


@pytest.mark.parametrize("size", [(80, 120), (20, 30)])
def test_everything_is_resized_together(size: tuple[int, int]) -> None:
    small = resize_instances(frame(), size)
    np.testing.assert_allclose(small.boxes, frame().boxes * size[0] / 40)
    assert small.masks is not None
    assert small.pseudo_depth is not None
    for mask, box in zip(small.masks, small.boxes, strict=True):
        assert box_of(mask) == box.tolist()
    solid = small.masks.any(axis=0)
    eroded = solid[1:-1, 1:-1] & solid[2:, 1:-1] & solid[:-2, 1:-1] & solid[1:-1, 2:] & solid[1:-1, :-2]
    assert (small.image[1:-1, 1:-1][eroded] == 255).all()
    np.testing.assert_allclose(small.pseudo_depth, small.image[..., 0] / 255, atol=0.01)
    assert small.pseudo_depth.shape == size


def test_unequal_factors_go_to_the_right_coordinates() -> None:
    np.testing.assert_allclose(resize_instances(frame(), (80, 30)).boxes[0], [3, 8, 10, 24])


def test_everything_is_flipped_together() -> None:
    mirrored = flip_instances(frame())
    np.testing.assert_allclose(mirrored.boxes, [[40, 4, 54, 12], [6, 20, 30, 36]])
    for mask, box in zip(mirrored.masks, mirrored.boxes, strict=True):
        assert box_of(mask) == box.tolist()
    np.testing.assert_array_equal(mirrored.pseudo_depth, mirrored.image[..., 0] / 255)
    twice = flip_instances(mirrored)
    for name in ("image", "boxes", "masks", "pseudo_depth", "depth_mask"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(frame(), name))


def test_depth_of_another_size_spans_the_image() -> None:
    coarse = replace(frame(), pseudo_depth=frame().pseudo_depth[::4, ::4], depth_mask=np.ones((10, 15), np.bool_))
    moved = flip_instances(resize_instances(coarse, (20, 30)))
    assert moved.pseudo_depth.shape == (20, 30)
    assert moved.pseudo_depth[14, 9] > 0.9  # inside of the flipped second block
    assert moved.pseudo_depth[2, 2] == 0


def test_unknown_depth_does_not_run_into_known_depth() -> None:
    known = np.ones((8, 8), dtype=np.bool_)
    known[:, :3] = False
    values = np.where(known, 0.7, 0.0).astype(np.float32)
    for size in ((4, 4), (16, 16), (5, 7)):
        resized, resized_known = resize_known(values, known, size)
        np.testing.assert_allclose(resized[resized_known], 0.7, rtol=1e-5)
        assert (resized[~resized_known] == 0).all()
        assert 0.4 < resized_known.mean() < 0.8


def test_augmentation_chooses_a_size_and_flips() -> None:
    augment = InstanceAugmentation(short_sides=[20, 40], max_long_side=60, flip=0.5)
    seen = {
        (moved.image.shape[:2], bool(moved.boxes[0, 0] < moved.boxes[1, 0]))
        for moved in (augment(frame(), np.random.default_rng(k)) for k in range(40))
    }
    assert seen == {((h, 3 * h // 2), flipped) for h in (20, 40) for flipped in (True, False)}
    once, again = (augment(frame(), np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(once.image, again.image)


def test_long_side_limits_the_size() -> None:
    assert fitting_size((100, 300), short_side=100, max_long_side=150) == (50, 150)
    assert fitting_size((300, 100), short_side=50, max_long_side=500) == (150, 50)


@pytest.mark.parametrize("arguments", [{"short_sides": []}, {"short_sides": [2000]}, {"flip": 1.5}])
def test_bad_settings_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"short_sides|flip"):
        InstanceAugmentation(**arguments)
