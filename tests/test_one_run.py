"""A command with a run id that starts again goes on with its run, without a flag, and logs every step once."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cli import main
from lightning_modules.runs.run_lock import LOCK_FILE, RunLock
from lightning_modules.tasks.base import PaperModule
from tests.helpers import wandb_history

ROOT = Path(__file__).parents[1]
STEPS = 6


class KilledError(Exception):
    """What ends a training."""


@pytest.fixture
def words(rooms_root, monkeypatch, tmp_path):
    """A training of a one-parameter model, which saves every second step."""
    monkeypatch.setenv("RUN_ID", "mine")
    often = tmp_path / "often.yaml"
    often.write_text(
        "trainer:\n  callbacks+:\n"
        "    - class_path: lightning_modules.callbacks.periodic_checkpoint.PeriodicCheckpoint\n"
        "      init_args: {every_minutes: null, every_steps: 2}\n"
    )
    return [
        *("fit", "--config", str(ROOT / "experiments" / "mean_depth.yaml")),
        *("--config", str(ROOT / "tests" / "overlays" / "rooms.yaml"), "--config", str(often)),
        *("--data.init_args.root", str(rooms_root), "--trainer.max_steps", str(STEPS)),
        *("--trainer.val_check_interval", "3"),
    ]


@pytest.fixture
def fails(monkeypatch):
    """Steps at which the training is broken off, without the checkpoint that an exception writes: as by ``kill -9``."""
    steps: list[int] = []
    step = PaperModule.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step in steps:
            steps.remove(self.global_step)
            self.trainer.strategy.save_checkpoint = lambda *_, **__: None
            raise KilledError
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PaperModule, "training_step", training_step)
    return steps


def refused(command):
    with pytest.raises(SystemExit) as error:
        main(command)
    text = str(error.value.code)
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_run_is_one_run(words, fails, tmp_path, capsys):
    folder = tmp_path / "runs" / "mean_depth" / "mine"
    fails += [3, 5]
    for _ in range(2):
        with pytest.raises(KilledError):
            main(words)
    assert f"note: the run goes on from {folder.relative_to(tmp_path)}/checkpoints/last.ckpt, step 3" in (
        capsys.readouterr().err
    )
    main(words)
    said = capsys.readouterr()
    assert "step 4\n" in said.err
    assert re.search(r"^[\d-]+ [\d:]+ training goes on: step 4 of 6", said.out, re.MULTILINE)
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == STEPS
    assert not (folder / LOCK_FILE).exists()
    rows = rows_of(folder)
    assert [int(row["step"]) for row in rows] == list(range(STEPS))
    assert all(row["train/loss"] for row in rows)
    assert [int(row["step"]) for row in rows if row["val/score"]] == [2, 5]
    assert [int(row["step"]) for row in rows if row["test/score"]] == [5]
    (offline,) = folder.glob("wandb/offline-run-*")
    logged = wandb_history(offline)
    assert [row["_step"] for row in logged] == list(range(STEPS))
    for row, other in zip(rows, logged, strict=True):
        assert float(row["train/loss"]) == pytest.approx(other["train/loss"])
        assert row["val/score"] == "" or float(row["val/score"]) == pytest.approx(other["val/score"])
    # The same command once more.
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert re.search(r"mine is finished \(step 6, test/score [\d.]+\): nothing is left to do", capsys.readouterr().err)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    # Other settings.
    longer = [*words, "--trainer.max_steps", "8"]
    said = refused(longer)
    assert "mine holds a training with other settings: trainer.max_steps 6 -> 8." in said
    assert "or add --ckpt_path last to train on to the new length" in said
    slower = "--model.init_args.optimisation.optimizer.init_args.lr"
    assert ".lr 0.01 -> 0.5" in refused([*words, slower, "0.5"])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == {
        path: stamp for path, stamp in before.items() if "." in path.name
    }
    main([*longer, "--ckpt_path", "last"])
    assert "with changed settings: trainer.max_steps 6 -> 8" in capsys.readouterr().err
    assert [int(row["step"]) for row in rows_of(folder)] == list(range(8))
    (offline,) = folder.glob("wandb/offline-run-*")
    assert [row["_step"] for row in wandb_history(offline)] == list(range(8))
    record = json.loads((folder / "run.json").read_text())
    assert (record["run"], record["wandb_id"], record["ended_at_step"]) == ("mine", "mean_depth-mine", 8)


def test_a_run_that_began_from_another_one_goes_on_from_itself(words, fails, tmp_path, monkeypatch):
    main([*words, "--trainer.max_steps", "2"])
    other = tmp_path / "runs" / "mean_depth" / "mine" / "checkpoints" / "last.ckpt"
    monkeypatch.setenv("RUN_ID", "second")
    command = [*words, "--ckpt_path", str(other), "--test_after_fit", "false"]
    fails.append(5)
    with pytest.raises(KilledError):
        main(command)
    main(command)
    folder = other.parents[1].with_name("second")
    assert [int(row["step"]) for row in rows_of(folder)] == [2, 3, 4, 5]
    assert "ckpt_path" in refused(words), "it did not begin with new weights"


def test_a_second_job_on_one_folder_stops(words, tmp_path):
    folder = tmp_path / "runs" / "mean_depth" / "mine"
    lock = RunLock(folder)
    lock.acquire()
    said = refused(words)
    lock.release()
    assert f"mine is in use by process {os.getpid()} on" in said
    assert list(folder.iterdir()) == []
    with pytest.raises(SystemExit):
        main([*words, "--data.init_args.train_subset", "1000000"])
    assert not (folder / LOCK_FILE).exists(), "a run that is refused releases its lock"


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_in_the_way(words, tmp_path):
    """``kill -9`` under SLURM's variables, then the same command as the requeued job."""
    environment = {name: value for name, value in os.environ.items() if name != "RUN_ID"}
    environment |= {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "plumbline", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cli", *words, "--runs_dir", str(tmp_path / "runs")]
    command += ["--trainer.max_steps", "60"]
    folder = tmp_path / "runs" / "mean_depth" / "77"
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "step 12 of 60" in line:
            break
    process.kill()
    process.communicate()
    assert (folder / LOCK_FILE).is_file()
    environment["SLURM_RESTART_COUNT"] = "1"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "goes on from" in done.stderr
    assert [int(row["step"]) for row in rows_of(folder)] == list(range(60))
    (offline,) = folder.glob("wandb/offline-run-*")
    assert [row["_step"] for row in wandb_history(offline)] == list(range(60))
