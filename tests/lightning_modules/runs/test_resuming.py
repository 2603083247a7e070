"""Which checkpoint a training goes on from, and whether anything is left of it."""

from pathlib import Path

import pytest
from jsonargparse import Namespace

from lightning_modules.runs import resuming
from lightning_modules.runs.resuming import check_something_is_left, check_state_of_training, named_checkpoint


def test_last_is_the_newest_whole_checkpoint_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "newest_checkpoint", lambda folder: folder / "newest.ckpt")  # see test_newest.py
    assert named_checkpoint("last", tmp_path, "fit") == tmp_path / "newest.ckpt"
    assert named_checkpoint("x/y.ckpt", tmp_path, "fit") == Path("x/y.ckpt")
    assert named_checkpoint(None, tmp_path, "test") is None
    assert named_checkpoint("hpc", tmp_path, "fit") is None


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
@pytest.mark.parametrize("word", ["last", "best"])
def test_words_that_need_a_training_are_refused_without_one(tmp_path, subcommand, word):
    with pytest.raises(ValueError, match=f"--ckpt_path {word} is for going on with a training; {subcommand} needs"):
        named_checkpoint(word, tmp_path, subcommand)


def test_best_is_nothing_to_go_on_from(tmp_path):
    with pytest.raises(ValueError, match="not for training: give last"):
        named_checkpoint("best", tmp_path, "fit")


def checkpoint(step, epochs):
    return {"global_step": step, "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": epochs}}}}}


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "over"),
    [
        (700, None, "at step 700 and max_steps is 700: nothing is left to train; raise max_steps"),
        (500, -1, "at step 700 and max_steps is 500"),
        (500, 10, "at step 700 and max_steps is 500"),
        (-1, 3, "at the end of epoch 3 and max_epochs is 3: nothing is left to train; raise max_epochs"),
        (None, 2, "at the end of epoch 3 and max_epochs is 2"),
        (701, None, None),
        (701, 4, None),
        (-1, -1, None),
        (-1, None, None),
    ],
)
def test_a_training_that_is_over_is_refused(tmp_path, max_steps, max_epochs, over):
    trainer = Namespace(max_steps=max_steps, max_epochs=max_epochs)
    foreign, own = tmp_path / "other" / "checkpoints" / "last.ckpt", tmp_path / "run" / "checkpoints" / "last.ckpt"
    for path in (foreign, own):
        exactly = (max_steps, max_epochs) in [(700, None), (-1, 3)]
        if over is None or (path is own and exactly):  # its test is left to do
            check_something_is_left(checkpoint(700, 3), path, trainer, tmp_path / "run")
            continue
        with pytest.raises(ValueError, match=over):
            check_something_is_left(checkpoint(700, 3), path, trainer, tmp_path / "run")


ADAM, SGD = "torch.optim.AdamW", "torch.optim.SGD"
STATE = {"optimizer_states": [], "lr_schedulers": [], "loops": {}}


@pytest.mark.parametrize(
    ("state", "optimizer", "scheduler", "reason"),
    [
        (STATE, ADAM, None, None),
        ({}, ADAM, None, "'x.ckpt' holds weights without the state of a training: .*StartFrom begins"),
        (
            {**STATE, "loops": None},
            SGD,
            None,
            f"optimizer {ADAM}, and {SGD} cannot go on from its state",
        ),
        (STATE, ADAM, "a.Cosine", "was trained with lr_scheduler None, and a.Cosine cannot go on"),
    ],
)
def test_a_training_goes_on_with_its_own_optimizer(state, optimizer, scheduler, reason):
    trained = {"optimizer": {"class_path": ADAM, "init_args": {"lr": 0.1}}, "lr_scheduler": None}
    content = {**state, "plumbline": {"class_path": "a.B", "model": {"optimisation": trained}}}
    arguments = Namespace(optimizer=Namespace(class_path=optimizer), lr_scheduler=scheduler)
    model = Namespace(class_path="a.B", init_args=Namespace(optimisation=arguments))
    if reason is None:
        check_state_of_training(content, Path("x.ckpt"), model)
    else:
        with pytest.raises(ValueError, match=reason):
            check_state_of_training(content, Path("x.ckpt"), model)
