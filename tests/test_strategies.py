"""Every paper trains to finite losses with accumulation, clipping and bf16, under DDP and fully sharded."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.tools.studies.test_several_processes import RUNS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
SWIN = """
model:
  init_args:
    network:
      class_path: networks.smp.SMPDepth
      init_args:
        arch: unet
        encoder_name: tu-swin_tiny_patch4_window7_224
        encoder_weights: null
"""
SWIN_DETECTOR = """
model:
  init_args:
    box_quality: iou
    network:
      init_args:
        encoder: swin_tiny_patch4_window7_224
        encoder_weights: null
"""


def run_of(name):
    return f"experiments/{name}.yaml,tests/overlays/{RUNS[name]}.yaml"


def losses(rooms_root, tmp_path, runs, **settings):
    """Losses of every batch of all runs, on two CPU processes unless the settings say otherwise."""
    settings = {"processes": 2, "steps": 3, "batch_size": 2, "strategy": "ddp"} | settings
    output = tmp_path / "losses.json"
    environment = {**os.environ, "PLUMBLINE_DATA": str(rooms_root), "OMP_NUM_THREADS": "1"}
    environment |= {} if settings.get("accelerator") == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(ROOT / "tests" / "strategies_run.py"), json.dumps(settings), str(output), *runs]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(output.read_text())


def weights_of(tmp_path, run):
    """Weights and statistics of batch norms in the checkpoint of a run."""
    return torch.load(tmp_path / f"{Path(run.split(',')[0]).stem}.ckpt", weights_only=True)["state_dict"]


def check_finite(found, runs, *, steps=3, accumulated=1):
    """Finite losses of the batches of some steps; the last step of an epoch has fewer batches than are accumulated."""
    assert list(found) == runs
    for run, values in found.items():
        assert steps <= len(values) <= steps * accumulated, run
        assert all(math.isfinite(value) for value in values), run
        assert len(set(values)) > 1, run


def test_ddp_with_accumulation_clipping_and_bf16(rooms_root, tmp_path):
    runs = [run_of(name) for name in RUNS]
    more = {"precision": "bf16-mixed", "accumulate_grad_batches": 2}
    check_finite(losses(rooms_root, tmp_path, runs, **more), runs, accumulated=2)


def test_fully_sharded_large_encoders_equal_ddp(rooms_root, tmp_path):
    runs = []
    for name, text in (("resnet_unet", SWIN), ("boxinst", SWIN_DETECTOR)):
        (tmp_path / f"{name}.yaml").write_text(text)
        runs.append(f"{run_of(name)},{tmp_path / f'{name}.yaml'}")
    # A validation between the steps gathers the weights outside of a training step, too.
    # Gradient descent, since Adam amplifies rounding errors.
    validated = {"limit_val_batches": 1, "val_check_interval": 1}
    sharded = losses(rooms_root, tmp_path, runs, strategy="sharded", sgd=0.01, **validated)
    check_finite(sharded, runs)
    states = {run: weights_of(tmp_path, run) for run in runs}
    replicated = losses(rooms_root, tmp_path, runs, sgd=0.01)
    for run in runs:
        assert sharded[run] == pytest.approx(replicated[run], rel=1e-5), run
        state = weights_of(tmp_path, run)
        assert state.keys() == states[run].keys()
        for name, value in state.items():  # whole weights, as those of the other strategy
            torch.testing.assert_close(states[run][name], value, rtol=1e-3, atol=1e-3)


def test_fully_sharded_papers_with_accumulation_clipping_and_bf16(rooms_root, tmp_path):
    runs = [run_of(name) for name in RUNS]
    more = {"strategy": "sharded", "precision": "bf16-mixed", "accumulate_grad_batches": 2}
    check_finite(losses(rooms_root, tmp_path, runs, **more), runs, accumulated=2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("strategy", ["ddp", "sharded"])
def test_every_paper_on_the_gpus_there_are(strategy, rooms_root, tmp_path):
    runs = [run_of(name) for name in RUNS]
    gpus = torch.cuda.device_count()
    more = {"strategy": strategy, "precision": "bf16-mixed", "accelerator": "cuda", "processes": gpus}
    check_finite(losses(rooms_root, tmp_path, runs, **more, batch_size=2 * gpus), runs)
