"""The first batch of a stage is looked at, a NaN score has a reason, and neither changes a number."""

import logging

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_modules.supervised_depth import SupervisedDepth
from tests.helpers import Affine, RandomDepth, quiet_trainer


class Scaled(Dataset):
    """The samples of :class:`RandomDepth` (2 to 5 m) in another unit."""

    def __init__(self, factor, valid=1.0):
        self.frames, self.factor, self.valid = RandomDepth(4), factor, valid

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        sample = self.frames[index]
        return sample | {"depth": sample["depth"] * self.factor, "depth_mask": sample["depth_mask"] & bool(self.valid)}


def loader(factor, valid=1.0):
    return DataLoader(Scaled(factor, valid), batch_size=2)


@pytest.mark.parametrize(("factor", "said"), [(1000.0, "1000 times as many"), (1e-3, "1000 times fewer")])
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_depth_in_another_unit_stops_at_the_first_batch(tmp_path, factor, said, stage):
    module = SupervisedDepth(Affine())
    with pytest.raises(ValueError, match=rf"first (train|test) batch with truth: the median.*{said}"):
        getattr(quiet_trainer(default_root_dir=tmp_path, max_steps=1), stage)(module, loader(factor))
    assert module.global_step == 0


def test_much_depth_beyond_the_evaluated_range_is_said_once(tmp_path, caplog):
    module = SupervisedDepth(Affine())
    with caplog.at_level(logging.WARNING):
        quiet_trainer(default_root_dir=tmp_path, max_steps=4).fit(module, loader(10.0))
    (message,) = [r.message for r in caplog.records if "first train batch" in r.message]
    assert "100% of the measured depth lie outside 0.001 to 10 m" in message


def test_usual_depth_and_none_are_not_spoken_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        quiet_trainer(default_root_dir=tmp_path, max_steps=2).fit(SupervisedDepth(Affine()), loader(1.0), loader(1.0))
        quiet_trainer(default_root_dir=tmp_path).test(
            SupervisedDepth(Affine()), loader(1000.0, valid=0.0), verbose=False
        )
    assert "batch with truth" not in caplog.text


def test_a_nan_score_has_a_reason_and_a_number_has_none(tmp_path, caplog):
    module = SupervisedDepth(Affine())
    with caplog.at_level(logging.WARNING):
        (values,) = quiet_trainer(default_root_dir=tmp_path).test(module, loader(20.0), verbose=False)
    assert torch.isnan(torch.tensor(values["test/score"]))
    assert "none of them counts: 0% lie below min_depth_m (0.001 m), 100% above max_depth_m (10 m)" in module.unscored
    assert module.unscored in caplog.text
    quiet_trainer(default_root_dir=tmp_path).test(module, loader(1.0), verbose=False)
    assert module.unscored is None


def test_data_without_any_truth_are_not_blamed(tmp_path):
    module = SupervisedDepth(Affine())
    quiet_trainer(default_root_dir=tmp_path).test(module, loader(1.0, valid=0.0), verbose=False)
    assert module.unscored is None


def test_it_leaves_no_trace_in_weights_and_draws(tmp_path):
    module = SupervisedDepth(Affine())
    assert not any("truth_check" in key for key in module.state_dict())
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    batch = next(iter(DataLoader(Scaled(1.0), batch_size=2)))
    torch.manual_seed(0)
    module.truth_check.check("train", batch)
    module.truth_check.check("val", batch)
    assert torch.equal(torch.rand(1), expected)
