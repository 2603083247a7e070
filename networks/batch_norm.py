"""Batch norms: temporary use of their running statistics, and statistics over the batch of all processes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from geometry.processes import n_processes, sum_with_all_gradients
from geometry.stencils import at_least_float32


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


class SynchronisedBatchNorm(_BatchNorm):
    """A batch norm with the statistics of the batch of all processes, on any device.

    ``torch.nn.SyncBatchNorm`` refuses tensors on a CPU. This one is for them, and so for tests; its statistics are
    summed in double precision. In eval mode, in a single process and outside of
    :func:`geometry.processes.global_batch` it is the batch norm that it replaces, bit for bit.

    Args:
        norm: The batch norm whose parameters, buffers and, in timm's layers, activation it takes over.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop: nn.Module = getattr(norm, "drop", nn.Identity())
        self.act: nn.Module = getattr(norm, "act", nn.Identity())
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:  # torch's name
        if input.ndim < 2:
            raise ValueError(f"The input has {input.ndim} dimensions, but at least 2, (B, C, ...), are needed.")

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """Normalised maps.

        Args:
            input: ``(B, C, ...)``.

        Returns:
            The same shape and type.
        """
        synchronised = self.training and n_processes() > 1
        normalised = self._with_all_processes(input) if synchronised else super().forward(input)
        return self.act(self.drop(normalised))

    def _with_all_processes(self, maps: Tensor) -> Tensor:
        self._check_input_dim(maps)
        dims, shape = [0, *range(2, maps.ndim)], (1, -1, *(1,) * (maps.ndim - 2))
        values = at_least_float32(maps)
        variance, mean = (part.double() for part in torch.var_mean(values, dims, correction=0))
        own = mean.new_full((1,), maps.numel() / maps.shape[1])
        moments = sum_with_all_gradients(torch.cat([own, own * mean, own * (variance + mean.square())]))
        count, sums, squares = moments.split([1, maps.shape[1], maps.shape[1]])
        mean = sums / count
        variance = squares / count - mean.square()
        self._update_running(mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach())
        scale = (variance + self.eps).rsqrt()
        normalised = (values - mean.to(values.dtype).view(shape)) * scale.to(values.dtype).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(maps.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronise_batch_norms(network: nn.Module) -> nn.Module:
    """The network with batch norms that have the statistics of the batch of all processes in training.

    On a GPU these are torch's, which are faster, in timm's form, which keeps the activation of timm's layers (torch's
    own conversion drops it). Elsewhere they are :class:`SynchronisedBatchNorm`. Names of parameters do not change.

    Args:
        network: Changed in place; a network that is a batch norm itself is returned as a new one.
    """
    first = next(network.parameters(), None)
    if first is not None and first.device.type == "cuda":
        converted: nn.Module = convert_sync_batchnorm(network)
        return converted
    if isinstance(network, _BatchNorm) and not isinstance(network, SynchronisedBatchNorm):
        return SynchronisedBatchNorm(network)
    for name, child in network.named_children():
        setattr(network, name, synchronise_batch_norms(child))
    return network
