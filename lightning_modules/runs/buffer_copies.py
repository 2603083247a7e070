"""Copies of the buffers of a module, e.g. the statistics of batch norms, which a forward pass changes."""

from typing import Any

import torch
from torch import Tensor, nn

from structures.private_names import FSDP_PREFIX, buffer_owners, copy_tensors, version_of

_CHANGED_UNSEEN = ("running_mean", "running_var")
"""Buffers of batch norms, whose kernels change them without counting a change."""


class BufferCopies:
    """Copies of all buffers of a module, of which only those that changed are copied again.

    Args:
        module: The module; its submodules must stay, their buffers may be replaced.
    """

    def __init__(self, module: nn.Module) -> None:
        self._owners = [
            (f"{prefix}.{name}".lstrip(".").replace(FSDP_PREFIX, ""), buffers, name)
            for prefix, owner in module.named_modules()
            for buffers in (buffer_owners(owner),)
            for name, buffer in buffers.items()
            if buffer is not None
        ]
        self._copies: dict[str, Tensor] = {}
        self._seen: dict[str, tuple[int, int]] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Copy every buffer that was changed or replaced since the last call."""
        targets: list[Tensor] = []
        sources: list[Tensor] = []
        for full_name, buffers, name in self._owners:
            buffer = buffers[name]
            if buffer is None:
                continue
            seen = (id(buffer), version_of(buffer))
            if self._seen.get(full_name) == seen and name not in _CHANGED_UNSEEN:
                continue
            self._seen[full_name] = seen
            copy = self._copies.get(full_name)
            if copy is None or copy.shape != buffer.shape or copy.dtype != buffer.dtype:
                self._copies[full_name] = buffer.detach().clone()
            else:
                targets.append(copy)
                sources.append(buffer)
        copy_tensors(targets, sources)

    def write_into(self, state_dict: dict[str, Any]) -> None:
        """Replace the buffers in a state dict by clones of their copies."""
        for name, copy in self._copies.items():
            if name in state_dict:
                state_dict[name] = copy.clone()
