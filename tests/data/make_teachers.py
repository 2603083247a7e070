"""Checkpoints of tiny teachers of our own, as training leaves them."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from lightning_modules.boxinst_depth import BoxInstDepth
from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.teachers.segmenter import Segmenter
from networks.constant import ConstantDepth
from networks.segmenter import SegmentationNet
from tests.data.make_instance_batch import TINY_NETWORK, tiny_network
from tests.helpers import Affine


def save(path: Path, module: LightningModule, experiment: str, model: dict[str, Any]) -> None:
    """Write a checkpoint with a recipe."""
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=path.parent)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    kind = type(module)
    class_path = f"{kind.__module__}.{kind.__qualname__}"
    checkpoint["plumbline"] = {"class_path": class_path, "model": model, "experiment": experiment}
    torch.save(checkpoint, path)


def save_segmenter_checkpoint(path: Path, *, n_classes: int, seed: int = 0) -> Segmenter:
    """A segmenter with random weights, which labels by colour and place all the same."""
    torch.manual_seed(seed)
    widths = (4, 4, 4, 4, 4)
    network = SegmentationNet(n_classes, encoder_weights="bundled", decoder_widths=widths)
    torch.nn.init.normal_(network.decoder.head.weight)  # large enough for several classes in one image
    module = Segmenter(network)
    arguments = {"n_classes": n_classes, "decoder_widths": list(widths)}
    recipe = {"network": {"class_path": "networks.segmenter.SegmentationNet", "init_args": arguments}}
    save(path, module, "tiny_segmenter", recipe)
    return module


def save_depth_checkpoint(path: Path, *, depth_m: float, canonical_focal_px: float | None = None) -> None:
    """A depth module that predicts one number."""
    module = SupervisedDepth(
        ConstantDepth(initial=depth_m / 10), canonical_focal_px=canonical_focal_px, depth_scale_m=10.0
    )
    recipe = {
        "network": {"class_path": "networks.constant.ConstantDepth"},
        "loss_weights": {"l1": 1.0},
        "canonical_focal_px": canonical_focal_px,
    }
    save(path, module, "tiny_depth", recipe)


def save_affine_checkpoint(path: Path, *, canonical_focal_px: float | None = 50.0) -> SupervisedDepth:
    """A depth module that predicts 1 m and 5 m times the brightness, for a focal length of 50 pixels."""
    module = SupervisedDepth(Affine(), canonical_focal_px=canonical_focal_px)
    recipe = {"network": {"class_path": "tests.helpers.Affine"}, "canonical_focal_px": canonical_focal_px}
    save(path, module, "tiny_affine", recipe)
    return module


def save_instances_checkpoint(path: Path) -> BoxInstDepth:
    """A depth-guided network of persons and bicycles with random weights."""
    weights = {"classification": 1.0, "boxes": 1.0, "quality": 1.0, "projection": 1.0, "depth": 1.0}
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in TINY_NETWORK.items()}
    arguments |= {"encoder_weights": "bundled", "depth_guided": True}  # weights are dropped on loading
    module = BoxInstDepth(network=tiny_network(depth_guided=True), loss_weights=weights)
    recipe = {
        "network": {"class_path": "networks.condinst.CondInst", "init_args": arguments},
        "loss_weights": weights,
    }
    save(path, module, "boxinst_depth", recipe)
    content = torch.load(path, weights_only=True)
    content["plumbline"] |= {"class_names": ["person", "Fahrrad Ü"], "category_ids": [1, 90]}
    torch.save(content, path)
    return module
