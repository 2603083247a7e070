"""A checkpoint is whole or not there."""

import resource
import subprocess
import sys

import pytest
import torch

from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO


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
