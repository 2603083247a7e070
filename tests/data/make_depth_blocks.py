"""Depth maps of blocks with holes, for the tests of metrics."""

import torch
from torch import Tensor


def depth_blocks(n: int, height: int, width: int, seed: int) -> tuple[Tensor, Tensor, Tensor, torch.Generator]:
    """Blocks of depth 0.5 to 11 m ``(n, 1, height, width)``, noise in [0, 1], and a mask that is empty in image 1.

    The generator comes with them, for what else a test draws.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(n, 1, 4, 4, generator=generator) * 10.5 + 0.5
    target = torch.nn.functional.interpolate(blocks, size=(height, width))
    noise = torch.rand(target.shape, generator=generator)
    mask = torch.rand(target.shape, generator=generator) > 0.2
    mask[1] = False
    return target, noise, mask, generator
