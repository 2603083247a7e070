"""Temporary use of the running statistics of batch norms."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def running_statistics(network: nn.Module) -> Iterator[None]:
    """Context in which batch norms use their running statistics without updating them.

    All other modules keep their mode, and gradients are unchanged. Used for rendered images with holes in a training on
    photos, so that their statistics do not affect the predictions for photos.

    Args:
        network: Batch norms in training mode are switched to eval mode and back.
    """
    switched = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for module in switched:
        module.eval()
    try:
        yield
    finally:
        for module in switched:
            module.train()
