"""The learning-rate schedule of detectors: a short linear warm-up, then a constant rate with drops at given steps."""

from bisect import bisect_right
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


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
        """State without the bound method, which is no plain value and would break ``weights_only`` loading."""
        left_out = {"optimizer", "lr_lambdas", "_get_lr_called_within_step"}
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Take over a state."""
        self.__dict__.update(state_dict)
