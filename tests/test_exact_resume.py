"""Trainings of all papers that are interrupted and resumed equal those that are not, bit for bit."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cli import main
from lightning_modules.tasks.base import PaperModule

ROOT = Path(__file__).parents[1]
PAPERS = {
    "fcn_ssim": "rooms",
    "gam_depth": "rooms_video_labelled",
    "boxinst_depth": "rooms_instances",
    "render_consistency": "rooms_affine",
}
"""Experiments by their overlay; the noise of gam_depth and the views of render_consistency are drawn in the step."""
RANDOM = {"render_consistency": ["--model.init_args.warmup", "0.1"]}
"""Settings by which what is random begins early; the tie-breaking noise of gam_depth begins after 30%."""
STEPS = 8


class StoppedError(Exception):
    """What interrupts a training."""


@pytest.fixture
def words(rooms_root, experiment, tmp_path):
    """Arguments of a tiny training, which saves every two steps."""
    overlay = ROOT / "tests" / "overlays" / f"{PAPERS[experiment]}.yaml"
    often = tmp_path / "often.yaml"
    often.write_text(
        "trainer:\n  callbacks+:\n"
        "    - class_path: lightning_modules.callbacks.periodic_checkpoint.PeriodicCheckpoint\n"
        "      init_args: {every_minutes: null, every_steps: 2}\n"
    )
    return [
        *("fit", "--config", str(ROOT / "experiments" / f"{experiment}.yaml")),
        *("--config", str(overlay), "--config", str(often), "--data.init_args.root", str(rooms_root)),
        *("--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "5"),
        *("--task_callbacks", "false", "--test_after_fit", "false", *RANDOM.get(experiment, [])),
    ]


def run_dir(folder: Path, experiment: str, run: str) -> Path:
    return folder / "runs" / experiment / run


def weights(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_equal(one: dict, two: dict) -> None:
    assert one["global_step"] == two["global_step"] == STEPS
    assert one["state_dict"].keys() == two["state_dict"].keys()
    different = [key for key, value in one["state_dict"].items() if not torch.equal(value, two["state_dict"][key])]
    assert different == []
    assert one["lr_schedulers"] == two["lr_schedulers"]


@pytest.mark.parametrize("experiment", PAPERS)
def test_an_interrupted_paper_goes_on_exactly(words, experiment, tmp_path, monkeypatch):
    losses, fails = {}, []
    step = PaperModule.training_step

    def training_step(self, batch, batch_idx):
        loss = step(self, batch, batch_idx)
        if self.global_step in fails:  # the batch norms have seen the batch
            fails.remove(self.global_step)
            raise StoppedError
        losses.setdefault(self.global_step, []).append(float(loss.detach()))
        return loss

    monkeypatch.setattr(PaperModule, "training_step", training_step)
    monkeypatch.setenv("RUN_ID", "whole")
    main(words)
    monkeypatch.setenv("RUN_ID", "parts")
    fails += [3, 6]
    for _ in range(2):
        with pytest.raises(StoppedError):
            main([*words, "--ckpt_path", "last"])
    main([*words, "--ckpt_path", "last"])
    assert losses.keys() == set(range(STEPS))
    assert all(values == values[:1] * 2 for values in losses.values())
    whole, parts = (weights(run_dir(tmp_path, experiment, run)) for run in ("whole", "parts"))
    assert_equal(whole, parts)


def logged(folder: Path) -> dict[tuple[str, str], set[str]]:
    """All values of losses and scores in the metrics files of a run by step and name, over all attempts."""
    values: dict[tuple[str, str], set[str]] = {}
    for path in folder.glob("metrics*.csv"):
        for row in csv.DictReader(path.open()):
            for name, value in row.items():
                if name.startswith(("train/", "val/")) and "per_second" not in name and value:
                    values.setdefault((row["step"], name), set()).add(value)
    return values


def start(words: list[str], folder: Path, run: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "RUN_ID": run}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *words, "--runs_dir", str(folder / "runs"), "--ckpt_path", "last"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children(process: int) -> list[int]:
    """Other ranks that a process started, not the workers of its loaders."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = path.read_text().partition(" ")
            command = path.with_name("cmdline").read_text()
        except OSError:  # it has ended
            continue
        if int(rest.rpartition(")")[2].split()[1]) == process and "cli" in command:
            found.append(int(number))
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("experiment", PAPERS)
def test_a_killed_paper_goes_on_exactly(words, experiment, devices, tmp_path):
    words = [*words, "--trainer.devices", str(devices), "--data.init_args.num_workers", "2"]
    if devices == 2:
        words += ["--trainer.strategy", "ddp", "--data.init_args.batch_size", "1"]
    whole = start(words, tmp_path, "whole")
    output, _ = whole.communicate(timeout=600)
    assert whole.returncode == 0, output
    folder = run_dir(tmp_path, experiment, "parts")
    for reached, victim in ((2, -1), (4, 0)):
        process = start(words, tmp_path, "parts")
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline and process.poll() is None:
            if (folder / "checkpoints" / "last.ckpt").is_file() and weights(folder)["global_step"] >= reached:
                break
            time.sleep(0.05)
        ranks = [process.pid, *(children(process.pid)[:1] if devices == 2 else [])]
        os.kill(ranks[victim], signal.SIGKILL)  # the last rank, then the first
        output, _ = process.communicate(timeout=120)
        assert process.returncode != 0, output
    last = start(words, tmp_path, "parts")
    output, _ = last.communicate(timeout=600)
    assert last.returncode == 0, output
    other = run_dir(tmp_path, experiment, "whole")
    assert_equal(weights(other), weights(folder))
    expected, found = logged(other), logged(folder)
    assert all(len(values) == 1 for values in expected.values())
    # Rows that a killed process had not written are missing; the others are equal, also where a step was repeated.
    assert {key: expected[key] for key in found} == found
