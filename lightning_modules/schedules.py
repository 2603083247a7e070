"""Schedules of loss weights and of the learning rate that need no second copy of the number of steps."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def linear_ramp(progress: float, *, start: float = 0.0, length: float) -> float:
    """Factor of a loss weight: 0 before ``start``, then rising linearly to 1 over ``length``.

    Args:
        progress: Fraction of the training that is done, 0 to 1.
        start: Fraction at which the rise begins.
        length: Fraction over which it takes place; 0 switches from 0 to 1 at ``start``.

    >>> [linear_ramp(progress, start=0.5, length=0.25) for progress in (0.0, 0.5, 0.625, 0.75, 1.0)]
    [0.0, 0.0, 0.5, 1.0, 1.0]
    >>> [linear_ramp(progress, start=0.5, length=0.0) for progress in (0.25, 0.5)]
    [0.0, 1.0]
    """
    after = progress - start
    if after < 0:
        return 0.0
    return 1.0 if length == 0 else min(after / length, 1.0)


class WarmupCosine(LambdaLR):
    """Linear warm-up, then a half cosine down to a fraction of the rate, over the whole training.

    Args:
        optimizer: Its rates are the peak rates.
        warmup_fraction: Part of the training, in [0, 1), over which the rate rises linearly from zero.
        final_fraction: Rate at the end as a fraction of the peak.
        total_steps: Length of the training in optimizer steps; None lets
            :class:`~lightning_modules.tasks.base.PaperModule` fill in the trainer's own number, so that overriding
            ``max_steps`` moves the schedule with it.

    Raises:
        ValueError: If a fraction is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_fraction: float = 0.05,
        final_fraction: float = 0.01,
        total_steps: int | None = None,
    ) -> None:
        if not 0 <= warmup_fraction < 1 or not 0 <= final_fraction <= 1:
            raise ValueError(
                f"warmup_fraction must be in [0, 1) and final_fraction in [0, 1], not {warmup_fraction} and "
                f"{final_fraction}"
            )
        self.warmup_fraction = warmup_fraction
        self.final_fraction = final_fraction
        self.total_steps = total_steps
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Rate at an optimizer step as a fraction of the peak."""
        if self.total_steps is None:  # before the length is known, only step 0 is computed
            return 1.0 if self.warmup_fraction == 0 else 0.0
        done = min(step / max(self.total_steps, 1), 1.0)
        if done < self.warmup_fraction:
            # Never zero, so that the first step changes the weights.
            return (step + 1) / (self.warmup_fraction * self.total_steps + 1)
        cosine = 0.5 * (1 + math.cos(math.pi * (done - self.warmup_fraction) / (1 - self.warmup_fraction)))
        return self.final_fraction + (1 - self.final_fraction) * cosine

    def set_total_steps(self, total_steps: int) -> None:
        """Set the length of the training and apply the rate of the current step."""
        self.total_steps = total_steps
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * self.factor(self.last_epoch)

    def state_dict(self) -> dict[str, object]:
        """State without the bound method, which ``weights_only`` loading refuses."""
        left_out = {"optimizer", "lr_lambdas", "_get_lr_called_within_step"}
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Restore a state, except for the length, which is that of the resumed training."""
        self.__dict__.update({k: v for k, v in state_dict.items() if k != "total_steps"})


class WarmupMultiStep(LambdaLR):
    """Linear warm-up, then the rate times ``gamma`` at each milestone.

    Args:
        optimizer: Its rates are the peak rates.
        milestones: Optimizer steps at which the rate falls, growing.
        gamma: Factor of each fall.
        warmup_steps: Steps over which the rate rises.
        first_fraction: Rate of the first step as a fraction of the peak.

    Raises:
        ValueError: If the milestones do not grow or a number is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int] = (60_000, 80_000),
        gamma: float = 0.1,
        warmup_steps: int = 1000,
        first_fraction: float = 1e-3,
    ) -> None:
        if list(milestones) != sorted(set(milestones)):
            raise ValueError(f"milestones are {list(milestones)}, but must grow")
        if not gamma > 0 or warmup_steps < 0 or not 0 < first_fraction <= 1:
            raise ValueError(
                f"gamma ({gamma}) must be positive, warmup_steps ({warmup_steps}) not negative and first_fraction "
                f"({first_fraction}) in (0, 1]"
            )
        self.milestones = list(milestones)
        self.gamma = gamma
        self.warmup_steps = warmup_steps
        self.first_fraction = first_fraction
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Rate at an optimizer step as a fraction of the peak."""
        dropped = self.gamma ** bisect_right(self.milestones, step)
        if step >= self.warmup_steps:
            return dropped
        return dropped * (self.first_fraction + (1 - self.first_fraction) * step / self.warmup_steps)

    def state_dict(self) -> dict[str, object]:
        """State without the bound method, which ``weights_only`` loading refuses."""
        left_out = {"optimizer", "lr_lambdas", "_get_lr_called_within_step"}
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Restore a state."""
        self.__dict__.update(state_dict)
