"""The base classes: weighted sum, key check, schedules, metrics that forget, non-finite losses."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from lightning_modules.callbacks.non_finite import StopOnNonFiniteLoss
from lightning_modules.schedules import WarmupCosine
from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.base import NonFiniteLossError
from lightning_modules.tasks.optimisation import Optimisation
from tests.helpers import Affine, KnownFrom, RandomDepth, RandomDepthModule, quiet_trainer


@pytest.fixture
def batch():
    return default_collate([RandomDepth(4)[i] for i in range(4)])


def test_loss_is_the_weighted_sum_of_its_terms(batch):
    module = SupervisedDepth(Affine(), loss_weights={"l1": 2.0, "mse": 3.0})
    loss = module.training_step(batch, 0)
    image, depth = batch["image"].double().numpy(), batch["depth"].double().numpy()
    residual = 0.5 * image.mean(axis=1, keepdims=True) + 0.1 - depth / 10
    expected = 2 * np.abs(residual).mean() + 3 * (residual**2).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_terms_have_to_match_the_weights(batch):
    module = SupervisedDepth(Affine(), loss_weights={"l1": 1.0})
    module.loss_weights["extra"] = 1.0
    with pytest.raises(KeyError, match="extra"):
        module.training_step(batch, 0)


@pytest.mark.parametrize("weights", [{}, {"l1": -1.0}, {"l1": math.nan}])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"loss_weights|weight of loss term"):
        SupervisedDepth(Affine(), loss_weights=weights)


def test_unknown_loss_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"huber.*berhu"):
        SupervisedDepth(Affine(), loss_weights={"huber": 1.0})


def test_forward_is_in_metres_and_never_negative(batch):
    depth = SupervisedDepth(Affine(scale=0.0, shift=-0.2), depth_scale_m=10.0)(batch["image"])
    assert (depth == 0).all()
    module = SupervisedDepth(Affine(scale=0.0, shift=math.log(0.25)), depth_scale_m=8.0, activation="exp")
    depth = module(batch["image"])
    torch.testing.assert_close(depth, torch.full_like(depth, 2.0))


def test_warmup_cosine_is_the_closed_form_and_follows_max_steps(tmp_path):
    module = SupervisedDepth(
        Affine(),
        optimisation=Optimisation(
            partial(torch.optim.SGD, lr=0.5), partial(WarmupCosine, warmup_fraction=0.25, final_fraction=0.1)
        ),
    )
    rates = []
    module.on_train_batch_end = lambda *_: rates.append(module.optimizers().param_groups[0]["lr"])
    quiet_trainer(default_root_dir=tmp_path, max_steps=8).fit(module, RandomDepthModule())
    # Rates seen during steps 0..7; Lightning steps the schedule before this hook, so the list starts with step 1.
    expected = [0.5 * 2 / 3]
    expected += [0.5 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (s / 8 - 0.25) / 0.75))) for s in range(2, 9)]
    assert rates == pytest.approx(expected)


def test_a_module_that_is_built_in_code_stores_no_hyper_parameters():
    module = SupervisedDepth(Affine())
    assert dict(module.hparams) == {}
    assert dict(module.hparams_initial) == {}


def test_a_module_can_be_fitted_to_data_it_can_express(tmp_path):
    module = SupervisedDepth(
        Affine(), loss_weights={"mse": 1.0}, optimisation=Optimisation(partial(torch.optim.Adam, lr=0.05))
    )
    trainer = quiet_trainer(default_root_dir=tmp_path, max_epochs=120)
    trainer.fit(module, RandomDepthModule())
    assert module.network.scale.item() == pytest.approx(0.3, abs=0.01)
    assert module.network.shift.item() == pytest.approx(0.2, abs=0.01)
    (result,) = trainer.test(module, RandomDepthModule(), verbose=False)
    assert result["test/abs_rel_img"] < 0.01


def test_metrics_of_an_epoch_forget_the_one_before(tmp_path):
    module = SupervisedDepth(Affine(), optimisation=Optimisation(partial(torch.optim.SGD, lr=0.0)))
    trainer = quiet_trainer(default_root_dir=tmp_path, max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(module, RandomDepthModule())
    (first,) = trainer.validate(module, RandomDepthModule(), verbose=False)
    (second,) = trainer.validate(module, RandomDepthModule(), verbose=False)
    assert first == second
    samples = default_collate([RandomDepth(5, first=100)[i] for i in range(5)])
    truth = samples["depth"].double().numpy()
    guess = 10 * (0.5 * samples["image"].double().numpy().mean(axis=1, keepdims=True) + 0.1)
    assert first["val/abs_rel_img"] == pytest.approx((np.abs(guess - truth) / truth).mean(), rel=1e-5)


class PartlyMeasuredModule(RandomDepthModule):
    def __init__(self, known_from: int, train_known_from: int = 0) -> None:
        super().__init__()
        self.known_from, self.train_known_from = known_from, train_known_from

    def train_dataloader(self):
        return torch.utils.data.DataLoader(KnownFrom(RandomDepth(8), self.train_known_from), batch_size=4)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(KnownFrom(RandomDepth(5), self.known_from), batch_size=4)

    test_dataloader = val_dataloader


def test_without_any_truth_no_empty_row_is_left_and_a_line_says_why(tmp_path, caplog):
    module, trainer = SupervisedDepth(Affine()), quiet_trainer(default_root_dir=tmp_path)
    assert trainer.test(module, PartlyMeasuredModule(99), verbose=False) == [{}]
    said = [record.message for record in caplog.records if "no ground truth depth" in record.message]
    assert said == [
        "no ground truth depth in the test images of PartlyMeasuredModule, so errors of depth and panels of it are "
        "left out"
    ]
    caplog.clear()
    (one,) = trainer.test(module, PartlyMeasuredModule(4), verbose=False)
    assert np.isfinite(one["test/abs_rel_img"])
    assert not caplog.records


def test_a_training_whose_checkpoints_could_not_be_chosen_is_refused(tmp_path):
    module = SupervisedDepth(Affine())
    with pytest.raises(
        ValueError, match=r"no validation image of PartlyMeasuredModule has any measured depth: hold out"
    ):
        quiet_trainer(default_root_dir=tmp_path, max_steps=1).fit(module, PartlyMeasuredModule(99))
    trainer = quiet_trainer(default_root_dir=tmp_path, max_steps=1, limit_val_batches=0)
    trainer.fit(module, PartlyMeasuredModule(99))
    assert trainer.global_step == 1
    trainer = quiet_trainer(default_root_dir=tmp_path, max_steps=1)
    trainer.fit(module, PartlyMeasuredModule(4))  # one is enough
    assert trainer.global_step == 1


def test_a_training_without_truth_is_refused_before_its_first_step(tmp_path):
    module = SupervisedDepth(Affine())
    trainer = quiet_trainer(default_root_dir=tmp_path, max_steps=2)
    with pytest.raises(ValueError, match=r"learns from measured depth, but not one pixel of the first 4 training"):
        trainer.fit(module, PartlyMeasuredModule(0, train_known_from=99))
    assert trainer.global_step == 0


def test_non_finite_loss_stops_names_the_term_and_saves_the_batch(tmp_path):
    class Poisoned(RandomDepth):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if index == 5:
                sample["image"] = sample["image"] * float("nan")
            return sample

    class Data(RandomDepthModule):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(Poisoned(8), batch_size=4)

    module = SupervisedDepth(Affine(), loss_weights={"mse": 1.0, "l1": 1.0})
    trainer = quiet_trainer(default_root_dir=tmp_path, max_epochs=1, callbacks=[StopOnNonFiniteLoss()])
    with pytest.raises(NonFiniteLossError, match="'mse' is nan at step 1"):
        trainer.fit(module, Data())
    assert torch.isfinite(module.network.scale), "the weights were poisoned before training stopped"
    saved = torch.load(tmp_path / "nonfinite_batch_rank0.pt", weights_only=True)
    assert saved["batch"]["name"] == ["0004", "0005", "0006", "0007"]
    assert saved["step"] == 1


def test_plain_python_module_saves_no_live_objects(tmp_path):
    module = SupervisedDepth(Affine())
    trainer = quiet_trainer(default_root_dir=tmp_path, max_steps=1)
    trainer.fit(module, RandomDepthModule())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)
    again = SupervisedDepth(Affine(scale=9.0))
    again.load_state_dict(state["state_dict"], strict=True)
    torch.testing.assert_close(again.network.scale, module.network.scale)


def test_canonical_camera_scales_depth_by_the_focal_length(batch):
    module = SupervisedDepth(Affine(scale=0.0, shift=0.2), loss_weights={"l1": 1.0}, canonical_focal_px=40.0)
    K = torch.tensor([[30.0, 0, 12], [0, 120.0, 8], [0, 0, 1]]).expand(4, 3, 3)  # geometric mean 60 pixels
    batch["K"] = K
    # Without intrinsics: 60 degrees across 24 pixels.
    assumed = 12 / math.tan(math.radians(30)) / 40
    torch.testing.assert_close(module(batch["image"]), torch.full_like(batch["depth"], 2.0 * assumed))
    module.assumed_field_of_view_degrees = 90.0
    torch.testing.assert_close(module(batch["image"]), torch.full_like(batch["depth"], 2.0 * 12 / 40))
    torch.testing.assert_close(module(batch["image"], K), torch.full_like(batch["depth"], 3.0))
    torch.testing.assert_close(module.predict_depth(batch), torch.full_like(batch["depth"], 3.0))
    # The loss compares in the canonical camera: |0.2 - depth / 10 / 1.5|.
    expected = (0.2 - batch["depth"] / 15).abs().mean()
    torch.testing.assert_close(module.loss_terms(batch)["l1"], expected)


@pytest.mark.parametrize("setting", [{"canonical_focal_px": 0.0}, {"depth_scale_m": -1.0}])
def test_lengths_have_to_be_positive(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        SupervisedDepth(Affine(), **setting)


def test_weights_that_are_all_zero_train_nothing_and_are_refused():
    with pytest.raises(ValueError, match=r"the weights of all loss terms \(l1, mse\) are 0: nothing would be trained"):
        SupervisedDepth(Affine(), loss_weights={"l1": 0.0, "mse": 0.0})
    SupervisedDepth(Affine(), loss_weights={"l1": 0.0, "mse": 0.1})
