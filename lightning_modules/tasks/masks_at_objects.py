"""Masks that a network predicts at the best locations of the true objects, whether or not it detects them."""

import torch
from torch import Tensor

from losses.fcos_targets import assign, select_for_masks
from networks.condinst import CondInst, CondInstOutputs
from networks.condinst_inference import paste_masks
from structures.instances import InstanceBatch


@torch.no_grad()
def masks_at_objects(
    network: CondInst, outputs: CondInstOutputs, batch: InstanceBatch
) -> list[dict[str, Tensor] | None]:
    """The mask at the best location of each true object, for every image of a batch.

    The locations of an object are those that are responsible for it in training, each object considered alone, and the
    best has the largest class probability times quality. Thus mask quality is measured without the detector's misses
    and without the choice of the best of many detections.

    Args:
        network: The network.
        outputs: Its raw outputs for the images of the batch.
        batch: The batch of an evaluation loop, with its ground truth.

    Returns:
        For each image ``index`` int64 ``(K,)``, positions among the true objects, and ``masks`` bool ``(K, H, W)`` at
        the size of the original image. An object without a location, such as one narrower than the stride of its level,
        is absent. None for a padding sample.
    """
    scores = network.probabilities(outputs).amax(dim=-1)
    found: list[dict[str, Tensor] | None] = []
    for b, truth in enumerate(batch["truth"]):
        if truth is None:
            found.append(None)
            continue
        scale, size = batch["scale"][b].tolist(), batch["original_size"][b].tolist()
        boxes = truth["boxes"].to(outputs.locations)
        targets = assign(
            outputs.locations,
            strides=outputs.strides,
            size_ranges=outputs.size_ranges,
            boxes=(boxes * boxes.new_tensor([scale[1], scale[0]] * 2)).unsqueeze(1),
            labels=torch.ones(len(boxes), 1, dtype=torch.int64, device=boxes.device),
        )
        best = select_for_masks(targets.instance, scores[b].expand(len(boxes), -1), per_image=1)
        logits = network.masks(outputs, image=torch.full_like(best.location, b), location=best.location).logits
        masks = paste_masks(
            logits,
            upsampling=network.mask_stride,
            resized=(round(size[0] * scale[0]), round(size[1] * scale[1])),
            original=(size[0], size[1]),
        )
        found.append({"index": best.image, "masks": masks})
    return found
