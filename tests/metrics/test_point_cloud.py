"""Cloud errors against scipy's k-d tree, closed forms, and every way of cutting into batches."""

import pickle

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from metrics.point_cloud import (
    PointCloudErrors,
    grid_subset,
    nearest_by_pairs,
    nearest_distances,
    point_cloud_errors,
    scaled_clouds,
)
from tests.data.make_box_room import box_room


def scenes(n: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    """Box rooms seen under different angles, with a prediction of another scale that is smoothly and locally wrong."""
    generator = torch.Generator().manual_seed(seed)
    rooms = [box_room(yaw=0.2 * i) for i in range(n)]
    target, _, K = (torch.cat(parts) for parts in zip(*rooms, strict=True))
    scale = torch.rand(n, 1, 1, 1, generator=generator) * 3 + 0.1
    wrong = 1 + 0.05 * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    mask = torch.rand(target.shape, generator=generator) < 0.8
    return {
        "prediction": (scale * (target * wrong + 0.3)).float(),
        "target_m": target.float(),
        "mask": mask,
        "K": K.float(),
    }


def lift(depth: np.ndarray, K: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Points of the masked pixels, one after the other."""
    rows, columns = np.nonzero(mask)
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))])
    return (np.linalg.inv(K) @ rays * depth[mask]).T


def reference(batch: dict[str, torch.Tensor], threshold_m: float = 0.05) -> dict[str, np.ndarray]:
    results = []
    for p, t, m, K in zip(*(batch[key].numpy() for key in ("prediction", "target_m", "mask", "K")), strict=True):
        p, t, m, K = p[0].astype(float), t[0].astype(float), m[0] & (t[0] <= 10), K.astype(float)
        cloud, truth = lift(p * np.median(t[m]) / np.median(p[m]), K, m), lift(t, K, m)
        to_truth, to_cloud = cKDTree(truth).query(cloud)[0], cKDTree(cloud).query(truth)[0]
        precision, recall = (to_truth < threshold_m).mean(), (to_cloud < threshold_m).mean()
        f_score = 2 * precision * recall / (precision + recall)
        results.append(((to_truth.mean() + to_cloud.mean()) / 2, to_truth.mean(), to_cloud.mean(), f_score))
    names = ("chamfer_m", "cloud_accuracy_m", "cloud_completeness_m", "f_score")
    return dict(zip(names, np.array(results).T, strict=True))


@pytest.mark.parametrize(("threshold_m", "name"), [(0.05, "f_score_5cm"), (0.125, "f_score_12.5cm")])
def test_errors_equal_a_search_with_a_tree(threshold_m, name):
    batch = scenes()
    errors = point_cloud_errors(**batch, threshold_m=threshold_m)
    expected = reference(batch, threshold_m)
    assert list(errors) == ["chamfer_m", "cloud_accuracy_m", "cloud_completeness_m", name]
    for (label, value), wanted in zip(errors.items(), expected.values(), strict=True):
        np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-4, err_msg=label)
    assert 0.05 < expected["chamfer_m"].min() < 0.5
    assert 0.05 < expected["f_score"].min() < 0.95
    assert not np.allclose(expected["cloud_accuracy_m"], expected["cloud_completeness_m"], rtol=0.01)


def test_walls_one_behind_the_other_are_as_far_apart_as_they_are():
    K = torch.tensor([[[1000.0, 0, 8], [0, 1000.0, 8], [0, 0, 1]]])
    target = torch.full((1, 1, 16, 16), 2.0)
    near = target.clone()
    near[..., 8:, :] = 2.5  # the median stays between the two, at 2.25, so the scale is 2 / 2.25
    everywhere = torch.ones_like(target, dtype=torch.bool)
    errors = point_cloud_errors(near, target_m=target, mask=everywhere, K=K)
    scale = 2 / 2.25
    assert errors["cloud_accuracy_m"].item() == pytest.approx((abs(2 * scale - 2) + abs(2.5 * scale - 2)) / 2, rel=1e-3)
    assert errors["f_score_5cm"].item() == 0


def test_exact_depth_of_any_scale_has_no_error():
    batch = scenes()
    for scale in (1e-3, 1.0, 700.0):
        errors = point_cloud_errors(**(batch | {"prediction": scale * batch["target_m"]}))
        for name, value in errors.items():
            wanted = torch.full_like(value, 1.0 if name.startswith("f_score") else 0.0)
            torch.testing.assert_close(value, wanted, rtol=0, atol=1e-5)


def test_a_shift_is_an_error_and_a_wrong_focal_length_too():
    batch = scenes()
    batch["prediction"] = batch["target_m"] + 0.5
    assert (point_cloud_errors(**batch)["chamfer_m"] > 0.05).all()
    batch["prediction"] = batch["target_m"].clone()
    wrong = batch["K"] * torch.tensor([1.2, 1.2, 1.0]).view(3, 1)
    assert (point_cloud_errors(**batch, prediction_K=wrong)["chamfer_m"] > 0.05).all()
    assert (point_cloud_errors(**batch, prediction_K=batch["K"])["chamfer_m"] < 1e-6).all()


def test_what_lies_outside_the_mask_or_beyond_the_caps_does_not_count():
    batch = scenes()
    expected = point_cloud_errors(**batch, min_depth_m=2.0, max_depth_m=4.0)
    outside = ~batch["mask"] | (batch["target_m"] < 2) | (batch["target_m"] > 4)
    spoilt = {key: torch.where(outside, torch.nan, batch[key]) for key in ("prediction", "target_m")}
    torch.testing.assert_close(point_cloud_errors(**(batch | spoilt), min_depth_m=2.0, max_depth_m=4.0), expected)
    smaller = batch | {"mask": ~outside}
    torch.testing.assert_close(point_cloud_errors(**smaller), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_stays_visible_in_its_image_alone(bad):
    batch = scenes(3)
    expected = point_cloud_errors(**batch)
    batch["mask"][1, 0, 3, 3] = True
    batch["prediction"][1, 0, 3, 3] = bad
    for name, value in point_cloud_errors(**batch).items():
        assert value[1].isnan()
        torch.testing.assert_close(value[[0, 2]], expected[name][[0, 2]])


def test_uneven_batches_and_ranks_equal_one_and_empty_images_do_not_count():
    batch = scenes(7)
    batch["mask"][4] = False
    values = point_cloud_errors(**batch)
    assert values["chamfer_m"].isnan().tolist() == [False] * 4 + [True] + [False] * 2
    expected = {name: value.nanmean() for name, value in values.items()}
    metric, merged = PointCloudErrors(), PointCloudErrors()
    for start, stop in ((0, 1), (1, 4), (4, 5), (5, 7)):
        part = {key: value[start:stop] for key, value in batch.items()}
        metric.update(**part)
        rank = PointCloudErrors()
        rank.update(**part)
        assert rank._reductions["totals"].__name__ == rank._reductions["n_images"].__name__ == "dim_zero_sum"
        assert rank.totals.dtype is torch.float64
        merged.totals, merged.n_images = merged.totals + rank.totals, merged.n_images + rank.n_images
    merged._update_count = 1
    for other in (metric, merged, pickle.loads(pickle.dumps(metric))):
        torch.testing.assert_close(other.compute(), expected, rtol=1e-7, atol=0)
    metric.reset()
    metric._update_count = 1
    assert all(value.isnan() for value in metric.compute().values())


@pytest.mark.parametrize("max_points", [1, 5, 100, 300, 767, 768, 10_000])
def test_pixels_are_taken_on_an_even_grid(max_points):
    numbers = torch.arange(24 * 32, dtype=torch.float32).view(1, 1, 24, 32)
    taken = grid_subset(numbers, max_points).flatten()
    assert min(max_points, 24 * 32) * 0.3 < len(taken) <= max_points
    assert taken.unique().equal(taken)  # in order, none twice
    rows, columns = (taken // 32).unique(), (taken % 32).unique()
    assert len(rows) * len(columns) == len(taken)
    for positions, size in ((rows, 24), (columns, 32)):
        steps = positions.diff()
        assert len(steps) == 0 or steps.max() - steps.min() <= 1
        middle = (positions.float() + 0.5).mean().item()
        assert abs(middle - size / 2) <= 0.5
    assert grid_subset(torch.zeros(1, 1, 500, 2), 3).shape[-1] <= 3


def test_fewer_points_change_the_errors_a_little():
    rooms = [box_room(48, 64, yaw=0.3 * i) for i in range(3)]
    target, _, K = (torch.cat(parts) for parts in zip(*rooms, strict=True))
    batch = {"target_m": target, "mask": target > 0, "K": K, "prediction": target + 0.5}
    all_points = point_cloud_errors(**batch, max_points=10_000)
    for name, value in point_cloud_errors(**batch, max_points=1000).items():
        torch.testing.assert_close(value, all_points[name], rtol=0.35, atol=0.05)
        assert not torch.equal(value, all_points[name])


def test_distances_are_the_same_in_one_piece_and_in_many(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    points, others = torch.randn(2, 50, 3, generator=generator), torch.randn(2, 70, 3, generator=generator)
    there = torch.rand(2, 70, generator=generator) < 0.5
    whole = nearest_distances(points, others, there)
    for image in range(2):
        tree = cKDTree(others[image][there[image]].numpy())
        np.testing.assert_allclose(whole[image], tree.query(points[image].numpy())[0], rtol=1e-5)
    for pairs in (1, 2 * 70 * 7):
        monkeypatch.setattr("metrics.point_cloud._PAIRS_AT_ONCE", pairs)
        assert torch.equal(nearest_distances(points, others, there), whole)
    assert nearest_distances(points, others, torch.zeros_like(there)).isinf().all()


def test_half_precision_is_lifted_in_single_precision():
    batch = scenes()
    rounded = batch | {"prediction": batch["prediction"].half().float()}
    torch.testing.assert_close(
        point_cloud_errors(**(batch | {"prediction": batch["prediction"].half()})), point_cloud_errors(**rounded)
    )
    half = scaled_clouds(**(batch | {"prediction": batch["prediction"].half()}))
    assert half.points.dtype is torch.float32


def test_bad_arguments_are_named():
    batch = scenes(2)
    with pytest.raises(ValueError, match=r"all three must be the same \(B, 1, H, W\)"):
        point_cloud_errors(**(batch | {"prediction": batch["prediction"][:, 0]}))
    with pytest.raises(ValueError, match=r"type torch\.float32, but torch\.bool"):
        point_cloud_errors(**(batch | {"mask": batch["mask"].float()}))
    with pytest.raises(ValueError, match=r"K has shape \(1, 3, 3\), but \(2, 3, 3\)"):
        point_cloud_errors(**(batch | {"K": batch["K"][:1]}))
    with pytest.raises(ValueError, match=r"K has shape \(3, 3\)"):
        point_cloud_errors(**batch, prediction_K=batch["K"][0])
    for settings, message in (
        ({"max_points": 0}, "max_points is 0"),
        ({"threshold_m": 0.0}, "threshold_m is 0"),
        ({"max_depth_m": 0.0}, "The depth range is"),
    ):
        with pytest.raises(ValueError, match=message):
            point_cloud_errors(**batch, **settings)
        with pytest.raises(ValueError, match=message):
            PointCloudErrors(**settings)


def test_comparing_all_pairs_finds_what_the_tree_finds():
    generator = torch.Generator().manual_seed(5)
    points, others = torch.rand(2, 40, 3, generator=generator), torch.rand(2, 60, 3, generator=generator)
    mask = torch.rand(2, 60, generator=generator) > 0.3
    points[0, 3, 1] = torch.nan
    pairs = nearest_by_pairs(points, others, mask)
    torch.testing.assert_close(nearest_distances(points, others, mask), pairs, equal_nan=True)
    assert nearest_by_pairs(points, others, torch.zeros_like(mask))[1].isinf().all()
    assert nearest_distances(points, others, torch.zeros_like(mask))[1].isinf().all()
