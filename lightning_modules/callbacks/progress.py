"""A progress bar for trainings whose length is given in steps."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class StepProgressBar(RichProgressBar):
    """Lightning's bar, with ``step 78/500`` in place of ``Epoch 3/-2`` in trainings without a number of epochs."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the number of the step."""
        if self.progress is not None and self.train_progress_bar_id is not None:
            description = self._get_train_description(trainer.current_epoch)
            self.progress.update(self.train_progress_bar_id, description=f"[{self.theme.description}]{description}")
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _get_train_description(self, current_epoch: int) -> str:
        trainer = self.trainer
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            return super()._get_train_description(current_epoch)
        of_all = f", step {trainer.global_step}/{trainer.max_steps}" if trainer.max_steps > 0 else ""
        return f"Epoch {current_epoch}{of_all}".ljust(len(self.validation_description))
