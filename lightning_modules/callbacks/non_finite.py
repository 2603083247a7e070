"""Stop on a loss that is NaN or infinite, keep the batch that made it and name the term."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_modules.base import NonFiniteLossError


class StopOnNonFiniteLoss(Callback):
    """Stops training before a NaN reaches the weights.

    The check reads one number from the device each time, so on a fast GPU a larger interval may pay; the saved batch
    is then the one at which the check fell, not the first bad one.

    Args:
        every_n_steps: Steps between two checks.
    """

    def __init__(self, every_n_steps: int = 1) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}, but must be at least 1")
        self.every_n_steps = every_n_steps
        self._batch: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Hold the batch for the case that its loss is not finite."""
        self._batch = batch

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss.

        Raises:
            NonFiniteLossError: If it is NaN or infinite; the batch then lies in ``nonfinite_batch_rank<r>.pt``.
        """
        if trainer.global_step % self.every_n_steps or bool(torch.isfinite(loss)):
            return
        terms: dict[str, Tensor] = getattr(pl_module, "last_terms", {})
        bad = next(((name, term) for name, term in terms.items() if not bool(torch.isfinite(term))), ("loss", loss))
        path = Path(trainer.default_root_dir) / f"nonfinite_batch_rank{trainer.global_rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"batch": self._batch, "terms": terms, "step": trainer.global_step}, path)
        raise NonFiniteLossError(bad[0], float(bad[1].detach()), trainer.global_step, path)

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Let the batch go."""
        self._batch = None
