"""Mean teacher: a network whose weights are an exponential moving average of a student's."""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn


def ema_momentum(step: int, *, momentum: float) -> float:
    """``min(momentum, 1 - 1 / (step + 1))``: the mean of the first students, then the moving average.

    Args:
        step: number of previous updates, from 0; at 0 the teacher is set to the student.
        momentum: final weight of the old parameters.
    """
    return min(momentum, 1 - 1 / (step + 1))


class EMATeacher(nn.Module):
    """A frozen copy of a network whose parameters are an exponential moving average of the network's.

    Parameters are averaged; buffers (statistics of batch norms) are copied. The teacher is always in eval mode and
    never in an optimiser. The state dict contains the averaged network only; the number of updates is an argument, so
    that a resumed run continues exactly.

    Args:
        student: the network; it is copied.
        momentum: final weight of the old parameters, in [0, 1).

    Attributes:
        model: the averaged network.

    Raises:
        ValueError: the momentum is out of range.
    """

    def __init__(self, student: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"The momentum is {momentum}, but it must be at least 0 and below 1.")
        self.momentum = momentum
        self.model = copy.deepcopy(student).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, regardless of the mode of the parent module."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Update the average after an optimiser step of the student.

        Args:
            student: a network of the same architecture.
            step: updates since the teacher's start, from 0; the first copies the student.

        Raises:
            ValueError: the step is negative, or the student has another architecture.
        """
        if step < 0:
            raise ValueError(f"The step is {step}, but it must not be negative.")
        share = 1 - ema_momentum(step, momentum=self.momentum)
        ours, theirs = dict(self.model.named_parameters()), dict(student.named_parameters())
        our_buffers, their_buffers = dict(self.model.named_buffers()), dict(student.named_buffers())
        other = (ours.keys() ^ theirs.keys()) | (our_buffers.keys() ^ their_buffers.keys())
        if other:
            raise ValueError(f"The student is built differently from its teacher; only one of them has {min(other)!r}.")
        for name, average in ours.items():
            average.lerp_(theirs[name].to(average.dtype), share)
        for name, buffer in our_buffers.items():
            buffer.copy_(their_buffers[name])

    def forward(self, image: Tensor) -> Any:
        """Output of the averaged network.

        Args:
            image: input of the network.

        Returns:
            Its output, without gradient.
        """
        with torch.no_grad():
            return self.model(image)
