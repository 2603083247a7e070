"""Depth networks that exporters cannot express, or only for one size."""

import torch
from torch import Tensor, nn


class Bessel(nn.Module):
    """Uses an operator that ONNX lacks."""

    stride = 1

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, image: Tensor) -> Tensor:
        return 0.1 + torch.special.bessel_j0(self.scale * image.mean(dim=1, keepdim=True))


class WideOrNot(nn.Module):
    """Takes another branch for images that are wider than high, so that its graph holds for one of the two alone."""

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor) -> Tensor:
        brightness = image.mean(dim=1, keepdim=True)
        return self.scale * (brightness if image.shape[-1] > image.shape[-2] else 1 + brightness)
