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


def test_masks_and_boxes_follow_a_given_size():
    masks = np.zeros((1, 40, 60), bool)
    masks[0, 10:30, 30:60] = True
    box = np.array([[30, 10, 60, 30]], np.float32)
    pixels = np.full((40, 60, 3), 100, np.uint8)
    larger = draw_instances(pixels, boxes=box, labels=[1], masks=masks, size=(100, 150))
    assert larger.shape == (100, 150, 3)
    inside = (1 - OPACITY) * 100 + OPACITY * np.array(instance_colour(0))
    np.testing.assert_allclose(larger[60, 140], inside, atol=1)
    assert tuple(larger[74, 110]) == instance_colour(0)
    assert (larger[60, 70] == 100).all()
    smaller = draw_instances(pixels, boxes=box, labels=[1], masks=masks, size=(1, 1))
    assert smaller.shape == (1, 1, 3)


def test_words_stay_inside_the_picture_and_can_be_read():
    pixels = np.full((100, 120, 3), 255, np.uint8)
    boxes = np.array([[110, 95, 119, 99]], np.float32)
    named = draw_instances(pixels, boxes=boxes, labels=[1], masks=None, class_names=["Küche"], size=(100, 120))
    ground = (named == 25).all(axis=2)
    assert ground.sum() > 200
    assert ground[-1].any() or ground[-2].any()
    assert named[ground.any(axis=1)][:, ground.any(axis=0)].max() > 240, "white letters on dark ground"
    odd = draw_instances(pixels, boxes=boxes, labels=[1], masks=None, class_names=["a\nb" * 50], size=(100, 120))
    assert odd.shape == pixels.shape
