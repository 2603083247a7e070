"""A checkpoint is whole or not there."""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.plugins.environments import SLURMEnvironment

from lightning_modules.runs.checkpoint_io import (
    HALF_STEP,
    STATE_KEY,
    AtomicCheckpointIO,
    with_atomic_checkpoints,
)


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path):
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"w": torch.arange(3)}}, tmp_path / "new" / "x.ckpt")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["x.ckpt"]
    assert torch.load(tmp_path / "new" / "x.ckpt", weights_only=True)["state_dict"]["w"].tolist() == [0, 1, 2]


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    # A limit on the size of files stands for a full disk; in a process of its own, as it cannot be lifted again.
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import torch
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
io = AtomicCheckpointIO()
io.save_checkpoint({{"w": torch.ones(4)}}, "{tmp_path}/x.ckpt")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))
try:
    io.save_checkpoint({{"w": torch.zeros(100_000)}}, "{tmp_path}/x.ckpt")
except OSError as error:
    sys.exit(str(error))
"""
    root = __file__.rsplit("/tests/", 1)[0]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert torch.load(tmp_path / "x.ckpt", weights_only=True)["w"].tolist() == [1, 1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_read_only_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"file"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "file" / "x.ckpt")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["state_dict", "current_model_state"])
def test_ruined_weights_are_not_written(tmp_path, capsys, part, bad):
    path = tmp_path / "x.ckpt"
    good = {"state_dict": {"w": torch.ones(3)}, "current_model_state": {"w": torch.ones(3)}, "global_step": 7}
    ruined = {**good, part: {"w": torch.tensor([1.0, bad, 0.0]), "count": torch.tensor(3)}}
    AtomicCheckpointIO().save_checkpoint(ruined, path)
    assert list(tmp_path.iterdir()) == []
    assert "it is not written" in capsys.readouterr().err
    AtomicCheckpointIO().save_checkpoint(good, path)
    AtomicCheckpointIO().save_checkpoint(ruined, path)
    assert torch.load(path, weights_only=True)["state_dict"]["w"].tolist() == [1, 1, 1]
    said = capsys.readouterr().err
    assert said.startswith("the weights of step 7 are not finite (1 tensors, first 'w')")
    assert said.count("\n") == 1


def test_masks_of_minus_infinity_are_no_ruined_weights(tmp_path):
    mask = torch.zeros(2, 2).masked_fill(torch.eye(2) == 0, float("-inf"))
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"mask": mask}}, tmp_path / "x.ckpt")
    assert (tmp_path / "x.ckpt").is_file()


def test_half_updated_weights_are_not_written(tmp_path, capsys):
    path = tmp_path / "x.ckpt"
    content = {"state_dict": {"w": torch.ones(3)}, "global_step": 7, STATE_KEY: {HALF_STEP: False}}
    AtomicCheckpointIO().save_checkpoint(content, path)
    other = {**content, "state_dict": {"w": torch.zeros(3)}, "global_step": 8, STATE_KEY: {HALF_STEP: True}}
    AtomicCheckpointIO().save_checkpoint(other, path)
    assert torch.load(path, weights_only=True)["global_step"] == 7
    assert capsys.readouterr().err == (
        "the weights of step 8 are partly updated, as the optimizer was interrupted inside a step, so they are not "
        f"saved as {path}: what it holds is kept\n"
    )


def test_file_and_folder_are_flushed_before_and_after_the_rename(tmp_path, monkeypatch):
    calls = []
    rename, flush = Path.replace, os.fsync

    def fsync(descriptor):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        flush(descriptor)

    def replace(self, target):
        calls.append(f"rename {self.name} to {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "x.ckpt")
    partial = f"x.ckpt.{socket.gethostname()}-{os.getpid()}.partial"
    assert calls == ["file", "folder", f"rename {partial} to x.ckpt", "folder"]


def test_what_killed_processes_left_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here, old = socket.gethostname(), 4000
    left = {
        f"{here}-{ended.pid}": False,
        f"{here}-{os.getppid()}": True,  # it may be writing
        "elsewhere-1": True,
        "else-where-2": False,  # too old to be written still
    }
    for owner in left:
        (tmp_path / f"x.ckpt.{owner}.partial").write_bytes(b"half")
    stat = (tmp_path / "x.ckpt.else-where-2.partial").stat()
    os.utime(tmp_path / "x.ckpt.else-where-2.partial", (stat.st_atime - old, stat.st_mtime - old))
    (tmp_path / "y.ckpt.elsewhere-1.partial").write_bytes(b"of another")
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "x.ckpt")
    kept = {f"x.ckpt.{owner}.partial" for owner, stays in left.items() if stays}
    assert {path.name for path in tmp_path.iterdir()} == kept | {"x.ckpt", "y.ckpt.elsewhere-1.partial"}


def test_plugins_of_ones_own_keep_atomic_checkpoints_unless_they_write_themselves():
    slurm, own = SLURMEnvironment(), TorchCheckpointIO()
    for plugins, others in ((None, []), (slurm, [slurm]), ([slurm], [slurm])):
        *kept, last = with_atomic_checkpoints(plugins)
        assert kept == others
        assert isinstance(last, AtomicCheckpointIO)
    assert with_atomic_checkpoints([slurm, own]) == [slurm, own]


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_checkpoint(tmp_path):
    script = f"""
import os, signal, torch
from lightning_modules.runs import checkpoint_io
io = checkpoint_io.AtomicCheckpointIO()
io.save_checkpoint({{"w": torch.ones(4)}}, "{tmp_path}/x.ckpt")
write = checkpoint_io.SealingWriter.write
def killed(self, data):
    write(self, data[: len(data) // 2])
    if len(data) > 100_000:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, data[len(data) // 2 :])
checkpoint_io.SealingWriter.write = killed
io.save_checkpoint({{"w": torch.zeros(100_000)}}, "{tmp_path}/x.ckpt")
"""
    root = __file__.rsplit("/tests/", 1)[0]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, check=False)
    assert done.returncode == -9
    assert torch.load(tmp_path / "x.ckpt", weights_only=True)["w"].tolist() == [1, 1, 1, 1]
    assert len(list(tmp_path.iterdir())) == 2
    AtomicCheckpointIO().save_checkpoint({"w": torch.full((2,), 5.0)}, tmp_path / "x.ckpt")
    assert torch.load(tmp_path / "x.ckpt", weights_only=True)["w"].tolist() == [5, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]
