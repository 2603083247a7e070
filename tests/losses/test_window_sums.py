"""Sums over windows against average pooling, the reflected border against torch's, and its adjoint."""

import torch
from torch.nn import functional as F

from losses.window_sums import fold_border, reflect_border, window_sums


def test_sums_equal_average_pooling():
    planes = torch.rand(2, 3, 6, 8, dtype=torch.float64)
    expected = 9 * F.avg_pool2d(planes, 3, stride=1)
    maps = planes.clone().view(1, -1)
    sums = window_sums(maps, torch.empty_like(maps), stride=8)
    whole = F.pad(sums, (0, planes.numel() - sums.numel())).view_as(planes)
    torch.testing.assert_close(whole[..., :4, :6], expected)


def test_the_border_is_torchs_reflection_and_fold_is_its_adjoint():
    inside = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    padded = torch.zeros(2, 3, 6, 7, dtype=torch.float64)
    padded[..., 1:-1, 1:-1] = inside
    reflect_border(padded)
    torch.testing.assert_close(padded, F.pad(inside, (1, 1, 1, 1), mode="reflect"), rtol=0, atol=0)
    other = torch.rand_like(padded)
    product = (padded * other).sum()
    torch.testing.assert_close((inside * fold_border(other)).sum(), product)
