"""A test follows the training: image size and assumed camera come from the checkpoint; a predicted photo agrees."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace

from cli import main
from lightning_modules.runs.loading import load_module
from lightning_modules.runs.trained_data import trained_settings, use_training_settings
from lightning_modules.tasks.evaluation import DepthEvaluation
from tests.helpers import Affine
from tools.predict import main as predict

ROOT = Path(__file__).parents[3]
TRAINED = {"image_size": [192, 256], "assumed_field_of_view_degrees": 70.0, "depth_scale": "10m"}


def write(path, data=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    recipe = {"class_path": "lightning_modules.supervised_depth.SupervisedDepth", "model": {}}
    torch.save({"state_dict": {}, "plumbline": recipe | ({} if data is None else {"data": data})}, path)
    return path


def configuration(**arguments):
    model = Namespace(class_path="lightning_modules.supervised_depth.SupervisedDepth")
    return Namespace(model=model, data=Namespace(class_path="x", init_args=Namespace(**arguments)))


def test_the_trained_size_goes_before_that_of_configuration_files(tmp_path):
    checkpoint = write(tmp_path / "run" / "checkpoints" / "best.ckpt", TRAINED)
    config = configuration(image_size=(288, 384), default_field_of_view_degrees=60.0)
    size, view = use_training_settings(config, checkpoint, ["test", "--config", "a.yaml"])
    assert config.data.init_args.image_size == (192, 256)
    assert config.data.init_args.default_field_of_view_degrees == 70.0
    assert "image_size is [192, 256]" in size
    assert "not [288, 384]" in size
    assert "70" in view


@pytest.mark.parametrize("words", [["--data.init_args.image_size", "[96, 128]"], ["--data.image_size=[144,192]"]])
def test_a_size_of_the_command_line_stays_and_is_said(tmp_path, words):
    checkpoint = write(tmp_path / "run" / "checkpoints" / "best.ckpt", TRAINED)
    config = configuration(image_size=(96, 128))
    (line,) = use_training_settings(config, checkpoint, ["test", *words])
    assert config.data.init_args.image_size == (96, 128)
    assert "image_size is [96, 128], as given" in line
    assert "was trained with [192, 256]" in line


def test_the_same_size_needs_no_word(tmp_path):
    checkpoint = write(tmp_path / "run" / "checkpoints" / "best.ckpt", TRAINED)
    assert use_training_settings(configuration(image_size=[192, 256]), checkpoint, []) == []


def test_older_checkpoints_are_read_from_their_run_or_said_to_be_silent(tmp_path):
    checkpoint = write(tmp_path / "run" / "checkpoints" / "best.ckpt")
    (line,) = use_training_settings(configuration(image_size=(96, 128)), checkpoint, [])
    assert "has no record of the image_size of its training: [96, 128] is used" in line
    settings = {"image_size": [64, 96], "default_field_of_view_degrees": 50.0}
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"data": {"init_args": settings}}))
    assert trained_settings(checkpoint) == {"image_size": (64, 96), "assumed_field_of_view_degrees": 50.0}


def make_no_camera(root, size=(48, 64)):
    """Frames at 2 m without intrinsics."""
    rows = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f"{number}.png"), pixels)
        cv2.imwrite(str(root / f"{number}_d.png"), np.full(size, 2000, np.uint16))
        rows.append({"image": f"{number}.png", "depth": f"{number}_d.png", "split": "test" if number > 1 else "train"})
    with (root / "no_camera.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["image", "depth", "split"])
        writer.writeheader()
        writer.writerows(rows)
    return root / "no_camera.csv"


def arguments(manifest, *more):
    return [
        "--model=lightning_modules.supervised_depth.SupervisedDepth",
        "--model.network=tests.helpers.Affine", "--model.network.scale=0.0",
        "--model.canonical_focal_px=30", "--model.evaluation.max_depth_m=50",
        "--data=datamodules.manifest.datamodule.ManifestDataModule", f"--data.root={manifest}",
        "--data.file_units_per_metre=1000", "--data.batch_size=2", *more,
    ]  # fmt: skip


def test_training_test_and_prediction_assume_one_camera(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    manifest = make_no_camera(tmp_path)
    degrees = 80.0
    main(
        ["fit", *arguments(manifest), "--data.image_size=[144,192]", f"--data.default_field_of_view_degrees={degrees}",
         "--trainer.max_steps=3", "--experiment=plain", "--trainer.accelerator=cpu"]
    )  # fmt: skip
    (checkpoint,) = tmp_path.glob("runs/plain/*/checkpoints/last.ckpt")
    stored = torch.load(checkpoint, weights_only=True)["plumbline"]["data"]
    assert stored == {"image_size": [144, 192], "assumed_field_of_view_degrees": degrees, "depth_scale": "10m"}
    module = load_module(checkpoint)
    assert module.assumed_field_of_view_degrees == degrees
    assert module.evaluation == DepthEvaluation(max_depth_m=50.0)  # the run's, the rest the paper's
    assert module.optimisation.interval == "step"

    capsys.readouterr()
    # Neither the size nor the field of view is said again: both come from the checkpoint.
    main(["test", *arguments(manifest), "--ckpt_path", str(checkpoint), "--experiment=plain"])
    said = capsys.readouterr().err
    assert "image_size is [144, 192]" in " ".join(said.split())
    (record,) = tmp_path.glob("runs/plain/*-test/run.json")
    tested = json.loads(record.read_text())["test"]["test/abs_rel_img"]

    photo = tmp_path / "2.png"
    assert predict(["--checkpoint", str(checkpoint), "--input", str(photo), "--output", str(tmp_path / "out")]) == 0
    predicted = cv2.imread(str(tmp_path / "out" / "2_depth.png"), cv2.IMREAD_UNCHANGED) / 1000
    network = Affine()
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in torch.load(checkpoint, weights_only=True)["state_dict"].items()
         if k.startswith("network.")}
    )  # fmt: skip
    assert abs(float(network.scale.detach())) < 0.1  # so that depth is almost the same everywhere
    focal = 96 / np.tan(np.radians(degrees / 2))  # at 192 columns
    expected = 10 * float((network.shift + 0.5 * network.scale).detach()) * focal / 30
    assert np.median(predicted) == pytest.approx(expected, rel=0.01)
    assert abs(np.median(predicted) - 2.0) / 2.0 == pytest.approx(tested, abs=0.01)
    assert f"field of view of {degrees:g} degrees is assumed" in capsys.readouterr().err


def test_a_table_of_nan_is_no_success(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    manifest = make_no_camera(tmp_path)
    with pytest.raises(SystemExit, match=r"there is no score: .*100% above max_depth_m \(1 m\)"):
        main(
            ["fit", *arguments(manifest), "--data.image_size=[48,64]", "--model.evaluation.max_depth_m=1.0",
             "--trainer.max_steps=1", "--experiment=nan", "--trainer.accelerator=cpu"]
        )  # fmt: skip
    assert "abs_rel_img" in capsys.readouterr().out  # the table is there all the same
