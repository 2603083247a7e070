"""The newest whole checkpoint of a run, whatever happened to the others."""

import os
import re

import pytest
import torch

from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from lightning_modules.runs.loading import CheckpointError
from lightning_modules.runs.newest import newest_checkpoint, remove_older_requeue_files


def write(run_dir, name, step, age=0, **left_out):
    path = run_dir / name
    content = {"state_dict": {"w": torch.arange(99.0)}, "global_step": step, "loops": {}, "optimizer_states": []}
    AtomicCheckpointIO().save_checkpoint({**content, "lr_schedulers": [], **left_out}, path)
    os.utime(path, (10_000 - age, 10_000 - age))
    return path


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_there_is_none_in_a_new_run(tmp_path):
    assert newest_checkpoint(tmp_path / "missing") is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt.host-1.partial").write_bytes(b"x")
    assert newest_checkpoint(tmp_path) is None


def test_the_most_steps_win_then_the_last_written(tmp_path, capsys):
    best = write(tmp_path, "checkpoints/best.ckpt", 20, age=5)
    assert newest_checkpoint(tmp_path) == best
    last = write(tmp_path, "checkpoints/last.ckpt", 20, age=4)
    assert newest_checkpoint(tmp_path) == last
    requeued = write(tmp_path, "hpc_ckpt_9.ckpt", 23, age=9)
    write(tmp_path, "hpc_ckpt_10.ckpt", 21)
    write(tmp_path, "other.ckpt", 99)  # not where checkpoints are
    assert newest_checkpoint(tmp_path) == requeued
    last = write(tmp_path, "checkpoints/last.ckpt", 30, age=30)
    assert newest_checkpoint(tmp_path) == last
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fault", ["torn", "empty", "zeros", "flipped", "foreign"])
def test_a_damaged_one_is_named_and_the_next_is_used(tmp_path, capsys, fault):
    best = write(tmp_path, "checkpoints/best.ckpt", 20)
    last = write(tmp_path, "checkpoints/last.ckpt", 30)
    content = last.read_bytes()
    if fault == "flipped":
        flip(last)
    else:
        last.write_bytes(
            {"torn": content[:-500], "empty": b"", "zeros": bytes(len(content)), "foreign": b"no checkpoint"}[fault]
        )
    assert newest_checkpoint(tmp_path) == best
    assert capsys.readouterr().err == f"warning: {last} is damaged; the run goes on from {best}, step 20\n"


def test_none_left_is_one_sentence(tmp_path):
    for name in ("best", "last"):
        flip(write(tmp_path, f"checkpoints/{name}.ckpt", 20))
    message = re.escape(f"every checkpoint of {tmp_path} is damaged (last.ckpt, best.ckpt), so the run cannot go on: ")
    with pytest.raises(CheckpointError, match=message + "begin it anew .* or remove these files$"):
        newest_checkpoint(tmp_path)


def test_weights_alone_are_nothing_to_go_on_from(tmp_path):
    path = tmp_path / "checkpoints" / "weights.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.ones(2)}, "global_step": 50}, path)
    assert newest_checkpoint(tmp_path) is None
    last = write(tmp_path, "checkpoints/last.ckpt", 30)
    assert newest_checkpoint(tmp_path) == last


def test_older_files_of_requeued_jobs_are_removed(tmp_path):
    for n in range(4):
        write(tmp_path, f"hpc_ckpt_{n}.ckpt", 10 * n)
    write(tmp_path, "hpc_ckpt_7.ckpt", 11).write_bytes(b"torn")
    last = write(tmp_path, "checkpoints/last.ckpt", 20)
    remove_older_requeue_files(tmp_path, tmp_path / "hpc_ckpt_2.ckpt", 20)
    # Of the damaged one the step is unknown.
    assert sorted(p.name for p in tmp_path.glob("hpc*")) == ["hpc_ckpt_2.ckpt", "hpc_ckpt_3.ckpt", "hpc_ckpt_7.ckpt"]
    remove_older_requeue_files(tmp_path, last, 30)
    assert sorted(p.name for p in tmp_path.glob("hpc*")) == ["hpc_ckpt_7.ckpt"]
    assert last.is_file()
