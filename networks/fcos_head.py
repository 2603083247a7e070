"""The head of FCOS, with a controller that predicts the weights of each instance's mask head."""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geometry.stencils import at_least_float32

PRIOR = 0.01
"""Probability of every class before training (focal loss, Lin et al. 2017)."""


class HeadOutputs(NamedTuple):
    """Outputs of the head at every location of all levels, finest first, in row-major order."""

    logits: Tensor
    """(B, L, n_classes); column c belongs to label c + 1."""
    ltrb: Tensor
    """(B, L, 4) distances to the left, top, right and bottom edge in strides of the level, not negative, float32."""
    quality: Tensor
    """(B, L) logit of the centerness, or of the IoU of the box."""
    parameters: Tensor
    """(B, L, G) weights and biases of the instance's mask head, those of its depth layer last."""


class FCOSHead(nn.Module):
    """Predicts class, box, quality and mask-head parameters at every location, with one head for all levels.

    Tian et al. 2019, https://arxiv.org/abs/1904.01355; controller of CondInst, https://arxiv.org/abs/2003.05664. Two
    towers of 3x3 convolution, group norm and ReLU. Quality and controller use the box tower. Distances are the ReLU
    (not the exponential) of the output times a learned scale of each level.

    Args:
        n_classes: number of classes, without background.
        channels: channels of the pyramid and of the towers, a multiple of `norm_groups`.
        levels: number of levels of the pyramid.
        controller_parameters: length of the vector that the controller predicts.
        depth_parameters: length of the vector of a depth layer, which a second controller predicts, so that weights
            trained without depth can be loaded; 0 for none.
        convs: convolutions of each tower.
        norm_groups: groups of the group norms.
        controller_std: standard deviation of the controller's initial weights; the paper's 0.01 is for 256 channels.

    Raises:
        ValueError: no class, no level, no tower, or channels that the groups do not divide.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        channels: int = 256,
        levels: int = 5,
        controller_parameters: int = 233,
        depth_parameters: int = 0,
        convs: int = 4,
        norm_groups: int = 32,
        controller_std: float = 0.01,
    ) -> None:
        super().__init__()
        if min(n_classes, levels, controller_parameters, convs) < 1:
            raise ValueError(
                "n_classes, levels, controller_parameters and convs must be positive, got "
                f"{n_classes}, {levels}, {controller_parameters} and {convs}."
            )
        if norm_groups < 1 or channels % norm_groups != 0:
            raise ValueError(f"{channels} channels cannot be divided into {norm_groups} groups of a group norm.")
        self.class_tower = _make_tower(channels, convs, norm_groups)
        self.box_tower = _make_tower(channels, convs, norm_groups)
        self.logits = _make_conv(channels, n_classes, bias=-log((1 - PRIOR) / PRIOR))
        self.ltrb = _make_conv(channels, 4)
        self.quality = _make_conv(channels, 1)
        self.controller = _make_conv(channels, controller_parameters, std=controller_std)
        self.depth_controller = (
            _make_conv(channels, depth_parameters, std=controller_std) if depth_parameters > 0 else None
        )
        self.scales = nn.Parameter(torch.ones(levels))

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Outputs of the head for every level.

        Args:
            features: (B, channels, h_i, w_i), one for each level, finest first.

        Returns:
            The outputs at all L = sum of h_i * w_i locations.

        Raises:
            ValueError: another number of levels.
        """
        if len(features) != len(self.scales):
            raise ValueError(f"The head is made for {len(self.scales)} levels, got {len(features)}.")
        levels = []
        for level, scale in zip(features, self.scales, strict=True):
            box = self.box_tower(level)
            # In half precision, boxes of a few hundred pixels would be quantised in steps of half a pixel.
            ltrb = F.relu(at_least_float32(self.ltrb(box)) * scale)
            parameters = self.controller(box)
            if self.depth_controller is not None:
                parameters = torch.cat((parameters, self.depth_controller(box)), dim=1)
            levels.append((self.logits(self.class_tower(level)), ltrb, self.quality(box), parameters))
        logits, distances, quality, parameters = (_join(maps) for maps in zip(*levels, strict=True))
        return HeadOutputs(logits, distances, quality.squeeze(-1), parameters)


def _make_conv(channels: int, out_channels: int, *, std: float = 0.01, bias: float = 0.0) -> nn.Conv2d:
    """3x3 convolution initialised with small weights and a given bias."""
    conv = nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)
    nn.init.normal_(conv.weight, std=std)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, bias)
    return conv


def _make_tower(channels: int, convs: int, groups: int) -> nn.Sequential:
    """Tower of `convs` times convolution, group norm and ReLU."""
    layers: list[nn.Module] = []
    for _ in range(convs):
        layers += [_make_conv(channels, channels), nn.GroupNorm(groups, channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _join(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h_i, w_i) to (B, L, C)."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
