"""The inconsistency of depths between views: closed forms, invariances and accumulation."""

import pytest
import torch

from losses.consistency import spread_difference
from metrics.consistency import Inconsistency


def depths(n=4, height=6, width=8):
    generator = torch.Generator().manual_seed(0)
    warped = 1 + torch.rand(n, 1, height, width, generator=generator)
    predicted = warped + 0.1 * torch.randn(warped.shape, generator=generator)
    return predicted, warped, torch.rand(warped.shape, generator=generator) > 0.3


def inconsistency(*batches):
    metric = Inconsistency()
    for predicted, warped, mask in batches:
        metric.update(predicted, warped, mask=mask)
    return float(metric.compute())


def test_closed_form():
    # Depths 1, 2, 3: median 2, mean absolute deviation 2/3. Errors of 0.5: 0.5 / (2/3).
    warped = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    assert inconsistency((warped + 0.5, warped, torch.ones_like(warped, dtype=torch.bool))) == pytest.approx(0.75)


def test_it_is_the_loss_of_all_views_together():
    predicted, warped, mask = depths()
    expected = float(spread_difference(predicted, warped, mask=mask))
    halves = [(predicted[:1], warped[:1], mask[:1]), (predicted[1:], warped[1:], mask[1:])]
    assert inconsistency(*halves) == pytest.approx(expected, rel=1e-6)
    assert inconsistency((predicted, warped, mask)) == pytest.approx(expected, rel=1e-6)


def test_a_constant_in_both_depths_of_a_view_does_not_change_it():
    predicted, warped, mask = depths(n=1)
    before = inconsistency((predicted, warped, mask))
    assert inconsistency((predicted + 3, warped + 3, mask)) == pytest.approx(before, rel=1e-5)
    assert inconsistency((5 * predicted, 5 * warped, mask)) == pytest.approx(before, rel=1e-5)


def test_views_without_a_usable_pixel_do_not_count():
    predicted, warped, mask = depths(n=2)
    alone = inconsistency((predicted[:1], warped[:1], mask[:1]))
    mask[1] = False
    predicted[1] = torch.nan
    assert inconsistency((predicted, warped, mask)) == pytest.approx(alone)
    assert inconsistency((predicted[1:], warped[1:], mask[1:])) != inconsistency((predicted[:1], warped[:1], mask[:1]))
    assert torch.isnan(torch.tensor(inconsistency((predicted[1:], warped[1:], mask[1:]))))


def test_a_mask_of_another_type_is_refused():
    predicted, warped, mask = depths()
    with pytest.raises(ValueError, match=r"the mask is torch\.float32"):
        Inconsistency().update(predicted, warped, mask=mask.float())
