"""The number of samples of an optimizer step, over all processes and accumulated batches."""

from typing import NamedTuple

from lightning.pytorch import Trainer


class EffectiveBatch(NamedTuple):
    """Samples of one optimizer step."""

    per_process: int
    """Batch size of the data module."""
    processes: int
    """Processes of the training, one a GPU."""
    accumulated: int
    """Batches whose gradients are accumulated (``trainer.accumulate_grad_batches``)."""

    @property
    def size(self) -> int:
        """Their product."""
        return self.per_process * self.processes * self.accumulated

    def __str__(self) -> str:
        """``16 = 4 x 2 processes x 2 accumulated``."""
        factors = [f"{self.per_process} per process x {self.processes} processes"] if self.processes > 1 else []
        factors = factors or [str(self.per_process)]
        if self.accumulated > 1:
            factors.append(f"{self.accumulated} accumulated batches")
        return str(self.size) if len(factors) == 1 and self.processes == 1 else f"{self.size} = {' x '.join(factors)}"


def effective_batch(trainer: Trainer) -> EffectiveBatch | None:
    """The effective batch of a training, or None if its data module does not state a batch size."""
    per_process = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
    if not isinstance(per_process, int):
        return None
    return EffectiveBatch(per_process, trainer.world_size, int(trainer.accumulate_grad_batches))
