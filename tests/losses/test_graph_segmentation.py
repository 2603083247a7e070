"""Graph segmentation against a slow reference that keeps segments as Python sets, and against closed forms."""

import numpy as np
import pytest

from losses.graph_segmentation import segment_grid


def slow_segments(down, right, valid, scale, min_size):
    """The two passes of the paper, with sets of pixels in place of a forest and the largest cost kept per set."""
    height, width = valid.shape
    edges = []
    for y in range(height):
        for x in range(width):
            if y + 1 < height and valid[y, x] and valid[y + 1, x] and np.isfinite(down[y, x]):
                edges.append((float(down[y, x]), (y, x), (y + 1, x)))
            if x + 1 < width and valid[y, x] and valid[y, x + 1] and np.isfinite(right[y, x]):
                edges.append((float(right[y, x]), (y, x), (y, x + 1)))
    edges = [edges[i] for i in np.argsort([e[0] for e in edges], kind="stable")]
    segment_of = {(y, x): frozenset([(y, x)]) for y in range(height) for x in range(width) if valid[y, x]}
    inner = dict.fromkeys(segment_of.values(), 0.0)

    def merge(a, b, cost):
        union = a | b
        inner[union] = cost
        segment_of.update(dict.fromkeys(union, union))

    for cost, p, q in edges:
        a, b = segment_of[p], segment_of[q]
        if a != b and cost < min(inner[s] + scale / 255 / len(s) for s in (a, b)):
            merge(a, b, cost)
    for cost, p, q in edges:
        a, b = segment_of[p], segment_of[q]
        if a != b and min(len(a), len(b)) < min_size:
            merge(a, b, cost)
    labels = np.zeros((height, width), dtype=np.int64)
    for number, segment in enumerate(sorted({min(s): s for s in segment_of.values()}.items()), start=1):
        for pixel in segment[1]:
            labels[pixel] = number
    return labels


def random_costs(seed, height=14, width=17):
    """Costs between pixels of a few patches with noise: segments of many sizes, and some exact ties."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 4, (height // 5 + 1, width // 5 + 1)).repeat(5, 0).repeat(5, 1)[:height, :width] / 4
    image = (image + 0.02 * np.round(rng.random((height, width)), 1)).astype(np.float32)
    return np.abs(np.diff(image, axis=0)), np.abs(np.diff(image, axis=1)), rng.random((height, width)) > 0.06


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("min_size", [0, 4, 30])
def test_segments_equal_the_slow_reference(scale, min_size):
    cases = [random_costs(seed) for seed in range(4)]
    down, right, valid = (np.stack(arrays) for arrays in zip(*cases, strict=True))
    down[0, 3, 4] = np.nan
    right[1, :, 6] = np.inf
    ours = segment_grid(down, right, valid=valid, scale=scale, min_size=min_size)
    for image in range(4):
        expected = slow_segments(down[image], right[image], valid[image], scale, min_size)
        np.testing.assert_array_equal(ours[image], expected)
    assert ours.max() > 2


def test_purely_random_costs_equal_the_slow_reference():
    rng = np.random.default_rng(5)
    down, right = rng.random((1, 11, 13), dtype=np.float32), rng.random((1, 12, 12), dtype=np.float32)
    for scale in (20.0, 80.0, 300.0):
        ours = segment_grid(down, right, scale=scale, min_size=3)
        expected = slow_segments(down[0], right[0], np.ones((12, 13), bool), scale, 3)
        np.testing.assert_array_equal(ours[0], expected)


def test_two_flat_halves_are_two_segments():
    right = np.zeros((1, 6, 9), dtype=np.float32)
    right[:, :, 3] = 1
    labels = segment_grid(np.zeros((1, 5, 10), dtype=np.float32), right, min_size=5)
    assert (labels[0, :, :4] == 1).all()
    assert (labels[0, :, 4:] == 2).all()


def test_the_merging_rule_at_its_limit():
    # One row: six equal pixels, then six more. They merge while the step is below k / 6, and not at it.
    k = 0.75
    for step, count in ((0.124, 1), (0.125, 2), (0.126, 2)):
        right = np.zeros((1, 1, 11), dtype=np.float32)
        right[0, 0, 5] = step
        labels = segment_grid(np.zeros((1, 0, 12), dtype=np.float32), right, scale=255 * k, min_size=0)
        assert labels.max() == count


def test_a_small_segment_joins_its_nearest_neighbour():
    right = np.array([[[0, 0, 0, 0.9, 0.3, 0, 0, 0]]], dtype=np.float32)  # the fifth pixel stands alone
    down = np.zeros((1, 0, 9), dtype=np.float32)
    alone = segment_grid(down, right, scale=1.0, min_size=0)
    assert alone.tolist() == [[[1, 1, 1, 1, 2, 3, 3, 3, 3]]]
    joined = segment_grid(down, right, scale=1.0, min_size=2)
    assert joined.tolist() == [[[1, 1, 1, 1, 2, 2, 2, 2, 2]]]


def test_invalid_pixels_separate_and_have_no_label():
    valid = np.ones((1, 4, 7), bool)
    valid[:, :, 3] = False
    flat = np.zeros((1, 3, 7), dtype=np.float32), np.zeros((1, 4, 6), dtype=np.float32)
    labels = segment_grid(*flat, valid=valid, min_size=100)  # nothing leads across, whatever the size
    assert labels[0, 0].tolist() == [1, 1, 1, 0, 2, 2, 2]
    assert segment_grid(*flat, valid=np.zeros_like(valid)).max() == 0


def test_threads_do_not_change_the_result():
    cases = [random_costs(seed, 30, 40) for seed in range(6)]
    down, right, valid = (np.stack(arrays) for arrays in zip(*cases, strict=True))
    one = segment_grid(down, right, valid=valid, min_size=5)
    np.testing.assert_array_equal(segment_grid(down, right, valid=valid, min_size=5, threads=3), one)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cost_down": np.zeros((1, 4, 5), np.float32)}, "shapes"),
        ({"cost_down": -np.ones((1, 3, 5), np.float32)}, "negative"),
        ({"valid": np.ones((1, 4, 5))}, "valid is float64"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"threads": 0}, "threads 0"),
    ],
)
def test_bad_input_is_named(arguments, message):
    arguments = {
        "cost_down": np.zeros((1, 3, 5), np.float32),
        "cost_right": np.zeros((1, 4, 4), np.float32),
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        segment_grid(arguments.pop("cost_down"), arguments.pop("cost_right"), **arguments)
