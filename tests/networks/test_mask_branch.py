"""Mask branch: what is added to what, counts, errors."""

import pytest
import torch
from torch import nn

from geometry.resampling import aligned_bilinear
from networks.mask_branch import MaskBranch


def test_coarser_levels_are_refined_enlarged_and_added():
    torch.manual_seed(0)
    branch = MaskBranch(6, 5, channels=4, convs=2).eval()
    levels = [torch.randn(2, 6, 8 >> i, 12 >> i) for i in range(3)]
    merged = branch.refine[0](levels[0])
    merged = (
        merged + aligned_bilinear(branch.refine[1](levels[1]), 2) + aligned_bilinear(branch.refine[2](levels[2]), 4)
    )
    features = branch(levels)
    assert features.shape == (2, 5, 8, 12)
    torch.testing.assert_close(features, branch.tower(merged))
    torch.testing.assert_close(branch([*levels, torch.randn(2, 6, 1, 2)]), features)  # P6 has no part


def test_layers_and_parameters_are_the_papers():
    with torch.device("meta"):
        branch = MaskBranch()
    refine = 3 * (256 * 128 * 9 + 2 * 128)
    tower = 4 * (128 * 128 * 9 + 2 * 128) + 128 * 16 + 16
    assert sum(p.numel() for p in branch.parameters()) == refine + tower
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in branch.modules()) == 7
    assert isinstance(branch.tower[-1], nn.Conv2d)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="must be positive, got 256, 16, 0, 128 and 4"):
        MaskBranch(levels=0)
