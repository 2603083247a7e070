"""A batch of rectangles on a flat background, whose boxes, masks and depth are known exactly, and a network for it."""

from typing import Any

import torch
from torch import Tensor

from networks.condinst import CondInst, CondInstOutputs
from networks.dynamic_mask_head import MaskOutputs

HEIGHT, WIDTH = 64, 96
RECTANGLES = [[(8, 8, 40, 36), (52, 20, 84, 60)], [(16, 12, 48, 52), (60, 4, 92, 28)]]
"""For each image xyxy of two objects that do not touch; all on the grid of four pixels."""
LABELS = [[1, 2], [2, 1]]


TINY_NETWORK: dict[str, Any] = {
    "n_classes": 2,
    "encoder": "tf_efficientnet_lite0",
    "encoder_weights": None,
    "frozen_norm": False,
    "frozen_to_stride": None,
    "strides": (4, 8, 16, 32),
    "sizes_of_interest": (16, 32, 64, 128),
    "channels": 16,
    "head_convs": 1,
    "norm_groups": 4,
    "mask_channels": 4,
    "mask_branch_channels": 8,
    "mask_branch_convs": 1,
}
"""Arguments of :func:`tiny_network`."""


def tiny_network(**changes: Any) -> CondInst:
    """A CondInst of two classes, small enough for seconds."""
    return CondInst(**(TINY_NETWORK | changes))


class Oracle(CondInst):
    """Its mask heads say what they were told: logits and depth of the box that holds the location."""

    answers: tuple[Tensor, Tensor, Tensor] | None = None
    """Boxes (B, N, 4), logits and depth (B, N, h, w)."""

    def masks(self, outputs: CondInstOutputs, *, image: Tensor, location: Tensor) -> MaskOutputs:
        assert self.answers is not None
        boxes, logits, depth = self.answers
        place = outputs.locations[location]
        box = boxes[image]
        inside = ((place[:, None] > box[..., :2]) & (place[:, None] < box[..., 2:])).all(dim=-1)
        index = inside.int().argmax(dim=1)
        graph = 0.0 * outputs.head.parameters.sum()
        return MaskOutputs(logits[image, index].unsqueeze(1) + graph, depth[image, index].unsqueeze(1) + graph)


def rectangles_batch(*, masks: bool = True, has_masks: tuple[bool, bool] = (False, False)) -> dict[str, Any]:
    """Two images with two rectangles each and one row of padding among the instances."""
    boxes = torch.zeros(2, 3, 4)
    labels = torch.zeros(2, 3, dtype=torch.int64)
    filled = torch.zeros(2, 3, HEIGHT, WIDTH, dtype=torch.bool)
    image = torch.full((2, 3, HEIGHT, WIDTH), 0.2)
    depth = torch.full((2, 1, HEIGHT, WIDTH), 0.25)
    for b in range(2):
        for n, (x1, y1, x2, y2) in enumerate(RECTANGLES[b]):
            # One pixel short of the edge, as boxes are drawn around the pixels floor(x1) .. floor(x2 + 1) - 1.
            boxes[b, n] = torch.tensor([x1, y1, x2 - 0.5, y2 - 0.5])
            labels[b, n] = LABELS[b][n]
            filled[b, n, y1:y2, x1:x2] = True
            image[b, :, y1:y2, x1:x2] = torch.tensor([0.9, 0.3 + 0.4 * n, 0.1]).view(3, 1, 1)
            depth[b, :, y1:y2, x1:x2] = 0.75
    batch = {
        "image": image,
        "image_mask": torch.ones(2, 1, HEIGHT, WIDTH, dtype=torch.bool),
        "boxes": boxes,
        "labels": labels,
        "has_masks": torch.tensor(has_masks),
        "pseudo_depth": depth,
        "depth_mask": torch.ones(2, 1, HEIGHT, WIDTH, dtype=torch.bool),
        "scale": torch.ones(2, 2),
        "original_size": torch.tensor([[HEIGHT, WIDTH]] * 2),
        "image_id": torch.tensor([7, 9]),
        "index": torch.arange(2),
        "name": ["a/one", "two.v2"],
        "truth": [None, None],
    }
    return batch | ({"masks": filled} if masks else {})
