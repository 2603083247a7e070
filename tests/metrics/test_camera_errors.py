"""Errors of focal length and shift against numpy and closed forms."""

import pickle

import numpy as np
import pytest
import torch

from metrics.camera_errors import FocalErrors, ShiftErrors, focal_errors, residual_shift, shift_errors


def test_focal_errors_in_closed_form():
    # Half of 200 columns at 100 px is 45 degrees; at 100 sqrt(3) px it is 30 degrees.
    focal, true = torch.tensor([100.0, 100 * 3**0.5, 100.0]), torch.tensor([100 * 3**0.5, 100.0, 100.0])
    errors = focal_errors(focal, true_focal_px=true, width_px=200)
    torch.testing.assert_close(errors["focal_fov_deg"], torch.tensor([30.0, 30.0, 0.0]).double(), rtol=1e-6, atol=0)
    expected = torch.tensor([1 - 3**-0.5, 3**0.5 - 1, 0.0], dtype=torch.float64)
    torch.testing.assert_close(errors["focal_rel"], expected, rtol=1e-6, atol=0)


def test_shift_errors_are_in_median_depths():
    errors = shift_errors(
        torch.tensor([0.5, -1.0]), true_shift=torch.tensor([0.2, 1.0]), median_depth=torch.tensor([2.0, 4.0])
    )
    torch.testing.assert_close(errors, torch.tensor([0.15, 0.5], dtype=torch.float64), rtol=1e-6, atol=0)


def test_medians_over_uneven_batches_and_ranks():
    rng = np.random.default_rng(0)
    focal, true = (torch.from_numpy(rng.uniform(50, 150, 8)) for _ in range(2))
    focal_metric, shift_metric = FocalErrors(), ShiftErrors()
    for part in (slice(0, 1), slice(1, 5), slice(5, 8)):
        focal_metric.update(focal[part], true_focal_px=true[part], width_px=128)
        shift_metric.update(focal[part], true_shift=true[part], median_depth=focal[part])
    f, t = focal.numpy(), true.numpy()
    fov = np.degrees(2 * np.arctan(64 / f)) - np.degrees(2 * np.arctan(64 / t))
    for metric in (focal_metric, pickle.loads(pickle.dumps(focal_metric))):
        assert metric.compute()["focal_rel"].item() == pytest.approx(np.median(abs(f - t) / t), rel=1e-12)
        assert metric.compute()["focal_fov_deg"].item() == pytest.approx(np.median(abs(fov)), rel=1e-12)
    assert shift_metric.compute()["shift_rel"].item() == pytest.approx(np.median(abs(f - t) / f), rel=1e-12)
    assert {r.__name__ for r in focal_metric._reductions.values()} == {"dim_zero_cat"}
    focal_metric.focal_rel = torch.cat(focal_metric.focal_rel)  # as after a reduction over ranks
    assert focal_metric.compute()["focal_rel"].item() == pytest.approx(np.median(abs(f - t) / t), rel=1e-12)
    shift_metric.update(torch.tensor([torch.nan]), true_shift=torch.zeros(1), median_depth=torch.ones(1))
    assert shift_metric.compute()["shift_rel"].isnan()
    shift_metric.reset()
    shift_metric._update_count = 1
    assert shift_metric.compute()["shift_rel"].isnan()


def test_the_residual_shift_undoes_an_affine_distortion():
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.uniform(1, 6, (3, 1, 8, 10)))
    mask = torch.from_numpy(rng.random((3, 1, 8, 10)) < 0.7)
    mask[2] = False
    shift = torch.tensor([0.5, -0.8, 1.0], dtype=torch.float64)
    prediction = 3 * (target - shift.view(3, 1, 1, 1))
    target = torch.where(mask, target, torch.nan)
    found = residual_shift(prediction, target_m=target, mask=mask)
    expected = [shift[i].item() / np.median(target[i][mask[i]].numpy()) for i in range(2)]
    np.testing.assert_allclose(found[:2], expected, rtol=1e-9)
    assert found[2].isnan()
    # Against numpy's fit where the prediction is no affine function of the truth.
    prediction = prediction + torch.from_numpy(rng.standard_normal(prediction.shape))
    found = residual_shift(prediction.float(), target_m=target, mask=mask)
    for i in range(2):
        wanted = target[i][mask[i]].numpy()
        constant = np.polyfit(prediction[i][mask[i]].numpy(), wanted, 1)[1]
        assert found[i].item() == pytest.approx(constant / np.median(wanted), rel=1e-5)


def test_bad_arguments_are_named():
    one, two = torch.ones(1), torch.ones(2)
    with pytest.raises(ValueError, match=r"focal_px \(1,\), true_focal_px \(2,\), but all must be the same"):
        focal_errors(one, true_focal_px=two, width_px=3)
    with pytest.raises(ValueError, match="width_px is 0"):
        focal_errors(one, true_focal_px=one, width_px=0)
    with pytest.raises(ValueError, match=r"median_depth \(\)"):
        shift_errors(one, true_shift=one, median_depth=torch.tensor(1.0))
