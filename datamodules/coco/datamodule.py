"""Data module of any data set in COCO format: image folders and one JSON file per split, which defines the classes."""

import logging
from pathlib import Path
from typing import Any, get_args

from datamodules.base import Split
from datamodules.coco.file import CocoFile
from datamodules.coco.findings import CocoFileError
from datamodules.coco.image import CocoImage
from datamodules.coco.images import Exif, ImageReport, check_problems, inspect_images, resolve_exif
from datamodules.coco.source import CocoFrames, CocoSource
from datamodules.files.version import files_version
from datamodules.instances import InstanceDataModule, PseudoDepth

logger = logging.getLogger(__name__)


class CocoDataModule(InstanceDataModule):
    """Data module of boxes, and masks if present, of a COCO-format data set.

    Labels count from 1 in the order of the category ids of the validation file. The training file needs the same
    categories. Every JSON file is validated completely and every image file is located before training starts:
    harmless faults are skipped or corrected and counted in one message (:mod:`datamodules.coco.file`), all others raise
    an error of one sentence. Training excludes crowds and images without a remaining box. Evaluation uses all images
    and treats crowds as COCO does. All images of a file with an EXIF orientation are read in the same orientation,
    upright or stored (:mod:`datamodules.coco.images`).

    Args:
        root: Folder that all other paths are relative to.
        train_json: Annotations of the training split.
        train_images: Folder of the training images.
        val_json: Annotations of the validation split.
        val_images: Folder of the validation images.
        test_json: Annotations of the test split. None tests on the validation split.
        test_images: Folder of the test images.
        exif: Orientation in which images with an EXIF orientation are read. ``auto`` follows the sizes in the JSON, and
            is upright if they are ambiguous. ``upright`` and ``stored`` name the orientation in which boxes were drawn.
        pseudo_depth: ``file`` (predicted by a teacher), ``noise`` (an ablation) or None.
        base: Arguments of :class:`InstanceDataModule`.

    Raises:
        ValueError: If ``pseudo_depth`` is ``exact``, only one of ``test_json`` and ``test_images`` is given, or
            ``exif`` is unknown.
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
        exif: Exif = "auto",
        pseudo_depth: PseudoDepth | None = None,
        **base: Any,
    ) -> None:
        super().__init__(pseudo_depth=pseudo_depth, **base)
        if pseudo_depth == "exact":
            raise ValueError("pseudo_depth is 'exact', but COCO-format data have no depth; choose 'file' or 'noise'.")
        if (test_json is None) != (test_images is None):
            raise ValueError(f"test_json is {test_json} and test_images {test_images}, but both or none are needed.")
        if exif not in get_args(Exif):
            raise ValueError(f"exif is {exif!r}, but must be one of {', '.join(get_args(Exif))}.")
        self.root = Path(root)
        self.exif: Exif = exif
        self.jsons: dict[Split, str] = {"train": train_json, "val": val_json, "test": test_json or val_json}
        self.folders: dict[Split, str] = {"train": train_images, "val": val_images, "test": test_images or val_images}
        self._files: dict[Path, CocoFile] = {}
        self._reports: dict[tuple[Path, Path], ImageReport] = {}
        self._warned: set[tuple[Path, int | str]] = set()
        self._train_is_upright: bool | None = None

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test images, because there is no test file."""
        return (self.jsons["val"], self.folders["val"]) == (self.jsons["test"], self.folders["test"])

    @property
    def content_key(self) -> str | None:
        """Orientation in which training images with an EXIF entry are read; None if there are none, or before setup.

        Pseudo depth of square images that were read in the other orientation has the same names and sizes.
        """
        if self._train_is_upright is None:
            return None
        return f"photos with an EXIF orientation read as {'upright' if self._train_is_upright else 'stored'}"

    @property
    def data_version(self) -> str | None:
        """Hash of the annotation files; the images themselves do not count."""
        return files_version("coco", [self.root / name for name in self.jsons.values()])

    @property
    def categories(self) -> dict[int, str]:
        """Class names by category id, in the order of the labels; reads the validation file."""
        return self._file("val").categories

    @property
    def class_names(self) -> list[str]:
        """Class names; the name of label k is at index k - 1."""
        return list(self.categories.values())

    @property
    def category_ids(self) -> list[int]:
        """Category ids of the file; the id of label k is at index k - 1."""
        return list(self.categories)

    def make_source(self, split: Split) -> CocoFrames:
        """Return every image of a split as a frame with unknown depth, input of a teacher of pseudo depth.

        Raises:
            FileNotFoundError: If the JSON file does not exist.
            ValueError: If its content is invalid.
        """
        return CocoFrames(self._source(split, self._file(split).images))

    def make_instances(self, split: Split) -> CocoSource:
        """Return the images of a split with their objects.

        Raises:
            FileNotFoundError: If the JSON file or the image folder does not exist.
            ValueError: If the content of the JSON is invalid, or its categories differ from those of validation.
        """
        file = self._file(split)
        if file.categories != self.categories:
            raise ValueError(
                f"{file.path} has other categories than {self._file('val').path}, so their labels would not mean the "
                f"same: {_difference(file.categories, self.categories)}."
            )
        images = file.images
        if split == "train":
            images = [image for image in images if not image.crowd.all()]
        source = self._source(split, images)
        self._log_findings(split, images)
        return source

    def _source(self, split: Split, images: list[CocoImage]) -> CocoSource:
        """Return the images of a split, after checking their files and resolving their EXIF orientation."""
        file, folder = self._file(split), self._folder(split)
        report = self._report(split)
        check_problems(report, file.images, images)
        others = None
        if self.exif == "auto" and report.turned and report.convention is None:
            others = self._convention_of_others(split)
        upright, sentence = resolve_exif(report, file.images, exif=self.exif, json_path=file.path, others=others)
        if split == "train" and report.turned:
            self._train_is_upright = upright
        if sentence is not None and (file.path, sentence) not in self._warned:
            self._warned.add((file.path, sentence))
            logger.warning(sentence)
        return CocoSource(images, folder, upright=upright)

    def _report(self, split: Split) -> ImageReport:
        file, folder = self._file(split), self._folder(split)
        if not folder.is_dir():
            what = "is a file, but the folder of images is needed" if folder.exists() else "does not exist"
            raise FileNotFoundError(f"{folder} {what}: set data.init_args.{split}_images, or root.")
        if (file.path, folder) not in self._reports:
            self._reports[file.path, folder] = inspect_images(file.images, folder)
        return self._reports[file.path, folder]

    def _convention_of_others(self, split: Split) -> Exif | None:
        """Return the EXIF convention of the other splits, if those that can be read agree on one; else None."""
        conventions: set[Exif | None] = set()
        for other in get_args(Split):
            if other != split:
                try:
                    conventions.add(self._report(other).convention)
                except (OSError, CocoFileError):
                    continue  # reported when that split itself is read
        conventions.discard(None)
        return conventions.pop() if len(conventions) == 1 else None

    def _log_findings(self, split: Split, images: list[CocoImage]) -> None:
        """Log the faults that were skipped or corrected, once per file and split."""
        file = self._file(split)
        lines = file.findings.lines()
        if len(images) < len(file.images):
            lines.append(f"images without boxes: {len(file.images) - len(images)} of {len(file.images)} (left out)")
        partly = sum(not image.has_masks for image in images)
        if split == "train" and self.mask_share > 0 and 0 < partly < len(images):
            lines.append(f"images with an object without a mask: {partly} of {len(images)} (trained on boxes alone)")
        key = (file.path, len(images))
        if lines and key not in self._warned:  # validation and test may be one file
            self._warned.add(key)
            logger.warning("%s:\n  %s", file.path, "\n  ".join(lines))

    def _folder(self, split: Split) -> Path:
        return self.root / self.folders[split]

    def _file(self, split: Split) -> CocoFile:
        path = self.root / self.jsons[split]
        if path not in self._files:
            # A file used for both training and validation is read with masks; training ignores them if mask_share is 0.
            evaluated = {self.root / self.jsons[name] for name in ("val", "test")}
            self._files[path] = CocoFile(path, keep_masks=self.mask_share > 0 or path in evaluated)
        return self._files[path]


def _difference(one: dict[int, str], two: dict[int, str]) -> str:
    """Describe the lowest category id to which two files give different names."""
    number = min(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))
    return (
        f"the id {number} is {one.get(number, 'missing')!r} in the one and {two.get(number, 'missing')!r} in the other"
    )
