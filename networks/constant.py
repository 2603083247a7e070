"""The trivial baseline: one learned number for every pixel of every image."""

import torch
from torch import Tensor, nn


class ConstantDepth(nn.Module):
    """Predicts one constant; trained with MSE it is the mean of the training depth, with L1 its median.

    The baseline of every table of results. 1 parameter.

    Args:
        initial: Scaled depth before training.

    Attributes:
        stride: Any image size is fine.
    """

    def __init__(self, *, initial: float = 0.3) -> None:
        super().__init__()
        self.stride = 1
        self.depth = nn.Parameter(torch.tensor(initial))

    def forward(self, image: Tensor) -> Tensor:
        """The constant as a map.

        Args:
            image: ``(B, 3, H, W)``, only its shape is used.

        Returns:
            ``(B, 1, H, W)`` scaled depth.
        """
        return self.depth.expand(image.shape[0], 1, *image.shape[-2:])
