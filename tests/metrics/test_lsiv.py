"""LSIV against a numerical minimum of the printed formula, closed forms, and cuts into batches."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from metrics.lsiv import LSIV, lsiv
from tests.data.make_box_room import box_room
from tests.metrics.test_point_cloud import lift, scenes


def quarters(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Four regions an image with odd ids, and a corner that belongs to none."""
    ids = torch.zeros(len(batch["K"]), *batch["mask"].shape[2:], dtype=torch.int64)
    ids[:, :12, :16], ids[:, :12, 16:], ids[:, 12:, :16], ids[:, 12:, 16:] = 3, 1, 70, 8
    ids[:, :2, :2] = 0
    return ids


def reference(batch: dict[str, torch.Tensor], regions: torch.Tensor, min_pixels: int = 10) -> list[float]:
    errors = []
    for p, t, m, K, ids in zip(
        *(batch[key].numpy() for key in ("prediction", "target_m", "mask", "K")), regions.numpy(), strict=True
    ):
        p, t, m, K = p[0].astype(float), t[0].astype(float), m[0], K.astype(float)
        total, count = 0.0, 0
        for region in np.unique(ids[ids > 0]):
            inside = m & (ids == region)
            if inside.sum() < min_pixels:
                continue
            P, G = lift(p, K, inside), lift(t, K, inside)

            def cost(free, P=P, G=G):
                residual = G / G[:, 0].std() - free[0] * P - free[1] * np.array([0, 0, 1])
                return (residual**2).sum()

            total += minimize(cost, [1.0, 0.0], tol=1e-14).fun
            count += inside.sum()
        errors.append(np.sqrt(total / count))
    return errors


def test_it_equals_the_minimum_of_the_printed_formula():
    batch = scenes(3)
    for regions in (quarters(batch), None):
        value = lsiv(**batch, regions=regions)
        ids = torch.ones(3, 24, 32, dtype=torch.int64) if regions is None else regions
        np.testing.assert_allclose(value, reference(batch, ids), rtol=1e-4)
        assert (value > 0.05).all()


def test_the_scale_and_the_distance_of_each_region_are_free_and_its_shape_is_not():
    batch = scenes(3)
    regions = quarters(batch)
    factor = torch.tensor([0.0, 0.5, 0, 2.0, 0, 0, 0, 0, 3.0])[regions.clamp(max=8)] + (regions == 70)
    batch["prediction"] = batch["target_m"] * factor.unsqueeze(1)
    torch.testing.assert_close(lsiv(**batch, regions=regions), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-5)
    assert (lsiv(**batch) > 0.1).all()  # as one region
    batch["prediction"] = batch["target_m"] + 0.5
    assert (lsiv(**batch) > 0.02).all()
    # Through a very long lens all rays are parallel, and a shift of depth moves the whole scene.
    batch["K"] = batch["K"] * torch.tensor([1e4, 1e4, 1]).view(3, 1)
    batch["K"][:, :2, 2] = torch.tensor([16.0, 12.0])
    long = lsiv(**(batch | {"target_m": 3 + 1e-4 * batch["target_m"], "prediction": 3.5 + 1e-4 * batch["target_m"]}))
    assert (long < 0.2).all()


def test_small_regions_and_those_without_width_are_left_out():
    target, _, K = box_room(yaw=0.0)
    regions = torch.zeros(1, 24, 32, dtype=torch.int64)
    regions[:, :, 8:16] = 1
    everything = {"target_m": target, "K": K, "mask": target > 0, "prediction": target + 0.3 * torch.sin(5 * target)}
    expected = lsiv(**everything, regions=regions)
    regions[:, 5, 20:24] = 2  # 4 pixels
    regions[:, 12, 31:] = 9
    assert torch.equal(lsiv(**everything, regions=regions), expected)
    edge_on = regions.clone()
    edge_on[:, 6:18, 26:31] = 4  # of the wall along the line of sight
    torch.testing.assert_close(lsiv(**everything, regions=edge_on), expected)
    assert lsiv(**everything, regions=torch.zeros_like(regions)).isnan().all()
    assert lsiv(**everything, regions=regions, min_pixels=1000).isnan().all()


def test_a_nan_inside_a_region_stays_visible_and_one_outside_does_not_matter():
    batch = scenes(3)
    regions = quarters(batch)
    expected = lsiv(**batch, regions=regions)
    batch["mask"][1, 0, [0, 20], [0, 20]] = True
    batch["prediction"][1, 0, 20, 20] = torch.nan
    assert lsiv(**batch, regions=regions).isnan().tolist() == [False, True, False]
    batch["mask"][1, 0, 20, 20] = False
    batch["prediction"][1, 0, 0, 0] = torch.nan
    torch.testing.assert_close(lsiv(**batch, regions=regions)[[0, 2]], expected[[0, 2]])
    assert lsiv(**batch, regions=regions).isfinite().all()


def test_uneven_batches_equal_one():
    batch = scenes(6)
    batch["mask"][2] = False
    regions = quarters(batch)
    metric = LSIV()
    for start, stop in ((0, 1), (1, 3), (3, 6)):
        metric.update(**{key: value[start:stop] for key, value in batch.items()}, regions=regions[start:stop])
    torch.testing.assert_close(metric.compute(), {"lsiv": lsiv(**batch, regions=regions).nanmean()})


def test_bad_arguments_are_named():
    batch = scenes(2)
    with pytest.raises(
        ValueError, match=r"regions are torch\.int64 of shape \(2, 3, 3\), but torch\.int64 \(2, 24, 32"
    ):
        lsiv(**batch, regions=torch.zeros(2, 3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"regions are torch\.int32"):
        lsiv(**batch, regions=quarters(batch).int())
    with pytest.raises(ValueError, match="id -1"):
        lsiv(**batch, regions=quarters(batch) - 1)
    with pytest.raises(ValueError, match="min_pixels is 0"):
        lsiv(**batch, min_pixels=0)
    with pytest.raises(ValueError, match="min_pixels is 0"):
        LSIV(min_pixels=0)
