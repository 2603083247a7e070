"""Masks and boxes on a picture, pixel by pixel."""

import numpy as np

from renderers.instance_drawing import OPACITY, draw_instances, instance_colour


def draw(**changes):
    masks = np.zeros((2, 400, 400), bool)
    masks[0, 200:300, 200:300] = masks[1, 250:350, 200:300] = True
    arguments = {
        "boxes": np.array([[200, 200, 300, 300], [200, 250, 300, 350]], np.float32),
        "labels": [1, 2],
        "masks": masks,
    }
    return draw_instances(np.full((400, 400, 3), 100, np.uint8), **(arguments | changes))


def test_the_first_instance_lies_on_top_and_masks_are_transparent():
    picture = draw()
    second = (1 - OPACITY) * 100 + OPACITY * np.array(instance_colour(1))
    np.testing.assert_allclose(picture[340, 280], second, atol=1)
    both = (1 - OPACITY) * second + OPACITY * np.array(instance_colour(0))
    np.testing.assert_allclose(picture[295, 280], both, atol=2)
    assert (picture[100, 100] == 100).all()


def test_boxes_end_at_their_last_pixel():
    picture = draw(masks=None)
    for row, column in ((200, 250), (299, 250), (250, 200), (220, 299)):
        assert tuple(picture[row, column]) == instance_colour(0)
    assert (picture[220, 250] == 100).all()
    assert (picture[220, 301] == 100).all()


def test_small_pictures_are_enlarged_by_a_whole_factor_and_names_are_written():
    pixels = np.zeros((40, 50, 3), np.uint8)
    box, plain = np.array([[5, 5, 45, 35]], np.float32), np.zeros((1, 4), np.float32)
    named = draw_instances(pixels, boxes=box, labels=[2], masks=None, class_names=["cat", "dog"])
    numbered = draw_instances(pixels, boxes=box, labels=[2], masks=None)
    scored = draw_instances(pixels, boxes=box, labels=[2], masks=None, scores=[0.5])
    assert named.shape == (320, 400, 3)  # the smallest factor with a side of 384 or more
    assert not np.array_equal(named, numbered)
    assert not np.array_equal(scored, numbered)
    assert draw_instances(pixels, boxes=plain[:0], labels=[], masks=None).max() == 0
