"""Ends of runs on the command line: between validations, refused, with bad files or damaged checkpoints."""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cli import main

ROOT = Path(__file__).parents[1]
EXPERIMENT = str(ROOT / "experiments" / "mean_depth.yaml")
OVERLAY = str(ROOT / "tests" / "overlays" / "rooms.yaml")


@pytest.fixture
def words(rooms_root, monkeypatch):
    """Arguments after the subcommand, for runs of a one-parameter model with the id ``run``."""
    monkeypatch.setenv("RUN_ID", "run")
    return ["--config", EXPERIMENT, "--config", OVERLAY, "--data.init_args.root", str(rooms_root)]


def run(folder):
    return folder / "runs" / "mean_depth" / "run"


def refused(command):
    """The line that a refused command ends with."""
    with pytest.raises(SystemExit) as error:
        main(command)
    text = str(error.value.code)
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("max_steps", "interval", "steps"), [(5, 2, [2, 4, 5]), (4, 2, [2, 4]), (3, 200, [3]), (1, 2, [1])]
)
def test_the_last_step_is_validated_saved_and_tested(words, tmp_path, max_steps, interval, steps):
    main(["fit", *words, "--trainer.max_steps", str(max_steps), "--trainer.val_check_interval", str(interval)])
    rows = (run(tmp_path) / "metrics.csv").read_text().splitlines()
    head = rows[0].split(",")
    validated = [row.split(",") for row in rows[1:] if row.split(",")[head.index("val/score")]]
    assert [int(row[head.index("step")]) + 1 for row in validated] == steps
    saved = torch.load(run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == max_steps
    record = json.loads((run(tmp_path) / "run.json").read_text())
    scores = [float(row[head.index("val/score")]) for row in validated]
    assert record["best"]["val/score"] == pytest.approx(min(scores))
    assert record["last"]["val/score"] == pytest.approx(scores[-1])
    assert "test/score" in record["test"]


def test_a_finished_training_is_refused_and_not_tested_in_its_place(words, tmp_path, monkeypatch):
    main(["fit", *words])
    last = run(tmp_path) / "checkpoints" / "last.ckpt"
    monkeypatch.setenv("RUN_ID", "other")
    for steps in ("1", "2"):
        said = refused(["fit", *words, "--trainer.max_steps", steps, "--ckpt_path", str(last)])
        assert f"is at step 2 and max_steps is {steps}: nothing is left to train; raise max_steps" in said
    assert not run(tmp_path).with_name("other").exists()
    # A job that was requeued after its last step continues with its test.
    monkeypatch.setenv("RUN_ID", "run")
    (run(tmp_path) / "run.json").unlink()
    main(["fit", *words, "--ckpt_path", "last"])
    record = json.loads((run(tmp_path) / "run.json").read_text())
    assert "test/score" in record["test"]
    assert "max_steps is 1" in refused(["fit", *words, "--trainer.max_steps", "1", "--ckpt_path", "last"])


def test_a_run_without_a_logger_trains_and_names_the_callback_that_is_left_out(words, tmp_path, capsys):
    main(["fit", *words, "--trainer.logger", "false"])
    notes = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert notes == ["note: the run has no logger (trainer.logger is false), so LearningRateMonitor is left out"]
    assert "test/score" in json.loads((run(tmp_path) / "run.json").read_text())["test"]
    assert not (run(tmp_path) / "metrics.csv").exists()


def test_the_best_of_another_run_is_not_tested(words, tmp_path, monkeypatch, capsys):
    main(["fit", *words])
    last = run(tmp_path) / "checkpoints" / "last.ckpt"
    monkeypatch.setenv("RUN_ID", "other")
    main(["fit", *words, "--trainer.max_steps", "3", "--ckpt_path", str(last), "--trainer.limit_val_batches", "0"])
    assert "This run has no best checkpoint of its own: its last weights are tested." in capsys.readouterr().err
    other = run(tmp_path).with_name("other")
    assert torch.load(other / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


def tear(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_torn_checkpoint_that_is_named_is_refused_with_what_else_is_there(words, tmp_path):
    main(["fit", *words])
    last = run(tmp_path) / "checkpoints" / "last.ckpt"
    tear(last)
    said = refused(["fit", *words, "--trainer.max_steps", "4", "--ckpt_path", str(last)])
    assert "last.ckpt' is damaged or truncated" in said
    assert said.partition("also holds ")[2].startswith("best.ckpt")
    assert (run(tmp_path) / "run.json").is_file(), "the folder of a run that was trained stays"


def test_a_run_goes_on_from_its_newest_whole_checkpoint(words, tmp_path, capsys):
    main(["fit", *words])
    folder = run(tmp_path) / "checkpoints"
    tear(folder / "last.ckpt")
    main(["fit", *words, "--trainer.max_steps", "4", "--ckpt_path", "last"])
    assert "last.ckpt is damaged; the run goes on from " in capsys.readouterr().err
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 4
    for path in folder.glob("*.ckpt"):
        tear(path)
    said = refused(["fit", *words, "--trainer.max_steps", "6", "--ckpt_path", "last"])
    assert f"every checkpoint of {run(tmp_path).relative_to(tmp_path)} is damaged (" in said


def test_last_is_no_checkpoint_of_a_test(words, tmp_path):
    for word in ("last", "best"):
        said = refused(["test", *words, "--ckpt_path", word])
        assert f"test needs the file, as in --ckpt_path runs/EXPERIMENT/RUN/checkpoints/{word}.ckpt" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["--data.init_args.split_seed", "0"], None),
        (["--ckpt_path", "nowhere.ckpt"], "'nowhere.ckpt' does not exist"),
        (["--data.init_args.train_subset", "1000000"], "train_subset is 1000000, but the training split has"),
    ],
)
def test_a_refused_run_leaves_no_folder(words, tmp_path, settings, reason):
    command = ["fit", *words, *settings]
    if reason is None:
        with pytest.raises(SystemExit):
            main(command)
    else:
        assert reason in refused(command)
    assert not (tmp_path / "runs").exists()


def test_a_refused_run_prints_no_advice_to_upload_it(words, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_MODE", "offline")
    refused(["fit", *words, "--data.init_args.train_subset", "1000000"])
    assert "wandb sync" not in capfd.readouterr().err


def test_a_second_training_with_the_same_run_id_replaces_no_weights(words, tmp_path, capsys):
    folder = run(tmp_path) / "checkpoints"
    main(["fit", *words])
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit) as end:
        main(["fit", *words])
    assert end.value.code == 0
    assert "run is finished (step 2, test/score " in capsys.readouterr().err
    assert "holds a training with other settings" in refused(["fit", *words, "--seed_everything", "7"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    # Weights alone are nothing to go on from.
    for path in folder.iterdir():
        content = torch.load(path, weights_only=True)
        torch.save({key: value for key, value in content.items() if key != "loops"}, path)
    main(["fit", *words])
    assert (run(tmp_path) / "checkpoints.1" / "best.ckpt").is_file()
    assert "holds an earlier training, whose checkpoints are now in" in capsys.readouterr().err
    assert (folder / "best.ckpt").is_file()


def test_existing_folders_stay(words, tmp_path):
    run(tmp_path).mkdir(parents=True)
    (run(tmp_path) / "mine.txt").touch()
    refused(["fit", *words, "--data.init_args.train_subset", "1000000"])
    assert (run(tmp_path) / "mine.txt").is_file()


def test_a_runs_folder_that_is_a_file_is_one_sentence(words, tmp_path):
    (tmp_path / "taken").write_text("mine")
    said = refused(["fit", *words, "--runs_dir", "taken"])
    assert "'taken' is a file, but a folder is needed" in said
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.fixture
def manifest(tmp_path):
    """A manifest of small frames; its third image is truncated."""
    rows = ["image,depth,depth_scale,split"]
    for index, split in enumerate(["train", "train", "train", "train", "val", "test"]):
        image = np.random.default_rng(index).integers(0, 255, (48, 64, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / f"{index}d.png"), np.full((48, 64), 2000, np.uint16))
        rows.append(f"{index}.png,{index}d.png,1000,{split}")
    (tmp_path / "frames.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "frames.csv"


@pytest.mark.parametrize(("subcommand", "torn"), [("fit", 2), ("validate", 4), ("test", 5), ("predict", 5)])
def test_a_bad_file_in_a_worker_is_one_sentence(manifest, tmp_path, subcommand, torn, capfd):
    torn_file = tmp_path / f"{torn}.png"
    torn_file.write_bytes(torn_file.read_bytes()[:100])
    command = [subcommand, "--config", EXPERIMENT, "--data", str(ROOT / "experiments" / "data" / "manifest.yaml")]
    command += ["--data.init_args.root", str(manifest), "--data.init_args.num_workers", "1", "--trainer.max_steps", "3"]
    command += ["--data.init_args.image_size", "[48,64]", "--data.init_args.batch_size", "1"]
    command += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    said = refused(command)
    assert f"{torn}.png" in said
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err + printed.out
    assert "DataLoader" not in printed.err + printed.out + said


@pytest.mark.parametrize(
    ("variables", "words_of_reason"),
    [
        ({"WANDB_MODE": "ofline"}, "WANDB_MODE is 'ofline', but has to be online, offline or disabled: did you mean"),
        ({"WANDB_MODE": "online", "WANDB_API_KEY": "abc"}, "WANDB_API_KEY has 3 characters"),
    ],
)
def test_wrong_settings_of_wandb_are_one_sentence(words, tmp_path, monkeypatch, variables, words_of_reason):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert words_of_reason in refused(["fit", *words])
    assert not (tmp_path / "runs").exists()


def test_a_missing_network_costs_only_seconds(words, tmp_path, monkeypatch, capsys):
    with socket.socket() as silent:  # accepts data and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
        monkeypatch.setenv("WANDB_MODE", "online")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        main(["fit", *words])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("W&B")]
    assert len(said) == 1
    assert "did not answer within 2 s" in said[0]
    assert "wandb sync" in said[0]
    assert list((run(tmp_path) / "wandb").glob("offline-run-*"))
    assert "test/score" in json.loads((run(tmp_path) / "run.json").read_text())["test"]


def test_a_shell_of_slurm_trains_as_one_process(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    main(["fit", *words])
    assert json.loads((run(tmp_path) / "run.json").read_text())["world_size"] == 1
    assert capsys.readouterr().err.count("it runs as one process") == 1


def test_a_run_prints_no_advice_to_install_litlogger(words, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        main(["fit", *words])
    assert "litlogger" not in caplog.text
    assert "stopped: `max_steps=2` reached" in caplog.text  # the same logger's other messages stay


@pytest.mark.slow
def test_a_bad_file_leaves_no_worker_behind(manifest, tmp_path):
    (tmp_path / "2.png").write_bytes(b"torn")
    command = [sys.executable, "-m", "cli", "fit", "--config", EXPERIMENT]
    command += ["--data", str(ROOT / "experiments" / "data" / "manifest.yaml"), "--data.init_args.root", str(manifest)]
    command += ["--data.init_args.num_workers", "2", "--runs_dir", str(tmp_path / "runs")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "WANDB_MODE": "disabled"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_bad_file_ends_all_processes(manifest, tmp_path):
    torn = tmp_path / "2.png"
    torn.write_bytes(torn.read_bytes()[:100])
    command = [sys.executable, "-m", "cli", "fit", "--config", EXPERIMENT, "--runs_dir", str(tmp_path / "runs")]
    command += ["--data", str(ROOT / "experiments" / "data" / "manifest.yaml"), "--data.init_args.root", str(manifest)]
    command += ["--data.init_args.image_size", "[48,64]", "--data.init_args.batch_size", "2"]
    command += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    environment = {**os.environ, "WANDB_MODE": "disabled", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert "2.png" in done.stderr
    assert "Traceback" not in done.stderr
