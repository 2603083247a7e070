"""Depth edges against scipy's distance transform, a loop over neighbours, and scores known by counting."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from metrics.edges import depth_edges, edge_errors, edge_scores, edge_sums, truncated_distance


def random_depth(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(3, 1, 5, 6, generator=generator) * 4 + 0.5
    depth = torch.nn.functional.interpolate(blocks, scale_factor=6)
    return depth, torch.rand(depth.shape, generator=generator) > 0.1


def step(position: int, near: float = 1.0, far: float = 2.0) -> torch.Tensor:
    """A wall that begins at a column: near to the left, far from ``position`` on."""
    depth = torch.full((1, 1, 12, 40), near)
    depth[..., position:] = far
    return depth


EVERYWHERE = torch.ones(1, 1, 12, 40).bool()


def test_edges_equal_a_loop_over_neighbours():
    depth, mask = random_depth()
    edges = depth_edges(depth.masked_fill(~mask, float("nan")), mask, relative_jump=0.3)[:, 0].numpy()
    d, m = depth[:, 0].numpy(), mask[:, 0].numpy()
    expected = np.zeros_like(m)
    for b, row, column in np.argwhere(m):
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < d.shape[1] and 0 <= c < d.shape[2] and m[b, r, c]:
                expected[b, row, column] |= d[b, r, c] / d[b, row, column] > 1.3
    np.testing.assert_array_equal(edges, expected)
    assert 50 < expected.sum() < expected.size / 2


def test_edges_do_not_depend_on_the_scale():
    depth, mask = random_depth()
    assert torch.equal(depth_edges(depth, mask), depth_edges(37 * depth, mask))


@pytest.mark.parametrize("max_distance_px", [1.0, 4.5, 10.0, 100.0])
def test_distance_equals_scipy(max_distance_px):
    generator = torch.Generator().manual_seed(1)
    edges = torch.rand(4, 1, 23, 31, generator=generator) > torch.tensor([0.9, 0.99, 0.997, 2.0]).view(4, 1, 1, 1)
    distance = truncated_distance(edges, max_distance_px=max_distance_px)
    for i in range(3):
        expected = np.minimum(distance_transform_edt(~edges[i, 0].numpy()), max_distance_px)
        np.testing.assert_allclose(distance[i, 0].numpy(), expected, rtol=1e-6)
    assert torch.equal(distance[3], torch.full((1, 23, 31), max_distance_px))


def test_perfect_prediction():
    errors = edge_errors(step(20), target=step(20), mask=EVERYWHERE)
    assert {name: value.item() for name, value in errors.items()} == {
        "edge_accuracy": 0.0,
        "edge_completeness": 0.0,
        "edge_f1": 1.0,
    }


@pytest.mark.parametrize(("shift", "distance", "f1"), [(1, 1.0, 1.0), (3, 3.0, 0.0), (15, 10.0, 0.0)])
def test_shifted_edge(shift, distance, f1):
    errors = edge_errors(step(20 + shift), target=step(20), mask=EVERYWHERE)
    assert errors["edge_accuracy"].item() == distance
    assert errors["edge_completeness"].item() == distance
    assert errors["edge_f1"].item() == f1


def test_a_spurious_edge_costs_accuracy_and_precision_only():
    prediction = step(20)
    prediction[..., 30:] = 3.0
    errors = edge_errors(prediction, target=step(20), mask=EVERYWHERE)
    assert errors["edge_accuracy"].item() == 5.0
    assert errors["edge_completeness"].item() == 0.0
    assert errors["edge_f1"].item() == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_a_missing_edge_costs_completeness_and_recall_only():
    target = step(20)
    target[..., 30:] = 3.0
    errors = edge_errors(step(20), target=target, mask=EVERYWHERE)
    assert errors["edge_accuracy"].item() == 0.0
    assert errors["edge_completeness"].item() == 5.0
    assert errors["edge_f1"].item() == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_no_predicted_edge_is_worst_and_no_true_edge_undefined():
    flat = torch.ones(1, 1, 12, 40)
    missing = edge_errors(flat, target=step(20), mask=EVERYWHERE)
    assert [value.item() for value in missing.values()] == [10.0, 10.0, 0.0]
    undefined = edge_errors(step(20), target=flat, mask=EVERYWHERE)
    assert all(value.isnan() for value in undefined.values())


def test_a_wide_tolerance_finds_nothing_where_nothing_is():
    flat = torch.ones(1, 1, 12, 40)
    for prediction, target in ((flat, step(20)), (step(20), flat)):
        sums = edge_sums(prediction, target=target, mask=EVERYWHERE, tolerance_px=20.0)[0]
        assert sums[[2, 5]].tolist() == [0.0, 0.0]
        assert sorted(sums[[0, 3]].tolist()) == [0.0, 12.0]


def test_blur_loses_the_edge():
    ramp = step(20)
    ramp[..., 12:28] = torch.linspace(1, 2, 16)
    assert edge_sums(ramp, target=step(20), mask=EVERYWHERE)[0, 0].item() == 0


def test_edges_next_to_unmeasured_pixels_are_not_judged():
    mask = EVERYWHERE.clone()
    mask[..., 19] = False
    sums = edge_sums(step(20).masked_fill(~mask, float("nan")), target=step(20), mask=mask)
    assert torch.equal(sums, torch.zeros(1, 6, dtype=torch.float64))


def test_sums_of_images_give_pixel_averages():
    depth, mask = random_depth()
    prediction = depth * (1 + 0.3 * torch.rand(depth.shape, generator=torch.Generator().manual_seed(3)))
    sums = edge_sums(prediction, target=depth, mask=mask)
    accuracy, completeness, f1 = edge_scores(sums.sum(dim=0)).tolist()
    distances, recalled, found, n_predicted, n_true = [], [], 0, 0, 0
    for i in range(3):
        predicted, true = (depth_edges(x, mask)[i, 0].numpy() for x in (prediction, depth))
        to_true = np.minimum(distance_transform_edt(~true), 10)[predicted]
        to_predicted = np.minimum(distance_transform_edt(~predicted), 10)[true]
        distances.extend(to_true)
        recalled.extend(to_predicted)
        found += (to_true <= 1).sum()
        n_predicted += predicted.sum()
        n_true += true.sum()
    precision, recall = found / n_predicted, (np.array(recalled) <= 1).mean()
    assert accuracy == pytest.approx(np.mean(distances), rel=1e-6)
    assert completeness == pytest.approx(np.mean(recalled), rel=1e-6)
    assert f1 == pytest.approx(2 * precision * recall / (precision + recall), rel=1e-6)


def test_bad_thresholds_are_named():
    with pytest.raises(ValueError, match="relative_jump is 0"):
        depth_edges(step(20), EVERYWHERE, relative_jump=0)
    with pytest.raises(ValueError, match="max_distance_px is -1"):
        truncated_distance(EVERYWHERE, max_distance_px=-1)
