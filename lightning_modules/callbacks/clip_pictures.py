"""Pictures of the inputs, predictions and losses of a self-supervised module."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_modules.callbacks.picture_scores import abs_rel_text, image_abs_rel
from lightning_modules.callbacks.pictures import PredictsDepth, SamplePictures
from renderers.colour_bars import ColourBar
from renderers.display import to_uint8
from renderers.figure import Maps, Picture, PictureRow

TRUTH = "truth"
"""Name of the map that is left out where no sample has ground truth."""


class ClipPictures(SamplePictures):
    """Draws the maps that a module's ``pictures(batch)`` returns, each with its title, and the score of each sample.

    ``pictures`` is a method of the module: batch in, RGB maps ``(B, 3, H, W)`` in [0, 1] by name out, all of one size
    and in their order; as :class:`~renderers.figure.Maps` they may have colour bars. Files:
    ``pictures/clips_step_000200.png`` in the trainer's folder, ``pictures/clips_test.png``,
    ``pictures/clips_validate.png``. For when and how they are drawn see
    :class:`~lightning_modules.callbacks.pictures.SamplePictures`.

    Args:
        base: Arguments of :class:`SamplePictures`.

    Raises:
        ValueError: If an argument is below 1.
    """

    file_prefix = "clips_"
    log_name = "clips"

    def __init__(self, **base: Any) -> None:
        super().__init__(**base)
        self._titles: list[str] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module without pictures.

        Raises:
            ValueError: If the module has no method ``pictures``.
        """
        if not callable(getattr(pl_module, "pictures", None)):
            raise ValueError(
                f"{type(self).__name__} draws what a module's pictures(batch) returns, but {type(pl_module).__name__} "
                "has no such method: leave the callback out."
            )

    def maps(self, pl_module: LightningModule, sample: Any) -> Maps:
        """RGB maps ``(B, 3, H, W)`` of a batch of chosen samples, by title."""
        pictures: dict[str, Tensor] = pl_module.pictures(sample)  # type: ignore[operator]  # checked in setup
        return Maps(pictures, bars=getattr(pictures, "bars", {}), titles=getattr(pictures, "titles", {}))

    def draw_rows(self, pl_module: LightningModule, sample: Any) -> list[PictureRow]:
        """The maps of each sample.

        Raises:
            ValueError: If the maps are not RGB maps of one size, or not those of the other samples.
        """
        maps = self.maps(pl_module, sample)
        size = (len(sample["image"]), 3, *next(iter(maps.values())).shape[2:]) if maps else ()
        for name, picture in maps.items():
            if picture.ndim != 4 or tuple(picture.shape) != size:
                raise ValueError(
                    f"the picture '{name}' has shape {tuple(picture.shape)}, but (B, 3, H, W) with the B of the batch "
                    "and one H and W for all pictures is needed"
                )
        if self._rows and list(maps) != self._titles:
            raise ValueError(
                f"the pictures are {', '.join(maps)}, but those of the samples before were {', '.join(self._titles)}"
            )
        self._titles = list(maps)
        names = sample.get("name", [str(index) for index in range(len(sample["image"]))])
        scores = self._scores(pl_module, sample)
        return [
            PictureRow(
                str(names[index]),
                tuple(self._picture(title, picture[index], maps, index) for title, picture in maps.items()),
                scores[index],
            )
            for index in range(len(sample["image"]))
        ]

    def summary_rows(self) -> list[PictureRow]:
        """None: depth itself is shown by :class:`~lightning_modules.callbacks.pictures.DepthPictures`."""
        return []

    def starts_line(self, name: str) -> bool:
        """Whether a map begins a new line of the figure."""
        return False

    def _picture(self, name: str, picture: Tensor, maps: Maps, index: int) -> Picture:
        bars: list[ColourBar | None] = maps.bars.get(name, [])
        return Picture(
            maps.titles.get(name, name),
            to_uint8(picture).numpy(),
            bars[index] if bars else None,
            of_truth=name == TRUTH,
            starts_line=self.starts_line(name),
        )

    def _scores(self, pl_module: LightningModule, sample: Mapping[str, Any]) -> list[str]:
        if not isinstance(pl_module, PredictsDepth) or "depth" not in sample:
            return [""] * len(sample["image"])
        depth = pl_module.evaluated_depth(sample).detach().float()
        return [abs_rel_text(score, pl_module) for score in image_abs_rel(pl_module, sample, depth)]
