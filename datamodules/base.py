"""Base classes of all data modules: loader construction, resumable sample order and sharding over processes."""

import abc
import os
from collections.abc import Sized
from typing import Any, cast

import cv2
import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.loading.resume import resume_position
from datamodules.loading.samplers import EvaluationSampler, TrainSampler, epoch_order
from datamodules.loading.workers import start_worker
from datamodules.samples.aspect import Aspect, check_aspect
from datamodules.samples.dataset import DepthDataset, FrameSubset
from datamodules.samples.downsampled import CroppedSource, DownsampledSource
from datamodules.samples.frame import DepthScale, FrameSource, Sample
from datamodules.samples.transforms import DepthAugmentation
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from structures.batch import DepthBatch
from structures.choices import Split

SPLITS_OF_STAGE: dict[str | None, tuple[Split, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("test",),
    None: ("train", "val", "test"),
}


SEED_VARIABLE = "PL_GLOBAL_SEED"
"""Environment variable in which Lightning's ``seed_everything`` stores the seed of a run for all its processes."""


def run_seed() -> int:
    """Return the seed that ``seed_everything`` stored for the run, or 0 if it was not called.

    Raises:
        ValueError: If the environment variable with the seed does not hold a non-negative integer.
    """
    value = os.environ.get(SEED_VARIABLE, "0")
    if not value.isdecimal():
        raise ValueError(f"The environment variable {SEED_VARIABLE} has to be a non-negative integer, got '{value}'.")
    return int(value)


class ProjectDataModule(lightning.LightningDataModule):
    """Base of every data module that the command line takes as ``--data``."""


class LoaderDataModule(ProjectDataModule, abc.ABC):
    """Data loaders of samples of any kind. A subclass defines the frame source and the data set of each split.

    The training order is a function of (seed, epoch), and every random draw is a function of (seed, epoch, index). A
    resumed run continues with the samples that the interrupted run would have used, between epochs or inside one and
    for any number of workers. Under DDP the module shards the data itself: k processes with batch size b train on
    exactly the batches of one process with batch size ``k * b``, and evaluation counts no sample twice.

    Args:
        batch_size: Samples per batch and process.
        image_size: Height and width of the samples in pixels.
        train_subset: Number of training samples to use (the first of a seeded permutation), e.g. to overfit.
        num_workers: Loader processes. 0 loads in the training process, which is fastest on few cores.
        seed: Non-negative seed of order, augmentation and ``train_subset``. Splits do not depend on it. None uses the
            seed of the run (``seed_everything``) at construction time.
        pin_memory: Whether to page-lock batches for a GPU. None does so if a GPU is available.
        oversampling: Frames are downsampled to this multiple of ``image_size`` before augmentation. None keeps their
            size.
        cache: Whether to keep frames in memory after the first read, downsampled if ``oversampling`` is set.
    """

    def __init__(
        self,
        *,
        batch_size: int = 16,
        image_size: tuple[int, int] = (96, 128),
        train_subset: int | None = None,
        num_workers: int = 0,
        seed: int | None = None,
        pin_memory: bool | None = None,
        oversampling: float | None = None,
        cache: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size has to be at least 1, got {batch_size}.")
        if num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {num_workers}.")
        if len(image_size) != 2 or min(image_size) < 1:
            raise ValueError(f"image_size is (height, width) in pixels, both at least 1, got {tuple(image_size)}.")
        if train_subset is not None and train_subset < 1:
            raise ValueError(f"train_subset has to be at least 1 or null, got {train_subset}.")
        if oversampling is not None and oversampling < 1:
            raise ValueError(f"oversampling has to be at least 1 or null, got {oversampling}.")
        if seed is not None and seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        self.batch_size = batch_size
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.train_subset = train_subset
        self.num_workers = num_workers
        self.seed = run_seed() if seed is None else seed
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.oversampling = oversampling
        self.cache = cache
        self.datasets: dict[Split, Dataset[Sample]] = {}

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test split itself; valid after ``setup``.

        A checkpoint selected by its validation score is then selected on the test samples, so its test score is not a
        held-out score. Test the last weights instead.
        """
        return False

    @property
    def content_key(self) -> str | None:
        """Key that distinguishes these data from other data with the same frame names; None if there is none."""
        return None

    @property
    def data_version(self) -> str | None:
        """Version of the data for the record of a run, valid after ``prepare_data``; None if it is not known."""
        return self.content_key

    @abc.abstractmethod
    def make_source(self, split: Split) -> FrameSource:
        """Return the frames of a split. Called once per split and process, after ``prepare_data``."""

    def setup(self, stage: str | None = None) -> None:
        """Build the splits of a stage that do not exist yet.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``; None builds all splits.

        Raises:
            ValueError: If the stage is unknown, a split is empty, or ``train_subset`` exceeds the training split.
        """
        if stage not in SPLITS_OF_STAGE:
            raise ValueError(f"Stage '{stage}' is not known; choose fit, validate, test or predict.")
        cv2.setNumThreads(0)
        for split in SPLITS_OF_STAGE[stage]:
            if split not in self.datasets:
                self.datasets[split] = self._make_dataset(split)

    @abc.abstractmethod
    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        """Return the samples of a split, with augmentation for the training split."""

    def _subset_positions(self, split: Split, size: int) -> list[int] | None:
        """Return the positions of the samples of ``train_subset``, ascending; None if all samples are used."""
        if split != "train" or self.train_subset is None:
            return None
        if self.train_subset > size:
            raise ValueError(
                f"train_subset is {self.train_subset}, but the training split has {size} samples; set at most {size}."
            )
        return np.sort(epoch_order(size, seed=self.seed, epoch=0)[: self.train_subset]).tolist()

    def train_dataloader(self) -> DataLoader[DepthBatch]:
        """Return the loader of augmented training batches, starting at the current position of the run."""
        epoch, skip_batches = resume_position(self.trainer)
        rank, world_size = self._rank_and_world_size()
        dataset = self._dataset("train")
        sampler = TrainSampler(
            dataset,
            batch_size=self.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            epoch=epoch,
            skip_batches=skip_batches,
            order=self._training_order,
        )
        return self._make_loader(dataset, sampler)

    def _training_order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the global order of the training samples of an epoch, a function of (seed, epoch)."""
        return epoch_order(len(cast(Sized, self._dataset("train"))), seed=self.seed, epoch=epoch)

    def val_dataloader(self) -> DataLoader[DepthBatch]:
        """Return the loader of the validation split."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[DepthBatch]:
        """Return the loader of the test split."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[DepthBatch]:
        """Return the loader of the test split."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, split: Split) -> DataLoader[DepthBatch]:
        rank, world_size = self._rank_and_world_size()
        dataset = self._dataset(split)
        return self._make_loader(dataset, EvaluationSampler(dataset, rank=rank, world_size=world_size))

    def _make_loader(
        self, dataset: Dataset[Sample], sampler: TrainSampler | EvaluationSampler
    ) -> DataLoader[DepthBatch]:
        # Without its own generator the loader draws worker seeds from torch's global state. The rest of a run would
        # then depend on how often loaders were started.
        return DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            worker_init_fn=start_worker,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _dataset(self, split: Split) -> Dataset[Sample]:
        if split not in self.datasets:
            raise RuntimeError(f"The {split} split is not set up yet; call setup() with its stage first.")
        return self.datasets[split]

    def _rank_and_world_size(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size


class DepthDataModule(LoaderDataModule):
    """Data loaders of single images with depth. A subclass only defines the frame source of a split.

    Args:
        augmentation: Applied to training samples. None trains on unaugmented images.
        depth_scale: Depth that corresponds to the scaled depth 1.0: ten metres (``10m``) or the maximum of the image
            (``image_max``).
        aspect: How images with another aspect ratio than ``image_size`` are fitted, see
            :data:`datamodules.samples.aspect.Aspect`.
        base: Arguments of :class:`LoaderDataModule`.
    """

    def __init__(
        self,
        *,
        augmentation: DepthAugmentation | None = None,
        depth_scale: DepthScale = "10m",
        aspect: Aspect = "stretch",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_aspect(aspect)
        if depth_scale not in ("10m", "image_max"):
            raise ValueError(f"depth_scale '{depth_scale}' is not known; choose '10m' or 'image_max'.")
        self.augmentation = augmentation
        self.depth_scale: DepthScale = depth_scale
        self.aspect: Aspect = aspect

    @property
    def assumed_field_of_view_degrees(self) -> float:
        """Horizontal field of view from which K is derived if the camera is unknown (``K_known`` is False).

        A checkpoint stores it, so that test and prediction use the same assumption as training.
        """
        return USUAL_FIELD_OF_VIEW_DEGREES

    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        source = self.make_source(split)
        if len(source) == 0:
            raise ValueError(f"The {split} split of {type(self).__name__} holds no frames.")
        chosen = self._subset_positions(split, len(source))
        if chosen is not None:
            source = FrameSubset(source, chosen)
        return DepthDataset(
            self._preprocessed(source),
            image_size=self.image_size,
            augmentation=self.augmentation if split == "train" else None,
            depth_scale=self.depth_scale,
            seed=self.seed,
        )

    def _preprocessed(self, source: FrameSource) -> FrameSource:
        """Return the source with cropping, downsampling and caching applied according to the settings."""
        if self.aspect == "crop":
            source = CroppedSource(source, self.image_size)
        if self.oversampling is None and not self.cache:
            return source
        factor = float("inf") if self.oversampling is None else self.oversampling
        reduced = DownsampledSource(source, self.image_size, oversampling=factor, keep=self.cache)
        if self.cache and self.num_workers > 0:
            reduced.fill()
        return reduced
