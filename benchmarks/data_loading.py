"""Seconds per image of loading rooms, augmented, from disk and from memory."""

import time
from pathlib import Path
from typing import NamedTuple

from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

from datamodules.base import DepthDataModule

ROOMS = Path(__file__).parents[1] / "experiments" / "data" / "rooms.yaml"


class Loading(NamedTuple):
    """Seconds per image."""

    disk: float
    cache: float


def seconds_per_image(root: str | None = None, *, batches: int = 30) -> Loading:
    """Time of the training loader of the experiments, in one process.

    Args:
        root: Folder of the rooms file, made if it is missing.
        batches: Batches that are timed, the same ones each time.
    """
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    arguments = [f"--data={ROOMS}", *([] if root is None else [f"--data.init_args.root={root}"])]
    data: DepthDataModule = parser.instantiate(parser.parse_args(arguments)).data
    data.prepare_data()
    seconds = []
    data.setup("fit")
    for _ in range(2):  # the first pass reads from disk, the second from the cache that it filled
        started = time.perf_counter()
        count = 0
        for index, batch in enumerate(data.train_dataloader()):
            count += len(batch["image"])
            if index + 1 == batches:
                break
        seconds.append((time.perf_counter() - started) / count)
    return Loading(*seconds)
