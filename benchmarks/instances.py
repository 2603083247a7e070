"""Instance segmentation on rooms: what the depth layer costs at inference, and what evaluation costs beside training.

The module is that of ``experiments/boxinst.yaml``, with the network of ``experiments/boxinst_depth.yaml`` where
it has a depth layer, on made-up images. For inference the network without the layer gives its weights to the other, so
that both detect the very same boxes. The weights are random and every score is allowed: these are nearly as many as an
image may have, the most that mask heads have to do. Masks are pasted at the size of the originals.

An epoch is estimated from single training steps of ``boxinst``, without what loading takes. Evaluation is what scores
add to inference: ``InstanceMetrics`` of as many detections as a module with weights after 900 steps makes, which differ
from their objects by a few pixels.
"""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import median_seconds
from lightning_modules.boxinst_depth import BoxInstDepth
from lightning_modules.command_line.extends import read_settings
from metrics.instances import InstanceMetrics
from structures.instances import Detections, InstanceBatch, Truth

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "boxinst.yaml"
CLASSES = 17
"""The things of rooms."""
SIZE = (4, 192, 256)
"""Images of a batch and their height and width in evaluation."""
TRAINING_SIZE = (4, 224, 288)
"""The same in training, where nearly every batch has an image that is enlarged beyond 192x256 and pads the others."""
ORIGINAL = (192, 256)
OBJECTS = 10
"""Objects of an image."""
FOUND = 100
"""Detections of an image; after 900 steps there are 92 on average."""
IMAGES = {"train": 1400, "val": 100}
AIM_PERCENT = 10.0
INFERENCE_REPEATS = 12
EVALUATION_REPEATS = 2
STEPS = 3
"""Training steps between two evaluations."""


def make_module(*, depth_guided: bool = False) -> BoxInstDepth:
    """The module of the experiment, with or without a depth layer, in the memory format of its training."""
    settings = read_settings(EXPERIMENT)["model"]
    settings["init_args"]["network"]["init_args"] |= {"n_classes": CLASSES, "depth_guided": depth_guided}
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningModule, "model")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: BoxInstDepth = parser.instantiate(parser.parse_object({"model": settings})).model
    return module.to(memory_format=torch.channels_last)


def make_boxes(images: int, count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Boxes ``(B, N, 4)`` of up to two fifths of the image's sides, inside of it, larger than a few pixels."""
    extent = torch.tensor([size[1], size[0]])
    sides = (0.08 + 0.32 * torch.rand(images, count, 2, generator=generator)) * extent
    corner = torch.rand(images, count, 2, generator=generator) * (extent - sides)
    return torch.cat([corner, corner + sides], dim=-1)


def make_batch(size: tuple[int, int, int] = TRAINING_SIZE, device: str = "cpu") -> InstanceBatch:
    """Smooth made-up images with boxes."""
    count, height, width = size
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, height // 8, width // 8, generator=generator)
    batch = {
        "image": F.interpolate(coarse, size=(height, width), mode="bilinear"),
        "image_mask": torch.ones(count, 1, height, width, dtype=torch.bool),
        "boxes": make_boxes(count, OBJECTS, (height, width), generator),
        "labels": torch.randint(1, CLASSES + 1, (count, OBJECTS), generator=generator),
        "has_masks": torch.zeros(count, dtype=torch.bool),
        "scale": torch.full((count, 2), height / ORIGINAL[0]),
    }
    return cast(InstanceBatch, {name: values.to(device) for name, values in batch.items()})


def ellipses(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``(N, H, W)`` that touch the sides of boxes ``(N, 4)``."""
    middle, radius = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    places = torch.stack([x, y]) - middle[:, :, None, None]
    return (places / radius[:, :, None, None]).square().sum(dim=1) <= 1


def make_scored(
    images: int, *, found: int = FOUND, objects: int = OBJECTS, size: tuple[int, int] = ORIGINAL
) -> list[tuple[Detections, Truth]]:
    """Detections of images and their truths: several for every object, off by some pixels, a third of another class."""
    from faster_coco_eval.core import mask as coco_masks

    generator = torch.Generator().manual_seed(0)
    scored: list[tuple[Detections, Truth]] = []
    for boxes in make_boxes(images, objects, size, generator):
        labels = torch.randint(1, CLASSES + 1, (objects,), generator=generator)
        masks = ellipses(boxes, size)
        standing = labels <= 13  # the classes before those that lie flush with a wall
        truth = Truth(
            boxes=boxes,
            labels=labels,
            crowd=torch.zeros(objects, dtype=torch.bool),
            ignored=torch.zeros(objects, dtype=torch.bool),
            area=masks.flatten(1).sum(dim=1).double(),
            masks=coco_masks.encode(np.asfortranarray(masks.permute(1, 2, 0).to(torch.uint8).numpy())),
            camouflaged=torch.rand(objects, generator=generator) < 0.12,
            standing=standing,
            flush=~standing,
        )
        near = boxes[torch.arange(found) % objects] + 3 * torch.randn(found, 4, generator=generator)
        near[:, 2:] = torch.maximum(near[:, 2:], near[:, :2] + 4)
        guesses = torch.randint(1, CLASSES + 1, (found,), generator=generator)
        right = torch.rand(found, generator=generator) < 2 / 3
        detections = Detections(
            boxes=near,
            labels=torch.where(right, labels[torch.arange(found) % objects], guesses),
            scores=torch.rand(found, generator=generator).sort(descending=True).values,
            masks=ellipses(near, size),
        )
        scored.append((detections, truth))
    return scored


def scores(metrics: InstanceMetrics, scored: list[tuple[Detections, Truth]], batch_size: int) -> dict[str, Tensor]:
    """An evaluation, from the first batch to the scores."""
    metrics.reset()
    for start in range(0, len(scored), batch_size):
        found, truths = zip(*scored[start : start + batch_size], strict=True)
        metrics.update(found, truths=truths, image_ids=range(start + 1, start + 1 + len(truths)))
    return metrics.compute()


def inference_rows(
    device: str = "cpu", *, size: tuple[int, int, int] = SIZE, repeats: int = INFERENCE_REPEATS
) -> list[tuple[str, float, float]]:
    """Images a second with and without the depth layer.

    Args:
        device: Where to run.
        size: Images, height and width.
        repeats: Batches of each that take turns.

    Returns:
        ``(what, with, without)``.

    Raises:
        RuntimeError: If the two do not find equally many instances, since their times would then mean nothing.
    """
    guided = make_module(depth_guided=True).eval().to(device)
    plain = make_module().eval().to(device)
    guided.network.load_state_dict(plain.network.state_dict(), strict=False)
    batch = make_batch(size, device)
    original = torch.tensor([ORIGINAL] * size[0], device=device)

    def work(module: BoxInstDepth) -> list[Detections]:
        module.score_threshold = 0.0
        with torch.no_grad():
            found: list[Detections] = module(batch["image"], batch["scale"], original)
        return found

    counts = [sum(len(found["labels"]) for found in work(module)) for module in (guided, plain)]
    if counts[0] != counts[1] or counts[0] == 0:
        raise RuntimeError(f"With the depth layer {counts[0]} instances are found, without it {counts[1]}.")
    seconds = median_seconds(lambda: work(guided), lambda: work(plain), repeats=repeats, device=device)
    where = "" if device == "cpu" else ", on the GPU"
    name = f"inference of boxinst_depth{where}, {counts[0] / size[0]:.0f} instances an image"
    return [(f"{name}, images/s: with | without the depth layer", size[0] / seconds[0], size[0] / seconds[1])]


def evaluation_rows(
    device: str = "cpu",
    *,
    size: tuple[int, int, int] = TRAINING_SIZE,
    images: int = IMAGES["val"],
    repeats: int = EVALUATION_REPEATS,
) -> list[tuple[str, float, float]]:
    """Time to score the validation images, in percent of an epoch of training.

    Args:
        device: Where the training runs; scores are computed on the CPU.
        size: Images of a training batch, height and width.
        images: Images of an evaluation.
        repeats: Evaluations and stretches of training steps that take turns.

    Returns:
        ``(name, percent, limit)``; the percentage should not exceed the limit.
    """
    module = make_module().train().to(device)
    metrics = make_module().instance_metrics["val"]
    assert isinstance(metrics, InstanceMetrics)
    batch, scored = make_batch(size, device), make_scored(images)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad])

    def train(steps: int = STEPS) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            torch.stack(list(module.weighted(module.loss_terms(batch)).values())).sum().backward()
            optimizer.step()

    train(1)
    scores(metrics, scored[:2], 2)
    evaluation, training = median_seconds(
        lambda: scores(metrics, scored, size[0]), train, repeats=repeats, device=device
    )
    epoch = training / STEPS * IMAGES["train"] / size[0]
    where = "" if device == "cpu" else ", on the GPU"
    what = f"scores of {images} images ({evaluation:.1f} s) in % of an epoch of boxinst ({epoch:.0f} s{where})"
    return [(f"{what} | at most", 100 * evaluation / epoch, AIM_PERCENT)]


def rows(device: str = "cpu") -> list[tuple[str, float, float]]:
    """The table of one run: see :func:`inference_rows` and :func:`evaluation_rows`."""
    return inference_rows(device) + evaluation_rows(device)
