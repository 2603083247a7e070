"""Masks at the best locations of true objects, for mask heads that answer with the true masks."""

import torch

from lightning_modules.boxinst_depth import BoxInstDepth
from lightning_modules.tasks.masks_at_objects import masks_at_objects
from tests.data.make_instance_batch import HEIGHT, RECTANGLES, WIDTH, Oracle, rectangles_batch, tiny_network


def case():
    """A network whose mask heads answer with the true masks, and a batch with its ground truth."""
    batch = rectangles_batch()
    network = tiny_network(depth_guided=True).eval()
    network.__class__ = Oracle
    grid = batch["masks"][..., 1::2, 1::2]
    network.answers = (batch["boxes"], torch.where(grid, 20.0, -20.0), torch.full(grid.shape, 0.75))
    none = torch.zeros(2, dtype=torch.bool)
    batch["truth"] = [
        {
            "boxes": batch["boxes"][b, :2],
            "labels": batch["labels"][b, :2],
            "crowd": none,
            "ignored": none,
            "area": torch.ones(2).double(),
            "masks": None,
        }
        for b in range(2)
    ]
    return network, batch


def test_masks_are_those_of_the_objects_in_their_order():
    network, batch = case()
    outputs = network(batch["image"])
    for b, located in enumerate(masks_at_objects(network, outputs, batch)):
        assert located["index"].tolist() == [0, 1]
        assert located["masks"].shape == (2, HEIGHT, WIDTH)
        for mask, true in zip(located["masks"], batch["masks"][b], strict=False):
            # The logits are enlarged from a grid of two pixels, which moves an edge by one at most.
            assert (mask & true).sum() / (mask | true).sum() > 0.9
    assert RECTANGLES[0] != RECTANGLES[1]


def test_boxes_of_the_original_image_are_scaled_to_the_input():
    network, batch = case()
    expected = masks_at_objects(network, network(batch["image"]), batch)
    batch["scale"] = torch.tensor([[0.5, 0.25]] * 2)
    batch["original_size"] = torch.tensor([[HEIGHT * 2, WIDTH * 4]] * 2)
    for truth in batch["truth"]:
        truth["boxes"] = truth["boxes"] * torch.tensor([4.0, 2.0, 4.0, 2.0])
    for small, large in zip(expected, masks_at_objects(network, network(batch["image"]), batch), strict=True):
        assert large["index"].tolist() == [0, 1]
        assert large["masks"].shape == (2, HEIGHT * 2, WIDTH * 4)
        agreement = (large["masks"][:, ::2, ::4] == small["masks"]).float().mean()
        assert agreement > 0.97


def test_images_without_objects_and_padding_have_no_masks():
    network, batch = case()
    batch["truth"] = [{**batch["truth"][0], "boxes": torch.zeros(0, 4)}, None]
    located, padding = masks_at_objects(network, network(batch["image"]), batch)
    assert padding is None
    assert len(located["index"]) == len(located["masks"]) == 0


def test_scores_need_no_detection_and_cut_predictions_leave_them_alone():
    network, batch = case()
    paper = BoxInstDepth(network=network, score_threshold=0.99, cut_masks=True).eval()
    from datamodules.files.run_lengths import encode_masks

    for b, truth in enumerate(batch["truth"]):
        truth["masks"] = encode_masks(batch["masks"][b, :2].numpy())
    paper.update_metrics("val", batch)
    values = paper.stage_metrics("val")
    assert float(values["mask_iou"]) == 0  # nothing exceeds the threshold
    assert float(values["object_iou"]) > 0.9
