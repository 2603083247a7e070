"""Signals to whole commands, at every place and to any process: one checkpoint, the right exit code, no hang."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from cli import main
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from tests.data.pause_at import PauseAt

ROOT = Path(__file__).parents[1]
LONGEST_S = 32.0
"""A process ends 27 s after a signal in any case."""
WORKERS = ("--data.init_args.num_workers", "2")
RANKS = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "1")


def arguments(folder, place, words=(), **settings):
    """Arguments of a training of a one-parameter model that pauses at a place, and validates every second step."""
    pause = {"class_path": "tests.data.pause_at.PauseAt"}
    pause["init_args"] = {"place": place, "marker": str(folder / "at"), **settings}
    model = yaml.safe_load((ROOT / "experiments" / "mean_depth.yaml").read_text())["model"]
    trainer = {"max_steps": 6, "val_check_interval": 2, "check_val_every_n_epoch": None, "accelerator": "cpu"}
    trainer |= {"log_every_n_steps": 1, "enable_progress_bar": False, "callbacks+": [pause]}
    data = {"class_path": "tests.data.memory.MemoryDataModule", "init_args": {"sizes": [24, 8, 8]}}
    config = folder / "mean_depth.yaml"
    config.write_text(yaml.safe_dump({"model": model, "data": data, "trainer": trainer}))
    return ["fit", "--config", str(config), "--runs_dir", str(folder / "runs"), "--ckpt_path", "last", *words]


def saved(folder):
    """Step of the last checkpoint of a run, which has left no partial files."""
    files = sorted((folder / "runs" / "mean_depth" / "run" / "checkpoints").iterdir())
    assert not [path for path in files if path.suffix != ".ckpt"]
    return torch.load(files[0].with_name("last.ckpt"), weights_only=True)["global_step"]


class Run:
    """A training of a one-parameter model that pauses at a place, in a process group of its own."""

    def __init__(self, folder, place="batch", words=(), launcher=(sys.executable, "-m"), wandb="disabled", **settings):
        self.folder = folder
        command = [*launcher, "cli", *arguments(folder, place, words, **settings)]
        environment = {**os.environ, "RUN_ID": "run", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment | {"WANDB_MODE": wandb, "PYTHONUNBUFFERED": "1"},
            stdout=(folder / "output").open("w"),  # a pipe would be held open by W&B's service
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_for_place(self, rank=0, timeout=400):
        deadline = time.monotonic() + timeout
        while not (self.folder / f"at{rank}").exists():
            assert time.monotonic() < deadline, "the place was not reached"
            assert self.process.poll() is None, self.output()
            time.sleep(0.05)

    def output(self):
        return (self.folder / "output").read_text()

    def end(self):
        """Exit code and output; it has to end in time, and no process of it may remain."""
        begin = time.monotonic()
        try:
            code = self.process.wait(timeout=2 * LONGEST_S)
            length_s = time.monotonic() - begin
            while members(self.process.pid) and time.monotonic() < begin + 2 * LONGEST_S:
                time.sleep(0.1)
            left = members(self.process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        assert length_s < LONGEST_S, self.output()
        assert not left, self.output()
        return code, self.output()

    def end_of_training(self):
        """Exit code of a training that nobody stops."""
        code = self.process.wait(timeout=600)
        assert code == 0, self.output()
        return code


def members(group):
    """Processes of a group; the first one is also the ancestor of W&B's service, which has its own group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = path.read_text().partition(" ")
        except OSError:
            continue
        state, _, process_group = rest.rpartition(")")[2].split()[:3]
        if int(process_group) == group and state != "Z":
            found.append(int(number))
    return sorted(found)


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)]


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), SIGNALS)
@pytest.mark.parametrize("delay_s", [1.0, 3.0])
def test_during_the_imports(signum, code, delay_s, tmp_path):
    run = Run(tmp_path)
    time.sleep(delay_s)
    run.process.send_signal(signum)
    returned, output = run.end()
    assert returned == code
    assert "Traceback" not in output
    assert not (tmp_path / "runs").exists()


class SignalAt(PauseAt):
    """Sends a signal to its own process, and to its loader workers, where :class:`PauseAt` pauses."""

    signum = signal.SIGTERM
    times = 0

    def _pause(self, trainer, place):
        if place != self.place or trainer.global_step < self.step or SignalAt.times:
            return
        SignalAt.times += 1
        for process in [*(int(child.pid) for child in multiprocessing.active_children()), os.getpid()]:
            os.kill(process, SignalAt.signum)
        time.sleep(0.1)  # Python runs the handler of this process before


PLACES = [("fit_start", 0, None), ("batch", 1, 2), ("validation", 2, 2), ("write", 2, 2), ("test", 6, 6)]
ALL = [(*place, *signum, workers) for place in PLACES for signum in SIGNALS for workers in ("0", "2")]
QUICK = {("batch", signal.SIGTERM, "2"), ("validation", signal.SIGINT, "0"), ("write", signal.SIGUSR1, "2")}


@pytest.mark.parametrize(
    ("place", "after", "step", "signum", "code", "workers"),
    [pytest.param(*case, marks=[] if (case[0], case[3], case[5]) in QUICK else pytest.mark.slow) for case in ALL],
)
def test_at_every_place_with_workers_that_get_it_too(place, after, step, signum, code, workers, tmp_path, monkeypatch):
    monkeypatch.setattr(SignalAt, "signum", signum)
    monkeypatch.setattr(SignalAt, "times", 0)
    monkeypatch.setattr(PauseAt, "_pause", SignalAt._pause)
    monkeypatch.setenv("RUN_ID", "run")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    before = {number: signal.getsignal(number) for number in (*(number for number, _ in SIGNALS), signal.SIGALRM)}
    saves = []
    save = AtomicCheckpointIO.save_checkpoint
    monkeypatch.setattr(
        AtomicCheckpointIO,
        "save_checkpoint",
        lambda self, checkpoint, path, **_: saves.append(Path(path).name) or save(self, checkpoint, path),
    )
    words = arguments(tmp_path, place, ("--data.init_args.num_workers", workers), step=after)
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == code
    assert {number: signal.getsignal(number) for number in before} == before
    if step is None:
        assert not (tmp_path / "runs").exists()
        return
    assert saved(tmp_path) == step
    # Validations save both files; a stop between them adds the last one, but not where it was written already.
    assert saves.count("last.ckpt") == {"batch": 1, "validation": 1, "write": 1, "test": 3}[place]


@pytest.mark.slow
def test_a_step_that_does_not_end_is_broken_off_and_not_saved_twice(tmp_path):
    run = Run(tmp_path, "batch", seconds=300, step=3)
    run.wait_for_place()
    run.process.terminate()
    assert run.end()[0] == 143
    assert saved(tmp_path) == 3


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1, None])
@pytest.mark.parametrize(("place", "step"), [("batch", 3), ("validation", 2), ("fit_start", None), ("test", 6)])
def test_any_process_of_two(victim, place, step, tmp_path):
    run = Run(tmp_path, place, (*RANKS, *WORKERS), step=step or 0)
    run.wait_for_place(0)
    run.wait_for_place(1)
    ranks = [pid for pid in members(run.process.pid) if parent(pid) in (run.process.pid, os.getpid()) and is_rank(pid)]
    assert len(ranks) == 2
    for pid in ranks if victim is None else [ranks[victim]]:
        os.kill(pid, signal.SIGTERM)
    returned, output = run.end()
    assert returned == 143, output
    assert "Traceback" not in output
    if step is not None:
        assert saved(tmp_path) == step + (place == "batch")


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_rank(pid):
    return "pt_data_worker" not in Path(f"/proc/{pid}/comm").read_text()


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    assert Run(whole, "none").end_of_training() == 0
    run = Run(parts, "batch", step=2)
    run.wait_for_place()
    run.process.terminate()
    assert run.end()[0] == 143
    (parts / "at0").unlink()
    again = Run(parts, "none")
    assert again.end_of_training() == 0
    one, two = (
        torch.load(folder / "runs" / "mean_depth" / "run" / "checkpoints" / "last.ckpt", weights_only=True)
        for folder in (whole, parts)
    )
    assert one["global_step"] == two["global_step"] == 6
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["by itself", "by a signal"])
def test_a_service_of_wandb_that_died_first_changes_nothing(ends, tmp_path):
    run = Run(tmp_path, "batch", step=3, wandb="offline")
    run.wait_for_place()
    (service,) = (pid for pid in descendants(run.process.pid) if "wandb-core" in name_of(pid))
    os.kill(service, signal.SIGKILL)
    if ends == "by a signal":
        run.process.terminate()
    returned, output = run.end()
    assert returned == (143 if ends == "by a signal" else 0), output
    assert saved(tmp_path) == (4 if ends == "by a signal" else 6)
    assert "Traceback" not in output
    assert sum(line.startswith("W&B failed") for line in output.splitlines()) == 1


def descendants(process):
    children = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if path.exists() and parent(int(path.parent.name)) == process
    ]
    return children + [pid for child in children for pid in descendants(child)]


def name_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.slow
def test_torchrun_trains_and_stops(tmp_path):
    words = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.init_args.batch_size", "1")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m")
    run = Run(tmp_path, "batch", words, launcher=torchrun, step=3)
    run.wait_for_place()
    run.process.terminate()
    returned, output = run.end()
    assert returned != 0
    assert saved(tmp_path) == 4, output
    for rank in range(2):
        (tmp_path / f"at{rank}").unlink(missing_ok=True)
    assert Run(tmp_path, "none", words, launcher=torchrun).end_of_training() == 0
