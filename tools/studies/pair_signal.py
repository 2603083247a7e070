"""How well colour and depth separate pixel pairs inside objects from pairs across their edges, with known masks.

``python -m tools.studies.pair_signal [--data.init_args.pseudo_depth=exact --data.init_args.pseudo_depth_file=null]``

A pairwise loss assigns both pixels of a selected pair to the same side of the mask's edge. A good gate selects pairs
within objects and rejects pairs across their edges. For every gate of :func:`losses.pairwise_affinity.pair_weights` the
study prints the share of selected pairs within objects, across their edges, and in the background of their boxes, and
the share of selected pairs that cross an edge, for all objects and for the camouflaged ones.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.instances import InstanceDataModule
from geometry.boxes import NEIGHBOUR_OFFSETS, box_masks
from geometry.stencils import fill_outside
from losses.pairwise_affinity import DILATION, colour_similarity, depth_similarity, pair_weights
from structures.instances import InstanceBatch
from tools.command import data_parser, run_tool

INSTANCES = Path(__file__).parents[2] / "experiments" / "data" / "rooms_instances_depth.yaml"
DEFAULTS = ("--data", str(INSTANCES), "--data.init_args.mask_share=1.0")
STRIDE = 2
"""Stride of the masks in the embedded experiments, pixels."""
COLOUR_THRESHOLD = 0.1
DEPTH_SCALES = (20.0, 60.0, 180.0)
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


def gates(batch: InstanceBatch) -> Iterator[tuple[str, Tensor]]:
    """Name and pair weights ``(B, 8, h, w)`` of each gate."""
    colour = colour_similarity(batch["image"], image_mask=batch["image_mask"], stride=STRIDE)
    yield f"colour {COLOUR_THRESHOLD:g}", pair_weights("colour", colour=colour, colour_threshold=COLOUR_THRESHOLD)
    part = F.avg_pool2d(batch["depth_mask"].float(), STRIDE)
    depth = F.avg_pool2d(fill_outside(batch["pseudo_depth"], batch["depth_mask"]), STRIDE) / part.clamp(min=0.5)
    for scale in DEPTH_SCALES:
        alike = depth_similarity(depth, depth_scale=scale, depth_mask=part >= 0.5)
        yield f"depth {scale:g}", pair_weights("depth", depth=alike)
        both = pair_weights("both", colour=colour, depth=alike, colour_threshold=COLOUR_THRESHOLD)
        yield f"both {scale:g}", both


def main(args: list[str] | None = None) -> int:
    """Print a line for each gate.

    Returns:
        0, 1 if the data cannot be read, or have no masks or no pseudo depth, 2 for a wrong call.
    """
    parser = data_parser("tools.studies.pair_signal", __doc__, InstanceDataModule)
    words = [*DEFAULTS, *(sys.argv[1:] if args is None else args)]
    return run_tool(parser, lambda options: run(parser.instantiate(options).data), words)


def run(data: InstanceDataModule) -> None:
    """Print a line for each gate.

    Raises:
        ValueError: If the data have no masks or no pseudo depth.
        OSError: If a file is missing or cannot be read.
    """
    data.prepare_data()
    data.setup("fit")
    sums: dict[str, Tensor] = {}
    seen = 0
    for batch in data.train_dataloader():
        if "masks" not in batch or "pseudo_depth" not in batch:
            raise ValueError("the data need masks and pseudo depth: set mask_share, pseudo_depth, pseudo_depth_file")
        masks = batch["masks"][..., STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        boxes = box_masks(batch["boxes"], tuple(batch["image"].shape[-2:]), stride=STRIDE)
        hidden = batch.get("camouflaged", torch.zeros(masks.shape[:2], dtype=torch.bool))
        for name, weights in gates(batch):
            counts = pair_counts(masks, boxes, weights)
            found = torch.stack([counts.sum(dim=(2, 3)), (counts * hidden).sum(dim=(2, 3))])
            sums[name] = sums.get(name, torch.zeros_like(found)) + found
        seen += len(masks)
        if seen >= IMAGES:
            break
    for row, objects in enumerate(("all", "camouflaged")):
        for name, counts in sums.items():
            every, selected = counts[row]
            within, across, outside = (selected / every.clamp(min=1)).tolist()
            sys.stdout.write(
                f"{objects}, {name}: selects {within:.3f} within, {across:.3f} across, {outside:.3f} outside; "
                f"{selected[1] / selected.sum().clamp(min=1):.3f} of those selected cross an edge "
                f"({every[1] / every.sum().clamp(min=1):.3f} of all)\n"
            )


if __name__ == "__main__":
    sys.exit(main())
