"""The residual shift against closed forms and numpy's fit."""

import numpy as np
import pytest
import torch

from metrics.residual_shift import residual_shift


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
