"""A module that looks at the first batch of every loop before it computes anything with it."""

from typing import Any

from lightning.pytorch import LightningModule

from lightning_modules.tasks.batch_needs import IMAGES, Loop, Need, check_batch, first_validation_batch


class CheckedModule(LightningModule):
    """Base of modules that say what they need of a batch: data of another kind end in one sentence before step 1."""

    def __init__(self) -> None:
        super().__init__()
        self._checked: set[Loop] = set()

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """What the paper reads of the batches of a loop; a paper extends it by its own."""
        return (IMAGES,)

    def check_truth(self, batch: Any) -> None:
        """Refuse a first training batch that has what is needed, but empty; by default nothing is."""

    @property
    def paper(self) -> str:
        """The slug of the paper, the name of its module under ``lightning_modules``; else the name of the class."""
        parts = type(self).__module__.split(".")
        return parts[1] if parts[0] == "lightning_modules" and len(parts) > 1 else type(self).__name__

    @property
    def data_name(self) -> str:
        """Name of the data module in use, for messages."""
        data = None if self._trainer is None else getattr(self.trainer, "datamodule", None)
        return "the given loaders" if data is None else type(data).__name__

    def check_first(self, loop: Loop, batch: Any) -> None:
        """Hold the first batch of a loop against what the paper needs; later ones pass.

        Raises:
            BatchError: If the batch lacks something.
            ValueError: If it is there, but empty.
        """
        if loop in self._checked:
            return
        check_batch(batch, self.needs(loop), paper=self.paper, loop=loop, data=self.data_name)
        if loop == "train":
            self.check_truth(batch)
        self._checked.add(loop)

    def on_fit_start(self) -> None:
        """Look at a validation sample now: a run must not find out at its first validation that the data do not fit."""
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
