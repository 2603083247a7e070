"""Entry points of ``torch.hub.load(folder, "plumbline", "best.ckpt", source="local")``."""

from typing import Any

from plumbline import load

dependencies = ["torch", "torchvision", "lightning", "timm", "jsonargparse"]


def plumbline(source: str, device: str = "auto") -> Any:
    """The trained network of a checkpoint, a :class:`tools.model.Model`; arguments as for :func:`plumbline.load`."""
    return load(source, device)
