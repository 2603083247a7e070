"""Two processes do what one does: same weights, same metrics, no sample counted twice."""

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
            assert two[stage][name] == pytest.approx(value, abs=1e-6, rel=1e-5, nan_ok=True), name
