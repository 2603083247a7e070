"""Seconds per image of loading rooms, augmented, from disk and from memory."""

import time
from pathlib import Path
from typing import NamedTuple

from datamodules.rooms.datamodule import RoomsDataModule
from datamodules.transforms import DepthAugmentation


class Loading(NamedTuple):
    """Seconds per image."""

    disk: float
    cache: float


def seconds_per_image(root: str | None = None, *, batches: int = 30) -> Loading:
    """Time of the training loader at its default size, in one process.

    Args:
        root: Folder of the rooms file, made if it is missing.
        batches: Batches that are timed, the same ones each time.
    """
    augmentation = DepthAugmentation(rotation_degrees=0.0, crop=None)
    seconds = []
    data = RoomsDataModule(root=None if root is None else str(Path(root)), augmentation=augmentation, num_workers=0)
    data.prepare_data()
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
