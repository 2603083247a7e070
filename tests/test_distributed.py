"""Two processes give the same weights and metrics as one; no sample counts twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "ddp_run.py"


def results(devices: int, folder: Path) -> dict:
    output = folder / f"{devices}.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), str(devices), str(output)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return json.loads(output.read_text())


def test_two_processes_equal_one(tmp_path):
    one, two = results(1, tmp_path), results(2, tmp_path)
    assert one["steps"] == two["steps"] == 6  # 11 samples are two global batches of four, three times
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-6)
    for stage in ("val", "test"):  # five and seven samples: uneven on two ranks
        assert two[stage].keys() == one[stage].keys()
        for name, value in one[stage].items():
            assert "edge" in name or np.isfinite(value), name  # depth is flat here, so there are no edges to score
            assert two[stage][name] == pytest.approx(value, abs=1e-6, rel=1e-5, nan_ok=True), name


@pytest.mark.slow
def test_two_processes_from_the_command_line_share_one_run(rooms_root, tmp_path):
    root = Path(__file__).parents[1]
    command = [
        *(sys.executable, "-m", "cli", "fit", "--config", str(root / "experiments" / "fcn_ssim.yaml")),
        *("--config", str(root / "tests" / "overlays" / "rooms.yaml"), "--data.init_args.root", str(rooms_root)),
        *("--trainer.devices", "2", "--trainer.strategy", "ddp", "--runs_dir", str(tmp_path / "runs")),
        *("--data.init_args.batch_size", "1"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (run_dir,) = (tmp_path / "runs" / "fcn_ssim").iterdir()
    record = json.loads((run_dir / "run.json").read_text())
    assert record["world_size"] == 2
    assert record["test"]["test/score"] > 0
    assert len(list((run_dir / "wandb").glob("offline-run-*"))) == 1
