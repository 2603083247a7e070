"""Train runs under a strategy and write their losses: ``strategies_run.py <settings.json> <output.json> RUN ...``.

A script, because Lightning starts the other ranks by calling the script again.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # Python puts the script's folder there

import torch

from lightning_modules.runs.sharded_strategy import FullySharded
from tools.studies.several_processes import train


def run(settings: dict, output: Path, runs: list[str]) -> None:
    """Train all runs one after the other, with the same settings of the trainer."""
    results = {}
    for name in runs:
        strategy = FullySharded() if settings["strategy"] == "sharded" else settings["strategy"]
        checkpoint = output.with_name(f"{Path(name.split(',')[0]).stem}.ckpt")
        recorder = train(name, **{**settings, "strategy": strategy, "checkpoint": checkpoint})
        results[name] = recorder.losses
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        output.write_text(json.dumps(results))


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
