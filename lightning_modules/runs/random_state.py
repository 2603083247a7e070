"""Random streams of a process: torch on the CPU and on its GPU, numpy and Python."""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PROCESS_STREAM = 11
"""First word of the seed of the streams of one process of several; the data modules use small numbers."""


@dataclass(frozen=True)
class RandomState:
    """State of the global random streams of this process."""

    cpu: Tensor
    """State of torch's generator on the CPU, uint8."""
    cuda: Tensor | None
    """State of torch's generator on the GPU of this process, uint8; None without one."""
    numpy: dict[str, Any]
    """``numpy.random.get_state(legacy=False)``."""
    python: tuple[Any, ...]
    """``random.getstate()``."""

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The present state.

        Args:
            device: Device of this process.
        """
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda, dict(np.random.get_state(legacy=False)), random.getstate())

    def restore(self, device: torch.device) -> None:
        """Set the global random streams of this process to this state.

        Args:
            device: Device of this process; a state of a GPU is left out on a CPU.
        """
        torch.set_rng_state(self.cpu)
        if self.cuda is not None and device.type == "cuda":
            torch.cuda.set_rng_state(self.cuda, device)
        np.random.set_state(self.numpy)
        random.setstate(self.python)

    def as_plain(self) -> dict[str, Any]:
        """The state as tensors and plain values, which ``weights_only`` loading accepts."""
        numpy = {key: value for key, value in self.numpy.items() if key != "state"}
        words = torch.from_numpy(self.numpy["state"]["key"].astype(np.int64))
        position = int(self.numpy["state"]["pos"])
        return {
            "cpu": self.cpu,
            "cuda": self.cuda,
            "numpy": {**numpy, "state": {"key": words, "pos": position}},
            "python": self.python,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "RandomState":
        """The state that :meth:`as_plain` returned, possibly after a round trip through a file."""
        state = plain["numpy"]["state"]
        words = state["key"].cpu().numpy().astype(np.uint32)
        cuda = plain["cuda"]
        return cls(
            plain["cpu"].cpu(),
            None if cuda is None else cuda.cpu(),
            {**plain["numpy"], "state": {"key": words, "pos": state["pos"]}},
            plain["python"],
        )


def seed_streams(seed: int, *, rank: int, epoch: int, batch: int) -> None:
    """Set all random streams of this process to a function of its arguments.

    Args:
        seed: Non-negative seed of the run.
        rank: Rank of this process.
        epoch: Epoch, counted from 0.
        batch: Batch of the epoch, counted from 0.
    """
    words = np.random.SeedSequence((_PROCESS_STREAM, seed, rank, epoch, batch)).generate_state(3, np.uint32)
    torch.manual_seed(int(words[0]))  # of all devices
    np.random.seed(words[1])
    random.seed(int(words[2]))
