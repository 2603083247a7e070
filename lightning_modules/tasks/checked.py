"""Base of modules that check the first batch of every loop before they use it."""

import inspect
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_modules.tasks.batch_needs import IMAGES, Loop, Need, check_batch, first_validation_batch


def attached_trainer(module: LightningModule) -> Trainer | None:
    """The trainer of a module, or None outside of a run."""
    try:
        return module.trainer
    except RuntimeError:  # raised by Lightning without a trainer
        return None


def save_configuration(module: LightningModule) -> None:
    """Store the configuration as hyper-parameters of a module that the command line or a checkpoint builds.

    The configuration has plain values, so that checkpoints load with ``weights_only=True``. A module that is built in
    code stores none: its arguments are live objects. Without a configuration Lightning collects the arguments of the
    constructors in the given frame and its callers; the outermost frame has none.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    module.save_hyperparameters(frame=frame)


class CheckedModule(LightningModule):
    """Base of modules that declare the keys they need; data without them are refused before the first step."""

    def __init__(self) -> None:
        super().__init__()
        self._checked: set[Loop] = set()

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Keys that the module reads from the batches of a loop; a paper adds its own."""
        return (IMAGES,)

    def check_truth(self, batch: Any) -> None:
        """Refuse a first training batch without usable ground truth; the default accepts all."""

    @property
    def paper(self) -> str:
        """The slug of the paper, the name of its module under ``lightning_modules``; else the name of the class."""
        parts = type(self).__module__.split(".")
        return parts[1] if parts[0] == "lightning_modules" and len(parts) > 1 else type(self).__name__

    @property
    def data_name(self) -> str:
        """Name of the data module in use, for messages."""
        trainer = attached_trainer(self)
        data = None if trainer is None else getattr(trainer, "datamodule", None)
        return "the given loaders" if data is None else type(data).__name__

    def check_first(self, loop: Loop, batch: Any) -> None:
        """Check the first batch of a loop for the needed keys; later batches are not checked.

        Raises:
            BatchError: If the batch lacks something.
            ValueError: If it has the keys, but no usable ground truth.
        """
        if loop in self._checked:
            return
        check_batch(batch, self.needs(loop), paper=self.paper, loop=loop, data=self.data_name)
        if loop == "train":
            self.check_truth(batch)
        self._checked.add(loop)

    def on_fit_start(self) -> None:
        """Check a validation sample before the training, not only at the first validation."""
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and self.trainer.limit_val_batches != 0:
            batch = first_validation_batch(data)
            if batch is not None:
                self.check_first("val", batch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Check the first batch."""
        self.check_first("train", batch)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Check the first batch."""
        self.check_first("val", batch)

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Check the first batch."""
        self.check_first("test", batch)

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Check the first batch."""
        self.check_first("predict", batch)
