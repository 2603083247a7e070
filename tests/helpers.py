"""Small networks and data shared by several tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


def quiet_trainer(**settings: Any) -> Trainer:
    """A trainer on the CPU that prints, logs and keeps nothing, unless a setting says otherwise."""
    defaults = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**(defaults | settings))


def wandb_records(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Records of a kind, such as ``history`` or ``artifact``, in the folder of an offline W&B run, in their order."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [record[kind] for record in records if record.get("type") == kind]


def wandb_history(folder: Path) -> list[dict[str, Any]]:
    """Rows of the history in the folder of an offline W&B run, in the order of their records."""
    return [record["item"] for record in wandb_records(folder, "history")]


class Affine(nn.Module):
    """``scale * mean over channels + shift``: a depth network whose output is known in closed form."""

    stride = 1

    def __init__(self, scale: float = 0.5, shift: float = 0.1) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, image: Tensor) -> Tensor:
        return self.scale * image.mean(dim=1, keepdim=True) + self.shift


class Slanted(nn.Module):
    """0.2 at the left border and 0.3 at the right for any image: a network with a horizontal bias."""

    stride = 1

    def __init__(self, slope: float = 0.1) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, image: Tensor) -> Tensor:
        ramp = 0.2 + self.slope * torch.linspace(0, 1, image.shape[-1], device=image.device)
        return ramp.expand(len(image), 1, *image.shape[-2:])


class RandomDepth(Dataset):
    """Seeded images with depth that is an affine function of brightness, so that :class:`Affine` can fit it."""

    def __init__(self, count: int, height: int = 16, width: int = 24, first: int = 0) -> None:
        self.count, self.height, self.width, self.first = count, height, width, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        rng = np.random.default_rng(1000 + self.first + index)
        image = torch.from_numpy(rng.random((3, self.height, self.width), dtype=np.float32))
        depth = 10.0 * (0.3 * image.mean(dim=0, keepdim=True) + 0.2)
        return {
            "image": image,
            "depth": depth,
            "depth_mask": torch.ones_like(depth, dtype=torch.bool),
            "K": torch.tensor([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]]),
            "K_known": torch.tensor(True),
            "depth_scale_m": torch.tensor(10.0),
            "index": torch.tensor(index),
            "name": f"{index:04d}",
        }


class KnownFrom(Dataset):
    """A data set whose depth is known of the samples from a number on."""

    def __init__(self, samples: Dataset, first_known: int) -> None:
        self.samples, self.first_known = samples, first_known

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        sample = self.samples[index]
        known = index >= self.first_known
        return sample | {"depth": sample["depth"] * known, "depth_mask": sample["depth_mask"] & known}


class RandomDepthModule(LightningDataModule):
    """Loaders of :class:`RandomDepth`."""

    def __init__(self, count: int = 8, batch_size: int = 4) -> None:
        super().__init__()
        self.count, self.batch_size = count, batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(RandomDepth(self.count), batch_size=self.batch_size)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(RandomDepth(5, first=100), batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(RandomDepth(5, first=200), batch_size=self.batch_size)
