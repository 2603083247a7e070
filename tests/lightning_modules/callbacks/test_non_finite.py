"""A loss or a gradient that is not finite stops a training, and its last checkpoint holds good weights."""

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_modules.callbacks.final_weights import FinalWeights
from lightning_modules.callbacks.non_finite import StopOnNonFiniteLoss
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from lightning_modules.tasks.base import NonFiniteLossError
from tests.helpers import quiet_trainer


class Overflow(torch.autograd.Function):
    """Passes its input on, with a gradient that is infinite."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


class Fails(LightningModule):
    """Counts its steps in a weight, and fails in step 4 in a chosen way."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.steps = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm1d(1)

    def training_step(self, batch, batch_idx):
        loss = -self.steps + 0 * self.norm(batch).sum()
        if self.global_step == 3:
            if self.how == "loss":
                loss = loss * float("nan")
            elif self.how == "gradient":
                loss = Overflow.apply(loss)
            elif self.how == "activation":
                loss = loss + 0 * self.norm(batch * float("nan")).sum()
        self.last_terms = {"term": loss.detach()}
        return loss

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD([self.steps], lr=1.0)


def stopped(folder, how, *, every_n_steps=1, **settings):
    last = ModelCheckpoint(folder, filename="last", save_on_exception=True)
    last._enable_version_counter = False
    trainer = quiet_trainer(
        enable_checkpointing=True,
        max_steps=6,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=2,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        plugins=[AtomicCheckpointIO()],
        callbacks=[last, StopOnNonFiniteLoss(every_n_steps), FinalWeights()],
        **settings,
    )
    data = DataLoader(torch.arange(40.0).unsqueeze(1), batch_size=4)
    with pytest.raises(NonFiniteLossError) as error:
        trainer.fit(Fails(how), data, data)
    return error.value, torch.load(folder / "last.ckpt", weights_only=True)


def test_a_bad_loss_is_named_and_the_newest_weights_are_good(tmp_path):
    error, last = stopped(tmp_path, "loss")
    assert str(error).startswith("loss term 'term' is nan at step 3; its batch is in ")
    assert last["state_dict"]["steps"] == 3
    assert torch.load(error.batch_path, weights_only=True)["batch"].tolist() == [[12.0], [13.0], [14.0], [15.0]]


@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 1.0}])
def test_a_gradient_that_overflows_ruins_no_weight(tmp_path, settings):
    error, last = stopped(tmp_path, "gradient", **settings)
    assert str(error).startswith("the gradient of 'steps' is inf at step 3; its batch is in ")
    assert error.term == "steps"
    assert float(last["state_dict"]["steps"]) == pytest.approx(3, abs=1e-4)  # clipping divides by a little more than 1


def test_weights_that_are_ruined_unseen_do_not_replace_good_ones(tmp_path, capsys):
    # Seen in step 4 only, when the weights are ruined already: what was validated after step 2 stays.
    error, last = stopped(tmp_path, "gradient", every_n_steps=4)
    assert "at step 4" in str(error)
    assert last["state_dict"]["steps"] == 2
    said = capsys.readouterr().err
    assert "the weights of step 4 are not finite (1 tensors, first 'steps')" in said
    assert said.count("last.ckpt: what it holds is kept") == said.count("the weights of step 4")


def test_running_statistics_count_as_weights(tmp_path, capsys):
    _, last = stopped(tmp_path, "activation")
    assert last["state_dict"]["steps"] == 2
    assert bool(torch.isfinite(last["state_dict"]["norm.running_mean"]).all())
    assert "first 'norm.running_mean'" in capsys.readouterr().err
