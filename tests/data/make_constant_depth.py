"""The smallest depth modules: one number everywhere, or the red channel; and a checkpoint as training leaves it."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn


class ConstantDepth(LightningModule):
    """Predicts ``depth_m`` at every pixel; ``encoder_weights`` is there to be dropped on loading."""

    def __init__(self, depth_m: float = 2.0, encoder_weights: str | None = "imagenet") -> None:
        super().__init__()
        if encoder_weights is not None:
            raise ValueError("pretrained weights were requested, which a checkpoint replaces anyway")
        self.depth_m = nn.Parameter(torch.tensor(depth_m))
        self.bias = nn.Linear(2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.depth_m.expand(len(image), 1, *image.shape[2:])

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return self(batch["image"])


class RedDepth(ConstantDepth):
    """Predicts one metre plus ten times the red channel."""

    def forward(self, image: Tensor) -> Tensor:
        return 1 + 10 * image[:, :1]


def write_checkpoint(path: Path, module: LightningModule, **init_args: Any) -> Path:
    """Write a checkpoint with the recipe of the module, as the command line's own callback does."""
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=path.parent)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    kind = type(module)
    model = {"encoder_weights": "imagenet", **init_args}
    checkpoint["plumbline"] = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "model": model}
    torch.save(checkpoint, path)
    return path
