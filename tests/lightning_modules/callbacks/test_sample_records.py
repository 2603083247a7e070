import numpy as np
import torch

from lightning_modules.callbacks.sample_records import depth_records


def batch():
    depth = torch.full((2, 1, 4, 6), 2.0)
    mask = torch.ones_like(depth, dtype=torch.bool)
    mask[0, 0, 0], mask[1] = False, False
    return {"image": torch.rand(2, 3, 4, 6), "depth": depth, "depth_mask": mask, "name": ["a", "b"]}


def test_the_error_is_the_mean_relative_one_of_the_pixels_with_truth():
    prediction = torch.full((2, 1, 4, 6), 3.0)
    prediction[0, 0, 0] = 100.0  # outside of the mask
    first, second = depth_records(batch(), prediction, before=prediction + 1)
    assert (first.name, second.name) == ("a", "b")
    assert first.scores == {"abs_rel": 0.5}
    assert first.truth[0].tolist() == [0] * 6
    assert (first.truth[1:] == 2).all()
    np.testing.assert_array_equal(first.before, prediction[0, 0] + 1)
    assert second.truth is None
    assert second.scores == {}


def test_a_batch_without_depth_intrinsics_or_names_gives_records():
    (record, _) = depth_records({"image": torch.zeros(2, 3, 4, 6)}, torch.ones(2, 1, 4, 6))
    assert (record.name, record.truth, record.before, record.K) == ("0", None, None, None)
    assert record.image.shape == (4, 6, 3)
