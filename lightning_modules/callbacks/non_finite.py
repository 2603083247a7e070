"""Stops on a loss or gradient that is NaN or infinite, saves its batch and names the loss term."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from lightning_modules.tasks.base import NonFiniteLossError


class StopOnNonFiniteLoss(Callback):
    """Stops training before a NaN reaches the weights, so that the last checkpoint holds finite ones.

    Each check reads two numbers from the device, so a larger interval may be faster on a GPU; the saved batch is then
    the checked one, not the first one with a non-finite loss. With a gradient scaler (``precision: 16-mixed``)
    gradients are not checked, since the scaler skips such steps itself.

    Args:
        every_n_steps: Steps between two checks.
    """

    def __init__(self, every_n_steps: int = 1) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}, but must be at least 1")
        self.every_n_steps = every_n_steps
        self._batch: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep a reference to the batch, to save it if its loss is not finite."""
        self._batch = batch

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss.

        Raises:
            NonFiniteLossError: If it is NaN or infinite; the batch is then saved in ``nonfinite_batch_rank<r>.pt``.
        """
        if trainer.global_step % self.every_n_steps or bool(torch.isfinite(loss)):
            return
        terms: dict[str, Tensor] = getattr(pl_module, "last_terms", {})
        bad = next(((name, term) for name, term in terms.items() if not bool(torch.isfinite(term))), ("loss", loss))
        path = self._keep_batch(trainer, terms)
        raise NonFiniteLossError(bad[0], float(bad[1].detach()), trainer.global_step, path)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Check the gradients, which may overflow although the loss is finite.

        Raises:
            NonFiniteLossError: If one is NaN or infinite; the batch is then saved in ``nonfinite_batch_rank<r>.pt``.
        """
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if scaled or trainer.global_step % self.every_n_steps:
            return
        gradients = {name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None}
        if not gradients or bool(torch.isfinite(torch.nn.utils.get_total_norm(list(gradients.values())))):
            return
        norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
        name, norm = next(((name, norm) for name, norm in norms.items() if not math.isfinite(norm)), ("all", math.inf))
        path = self._keep_batch(trainer, getattr(pl_module, "last_terms", {}))
        raise NonFiniteLossError(name, norm, trainer.global_step, path, what="the gradient of")

    def _keep_batch(self, trainer: Trainer, terms: dict[str, Tensor]) -> Path:
        path = Path(trainer.default_root_dir) / f"nonfinite_batch_rank{trainer.global_rank}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"batch": self._batch, "terms": terms, "step": trainer.global_step}, path)
        return path

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Release the batch."""
        self._batch = None
