"""Aligned bilinear enlargement against the released code and against numpy's interpolation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geometry.resampling import aligned_bilinear

GOLDEN = Path(__file__).parents[1] / "golden"


def make_maps() -> torch.Tensor:
    return torch.rand(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_equals_the_released_code():
    with np.load(GOLDEN / "condinst_aligned_bilinear.npz") as golden:
        maps = torch.from_numpy(golden["x"])
        for factor in (2, 4):
            np.testing.assert_allclose(aligned_bilinear(maps, factor), golden[f"factor{factor}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_equals_numpys_interpolation_along_rows_and_columns(factor):
    maps = make_maps()
    expected = maps.numpy()
    for axis in (2, 3):
        length = expected.shape[axis]
        places = (np.arange(factor * length) - factor // 2) / factor
        expected = np.apply_along_axis(lambda row, p=places, n=length: np.interp(p, np.arange(n), row), axis, expected)
    np.testing.assert_allclose(aligned_bilinear(maps, factor), expected, rtol=1e-12)


def test_values_stay_at_the_locations_of_their_stride():
    maps = make_maps()
    torch.testing.assert_close(aligned_bilinear(maps, 8)[..., 4::8, 4::8], maps)


def test_gradients_and_empty_batches():
    maps = make_maps()[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: aligned_bilinear(x, 4), maps)
    empty = torch.zeros(0, 1, 3, 4, requires_grad=True)
    assert aligned_bilinear(empty, 4).shape == (0, 1, 12, 16)
    aligned_bilinear(empty, 4).sum().backward()
    assert empty.grad.shape == empty.shape


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="factor is 0, but it must be at least 1"):
        aligned_bilinear(make_maps(), 0)
    with pytest.raises(ValueError, match=r"\(N, C, h, w\), got \(5, 7\)"):
        aligned_bilinear(torch.zeros(5, 7), 2)
