"""Faults of machines during whole trainings (``make drills``): killed at any moment, full disk, damaged checkpoint.

Signals, killed ranks and corrupt samples are in tests/test_signals.py, tests/test_exact_resume.py and
tests/test_run_ends.py, which ``make drills`` runs as well. ``PLUMBLINE_DRILL_KILLS`` sets the kills of each paper.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAPERS = {
    "fcn_ssim": "rooms",
    "gam_depth": "rooms_video_labelled",
    "boxinst_depth": "rooms_instances",
    "render_consistency": "rooms_affine",
}
RANDOM = {"render_consistency": ("--model.init_args.warmup", "0.1")}
STEPS = 8
KILLS = int(os.environ.get("PLUMBLINE_DRILL_KILLS", "20"))
LONGEST_S = 1200


class Training:
    """A tiny training of an experiment that saves after every step."""

    def __init__(self, folder, rooms_root, experiment, words=()):
        self.folder, self.experiment = folder, experiment
        often = folder / "often.yaml"
        often.write_text(
            "trainer:\n  callbacks+:\n"
            "    - class_path: lightning_modules.callbacks.periodic_checkpoint.PeriodicCheckpoint\n"
            "      init_args: {every_minutes: null, every_steps: 1}\n"
            "    - class_path: tests.data.pause_at.PauseAt\n"
            f"      init_args: {{place: fit_start, marker: {folder / 'at'}, seconds: 0, step: 0}}\n"
        )
        overlay = ROOT / "tests" / "overlays" / f"{PAPERS[experiment]}.yaml"
        self.words = [
            *("fit", "--config", str(ROOT / "experiments" / f"{experiment}.yaml"), "--config", str(overlay)),
            *("--config", str(often), "--data.init_args.root", str(rooms_root), "--runs_dir", str(folder / "runs")),
            *("--trainer.max_steps", str(STEPS), "--trainer.val_check_interval", "5"),
            *("--task_callbacks", "false", "--test_after_fit", "false", *RANDOM.get(experiment, ()), *words),
        ]

    def start(self, run, words=(), **settings):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "RUN_ID": run}
        return subprocess.Popen(
            [sys.executable, "-m", "cli", *self.words, *words],
            cwd=ROOT,
            env=environment | {"WANDB_MODE": "disabled"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **settings,
        )

    def finish(self, run, words=(), **settings):
        """Exit code and output of a training that nobody kills."""
        process = self.start(run, words, **settings)
        output, _ = process.communicate(timeout=LONGEST_S)
        return process.returncode, output

    def checkpoint(self, run, name="last.ckpt"):
        return self.folder / "runs" / self.experiment / run / "checkpoints" / name

    def wait_for_marker(self, process):
        """Wait until the training is set up, and return when its first steps follow."""
        marker = self.folder / "at0"
        deadline = time.monotonic() + LONGEST_S
        while not marker.exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        marker.unlink(missing_ok=True)


def assert_equal(one, two):
    one, two = (torch.load(path, weights_only=True) for path in (one, two))
    assert one["global_step"] == two["global_step"] == STEPS
    assert [key for key, value in one["state_dict"].items() if not torch.equal(value, two["state_dict"][key])] == []


@pytest.mark.parametrize("experiment", PAPERS)
def test_killed_at_random_moments(experiment, rooms_root, tmp_path, capsys):
    training = Training(tmp_path, rooms_root, experiment)
    draw = random.Random(0)
    process = training.start("whole")
    training.wait_for_marker(process)
    begin = time.monotonic()
    output, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, output
    length_s = time.monotonic() - begin
    kills, runs, lost = 0, 0, []
    while kills < KILLS:
        process = training.start(f"parts{runs}")
        training.wait_for_marker(process)
        try:
            output, _ = process.communicate(timeout=draw.uniform(0, length_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate(timeout=60)
            kills += 1
            last = training.checkpoint(f"parts{runs}")
            lost.append(torch.load(last, weights_only=True)["global_step"] if last.is_file() else 0)
            continue
        assert process.returncode == 0, output
        assert_equal(training.checkpoint("whole"), training.checkpoint(f"parts{runs}"))
        runs += 1
    code, output = training.finish(f"parts{runs}")
    assert code == 0, output
    assert_equal(training.checkpoint("whole"), training.checkpoint(f"parts{runs}"))
    with capsys.disabled():
        print(f"\n{experiment}: {kills} kills in {runs + 1} trainings, bit-equal; steps on the disk: {lost}")


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "torn":
        del content[len(content) // 2 :]
    elif how == "zeroed":
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def changed(path):
    return path.stat().st_mtime_ns if path.is_file() else -1


@pytest.mark.parametrize("how", ["torn", "zeroed", "one bit"])
def test_a_damaged_checkpoint(how, rooms_root, tmp_path):
    training = Training(tmp_path, rooms_root, "fcn_ssim")
    assert training.finish("whole")[0] == 0
    process = training.start("parts")
    best, last = training.checkpoint("parts", "best.ckpt"), training.checkpoint("parts")
    # After the validation at step 5, and no earlier than the last one: a damaged file of fewer steps is not read.
    while not (best.is_file() and changed(last) >= changed(best)) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    damage(last, how)
    code, output = training.finish("parts")
    assert code == 0, output
    assert "last.ckpt is damaged; the run goes on from" in output
    assert_equal(training.checkpoint("whole"), last)
    for path in (best, last):
        damage(path, how)
    code, output = training.finish("parts", ("--ckpt_path", "last", "--trainer.max_steps", "20"))
    assert code == 1
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("error: every checkpoint of ")


def test_a_full_disk(rooms_root, tmp_path):
    training = Training(tmp_path, rooms_root, "fcn_ssim")
    assert training.finish("whole")[0] == 0
    process = training.start("parts")
    last = training.checkpoint("parts")
    while not last.is_file() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    size, before = last.stat().st_size, last.read_bytes()

    def no_file_as_large_as_the_checkpoint():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    code, output = training.finish("parts", preexec_fn=no_file_as_large_as_the_checkpoint)
    assert code == 1
    assert "Traceback" not in output
    assert "could not be written" in output
    assert last.read_bytes() == before
    assert [path for path in last.parent.iterdir() if path.suffix != ".ckpt"] == []
    assert training.finish("parts")[0] == 0
    assert_equal(training.checkpoint("whole"), last)


def test_a_folder_that_cannot_be_written(rooms_root, tmp_path):
    training = Training(tmp_path, rooms_root, "fcn_ssim")
    folder = tmp_path / "fixed"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:  # may write to any folder but those of the kernel
        folder = Path("/proc/plumbline")
    code, output = training.finish("run", ("--runs_dir", str(folder)))
    assert code == 1
    assert "Traceback" not in output
    assert output.splitlines()[-1].startswith("error: ")
    assert str(folder) in output.splitlines()[-1]
