"""A callback that turns on flip post-processing for tests and predictions."""

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.tasks.depth import DepthModule


def turn_on(module: LightningModule) -> None:
    """Make a module blend the depth of each image with that of its mirror image.

    Raises:
        ValueError: If it is not a depth module of this project.
    """
    _check(module)
    module.flip_postprocessing = True  # type: ignore[assignment]  # a Module may hold any value


def _check(module: LightningModule) -> None:
    if not isinstance(module, DepthModule):
        raise ValueError(
            "flip post-processing blends the depth of an image and of its mirror image, but "
            f"{type(module).__name__} is no depth module of this project: leave it out"
        )


class FlipPostprocessing(Callback):
    """Blends the depth of each image with that of its mirror image in ``test`` and ``predict``.

    The names of the test's metrics then end in ``_pp``. Validation, by which checkpoints are chosen, does not use it.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module without depth.

        Raises:
            ValueError: If the module predicts no depth.
        """
        _check(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Turn it on."""
        turn_on(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Turn it off."""
        pl_module.flip_postprocessing = False  # type: ignore[assignment]  # a Module may hold any value

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Turn it on."""
        turn_on(pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Turn it off."""
        pl_module.flip_postprocessing = False  # type: ignore[assignment]  # as above
