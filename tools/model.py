"""A network for Python: images in any form in, results in memory out, computed as ``make predict`` computes them."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import default_collate

from datamodules.files.media_paths import MediaFile, find_media
from datamodules.prediction_images import MediaDataset
from lightning_modules.callbacks.flip_postprocessing import turn_on
from lightning_modules.exported.loading import load_trained
from lightning_modules.runs.trained_data import IMAGE_SIZE
from lightning_modules.tasks.base import PaperModule
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.teachers.teacher import is_metric
from tools.predict_inputs import depth_notes, image_files, unknown_size, working_size
from tools.predict_tasks import SCORE_THRESHOLD, set_score_threshold, task_of
from tools.prediction_results import Prediction, Predictions, make_result, one_of, raw_of

Item = dict[str, Any]


def device_named(device: str) -> torch.device:
    """The device of a name; ``auto`` is the GPU where there is one.

    Raises:
        ValueError: If there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device is '{device}', but 'auto', 'cpu' or 'cuda' with a GPU is needed: {reason}") from error
    return found


class Model:
    """A trained network with the settings of its training data.

    Args:
        module: The network.
        settings: Settings of its training data (``lightning_modules/runs/trained_data.py``).
        source: Its file or name.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

    Attributes:
        module: The LightningModule, in eval mode on ``device``.
        task: ``depth``, ``instances`` or ``classes``.
        source: Its file or name.
        metric: Whether predicted depth is in metres.

    Raises:
        ValueError: If there is no such device.
    """

    def __init__(self, module: LightningModule, settings: dict[str, Any], source: str, device: str = "auto") -> None:
        self.device = device_named(device)
        self.module = module.to(self.device).eval()
        if isinstance(module, PaperModule):
            module.to(memory_format=torch.channels_last)
        self.settings = settings
        self.source = source
        self.task = task_of(module)
        self.metric = is_metric(module, settings)
        self._noted: set[str] = set()

    def __repr__(self) -> str:
        return f"Model({type(self.module).__name__} of '{self.source}', {self.task}, on {self.device})"

    def predict(self, images: Any, **options: Any) -> Any:
        """Predict depth, instances or classes.

        Args:
            images: A path of an image, video or folder, a glob, an array, a tensor, a PIL image, or a list of these.
                Arrays are ``(H, W, 3)``, RGB, tensors ``(3, H, W)`` or ``(B, 3, H, W)``; uint8 or float in [0, 1],
                which is rounded to 8 bits.
            options: See :meth:`stream`.

        Returns:
            A :class:`~tools.prediction_results.Prediction` for one image, and
            :class:`~tools.prediction_results.Predictions`, a list, for a folder, a glob, a video, a batch or a list.

        Raises:
            FileNotFoundError: If a path does not exist.
            ValueError: If an image cannot be read, or an option is out of its range.
        """
        results = Predictions(self.stream(images, **options))
        return results[0] if is_one(images) else results

    def stream(
        self,
        images: Any,
        *,
        field_of_view: float | None = None,
        k: Sequence[float] | None = None,
        size: tuple[int, int] | None = None,
        flip: bool = False,
        score_threshold: float | None = None,
        batch_size: int = 1,
        names: Sequence[str] | None = None,
    ) -> Iterator[Prediction]:
        """Predict one image after the other, for videos and folders whose results do not fit into memory.

        Args:
            images: See :meth:`predict`.
            field_of_view: Horizontal field of view, degrees.
            k: Intrinsics ``fx, fy, cx, cy`` in pixels, from the corner of the first pixel (OpenCV's ``cx``, ``cy`` plus
                0.5); an alternative to ``field_of_view``.
            size: Working size, about height x width pixels; None is that of the training.
            flip: Whether to average with the prediction of the mirrored image (depth only).
            score_threshold: Smallest score of instances; None is 0.3.
            batch_size: Images of one size that are predicted at once. With 1 the results are those of ``make predict``
                bit for bit; larger batches may differ in the last digits.
            names: Names of the results, one an image, for images in memory and lists.

        Raises:
            FileNotFoundError: If a path does not exist.
            ValueError: If an image cannot be read, or an option is out of its range or does not apply.
        """
        self._check(field_of_view=field_of_view, k=k, flip=flip, score_threshold=score_threshold)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size!r}, but must be a whole number of at least 1")
        if isinstance(names, str):
            raise ValueError(f"names is the text '{names}', but a list with a name for each image is needed")
        threshold = SCORE_THRESHOLD
        if score_threshold is not None:
            (threshold,) = _numbers("score_threshold", [score_threshold], "a number in [0, 1]")
        if field_of_view is not None:
            (field_of_view,) = _numbers("field_of_view", [field_of_view], "a number of degrees")
        set_score_threshold(self.module, threshold)
        if isinstance(self.module, DepthModule):
            self.module.flip_postprocessing = False
        if flip:
            turn_on(self.module)
        data = image_files(
            "",
            task=self.task,
            settings=self.settings,
            size=self._size(size),
            field_of_view_degrees=field_of_view,
            intrinsics=None if k is None else _numbers("k", k, "four numbers fx, fy, cx, cy", count=4),
        )
        if self.task == "depth":
            for note in depth_notes(
                self.module,
                self.source,
                self.settings,
                camera_known=k is not None or field_of_view is not None,
                camera_options="field_of_view=DEGREES or k=(FX, FY, CX, CY)",
            ):
                self._note(note)
        items = named(as_items(images, data.dataset([])), names)
        for batch in batches(items, batch_size):
            predictions = self._forward(batch)
            for index in range(len(batch["name"])):
                yield make_result(
                    self.module,
                    one_of(batch, index),
                    raw_of(predictions, index),
                    metric=self.metric,
                    threshold=threshold,
                )

    @torch.inference_mode()
    def _forward(self, batch: Item) -> Any:
        moved = {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
        return self.module.predict_step(moved, 0)

    def _size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is not None:
            height, width = _numbers("size", size, "height and width, two whole numbers", count=2)
            if height != int(height) or width != int(width):
                raise ValueError(f"size is {size}, but has to be height and width, two whole numbers")
            return int(height), int(width)
        known = working_size(self.settings, external=False)
        if IMAGE_SIZE not in self.settings:
            self._note(f"{unknown_size(known)} (size=(H, W))")
        return known

    def _check(self, **given: Any) -> None:
        """Refuse options of another task."""
        own = {"instances": ("score_threshold",), "depth": ("field_of_view", "k", "flip"), "classes": ()}[self.task]
        foreign = [
            name for name, value in given.items() if value is not None and value is not False and name not in own
        ]
        if foreign:
            raise ValueError(f"'{self.source}' predicts {self.task}, to which {' and '.join(foreign)} cannot apply")

    def _note(self, text: str) -> None:
        """Warn once."""
        if text not in self._noted:
            self._noted.add(text)
            warnings.warn(text, stacklevel=2)


def load_model(source: str | Path, device: str = "auto") -> Model:
    """The network of a checkpoint or of an exported file.

    Args:
        source: Path of a checkpoint (``.ckpt``) or of an exported file (``.onnx``, ``.ts``, ``.pt2``).
        device: See :class:`Model`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither, or there is no such device.
    """
    module, settings = load_trained(Path(source))
    return Model(module, settings, str(source), device)


def is_one(images: Any) -> bool:
    """Whether images in one of the forms of :meth:`Model.predict` are a single image."""
    if isinstance(images, str | Path):
        path = Path(images)
        return path.is_file() and not MediaFile(path, path.stem).is_video
    if isinstance(images, Tensor | np.ndarray):
        return images.ndim < 4
    return isinstance(images, Image.Image)


def as_items(images: Any, dataset: MediaDataset) -> Iterator[Item]:
    """Items of images in any form.

    Args:
        images: See :meth:`Model.predict`.
        dataset: Prepares the pixels.

    Raises:
        FileNotFoundError: If a path does not exist.
        ValueError: If an image cannot be read or has another shape or type.
    """
    if isinstance(images, str | Path):
        yield from _file_items(str(images), dataset)
    elif isinstance(images, Iterable) and not isinstance(images, Tensor | np.ndarray | Mapping | bytes):
        for number, image in enumerate(images):
            if isinstance(image, str | Path):
                yield from _file_items(str(image), dataset)
            else:
                yield dataset.item(pixels_of(image), f"{number:06d}")
    elif isinstance(images, Tensor | np.ndarray) and images.ndim == 4:
        yield from as_items(list(images), dataset)
    else:
        yield dataset.item(pixels_of(images), "image")


def _file_items(path: str, dataset: MediaDataset) -> Iterator[Item]:
    """Items of files; files of a folder that cannot be read are left out with a warning."""
    dataset.files = find_media(path)
    for item in dataset:
        if not item["error"]:
            yield item
        elif len(dataset.files) == 1:
            raise ValueError(str(item["error"]))
        else:
            warnings.warn(f"skipped: {item['error']}", stacklevel=2)


_NOT_8_BITS = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Modes of PIL that its conversion to RGB would clip at 255."""


def pixels_of(image: Any) -> npt.NDArray[np.uint8]:
    """Pixels of an image in memory.

    Args:
        image: See :meth:`Model.predict`.

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        ValueError: If the type, the shape or the range is another.
    """
    if isinstance(image, Image.Image):
        if image.mode in _NOT_8_BITS:
            raise ValueError(
                f"a PIL image has mode '{image.mode}', whose range is not known, but 8 bits a channel are needed: "
                "scale it to 0 to 255 and convert it to 'RGB'"
            )
        if 0 in image.size:
            raise ValueError(f"a PIL image has size {image.size}, but at least one pixel is needed")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(image, Tensor):
        pixels = image.detach().cpu()
        values = (pixels.float() if pixels.dtype == torch.bfloat16 else pixels).numpy()  # NumPy has no bfloat16
        values = values.transpose(1, 2, 0) if values.ndim == 3 else values
    elif isinstance(image, np.ndarray):
        values = image
    else:
        raise ValueError(
            f"an image is a {type(image).__name__}, but a path, an array, a tensor or a PIL image is needed"
        )
    if values.ndim != 3 or values.shape[2] != 3 or 0 in values.shape:
        wanted = "(3, H, W)" if isinstance(image, Tensor) else "(H, W, 3)"
        raise ValueError(f"an image has shape {tuple(image.shape)}, but {wanted}, RGB, is needed")
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"an image has values of type {values.dtype}, but uint8 or float in [0, 1] is needed")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also NaN
        raise ValueError(f"an image has values from {low:g} to {high:g}, but floats must lie in [0, 1]")
    return np.ascontiguousarray((values * 255).round().astype(np.uint8))


def named(items: Iterable[Item], names: Sequence[str] | None) -> Iterator[Item]:
    """Items with other names.

    Raises:
        ValueError: If there are fewer or more names than items.
    """
    if names is None:
        yield from items
        return
    count = 0
    for item in items:
        if count < len(names):
            yield item | {"name": str(names[count])}
        count += 1
    if count != len(names):
        raise ValueError(f"names has {len(names)} entries for {count} images")


def batches(items: Iterable[Item], batch_size: int) -> Iterator[Item]:
    """Batches of consecutive items whose tensors have the same shapes."""
    waiting: list[Item] = []
    for item in items:
        if waiting and (len(waiting) == batch_size or _shapes(item) != _shapes(waiting[0])):
            yield default_collate(waiting)
            waiting = []
        waiting.append(item)
    if waiting:
        yield default_collate(waiting)


def _shapes(item: Item) -> list[torch.Size]:
    return [value.shape for value in item.values() if isinstance(value, Tensor)]


def _numbers(name: str, given: Any, wanted: str, *, count: int = 1) -> tuple[float, ...]:
    """An option that consists of ``count`` numbers, as a list, an array or a tensor.

    Raises:
        ValueError: If it is anything else; ``wanted`` says what it should be.
    """
    try:
        values = () if isinstance(given, str) else tuple(float(value) for value in given)
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or any(isinstance(value, str) for value in given) or not all(map(math.isfinite, values)):
        shown = given[0] if count == 1 else given
        raise ValueError(f"{name} is {shown!r}, but has to be {wanted}")
    return values
