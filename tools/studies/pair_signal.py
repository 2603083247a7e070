"""What pairs of neighbours say about the edges of objects, measured where the masks are known.

``python -m tools.studies.pair_signal [--data.init_args.pseudo_depth=exact --data.init_args.pseudo_depth_file=null]``

A pairwise term pulls both ends of a pair to one side of the mask's edge. It is of use as far as it takes pairs within
an object and leaves those that cross its edge. For every gate of :func:`losses.pairwise_affinity.pair_weights` this
prints the shares that it takes of the pairs within objects, across their edges, and beside them in their boxes, and how
many of those that it takes cross an edge, for all objects and for the camouflaged ones.
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
from lightning_modules.command_line.parsers import SettingsParser
from lightning_modules.runs.loading import innermost_reason
from losses.pairwise_affinity import DILATION, colour_similarity, depth_similarity, pair_weights
from structures.instances import InstanceBatch

INSTANCES = Path(__file__).parents[2] / "experiments" / "data" / "rooms_instances_depth.yaml"
STRIDE = 2
"""Of the masks of the embedded experiments."""
COLOUR_THRESHOLD = 0.1
DEPTH_SCALES = (20.0, 60.0, 180.0)
IMAGES = 80


def pair_counts(masks: Tensor, boxes: Tensor, weights: Tensor) -> Tensor:
    """Count pairs by where their ends lie.

    Args:
        masks: bool ``(B, N, h, w)``.
        boxes: bool ``(B, N, h, w)``; a pair counts for the end that is inside, as in the loss.
        weights: bool ``(B, 8, h, w)``, which pairs are taken.

    Returns:
        float64 ``(2, 3, B, N)``: of all pairs and of those taken, how many lie within the object, across its edge, and
        beside it.
    """
    height, width = masks.shape[-2:]
    inside = F.pad(torch.ones_like(masks), (DILATION,) * 4)
    padded = F.pad(masks, (DILATION,) * 4)
    counts = torch.zeros(2, 3, *masks.shape[:2], dtype=torch.float64)
    for i, (dy, dx) in enumerate(NEIGHBOUR_OFFSETS):
        rows = slice(DILATION * (1 + dy), DILATION * (1 + dy) + height)
        columns = slice(DILATION * (1 + dx), DILATION * (1 + dx) + width)
        there, real = padded[..., rows, columns], boxes & inside[..., rows, columns]
        for j, kind in enumerate((masks & there, masks ^ there, ~masks & ~there)):
            pairs = real & kind
            counts[0, j] += pairs.sum(dim=(2, 3))
            counts[1, j] += (pairs & weights[:, None, i]).sum(dim=(2, 3))
    return counts


def gates(batch: InstanceBatch) -> Iterator[tuple[str, Tensor]]:
    """Names and weights ``(B, 8, h, w)`` of what is compared."""
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
        0, or 1 when the data cannot be read, or have no masks or no pseudo depth.
    """
    parser = SettingsParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_subclass_arguments(InstanceDataModule, "data", required=True)
    words = sys.argv[1:] if args is None else args
    config = parser.parse_args(["--data", str(INSTANCES), "--data.init_args.mask_share=1.0", *words])
    try:
        data: InstanceDataModule = parser.instantiate(config).data
        data.prepare_data()
        data.setup("fit")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {innermost_reason(error)}\n")
        return 1
    sums: dict[str, Tensor] = {}
    seen = 0
    for batch in data.train_dataloader():
        if "masks" not in batch or "pseudo_depth" not in batch:
            sys.stderr.write("The data need masks and pseudo depth: set mask_share, pseudo_depth, pseudo_depth_file.\n")
            return 1
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
            every, taken = counts[row]
            within, across, beside = (taken / every.clamp(min=1)).tolist()
            sys.stdout.write(
                f"{objects}, {name}: takes {within:.3f} within, {across:.3f} across, {beside:.3f} beside; "
                f"{taken[1] / taken.sum().clamp(min=1):.3f} of those taken cross an edge "
                f"({every[1] / every.sum().clamp(min=1):.3f} of all)\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
