"""Data set of the frames of a source as samples of one size, with augmentation in training."""

from torch.utils.data import Dataset

from datamodules.loading.samplers import sample_generator
from datamodules.samples.frame import DepthScale, Frame, FrameSource, Sample, to_sample
from datamodules.samples.transforms import DepthAugmentation, resize
from structures.batch import PADDING_INDEX


class FrameSubset:
    """Selected frames of a source, in the given order."""

    def __init__(self, source: FrameSource, indices: list[int]) -> None:
        self.source = source
        self.indices = indices

    def __len__(self) -> int:
        """Return the number of selected frames."""
        return len(self.indices)

    def read(self, index: int) -> Frame:
        """Return the selected frame at a position."""
        return self.source.read(self.indices[index])


class DepthDataset(Dataset[Sample]):
    """Frames of a source as samples of one size.

    An ``(epoch, index)`` pair gives the augmented training sample, whose draws depend on (seed, epoch, index) alone.
    An index gives the unaugmented sample, and ``PADDING_INDEX`` one without valid depth.

    Args:
        source: Source of the frames.
        image_size: Height and width of the samples.
        augmentation: Applied to training samples before the final resize, or None.
        depth_scale: Depth that corresponds to the scaled depth 1.0.
        seed: Non-negative seed of the draws.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        image_size: tuple[int, int],
        augmentation: DepthAugmentation | None = None,
        depth_scale: DepthScale = "10m",
        seed: int = 0,
    ) -> None:
        self.source = source
        self.image_size = image_size
        self.augmentation = augmentation
        self.depth_scale: DepthScale = depth_scale
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return the sample of an index (evaluation) or of an ``(epoch, index)`` pair (training)."""
        if isinstance(key, tuple):
            epoch, index = key
            frame = self.source.read(index)
            if self.augmentation is not None:
                generator = sample_generator(self.seed, epoch, index)
                frame = self.augmentation(frame, generator, image_size=self.image_size)
        else:
            index = key
            frame = self.source.read(0 if index == PADDING_INDEX else index)
        return to_sample(resize(frame, self.image_size), index=index, depth_scale=self.depth_scale)
