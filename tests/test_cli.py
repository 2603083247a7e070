"""The command line with bad input and resumed runs: one sentence, a non-zero exit code, no partial files."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from cli import main

ROOT = Path(__file__).parents[1]
EXPERIMENT = str(ROOT / "experiments" / "fcn_ssim.yaml")
OVERLAY = str(ROOT / "tests" / "overlays" / "rooms.yaml")


@pytest.fixture
def fit(rooms_root):
    """Arguments of a two-step training of the smallest network."""
    return ["fit", "--config", EXPERIMENT, "--config", OVERLAY, "--data.init_args.root", str(rooms_root)]


def sentence(error: pytest.ExceptionInfo) -> str:
    """The error message, checked to be one line."""
    text = str(error.value.code)
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


def test_misspelt_key_is_named_and_nothing_is_written(fit, capsys, tmp_path):
    with pytest.raises(SystemExit) as error:
        main([*fit, "--data.init_args.batch_sise", "4"])
    assert error.value.code == 2
    assert "batch_sise" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_misspelt_key_in_a_file_is_named(fit, capsys, tmp_path):
    (tmp_path / "bad.yaml").write_text("model:\n  init_args:\n    loss_wieghts: {l1: 1.0}\n")
    with pytest.raises(SystemExit) as error:
        main([*fit, "--config", str(tmp_path / "bad.yaml")])
    assert error.value.code == 2
    assert "loss_wieghts" in capsys.readouterr().err


def test_missing_config_is_named(capsys):
    with pytest.raises(SystemExit) as error:
        main(["fit", "--config", "experiments/nothing.yaml"])
    assert error.value.code == 2
    assert "nothing.yaml" in capsys.readouterr().err


def test_a_missing_data_root_is_refused_with_its_source(tmp_path):
    overlay = str(ROOT / "tests" / "overlays" / "nyuv2_labeled.yaml")
    experiment = str(ROOT / "experiments" / "resnet_unet_nyuv2.yaml")
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(SystemExit) as error:
        main(["fit", "--config", experiment, "--config", overlay, "--data.init_args.root", nowhere])
    assert "nyu_depth_v2_labeled.mat" in sentence(error)


def test_unknown_loss_lists_the_known_ones(fit):
    with pytest.raises(SystemExit) as error:
        main([*fit, "--model.init_args.loss_weights", "{huber: 1.0}"])
    assert re.match(r"error: Unknown depth loss 'huber'; allowed are berhu, .*", sentence(error))


def test_weights_from_a_hub_that_cannot_be_reached_are_one_sentence(nyuv2_labeled_root, tmp_path):
    experiment = str(ROOT / "experiments" / "resnet_unet_nyuv2.yaml")
    with pytest.raises(SystemExit) as error:
        main(["fit", "--config", experiment, "--data.init_args.root", str(nyuv2_labeled_root)])
    assert "bundled" in sentence(error)
    assert not (tmp_path / "runs").exists()


def test_validate_and_predict_run_from_the_command_line(fit, tmp_path, monkeypatch):
    monkeypatch.setenv("RUN_ID", "run")
    main(fit)
    run_dir = tmp_path / "runs" / "fcn_ssim" / "run"
    checkpoint = ["--ckpt_path", str(run_dir / "checkpoints" / "best.ckpt")]
    main(["validate", *fit[1:], *checkpoint])
    validated = json.loads((run_dir.with_name("run-validate") / "run.json").read_text())["val"]
    trained = json.loads((run_dir / "run.json").read_text())["best"]
    assert validated["val/score"] == pytest.approx(trained["val/score"], abs=1e-6)
    main(["predict", *fit[1:], *checkpoint])
    assert (
        len(list((tmp_path / "runs" / "fcn_ssim" / "run-predict").rglob("*_depth.png"))) == 3
    )  # frames of the test split


@pytest.mark.parametrize(
    ("experiment", "settings", "written"),
    [
        ("fcn_ssim", [], "a_depth.png"),
        ("boxinst", ["--model.init_args.network.init_args.n_classes", "2"], "a_instances.png"),
    ],
)
def test_a_broken_image_is_skipped_and_predict_leaves_with_1(experiment, settings, written, tmp_path, monkeypatch):
    monkeypatch.setenv("RUN_ID", "run")
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "a.png"), np.full((50, 70, 3), 200, np.uint8))
    command = ["predict", "--config", str(ROOT / "experiments" / f"{experiment}.yaml"), *settings]
    command += ["--data", "datamodules.prediction_images.ImageFiles", "--data.path", str(photos)]
    main(command)
    (photos / "b.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as error:
        main(command)
    assert error.value.code == 1
    folder = tmp_path / "runs" / experiment / "run-predict" / "predictions"
    assert (folder / written).is_file()
    assert not (folder / written.replace("a_", "b_")).exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_bad_checkpoints_are_one_sentence(fit, content, tmp_path):
    path = tmp_path / "bad.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as error:
        main(["test", *fit[1:], "--ckpt_path", str(path)])
    assert "bad.ckpt" in sentence(error)


def test_checkpoint_of_another_model_is_refused(fit, tmp_path):
    main(fit)
    (checkpoint,) = tmp_path.glob("runs/*/*/checkpoints/best.ckpt")
    other = ["test", "--config", str(ROOT / "experiments" / "mean_depth.yaml"), *fit[3:]]
    with pytest.raises(SystemExit) as error:
        main([*other, "--ckpt_path", str(checkpoint)])
    assert "another model" in sentence(error)
    truncated = tmp_path / "truncated.ckpt"
    truncated.write_bytes(checkpoint.read_bytes()[:-2000])
    with pytest.raises(SystemExit) as error:
        main(["test", *fit[1:], "--ckpt_path", str(truncated)])
    assert "truncated" in sentence(error)


def test_a_resumed_run_stays_in_its_folder(fit, monkeypatch, tmp_path):
    monkeypatch.setenv("RUN_ID", "job7")
    main([*fit, "--ckpt_path", "last"])  # as in a cluster script: there is no checkpoint yet
    main([*fit, "--ckpt_path", "last", "--trainer.max_steps", "4"])
    run_dir = tmp_path / "runs" / "fcn_ssim" / "job7"
    assert json.loads((run_dir / "run.json").read_text())["steps"] == 4
    assert torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    steps = [row["step"] for row in csv.DictReader((run_dir / "metrics.csv").open())]
    assert steps == ["0", "1", "2", "3"]
    assert not (run_dir / "metrics.1.csv").exists()
    (offline,) = (run_dir / "wandb").glob("offline-run-*")
    # W&B numbers two that begin within one second.
    assert re.search(r"fcn_ssim-job7(-\d+)?$", offline.name)


def test_resolved_config_runs_again_to_the_same_weights(fit, tmp_path):
    main([*fit, "--runs_dir", "first"])
    (config,) = tmp_path.glob("first/*/*/config.yaml")
    main(["fit", "--config", str(config), "--runs_dir", "second"])
    (first,) = tmp_path.glob("first/*/*/checkpoints/last.ckpt")
    (second,) = tmp_path.glob("second/fcn_ssim/*/checkpoints/last.ckpt")
    weights = torch.load(second, weights_only=True)["state_dict"]
    for key, value in torch.load(first, weights_only=True)["state_dict"].items():
        torch.testing.assert_close(weights[key], value, rtol=0, atol=0)


def test_defaults_hold_and_files_override_in_order(fit, capsys):
    with pytest.raises(SystemExit) as error:
        main([*fit, "--trainer.gradient_clip_val", "0.25", "--print_config"])
    assert error.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["gradient_clip_val"] == 0.25
    assert printed["trainer"]["use_distributed_sampler"] is False  # from _defaults.yaml
    assert printed["trainer"]["max_steps"] == 2  # the overlay after the experiment
    assert printed["model"]["init_args"]["network"]["class_path"] == "networks.fcn.FCN"


def test_the_best_checkpoint_is_tested_and_survives_an_interruption(fit, tmp_path, monkeypatch):
    monkeypatch.setenv("RUN_ID", "run")
    # Gradient descent on a parabola diverges for learning rates above 2 / curvature.
    (tmp_path / "away.yaml").write_text(
        "model:\n"
        "  init_args:\n"
        "    optimisation:\n"
        "      optimizer: {class_path: torch.optim.SGD, init_args: {lr: 1.2}}\n"
        "      lr_scheduler: null\n"
        "    network: {class_path: networks.constant.ConstantDepth, init_args: {initial: 0.5}}\n"
    )
    experiment = str(ROOT / "experiments" / "mean_depth.yaml")
    away = ["fit", "--config", experiment, *fit[3:], "--config", str(tmp_path / "away.yaml")]
    main([*away, "--trainer.max_steps", "4"])
    run_dir = tmp_path / "runs" / "mean_depth" / "run"
    record = json.loads((run_dir / "run.json").read_text())
    scores = [float(row["val/score"]) for row in csv.DictReader((run_dir / "metrics.csv").open()) if row["val/score"]]
    assert scores[0] < scores[1], "the test needs a run that gets worse"
    best = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 2
    assert torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    assert record["best"]["val/score"] == pytest.approx(scores[0])
    main(["test", "--config", experiment, *fit[3:], "--ckpt_path", str(run_dir / "checkpoints" / "best.ckpt")])
    tested = json.loads((run_dir.with_name("run-test") / "run.json").read_text())["test"]
    assert record["test"] == pytest.approx(tested, nan_ok=True), "the test after the training is that of the best"
    # A later attempt stops at a non-finite loss: its weights do not replace the best ones.
    (tmp_path / "bad.yaml").write_text(
        "model:\n"
        "  init_args:\n"
        "    loss_weights: {ssim: 1.0, mse: 0.0}\n"
        "    loss_constants: {ssim: {data_range: 1.0e+30}}\n"
    )
    with pytest.raises(SystemExit):
        main([*away, "--config", str(tmp_path / "bad.yaml"), "--trainer.max_steps", "8", "--ckpt_path", "last"])
    assert torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 2


def test_non_finite_loss_is_one_sentence_that_names_the_term(fit, tmp_path):
    with pytest.raises(SystemExit) as error:
        main(
            [
                *fit,
                "--model.init_args.activation",
                "exp",
                "--model.init_args.network.init_args.head_bias",
                "500",
            ]
        )
    assert "'mse' is inf" in sentence(error) or "'ssim' is" in sentence(error)
    assert list(tmp_path.glob("runs/*/*/nonfinite_batch_rank0.pt"))


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_and_exits_with_143(fit, tmp_path):
    command = [
        sys.executable,
        "-m",
        "cli",
        *fit,
        "--trainer.max_steps",
        "1000000",
        "--runs_dir",
        str(tmp_path / "runs"),
    ]
    environment = {**os.environ, "RUN_ID": "term"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    run_dir = tmp_path / "runs" / "fcn_ssim" / "term"
    deadline = time.monotonic() + 120
    while not (run_dir / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] > 0
