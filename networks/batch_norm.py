"""Batch norms that predict something else in between, without learning from it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch norms use their running statistics and leave them alone, for the length of a ``with`` block.

    Everything else stays in its mode; gradients flow as ever. Rendered pictures with holes pass a network that trains
    on photos in this way, so that their statistics do not enter those that photos are predicted with.

    Args:
        network: Its batch norms that are in training mode are switched and switched back.
    """
    switched = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for module in switched:
        module.eval()
    try:
        yield
    finally:
        for module in switched:
            module.train()
