"""The bases of every data module: one loader factory, an order that can be resumed, shares without repeats."""

import abc
import os
from typing import Any

import cv2
import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.loading.resume import resume_position
from datamodules.loading.samplers import EvaluationSampler, TrainSampler, epoch_order
from datamodules.samples.aspect import Aspect, check_aspect
from datamodules.samples.dataset import DepthDataset, FrameSubset
from datamodules.samples.frame import DepthScale, FrameSource, Sample
from datamodules.samples.reduced import CroppedSource, ReducedSource
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
"""Where Lightning's ``seed_everything`` leaves the seed of a run, for its other processes too."""


def run_seed() -> int:
    """Return the seed that ``seed_everything`` gave the run, 0 where nobody called it.

    Raises:
        ValueError: If the environment variable that Lightning keeps it in holds no non-negative integer.
    """
    value = os.environ.get(SEED_VARIABLE, "0")
    if not value.isdecimal():
        raise ValueError(f"The environment variable {SEED_VARIABLE} has to be a non-negative integer, got '{value}'.")
    return int(value)


def start_worker(_worker_id: int) -> None:
    """Keep OpenCV from starting a pool of threads in every worker process."""
    cv2.setNumThreads(0)


class ProjectDataModule(lightning.LightningDataModule):
    """Base of every data module that the command line takes as ``--data``."""


class LoaderDataModule(ProjectDataModule, abc.ABC):
    """Loaders of samples of any kind; a subclass says where frames come from and what the samples of a split are.

    The training order is a function of (seed, epoch) and every random draw one of (seed, epoch, index). A run that is
    resumed, between epochs or inside one, goes on with the very samples the interrupted run would have seen, whatever
    the number of workers. Under DDP the module shares the data out by itself, so that k processes with batches of b
    train on exactly the batches of one process with ``k * b``, and evaluation counts no sample twice.

    Args:
        batch_size: Samples per batch and process.
        image_size: Height and width of the samples in pixels.
        train_subset: Train on that many samples only (the first ones of a seeded permutation), e.g. to overfit.
        num_workers: Loader processes; 0 loads in the training process, which is fastest on few cores.
        seed: Non-negative seed of order, augmentation and ``train_subset``, but of no split; None takes the run's own
            (``seed_everything``), as it stands when the module is made.
        pin_memory: Whether to page-lock batches for a GPU; None does it where there is one.
        oversampling: Frames are reduced to that many times ``image_size`` before augmentation; None leaves them.
        cache: Keep frames in memory (reduced if ``oversampling`` says so) once they were read.
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
        """Whether validation runs on the test split itself; known once ``setup`` has run.

        A checkpoint chosen by its validation score is then chosen on the test samples, so its test score says nothing
        about other images: test the last weights instead.
        """
        return False

    @property
    def content_key(self) -> str | None:
        """Key that distinguishes these data from others whose frames have the same names; None if there is none."""
        return None

    @abc.abstractmethod
    def make_source(self, split: Split) -> FrameSource:
        """Return the frames of a split; called once per split and process, after ``prepare_data``."""

    def setup(self, stage: str | None = None) -> None:
        """Build the splits of a stage (``fit``, ``validate``, ``test``, ``predict``; None: all) that are not yet there.

        Raises:
            ValueError: If the stage is unknown, a split is empty, or ``train_subset`` asks for more than there is.
        """
        if stage not in SPLITS_OF_STAGE:
            raise ValueError(f"Stage '{stage}' is not known; choose fit, validate, test or predict.")
        cv2.setNumThreads(0)
        for split in SPLITS_OF_STAGE[stage]:
            if split not in self.datasets:
                self.datasets[split] = self._make_dataset(split)

    @abc.abstractmethod
    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        """Return the samples of a split, augmented if it is that of training."""

    def _chosen(self, split: Split, size: int) -> list[int] | None:
        """Positions of the samples of ``train_subset``, ascending; None where all are taken."""
        if split != "train" or self.train_subset is None:
            return None
        if self.train_subset > size:
            raise ValueError(f"train_subset asks for {self.train_subset} of {size} training frames.")
        return np.sort(epoch_order(size, seed=self.seed, epoch=0)[: self.train_subset]).tolist()

    def train_dataloader(self) -> DataLoader[DepthBatch]:
        """Return the loader of augmented training batches, beginning where the run stands."""
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
        )
        return self._make_loader(dataset, sampler)

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
        # The loader's own generator keeps it from drawing worker seeds off torch's global state, which would make the
        # rest of a run depend on how often loaders were started.
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
    """Loaders of single images with depth; a subclass only says where the frames of a split come from.

    Args:
        augmentation: Applied to training samples; None trains on unaugmented images.
        depth_scale: Metres of the scaled depth 1.0: ten (``10m``), or the image's own maximum (``image_max``).
        aspect: What is done with images of other proportions than ``image_size``, see
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
        """Horizontal field of view that K is made up from where the camera is unknown (``K_known`` is False).

        A checkpoint keeps it, so that its network is used with the assumption that it was trained with.
        """
        return USUAL_FIELD_OF_VIEW_DEGREES

    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        source = self.make_source(split)
        if len(source) == 0:
            raise ValueError(f"The {split} split of {type(self).__name__} holds no frames.")
        chosen = self._chosen(split, len(source))
        if chosen is not None:
            source = FrameSubset(source, chosen)
        return DepthDataset(
            self._reduced(source),
            image_size=self.image_size,
            augmentation=self.augmentation if split == "train" else None,
            depth_scale=self.depth_scale,
            seed=self.seed,
        )

    def _reduced(self, source: FrameSource) -> FrameSource:
        """The source with its frames cropped, reduced and kept in memory, as ``aspect`` and the like say."""
        if self.aspect == "crop":
            source = CroppedSource(source, self.image_size)
        if self.oversampling is None and not self.cache:
            return source
        factor = float("inf") if self.oversampling is None else self.oversampling
        reduced = ReducedSource(source, self.image_size, oversampling=factor, keep=self.cache)
        if self.cache and self.num_workers > 0:
            reduced.fill()
        return reduced
