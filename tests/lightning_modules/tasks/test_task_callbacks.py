"""Callbacks of a task: added by its module, replaced by those of the user, chosen by name, or switched off."""

import json
from pathlib import Path

import cv2
import pytest
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from cli import main
from lightning_modules.callbacks.pictures import DepthPictures
from lightning_modules.callbacks.prediction_writer import DepthPredictionWriter
from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.task_callbacks import chosen_callbacks
from tests.helpers import Affine, RandomDepthModule

ROOT = Path(__file__).parents[3]


class Base(Callback):
    pass


class Derived(Base):
    pass


class Task(SupervisedDepth):
    """A module with one callback of its own."""

    chosen_callbacks = True

    def task_callbacks(self):
        return [Derived()]


def trainer(tmp_path, *callbacks):
    return Trainer(
        default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False, max_steps=2,
        enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip


def own(run):
    return [callback for callback in run.callbacks if isinstance(callback, Base)]


def test_a_trainer_made_by_hand_draws_and_writes_nothing(tmp_path):
    run = trainer(tmp_path)
    run.fit(SupervisedDepth(Affine()), RandomDepthModule())
    assert not any(isinstance(callback, DepthPictures | DepthPredictionWriter) for callback in run.callbacks)
    assert not (tmp_path / "pictures").exists()


def test_the_callbacks_of_the_task_are_added_once_and_before_checkpoints(tmp_path):
    run, module = trainer(tmp_path, Callback()), SupervisedDepth(Affine())
    module.chosen_callbacks = True
    run.fit(module, RandomDepthModule())
    first = list(run.callbacks)
    assert [type(callback) for callback in first[1:]] == [DepthPictures, DepthPredictionWriter, ModelCheckpoint]
    assert list((tmp_path / "pictures").glob("step_*.png"))
    run.test(module, RandomDepthModule(), verbose=False)
    assert run.callbacks == first, "the same objects, with what they keep, in a test after the training"
    assert (tmp_path / "pictures" / "test.png").is_file()


@pytest.mark.parametrize("kind", [Base, Derived, type("MoreDerived", (Derived,), {})])
def test_a_callback_of_the_user_replaces_that_of_the_task(tmp_path, kind):
    """Lightning by itself would remove the user's where it is of the same class or of a base."""
    users = kind()
    run = trainer(tmp_path, users)
    run.validate(Task(Affine()), RandomDepthModule(), verbose=False)
    assert own(run) == [users]


def test_another_callback_of_the_user_replaces_nothing(tmp_path):
    run = trainer(tmp_path, Callback(), DepthPictures(count=1))
    run.validate(Task(Affine()), RandomDepthModule(), verbose=False)
    assert [type(callback) for callback in own(run)] == [Derived]


def test_names_choose_among_the_callbacks_and_unknown_ones_are_refused():
    every = [Base(), Derived()]
    assert chosen_callbacks(every, True, paper="p") == every
    assert chosen_callbacks(every, False, paper="p") == chosen_callbacks(every, [], paper="p") == []
    assert chosen_callbacks(every, ["Derived"], paper="p") == every[1:]
    with pytest.raises(
        ValueError, match=r"^task_callbacks names 'Derivd', but p has Base, Derived: give true, false or"
    ):
        chosen_callbacks(every, ["Base", "Derivd"], paper="p")
    with pytest.raises(ValueError, match=r"but p has none"):
        chosen_callbacks([], ["Base"], paper="p")


@pytest.fixture
def fit(rooms_root):
    """Arguments of a two-step training of the smallest network on a tiny data set."""
    experiment, overlay = ROOT / "experiments" / "fcn_ssim.yaml", ROOT / "tests" / "overlays" / "rooms.yaml"
    return ["fit", "--config", str(experiment), "--config", str(overlay), "--data.init_args.root", str(rooms_root)]


def callbacks_of_run(tmp_path):
    (record,) = tmp_path.glob("runs/*/*/run.json")
    return json.loads(record.read_text())["callbacks"]


def test_the_command_line_switches_them_off(fit, tmp_path):
    main([*fit, "--task_callbacks", "false"])
    assert not {"DepthPictures", "DepthPredictionWriter"} & set(callbacks_of_run(tmp_path))
    assert not list(tmp_path.glob("runs/*/*/pictures"))


def test_the_command_line_replaces_one(fit, tmp_path, capsys):
    pictures = "lightning_modules.callbacks.pictures.DepthPictures"
    main([*fit, f"--trainer.callbacks+={pictures}", "--trainer.callbacks.count=1"])
    names = callbacks_of_run(tmp_path)
    assert names.count("DepthPictures") == names.count("DepthPredictionWriter") == 1
    (picture,) = tmp_path.glob("runs/*/*/pictures/step_*.png")
    assert cv2.imread(str(picture)).shape[0] < 2 * 256, "one row of enlarged images, where the default draws up to four"
    printed = capsys.readouterr().out
    assert "pictures" in printed, "the folder is printed after it was written"
    (summary,) = tmp_path.glob("runs/*/*/summary.png")
    assert cv2.imread(str(summary)).shape[0] > cv2.imread(str(picture)).shape[0]
    assert "summary.png" in printed


def test_the_command_line_shows_the_choice_and_refuses_unknown_names(fit, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main([*fit, "--print_config"])
    assert left.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["task_callbacks"] is True
    with pytest.raises(SystemExit, match=r"error: task_callbacks names 'Pictures', but supervised_depth has DepthPic"):
        main([*fit, "--task_callbacks", "[Pictures]"])
    assert not (tmp_path / "runs").exists()
