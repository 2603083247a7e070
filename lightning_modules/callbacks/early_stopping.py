"""Early stopping that begins after a part of the training."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class EarlyStoppingFrom(EarlyStopping):
    """Lightning's early stopping, from a part of the training on.

    Before, a warm-up is not stopped although the metric does not improve, and its values do not count as the best.

    Args:
        start: Part of the training, 0 to 1, before which nothing is compared.
        monitor: Metric that is compared at every validation.
        options: Other arguments of :class:`lightning.pytorch.callbacks.EarlyStopping`.

    Raises:
        ValueError: If ``start`` is not between 0 and 1.
    """

    def __init__(self, start: float, monitor: str = "val/score", **options: Any) -> None:
        super().__init__(monitor, **options)
        if not 0 <= start <= 1:
            raise ValueError(f"start is {start}, but is a part of the training, 0 to 1")
        self.start = start

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the metric if the warm-up is over."""
        if pl_module.progress() >= self.start:
            super().on_validation_end(trainer, pl_module)
