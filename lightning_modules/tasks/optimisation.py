"""How a paper is optimised: optimizer and learning-rate schedule, as one group of settings."""

from dataclasses import dataclass
from typing import Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable


@dataclass(frozen=True)
class Optimisation:
    """Optimizer and learning-rate schedule of a training.

    Each paper has its own defaults. In YAML and on the command line a setting that is not given keeps the paper's:
    ``--model.init_args.optimisation.interval epoch`` changes that one alone.

    Args:
        optimizer: Maps the trainable parameters to the optimizer; in YAML a class path with its arguments.
        lr_scheduler: Maps the optimizer to its scheduler; None keeps the learning rate constant.
        interval: Whether the scheduler counts steps or epochs.
        monitor: Metric watched by a ``ReduceLROnPlateau`` scheduler.
        reference_batch_size: Effective batch (batch size x processes x accumulated batches) that the learning rate is
            written for; another one scales the rate. None takes the rate as it is written, whatever the batch.
        lr_scaling: How the rate grows with the batch: ``linear`` (Goyal et al. 2017, for SGD) or ``sqrt`` (usual for
            Adam).

    Raises:
        ValueError: If the interval or scaling is unknown, the monitor is empty, the reference batch is not positive, or
            the optimizer or scheduler is no callable.
    """

    optimizer: OptimizerCallable = torch.optim.Adam
    lr_scheduler: LRSchedulerCallable | None = None
    interval: Literal["step", "epoch"] = "step"
    monitor: str = "val/score"
    reference_batch_size: int | None = None
    lr_scaling: Literal["linear", "sqrt"] = "linear"

    def __post_init__(self) -> None:
        for name, maker in (("optimizer", self.optimizer), ("lr_scheduler", self.lr_scheduler)):
            if not (callable(maker) or (maker is None and name == "lr_scheduler")):
                raise ValueError(
                    f"optimisation: {name} is {maker!r}, but must be a class such as torch.optim.Adam or a function "
                    "that makes one: functools.partial sets its arguments"
                )
        if self.interval not in ("step", "epoch"):
            raise ValueError(f"optimisation: interval is {self.interval!r}, but must be 'step' or 'epoch'")
        if not self.monitor:
            raise ValueError("optimisation: monitor is empty, but must name a metric, such as 'val/score'")
        if self.lr_scaling not in ("linear", "sqrt"):
            raise ValueError(f"optimisation: lr_scaling is {self.lr_scaling!r}, but must be 'linear' or 'sqrt'")
        if self.reference_batch_size is not None and self.reference_batch_size < 1:
            raise ValueError(
                f"optimisation: reference_batch_size is {self.reference_batch_size}, but must be at least 1, or null "
                "to take the learning rate as it is written"
            )

    def lr_factor(self, batch_size: int | None) -> float:
        """Factor on the learning rate for an effective batch; 1 without a reference.

        Args:
            batch_size: Samples of an optimizer step over all processes; None if unknown.

        Raises:
            ValueError: If there is a reference, but the batch size is not known.
        """
        if self.reference_batch_size is None:
            return 1.0
        if batch_size is None:
            raise ValueError(
                "optimisation: reference_batch_size scales the learning rate by the batch size of the data module, but "
                "the data have none: set it to null and write the rate itself"
            )
        ratio = batch_size / self.reference_batch_size
        return ratio if self.lr_scaling == "linear" else ratio**0.5
