"""A depth data module that lives in memory, for tests of everything around it."""

import numpy as np

from datamodules.base import DepthDataModule, Split
from datamodules.samples.frame import Frame
from datamodules.samples.transforms import DepthAugmentation


class MemorySource:
    """Frames of random colours; the depth of frame i is i + 1 metres everywhere."""

    def __init__(self, size: int, split: Split, image_size: tuple[int, int] = (8, 12)) -> None:
        self.size = size
        self.split = split
        self.image_size = image_size

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.size

    def read(self, index: int) -> Frame:
        """Return one frame."""
        height, width = self.image_size
        image = np.random.default_rng(index).integers(60, 200, (height, width, 3)).astype(np.uint8)
        depth = np.full((height, width), index + 1, dtype=np.float32)
        K = np.array([[10.0, 0, width / 2], [0, 10.0, height / 2], [0, 0, 1]])
        return Frame(image=image, depth=depth, K=K, name=f"{self.split}/{index:04d}")


class MemoryDataModule(DepthDataModule):
    """Train, val and test splits of the given sizes, trained on with noise so that epochs differ."""

    def __init__(
        self,
        sizes: tuple[int, int, int] = (11, 5, 7),
        *,
        batch_size: int = 2,
        num_workers: int = 0,
        seed: int | None = 3,
    ) -> None:
        noise = DepthAugmentation(rotation_degrees=0, crop=None, noise_std=0.1)
        super().__init__(
            batch_size=batch_size, image_size=(8, 12), augmentation=noise, num_workers=num_workers, seed=seed
        )
        self.sizes: dict[Split, int] = {"train": sizes[0], "val": sizes[1], "test": sizes[2]}

    def make_source(self, split: Split) -> MemorySource:
        """Return the frames of a split."""
        return MemorySource(self.sizes[split], split)
