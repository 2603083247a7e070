"""Fully sharded data parallelism (FSDP): parameters, gradients and optimizer states divided among the processes."""

from datetime import timedelta

import torch
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

LEAST_PARAMETERS = 500_000
"""Repeated blocks of at least this size are gathered one at a time: a block of a Swin, a ViT or a deep ResNet stage."""
STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class FullySharded(ModelParallelStrategy):
    """Lightning's strategy for ``fully_shard``, with all processes in one data-parallel group.

    For encoders whose optimizer state does not fit into the memory of one GPU. Lightning's older ``fsdp`` strategy
    needs CUDA and cannot clip the norm of gradients. Checkpoints are single files with whole weights, as of every other
    strategy, so that every tool reads them.

    Args:
        process_group_backend: ``nccl`` or ``gloo``; None chooses by the device.
        timeout: Time after which a process that waits for the others gives up.
    """

    def __init__(
        self, process_group_backend: str | None = None, timeout: timedelta | None = default_pg_timeout
    ) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        """Start the processes' communication, all of them in the data-parallel group."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def divide(self, module: LightningModule) -> None:
        """Divide a module's parameters among the processes, once; synchronise its batch norms if the trainer does.

        Args:
            module: See :func:`shard`.

        Raises:
            ValueError: If a scalar parameter is trained.
        """
        if is_sharded(module):
            return
        if self._layer_sync is not None:  # Lightning applies it under DDP only
            self._layer_sync.apply(module)
        shard(module, self.device_mesh["data_parallel"])

    def setup(self, trainer: Trainer) -> None:
        """Evaluate without gradients, but not in inference mode, whose tensors cannot hold gathered parameters."""
        fit_validation = trainer.fit_loop.epoch_loop.val_loop
        for loop in (fit_validation, trainer.validate_loop, trainer.test_loop, trainer.predict_loop):
            loop.inference_mode = False
        super().setup(trainer)


def large_blocks(module: nn.Module, least: int = LEAST_PARAMETERS) -> list[nn.Module]:
    """The innermost entries of sequences and lists of layers that have many parameters, inner before outer.

    Args:
        module: Any module.
        least: Least number of parameters.
    """
    found: list[nn.Module] = []
    for child in module.children():
        inner = large_blocks(child, least)
        found += inner
        repeated = isinstance(module, nn.Sequential | nn.ModuleList)
        if repeated and not inner and sum(p.numel() for p in child.parameters()) >= least:
            found.append(child)
    return found


def shard(module: LightningModule, mesh: DeviceMesh, *, least: int = LEAST_PARAMETERS) -> None:
    """Divide the parameters of a module among the processes of a mesh.

    Large repeated blocks are gathered when they run and divided again afterwards; everything else is gathered for a
    whole step, since papers call parts of their networks by other methods than ``forward``.

    Args:
        module: A paper; a step of training, validation, test or prediction gathers its parameters.
        mesh: One-dimensional mesh of all processes.
        least: Least number of parameters of a block.

    Raises:
        ValueError: If a scalar parameter is trained, which cannot be divided.
    """
    scalars = {name: p for name, p in module.named_parameters() if p.ndim == 0}
    trained = next((name for name, p in scalars.items() if p.requires_grad), None)
    if trained is not None:
        raise ValueError(
            f"the parameter '{trained}' is a single number, which FSDP cannot divide among processes: use the strategy "
            "ddp, or do not train it (model.init_args.learn_shift: false)"
        )
    paper = type(module)
    module.to(memory_format=torch.contiguous_format)  # slices of channels-last weights are not contiguous
    for block in large_blocks(module, least):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh, ignored_params=set(scalars.values()))
    type(module).__module__ = paper.__module__  # names of papers are read from it
    for name in STEPS:
        register_fsdp_forward_method(module, name)


def is_sharded(module: nn.Module) -> bool:
    """Whether :func:`shard` has divided the module."""
    return isinstance(module, FSDPModule)
