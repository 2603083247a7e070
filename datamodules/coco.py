"""Any data set in COCO format: images in folders, one JSON a split, which says what the classes are."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datamodules.base import Split
from datamodules.coco_file import CocoFile, CocoImage
from datamodules.frame import Frame, default_intrinsics
from datamodules.instance_frame import InstanceFrame
from datamodules.instance_transforms import InstanceAugmentation
from datamodules.instances import InstanceDataModule, PseudoDepth
from datamodules.reading import read_rgb
from datamodules.run_lengths import decode_masks
from structures.instances import Truth

logger = logging.getLogger(__name__)


def read_image(image: CocoImage, folder: Path) -> np.ndarray:
    """Read an image of a COCO-format file, in the orientation that its boxes were drawn in.

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, or of another size than the JSON says.
    """
    path = folder / image.file_name
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no image {path}: give the folder that the file_name of the JSON starts from."
        )
    size = (image.height, image.width)
    for upright in (True, False):  # annotation tools differ in whether they turn an image as its EXIF entry says
        try:
            pixels = read_rgb(path, upright=upright)
        except ValueError as error:
            raise ValueError(f"An image is broken, {error}; make coco-check lists all of them.") from error
        if pixels.shape[:2] == size:
            return pixels
    raise ValueError(
        f"The image {path} has {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height), but the JSON says "
        f"{image.width}x{image.height}, so its boxes do not fit."
    )


class CocoSource:
    """Images of a COCO-format file with their objects.

    Args:
        images: The images, in order.
        folder: Where ``file_name`` starts from.
    """

    def __init__(self, images: Sequence[CocoImage], folder: Path) -> None:
        self.images = images
        self.folder = folder

    @property
    def names(self) -> list[str]:
        """Name of every image: its path without the ending."""
        return [image.name for image in self.images]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return an image with its objects, crowds left out.

        Raises:
            FileNotFoundError: If there is no such image.
            ValueError: If the image or a mask is broken.
        """
        image = self.images[index]
        single = ~image.crowd
        size = (image.height, image.width)
        return InstanceFrame(
            image=read_image(image, self.folder),
            boxes=image.boxes[single],
            labels=image.labels[single],
            name=image.name,
            image_id=image.image_id,
            original_size=size,
            masks=decode_masks(image.masks(), size)[single] if masks and image.has_masks else None,
        )

    def truth(self, index: int) -> Truth:
        """Return what predictions for an image are scored on."""
        image = self.images[index]
        return Truth(
            boxes=torch.from_numpy(image.boxes),
            labels=torch.from_numpy(image.labels),
            crowd=torch.from_numpy(image.crowd),
            ignored=torch.zeros(len(image.labels), dtype=torch.bool),
            area=torch.from_numpy(image.area),
            masks=image.masks() if image.has_masks else None,
        )


class CocoFrames:
    """The same images as frames of unknown depth, for a teacher that writes their pseudo depth."""

    def __init__(self, source: CocoSource) -> None:
        self.source = source

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return an image; its depth is 0 (unknown) everywhere and its K made up."""
        image = self.source.images[index]
        return Frame(
            image=read_image(image, self.source.folder),
            depth=np.zeros((image.height, image.width), dtype=np.float32),
            K=default_intrinsics(width=image.width, height=image.height),
            name=image.name,
            K_known=False,
        )


class CocoDataModule(InstanceDataModule):
    """Boxes (and masks, where there are any) of a COCO-format data set.

    Labels count from 1 in the order of the category ids of the validation file; the training file has to have the same
    categories. Training leaves out crowds, boxes without area or outside of their image, and images of which no box is
    left; each is counted in a message. Evaluation keeps all images, and crowds as COCO scores them. Anything else that
    is wrong with a file stops with one sentence, a broken image when it is read.

    Args:
        root: Folder that all other paths start from.
        train_json: Annotations to train on.
        train_images: Folder of their images.
        val_json: Annotations to validate on.
        val_images: Folder of their images.
        test_json: Annotations to test on; None tests on those of validation.
        test_images: Folder of their images.
        batch_size: Images per batch and process.
        image_size: Length of the shorter side of evaluation images, and limit of their longer side, in pixels.
        augmentation: Applied to training images, or None.
        mask_share: Share of the training images whose masks may be used; with 0 none is kept in memory.
        pseudo_depth: ``file`` (a teacher's) or ``noise`` (an ablation), or None.
        pseudo_depth_file: Label file for ``pseudo_depth: file``.
        train_subset: Train on that many images only.
        num_workers: Loader processes.
        seed: Seed of order, augmentation, ``mask_share``, noise and ``train_subset``; None takes the run's.
        pin_memory: Whether to page-lock batches; None does it where there is a GPU.
        oversampling: Training images are reduced to cover that many times ``image_size`` first; None leaves them.
        cache: Keep images in memory once they were read.

    Raises:
        ValueError: If exact depth is asked for, or only one of ``test_json`` and ``test_images`` is given.
    """

    def __init__(
        self,
        *,
        root: str = "data/coco",
        train_json: str = "annotations/instances_train2017.json",
        train_images: str = "train2017",
        val_json: str = "annotations/instances_val2017.json",
        val_images: str = "val2017",
        test_json: str | None = None,
        test_images: str | None = None,
        batch_size: int = 16,
        image_size: tuple[int, int] = (800, 1333),
        augmentation: InstanceAugmentation | None = None,
        mask_share: float = 0.0,
        pseudo_depth: PseudoDepth | None = None,
        pseudo_depth_file: str | None = None,
        train_subset: int | None = None,
        num_workers: int = 0,
        seed: int | None = None,
        pin_memory: bool | None = None,
        oversampling: float | None = None,
        cache: bool = False,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            image_size=image_size,
            augmentation=augmentation,
            mask_share=mask_share,
            pseudo_depth=pseudo_depth,
            pseudo_depth_file=pseudo_depth_file,
            train_subset=train_subset,
            num_workers=num_workers,
            seed=seed,
            pin_memory=pin_memory,
            oversampling=oversampling,
            cache=cache,
        )
        if pseudo_depth == "exact":
            raise ValueError("pseudo_depth is 'exact', but COCO-format data have no depth; choose 'file' or 'noise'.")
        if (test_json is None) != (test_images is None):
            raise ValueError(f"test_json is {test_json} and test_images {test_images}, but both or none are needed.")
        self.root = Path(root)
        self.jsons: dict[Split, str] = {"train": train_json, "val": val_json, "test": test_json or val_json}
        self.folders: dict[Split, str] = {"train": train_images, "val": val_images, "test": test_images or val_images}
        self._files: dict[Path, CocoFile] = {}

    @property
    def val_is_test(self) -> bool:
        """Whether there is no test file, so that validation runs on the test images."""
        return (self.jsons["val"], self.folders["val"]) == (self.jsons["test"], self.folders["test"])

    @property
    def categories(self) -> dict[int, str]:
        """Names by category id, in the order of the labels; reads the validation file."""
        return self._file("val").categories

    @property
    def class_names(self) -> list[str]:
        """Names of the classes; that of label k is at k - 1."""
        return list(self.categories.values())

    @property
    def category_ids(self) -> list[int]:
        """Ids of the classes in the file; that of label k is at k - 1."""
        return list(self.categories)

    def make_source(self, split: Split) -> CocoFrames:
        """Return every image of a split as a frame of unknown depth, for a teacher of pseudo depth.

        Raises:
            FileNotFoundError: If there is no such JSON.
            ValueError: If something in it cannot be right.
        """
        return CocoFrames(CocoSource(self._file(split).images, self._folder(split)))

    def make_instances(self, split: Split) -> CocoSource:
        """Return the images of a split with their objects.

        Raises:
            FileNotFoundError: If there is no such JSON or folder.
            ValueError: If something in the JSON cannot be right, or its categories are others than those of validation.
        """
        file, folder = self._file(split), self._folder(split)
        if file.categories != self.categories:
            raise ValueError(
                f"{file.path} has other categories than {self._file('val').path}, so their labels would not mean the "
                "same."
            )
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder} of images: set {split}_images, or root.")
        images = file.images
        if split == "train":
            images = [image for image in images if not image.crowd.all()]
            odd, empty = file.odd_boxes, len(file.images) - len(images)
            if odd.dropped or empty:
                logger.warning(
                    "%s: left out %d boxes without area, %d outside of their images, and %d of %d images without boxes",
                    file.path, odd.without_area, odd.outside, empty, len(file.images),
                )  # fmt: skip
        return CocoSource(images, folder)

    def _folder(self, split: Split) -> Path:
        return self.root / self.folders[split]

    def _file(self, split: Split) -> CocoFile:
        path = self.root / self.jsons[split]
        if path not in self._files:
            # A file that both trains and validates is read with its masks, of which training uses none without a share.
            evaluated = {self.root / self.jsons[name] for name in ("val", "test")}
            self._files[path] = CocoFile(path, keep_masks=self.mask_share > 0 or path in evaluated)
        return self._files[path]
