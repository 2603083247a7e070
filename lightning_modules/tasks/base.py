"""What every paper shares: weighted loss terms, optimizer wiring, and, for depth, validation, test and prediction.

A paper subclasses :class:`DepthModule` and adds ``forward`` and ``loss_terms``; nothing else is required.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.optim import Optimizer

from geometry.processes import global_batch, mean_over_processes
from lightning_modules.runs.sharded_strategy import FullySharded
from lightning_modules.schedules import WarmupCosine
from lightning_modules.tasks.checked import CheckedModule, attached_trainer, save_configuration
from lightning_modules.tasks.effective_batch import effective_batch
from lightning_modules.tasks.optimisation import Optimisation
from lightning_modules.tasks.size_errors import explain_size_errors
from lightning_modules.tasks.task_callbacks import chosen_callbacks, without_replaced

logger = logging.getLogger(__name__)

LEARNING_RATE = "train/lr"
"""Name of the learning rate in the logs of a run with a schedule."""


class NonFiniteLossError(RuntimeError):
    """A loss term, or its gradient, is NaN or infinite; ``term`` names it and ``batch_path`` holds the batch."""

    def __init__(self, term: str, value: float, step: int, batch_path: Path, what: str = "loss term") -> None:
        super().__init__(f"{what} '{term}' is {value} at step {step}; its batch is in {batch_path}")
        self.term = term
        self.batch_path = batch_path


class PaperModule(CheckedModule, ABC):  # abstract, so that its defaults never stand in for those of a paper
    """Base of every paper: checks, sums and logs the loss terms and builds the optimizer.

    Args:
        loss_weights: Weight of each loss term; ``loss_terms`` must return exactly these keys. None is the paper's.
        optimisation: Optimizer and learning-rate schedule.

    Raises:
        ValueError: If no loss weight is given, one is not a finite number >= 0, or all are 0.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {}
    """Loss terms of the paper with their weights: the default of ``loss_weights``."""

    def __init__(
        self, loss_weights: Mapping[str, float] | None = None, optimisation: Optimisation = Optimisation()
    ) -> None:
        super().__init__()
        loss_weights = self.paper_weights if loss_weights is None else loss_weights
        if not loss_weights:
            raise ValueError("loss_weights is empty: name at least one loss term with its weight")
        for name, weight in loss_weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"the weight of loss term '{name}' is {weight}, but must be a finite number >= 0")
        if not any(loss_weights.values()):
            raise ValueError(
                f"the weights of all loss terms ({', '.join(loss_weights)}) are 0: nothing would be trained"
            )
        self.loss_weights = dict(loss_weights)
        self.optimisation = optimisation
        save_configuration(self)

    @abstractmethod
    def loss_terms(self, batch: Any) -> dict[str, Tensor]:
        """Unweighted scalar loss terms of a batch, keyed like ``loss_weights``."""

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms times their weights, float32; a paper whose weights change in training extends this."""
        return {name: self.loss_weights[name] * term.float() for name, term in terms.items()}

    def progress(self) -> float:
        """Part of the training that is done, 0 to 1, as a function of ``global_step`` alone; 0 outside a training.

        Raises:
            ValueError: If the training has no end that schedules could run to.
        """
        # Outside of a training the trainer would make the training data to count their batches.
        trainer = attached_trainer(self)
        if trainer is None or trainer.state.fn != TrainerFn.FITTING:
            return 0.0
        steps = float(self.trainer.estimated_stepping_batches)
        if math.isinf(steps):
            raise ValueError("the schedules need the length of the training: set trainer.max_steps or max_epochs")
        return min(self.global_step / max(steps, 1.0), 1.0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Weighted sum of the loss terms.

        Raises:
            KeyError: If ``loss_terms`` and ``loss_weights`` do not have the same keys.
            ValueError: If the batch or its images are too small for the network, or do not divide by its strides.
        """
        with explain_size_errors(batch), global_batch():
            terms = self.loss_terms(batch)
        if terms.keys() != self.loss_weights.keys():
            raise KeyError(
                f"loss_terms returned {sorted(terms)}, but weights are given for {sorted(self.loss_weights)}"
            )
        loss = torch.stack(list(self.weighted(terms).values())).sum()
        self._log_losses(terms, loss, batch_size=len(batch["image"]))
        # Kept for the callback that stops on a non-finite loss: it can then name the term.
        self.last_terms = {name: term.detach() for name, term in terms.items()}
        return loss

    def _log_losses(self, terms: dict[str, Tensor], loss: Tensor, *, batch_size: int) -> None:
        """Log the terms and the loss of the batch of all processes, which one process alone has only its part of."""
        values = torch.stack([*(term.detach().float() for term in terms.values()), loss.detach()])
        with global_batch():
            *means, mean = mean_over_processes(values)
        self.log_dict({f"train/{name}": value for name, value in zip(terms, means, strict=True)}, batch_size=batch_size)
        self.log("train/loss", mean, prog_bar=True, batch_size=batch_size)

    def setup(self, stage: str) -> None:
        """Keep 4-D weights channels-last: the same numbers, and a faster step (`make bench`)."""
        self.to(memory_format=torch.channels_last)

    def configure_model(self) -> None:
        """Divide the parameters among the processes under the strategy ``FullySharded``; do nothing under others."""
        if isinstance(self.trainer.strategy, FullySharded):
            self.trainer.strategy.divide(self)

    chosen_callbacks: bool | Sequence[str] = False
    """Which of :meth:`task_callbacks` a trainer gets: all, none, or those with these class names. The command line sets
    it to its ``task_callbacks``; a trainer that is made by hand draws and writes nothing unless this is set."""

    def task_callbacks(self) -> list[Callback]:
        """New callbacks that draw and write for the task; a task or a paper extends the list."""
        return []

    def configure_callbacks(self) -> list[Callback]:
        """Chosen callbacks of the task, without those that ``trainer.callbacks`` replaces by its own.

        Raises:
            ValueError: If ``chosen_callbacks`` has an unknown name.
        """
        chosen = chosen_callbacks(self.task_callbacks(), self.chosen_callbacks, paper=self.paper)
        return without_replaced(chosen, self.trainer.callbacks)  # type: ignore[attr-defined]  # not in its type

    def _scale_learning_rate(self, optimizer: Optimizer) -> None:
        """Scale the rate to the effective batch, before a scheduler takes it, and print both in one line."""
        trainer = attached_trainer(self)
        batch = None if trainer is None else effective_batch(trainer)
        factor = self.optimisation.lr_factor(None if batch is None else batch.size)
        written = optimizer.param_groups[0]["lr"]
        if factor != 1:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["lr"]
        if batch is None:
            return
        rate = f"{optimizer.param_groups[0]['lr']:.4g}"
        if self.optimisation.reference_batch_size is not None:
            kind, reference = self.optimisation.lr_scaling, self.optimisation.reference_batch_size
            rate += f" = {written:.4g} x {factor:.4g} ({kind} from a batch of {reference})"
        rank_zero_info(f"effective batch {batch}, learning rate {rate}")

    def configure_optimizers(self) -> Any:
        """Optimizer over all trainable parameters and, if given, its scheduler.

        Raises:
            ValueError: If the learning rate is to be scaled by a batch size that is not known.
        """
        settings = self.optimisation
        optimizer = settings.optimizer([p for p in self.parameters() if p.requires_grad])
        self._scale_learning_rate(optimizer)
        if settings.lr_scheduler is None:
            return optimizer
        scheduler = settings.lr_scheduler(optimizer)
        if isinstance(scheduler, WarmupCosine) and scheduler.total_steps is None:
            scheduler.set_total_steps(int(self.trainer.estimated_stepping_batches))
        # The name of the learning rate in all logs; Lightning's would depend on the optimizer's class.
        named = {"scheduler": scheduler, "name": LEARNING_RATE}
        wiring = {**named, "interval": settings.interval, "monitor": settings.monitor}
        return {"optimizer": optimizer, "lr_scheduler": wiring}
