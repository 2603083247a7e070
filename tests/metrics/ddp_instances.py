"""Score random images on three processes with uneven shares: ``ddp_instances.py <folder>`` writes a JSON a rank."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # the script's own folder stands there instead

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from metrics.instances import InstanceMetrics
from tests.metrics.test_instances import SIZE, found, random_images

SHARES = ([0, 1, 2, 5, 6], [3, 4], [])


def work(rank: int, folder: str) -> None:
    """Score one rank's share, padded to the longest."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(SHARES))
    images = random_images(7)
    metric = InstanceMetrics(subsets=["camouflaged"])
    for position in range(max(len(share) for share in SHARES)):
        if position < len(SHARES[rank]):
            number = SHARES[rank][position]
            metric.update([images[number][0]], truths=[images[number][1]], image_ids=[number])
        else:
            empty = found([], [], masks=torch.zeros(0, *SIZE, dtype=torch.bool))
            metric.update([empty], truths=[None], image_ids=[-1])
    values = {name: float(value) for name, value in metric.compute().items()}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(values))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    mp.start_processes(work, args=(sys.argv[1],), nprocs=len(SHARES), start_method="fork")  # imports cost seconds
