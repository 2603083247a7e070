"""How well colour and depth separate pixel pairs inside objects from pairs across their edges, with known masks.

``python -m tools.studies.pair_signal [--data.init_args.pseudo_depth=exact --data.init_args.pseudo_depth_file=null]
[--blur 2] [--noise 0.01]``

A pairwise loss assigns both pixels of a selected pair to the same side of the mask's edge. A good gate selects pairs
within objects and rejects pairs across their edges. For gates by colour, by the difference of depth (``first``), by
planes (``plane``) and by colour and planes the study prints the share of selected pairs within objects, across their
edges, and in the background of their boxes, and the share of selected pairs that cross an edge. It does so for all
objects, for those that stand in front of their background, for those that lie flush with a wall, and for standing
objects of the colour of their background. ``--blur`` and ``--noise`` degrade the depth, to show how sharp and clean it
has to be.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

from datamodules.instances import InstanceDataModule
from geometry.boxes import NEIGHBOUR_OFFSETS, box_masks
from geometry.masks import sample_at_stride
from geometry.stencils import fill_outside
from lightning_modules.boxinst_depth.module import DEPTH_SIMILARITIES
from losses.pairwise_affinity import DILATION, colour_similarity, pair_weights
from structures.instances import InstanceBatch
from tools.command import data_parser, run_tool

INSTANCES = Path(__file__).parents[2] / "experiments" / "data" / "rooms_instances_depth.yaml"
DEFAULTS = ("--data", str(INSTANCES), "--data.init_args.mask_share=1.0")
STRIDE = 4
"""Stride of the masks in the embedded experiments, pixels."""
COLOUR_THRESHOLDS = (0.1, 0.3)
DEPTH_ERRORS = {"first": (0.035, 0.012, 0.005), "plane": (0.01, 0.005)}
"""Largest error of a pair at one depth, a part of the image's range of inverse depth, for both kinds of similarity."""
OBJECTS = ("all", "standing", "flush", "standing camouflaged")
IMAGES = 80


def pair_counts(masks: Tensor, boxes: Tensor, weights: Tensor) -> Tensor:
    """Number of pairs within the object, across its edge, and outside of it.

    Args:
        masks: bool ``(B, N, h, w)``.
        boxes: bool ``(B, N, h, w)``; a pair belongs to its pixel inside of the box, as in the loss.
        weights: bool ``(B, 8, h, w)``, the selected pairs.

    Returns:
        float64 ``(2, 3, B, N)``: counts of all and of selected pairs, within the object, across its edge, and outside.
    """
    height, width = masks.shape[-2:]
    inside = F.pad(torch.ones_like(masks), (DILATION,) * 4)
    padded = F.pad(masks, (DILATION,) * 4)
    counts = torch.zeros(2, 3, *masks.shape[:2], dtype=torch.float64)
    for i, (dy, dx) in enumerate(NEIGHBOUR_OFFSETS):
        rows = slice(DILATION * (1 + dy), DILATION * (1 + dy) + height)
        columns = slice(DILATION * (1 + dx), DILATION * (1 + dx) + width)
        neighbours, valid = padded[..., rows, columns], boxes & inside[..., rows, columns]
        for j, kind in enumerate((masks & neighbours, masks ^ neighbours, ~masks & ~neighbours)):
            pairs = valid & kind
            counts[0, j] += pairs.sum(dim=(2, 3))
            counts[1, j] += (pairs & weights[:, None, i]).sum(dim=(2, 3))
    return counts


def degraded(depth: Tensor, *, blur_px: float, noise: float, generator: torch.Generator) -> Tensor:
    """Depth after a Gaussian blur and with white noise.

    Args:
        depth: ``(B, 1, H, W)``.
        blur_px: Standard deviation of the blur, pixels; 0 for none.
        noise: Standard deviation of the noise, in the unit of depth; 0 for none.
        generator: Random generator of the noise.
    """
    if blur_px > 0:
        depth = gaussian_blur(depth, [2 * math.ceil(3 * blur_px) + 1] * 2, [blur_px] * 2)
    return depth + noise * torch.randn(depth.shape, generator=generator) if noise > 0 else depth


def gates(batch: InstanceBatch) -> Iterator[tuple[str, Tensor]]:
    """Name and pair weights ``(B, 8, h, w)`` of each gate."""
    colour = colour_similarity(batch["image"], image_mask=batch["image_mask"], stride=STRIDE)
    for threshold in COLOUR_THRESHOLDS:
        yield f"colour {threshold:g}", pair_weights("colour", colour=colour, colour_threshold=threshold)
    part = F.avg_pool2d(batch["depth_mask"].float(), STRIDE)
    depth = F.avg_pool2d(fill_outside(batch["pseudo_depth"], batch["depth_mask"]), STRIDE) / part.clamp(min=0.5)
    for affinity, errors in DEPTH_ERRORS.items():
        for error in errors:
            # The threshold of 0.5 is exceeded by errors below log(2) / depth_scale.
            alike = DEPTH_SIMILARITIES[affinity](depth, depth_scale=math.log(2) / error, depth_mask=part >= 0.5)
            yield f"{affinity} {error:g}", pair_weights("depth", depth=alike)
    both = pair_weights("both", colour=colour, depth=alike, colour_threshold=COLOUR_THRESHOLDS[-1])
    yield f"colour {COLOUR_THRESHOLDS[-1]:g} and {affinity} {error:g}", both


def object_groups(batch: InstanceBatch) -> Tensor:
    """Bool ``(4, B, N)``, the objects of each of :data:`OBJECTS`; data without flags have all of them in the first."""
    real = batch["labels"] > 0
    none = torch.zeros_like(real)
    standing, flush = batch.get("standing", none), batch.get("flush", none)
    return torch.stack([real, standing, flush, standing & batch.get("camouflaged", none)])


def main(args: list[str] | None = None) -> int:
    """Print a line for each gate.

    Returns:
        0, 1 if the data cannot be read, or have no masks or no pseudo depth, 2 for a wrong call.
    """
    parser = data_parser("tools.studies.pair_signal", __doc__, InstanceDataModule)
    parser.add_argument("--blur", type=NonNegativeFloat, default=0.0, help="standard deviation of a blur, pixels")
    parser.add_argument("--noise", type=NonNegativeFloat, default=0.0, help="standard deviation of noise, of the range")
    words = [*DEFAULTS, *(sys.argv[1:] if args is None else args)]
    return run_tool(
        parser, lambda options: run(parser.instantiate(options).data, blur_px=options.blur, noise=options.noise), words
    )


def run(data: InstanceDataModule, *, blur_px: float = 0.0, noise: float = 0.0) -> None:
    """Print a line for each gate.

    Args:
        data: The data module, with masks and pseudo depth.
        blur_px: Standard deviation of the blur of depth, pixels.
        noise: Standard deviation of the noise of depth.

    Raises:
        ValueError: If the data have no masks or no pseudo depth.
        OSError: If a file is missing or cannot be read.
    """
    data.prepare_data()
    data.setup("fit")
    sums: dict[str, Tensor] = {}
    seen = 0
    generator = torch.Generator().manual_seed(0)
    for batch in data.train_dataloader():
        if "masks" not in batch or "pseudo_depth" not in batch:
            raise ValueError("the data need masks and pseudo depth: set mask_share, pseudo_depth, pseudo_depth_file")
        batch["pseudo_depth"] = degraded(batch["pseudo_depth"], blur_px=blur_px, noise=noise, generator=generator)
        masks = sample_at_stride(batch["masks"], STRIDE)
        boxes = box_masks(batch["boxes"], tuple(batch["image"].shape[-2:]), stride=STRIDE)
        groups = object_groups(batch)
        for name, weights in gates(batch):
            counts = pair_counts(masks, boxes, weights)
            found = torch.stack([(counts * group).sum(dim=(2, 3)) for group in groups])
            sums[name] = sums.get(name, torch.zeros_like(found)) + found
        seen += len(masks)
        if seen >= IMAGES:
            break
    for row, objects in enumerate(OBJECTS):
        for name, counts in sums.items():
            every, selected = counts[row]
            within, across, outside = (selected / every.clamp(min=1)).tolist()
            sys.stdout.write(
                f"{objects}, {name}: selects {within:.3f} within, {across:.3f} across, {outside:.3f} outside; "
                f"{selected[1] / selected.sum().clamp(min=1):.4f} of those selected cross an edge "
                f"({every[1] / every.sum().clamp(min=1):.4f} of all)\n"
            )


if __name__ == "__main__":
    sys.exit(main())
