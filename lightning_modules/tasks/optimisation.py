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

    Raises:
        ValueError: If the interval is unknown, the monitor is empty, or the optimizer or scheduler is no callable.
    """

    optimizer: OptimizerCallable = torch.optim.Adam
    lr_scheduler: LRSchedulerCallable | None = None
    interval: Literal["step", "epoch"] = "step"
    monitor: str = "val/score"

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
