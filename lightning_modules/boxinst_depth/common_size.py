"""One size for the batches of all processes, as for the images of one batch."""

from typing import Any, cast

import torch
from torch.nn import functional as F

from geometry.processes import max_over_processes, n_processes
from structures.instances import InstanceBatch

MAPS = ("image", "image_mask", "masks", "pseudo_depth", "depth_mask")
"""Keys of a batch whose last two dimensions are those of the image."""


def with_common_size(batch: InstanceBatch) -> InstanceBatch:
    """The batch, padded at the right and bottom to the largest size of all processes' batches of this step.

    The images of one batch are padded to the largest of them. Locations in the padding count as background, and batch
    norms see it, so that processes with sizes of their own would not have the loss of one process. No process waits
    longer: the one with the largest images determines the time of a step anyway.

    Args:
        batch: Padding is 0 and False, as in :func:`datamodules.samples.instance_dataset.collate_instances`.

    Returns:
        The batch itself in a single process or if its size is the largest, else a padded copy.
    """
    if n_processes() == 1:
        return batch
    image = batch["image"]
    own = torch.tensor([float(image.shape[-2]), float(image.shape[-1])], device=image.device)
    height, width = (int(side) for side in max_over_processes(own).tolist())
    bottom, right = height - image.shape[-2], width - image.shape[-1]
    if bottom == right == 0:
        return batch
    values = cast(dict[str, Any], batch)
    return cast(InstanceBatch, values | {k: F.pad(values[k], (0, right, 0, bottom)) for k in MAPS if k in values})
