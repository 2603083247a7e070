"""A trained network that predicts proxy labels or pseudo depth for the training of another one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_modules.runs.loading import RECIPE_KEY, load_module, read_checkpoint
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.teachers.segmenter import Segmenter
from lightning_modules.teachers.source import source_kind
from networks.huggingface import HuggingFaceDepth, HuggingFaceSegmenter
from networks.torchscript import TorchScriptDepth

Kind = Literal["semantic", "depth"]


class Teacher(LightningModule):
    """Runs a trained network over any data module, for ``python -m tools.pseudo_labels``.

    Labels are written by ``lightning_modules.callbacks.label_writer.LabelPredictionWriter``, which the trainer needs.

    Args:
        source: A checkpoint (``.ckpt``) of this project, a TorchScript file of a depth network (its code is run), a
            folder with a Hugging Face model, or the id of one.
        kind: ``semantic`` (a :class:`~lightning_modules.teachers.segmenter.Segmenter` or a semantic segmentation
            network) or ``depth`` (any depth module or a depth estimation network).
        inverse: For Hugging Face depth networks, whether they predict relative inverse depth; None reads their
            configuration. For TorchScript, whether larger output is nearer; None means that it is not.
        common_unit: For networks of relative depth, whether the outputs of all images have one unit (for calibration).
        unit: For TorchScript: units in a metre of its output, or ``relative``; there is no default.
        input_size: For TorchScript: height and width of the network's input; None keeps the size of the images.
        mean: For TorchScript: mean of each channel, subtracted from RGB in [0, 1]; None subtracts nothing.
        std: For TorchScript: standard deviation of each channel, by which it is then divided; None does not divide.

    Attributes:
        title: Name of the teacher in the files that it writes: its experiment, folder or id.
        relative: Whether its depth is in an arbitrary unit that differs between images.
        class_names: Name of each class by id, or None if the classes are those of its training data.
        settings: Plain values, besides the weights, on which its labels depend.

    Raises:
        ValueError: If ``kind`` is unknown, the source is not such a teacher, or an argument does not apply to it.
        FileNotFoundError: If the source is a path of a checkpoint that does not exist.
        ImportError: If the source needs transformers, which is not installed.
    """

    def __init__(
        self,
        source: str,
        kind: Kind = "semantic",
        inverse: bool | None = None,
        common_unit: bool = False,
        unit: float | Literal["relative"] | None = None,
        input_size: tuple[int, int] | None = None,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise ValueError(f"kind is '{kind}', but must be one of {', '.join(get_args(Kind))}")
        self.kind: Kind = kind
        self.relative = False
        self.class_names: dict[int, str] | None = None
        self.settings: dict[str, Any] = {}
        self.model: nn.Module
        path = Path(source)
        what = source_kind(source)
        given = {"unit": unit, "input_size": input_size, "mean": mean, "std": std}
        foreign = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
        if foreign and what != "torchscript":
            raise ValueError(
                f"'{source}' is no TorchScript file, so there is nothing that {' and '.join(foreign)} could change: "
                f"leave {'it' if len(foreign) == 1 else 'them'} out"
            )
        if what == "maps":
            raise ValueError(
                f"'{source}' is a folder of .png or .npy files without a config.json: depth maps, not a network, which "
                "only make pseudo-depth and make pseudo-labels KIND=depth can use"
            )
        if what == "torchscript":
            if kind != "depth":
                raise ValueError(f"'{source}' is a TorchScript file, which can be a teacher of kind 'depth' alone")
            if unit is None:
                raise ValueError(
                    f"the unit of what '{source}' gives is not known: --unit 1 (metres), --unit 1000 (millimetres) or "
                    "--unit relative, and --inverse where larger is nearer"
                )
            network = TorchScriptDepth(
                path,
                input_size=input_size,
                mean=mean,
                std=std,
                units_per_metre=None if unit == "relative" else unit,
                inverse=bool(inverse),
                common_unit=common_unit,
            )
            self.model, self.relative = network, network.relative
            self.title = f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
            plain = {k: list(v) if isinstance(v, list | tuple) else v for k, v in given.items() if v is not None}
            self.settings = plain | {"inverse": network.inverse}
        elif what == "checkpoint":
            self.model = _checked(load_module(path), kind, source)
            self.relative = isinstance(self.model, DepthModule) and not self.model.scale_known
            self.title = str(read_checkpoint(path)[RECIPE_KEY].get("experiment") or path.stem)
        else:
            self.title = path.resolve().name if path.is_dir() else source
            if kind == "semantic":
                segmenter = HuggingFaceSegmenter(source)
                self.model, self.class_names = segmenter, segmenter.class_names
            else:
                pretrained = HuggingFaceDepth(source, inverse=inverse, common_unit=common_unit)
                self.model, self.relative = pretrained, pretrained.inverse
        self.eval().requires_grad_(False)

    @property
    def n_classes(self) -> int:
        """Highest class id of a semantic teacher; 0 for depth."""
        if isinstance(self.model, Segmenter):
            return self.model.n_classes
        return 0 if self.class_names is None else max(self.class_names)

    def forward(self, image: Tensor) -> Tensor:
        """Labels of images, see :meth:`predict_step`; modules of this project then assume their default camera."""
        return self.model(image)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Labels of a batch, at the size of its images.

        Returns:
            int64 ``(B, H, W)`` class ids from 1, or float32 ``(B, 1, H, W)`` depth, in metres unless ``relative``.
        """
        if isinstance(self.model, LightningModule):
            # Modules of this project may use more than the image, e.g. the intrinsics.
            return self.model.predict_step(batch, batch_idx)
        return self.model(batch["image"])


def is_metric(module: nn.Module, settings: Mapping[str, Any]) -> bool:
    """Whether the depth of a network is in metres, so that it lacks no shift.

    Args:
        module: A depth module, or a teacher of depth.
        settings: Settings of its training data (``lightning_modules/runs/trained_data.py``).
    """
    if settings.get("depth_scale") == "image_max":
        return False
    if isinstance(module, Teacher):
        return not module.relative
    return isinstance(module, DepthModule) and module.scale_known


def _checked(module: LightningModule, kind: Kind, source: str) -> LightningModule:
    wanted: type[LightningModule] = Segmenter if kind == "semantic" else DepthModule
    if not isinstance(module, wanted):
        raise ValueError(
            f"checkpoint '{source}' holds a {type(module).__name__}, but a teacher of kind '{kind}' is a "
            f"{wanted.__name__}"
        )
    return module
