"""Depth from a sigmoid against the released Monodepth2 and its two ends."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geometry.disparity import depth_from_disparity

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize(("key", "farthest"), [("depth_0p1_10", 10.0), ("depth_0p1_100", 100.0)])
def test_depth_equals_the_released_monodepth2(key, farthest):
    with np.load(GOLDEN / "md2_disp_to_depth.npz") as golden:
        depth = depth_from_disparity(torch.from_numpy(golden["disp"]), min_depth_m=0.1, max_depth_m=farthest)
        np.testing.assert_allclose(depth, golden[key], rtol=1e-5, atol=1e-6)


def test_the_ends_and_the_middle():
    sigmoid = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64).view(1, 1, 1, 3)
    depth = depth_from_disparity(sigmoid, min_depth_m=0.5, max_depth_m=2.0)
    # Half way between the inverse depths 0.5 and 2 lies 1.25.
    torch.testing.assert_close(depth.flatten(), torch.tensor([2.0, 0.8, 0.5], dtype=torch.float64))
    assert depth_from_disparity(sigmoid.half()).dtype is torch.float32


def test_gradients():
    sigmoid = torch.rand(1, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(depth_from_disparity, sigmoid)


@pytest.mark.parametrize("limits", [(0.0, 10.0), (-1.0, 10.0), (2.0, 2.0)])
def test_bad_limits_are_named(limits):
    with pytest.raises(ValueError, match=f"depths are {limits[0]} and {limits[1]} m"):
        depth_from_disparity(torch.zeros(1, 1, 1, 1), min_depth_m=limits[0], max_depth_m=limits[1])
