"""The reason of a score that is NaN."""

import pytest
import torch

from metrics.protocol import DepthProtocol
from metrics.truth_tally import TruthTally


def tally(*batches, **protocol):
    metric = TruthTally(DepthProtocol(**protocol))
    for depth in batches:
        metric.update(depth, depth > 0)
    return metric


def test_counts_add_up_over_uneven_batches():
    first = torch.tensor([0.0, 0.5, 2.0, 20.0]).view(1, 1, 2, 2)
    second = torch.tensor([30.0, 40.0]).view(1, 1, 1, 2)
    counts = tally(first, second, min_depth_m=1.0, max_depth_m=10.0).compute()
    assert counts == {"measured": 5, "near": 1, "far": 3, "counted": 1, "smallest": 0.5, "largest": 40.0}


def test_no_truth_has_no_reason():
    assert tally(torch.zeros(2, 1, 4, 4)).why_nan() is None


def test_truth_beyond_the_range_is_the_reason():
    reason = tally(torch.full((2, 1, 4, 4), 2500.0)).why_nan()
    assert reason.startswith("32 pixels have ground truth, from 2500 to 2500 m, but none of them counts")
    assert "100% above max_depth_m (10 m)" in reason


def test_truth_outside_of_the_crop_is_the_reason():
    depth = torch.zeros(1, 1, 4, 4)
    depth[..., 0] = 2.0
    reason = tally(depth, crop=(0.0, 1.0, 0.5, 1.0)).why_nan()
    assert "0% above" in reason
    assert "outside of crop" in reason


def test_a_prediction_that_is_not_finite_is_the_reason():
    assert "prediction is NaN or infinite" in tally(torch.full((1, 1, 2, 2), 2.0)).why_nan()


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_truth_of_any_precision(kind):
    assert tally(torch.full((1, 1, 2, 2), 2.0, dtype=kind)).compute()["counted"] == 4
