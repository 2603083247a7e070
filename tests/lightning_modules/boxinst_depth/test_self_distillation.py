"""Pseudo masks of a teacher: input size, matching to boxes, acceptance and statistics."""

import pytest
import torch
from torch import nn

from geometry.boxes import box_masks
from geometry.masks import sample_at_stride
from lightning_modules.boxinst_depth.self_distillation import MaskTeacher, PseudoMasks, SelfDistillation, size_within
from networks.condinst_inference import Candidates
from networks.dynamic_mask_head import MaskOutputs
from tests.data.make_instance_batch import HEIGHT, WIDTH, rectangles_batch


def test_the_teachers_size_is_that_of_the_shorter_side_unless_the_longer_is_too_long():
    assert size_within((96, 128), 192, 400) == (192, 256)
    assert size_within((96, 128), 192, 200) == (150, 200)
    assert size_within((128, 96), 48, 400) == (64, 48)


class FakeTeacher(nn.Module):
    """Predicts the given boxes, in the pixels of its input; their masks cover the whole image."""

    mask_stride = 2

    def __init__(self, boxes, labels, scores):
        super().__init__()
        self.found = [
            Candidates(*parts, torch.arange(len(parts[0]))) for parts in zip(boxes, labels, scores, strict=True)
        ]
        self.seen = []

    def forward(self, image):
        self.seen.append(image)
        return image

    def candidates(self, outputs, *, score_threshold):
        return self.found

    def masks(self, outputs, *, image, location):
        size = (outputs.shape[-2] // 2, outputs.shape[-1] // 2)
        return MaskOutputs(torch.full((len(location), 1, *size), 20.0), None)


def teach(found, batch=None, *, similarity=None, **changes):
    """Pseudo masks of a fake teacher that works at twice the size of the student."""
    settings = SelfDistillation(**({"input_size": (2 * HEIGHT, 2 * WIDTH), "beta": 0.0} | changes))
    teacher = MaskTeacher(FakeTeacher(*found), settings)
    batch = rectangles_batch() if batch is None else batch
    return teacher, teacher.pseudo_masks(batch, similarity, depth_threshold=0.5, dilation=2)


def perfect(batch, *, labels=None, scores=1.0):
    real = batch["labels"] > 0
    boxes = [2 * boxes[some] for boxes, some in zip(batch["boxes"], real, strict=True)]
    labels = [numbers[some] for numbers, some in zip(batch["labels"], real, strict=True)] if labels is None else labels
    return boxes, labels, [torch.full((len(b),), scores) for b in boxes]


def test_masks_come_back_on_the_students_grid_cut_to_their_boxes():
    batch = rectangles_batch()
    teacher, taught = teach(perfect(batch))
    assert teacher.model.seen[0].shape == (2, 3, 2 * HEIGHT, 2 * WIDTH)
    assert torch.equal(taught.masks, batch["masks"][..., 1::2, 1::2])  # the teacher's cover everything
    assert taught.accepted.tolist() == [[True, True, False]] * 2
    torch.testing.assert_close(taught.score, torch.tensor([[1.0, 1.0, 0.0]] * 2))


def test_images_of_other_sizes_are_cut_out_of_their_padding_and_their_boxes_scaled_back():
    batch = rectangles_batch()
    batch["image_mask"][0, :, 48:] = False
    batch["image_mask"][0, :, :, 64:] = False
    batch["boxes"][0, 1] = 0
    batch["labels"][0, 1] = 0
    found = perfect(batch)
    found[0][0][:] = batch["boxes"][0, :1] * (2 * HEIGHT / 48)
    teacher, taught = teach(found, batch)
    (seen,) = teacher.model.seen
    assert seen.shape == (2, 3, 2 * HEIGHT, 2 * WIDTH)
    assert bool((seen[0, :, :, 171:] == 0).all())  # 64 x 128 / 48
    assert taught.accepted.tolist() == [[True, False, False], [True, True, False]]
    assert torch.equal(taught.masks[0, 0, :, :32], batch["masks"][0, 0, 1::2, 1::2][:, :32])
    assert not taught.masks[0, 0, :, 32:].any()


def test_other_classes_poor_overlaps_and_low_scores_are_not_accepted():
    batch = rectangles_batch()
    wrong = [torch.tensor([2, 1]), torch.tensor([2, 2])]
    assert teach(perfect(batch, labels=wrong))[1].accepted.tolist() == [[False] * 3, [True, False, False]]
    assert not teach(perfect(batch, scores=0.2), threshold=0.7)[1].accepted.any()
    boxes, labels, scores = perfect(batch)
    shifted = [b + torch.tensor([30.0, 0, 30, 0]) for b in boxes]
    taught = teach((shifted, labels, scores), min_iou=0.7)[1]
    assert not taught.accepted.any()
    assert not taught.masks.any()
    assert not taught.score.any()


def test_depth_decides_where_the_score_looks_at_it():
    batch = rectangles_batch()
    torn = torch.full((2, 8, HEIGHT // 2, WIDTH // 2), 0.01)
    alike = torch.ones_like(torn)
    settings = {"alpha": 0.25, "beta": 0.5, "threshold": 0.6}
    assert teach(perfect(batch), similarity=alike, **settings)[1].accepted.sum() == 4
    assert teach(perfect(batch), similarity=torn, **settings)[1].accepted.sum() == 0
    with pytest.raises(ValueError, match=r"matched by depth \(beta > 0\), but the batch has no pseudo depth"):
        teach(perfect(batch), **settings)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_masks_are_sampled_where_boxes_are(stride):
    boxes = torch.tensor([[3.2, 5.0, 9.9, 30.1], [17.0, 2.5, 18.0, 60.0]])
    full = box_masks(boxes, (HEIGHT, WIDTH))
    assert torch.equal(sample_at_stride(full, stride), box_masks(boxes, (HEIGHT, WIDTH), stride=stride))


def test_statistics_count_masks_and_judge_only_those_that_may_be_seen():
    batch = rectangles_batch(has_masks=(True, False))
    masks = batch["masks"][..., 1::2, 1::2].clone()
    masks[1] = False
    half = masks[0, 0].nonzero()[:, 1].median()
    masks[0, 0, :, : int(half) + 1] = False
    accepted = torch.tensor([[True, True, False], [True, False, False]])
    statistics = PseudoMasks(masks, accepted, accepted.float(), 2).statistics(batch)
    assert float(statistics["masks_per_image"]) == 1.5
    assert float(statistics["acceptance"]) == 0.75
    kept = float(masks[0, 0].sum() / batch["masks"][0, 0, 1::2, 1::2].sum())
    assert float(statistics["true_iou"]) == pytest.approx((kept + 1) / 2)
    batch["has_masks"][:] = False
    assert PseudoMasks(masks, accepted, accepted.float(), 2).statistics(batch)["true_iou"].isnan()
    del batch["masks"]
    assert "true_iou" not in PseudoMasks(masks, accepted, accepted.float(), 2).statistics(batch)


def test_the_strength_is_zero_before_the_start_and_rises_after():
    settings = SelfDistillation(start=0.4, ramp=0.2)
    assert [settings.strength(p) for p in (0.0, 0.39, 0.4, 0.5, 0.6, 1.0)] == pytest.approx([0, 0, 0, 0.5, 1, 1])
    assert SelfDistillation(start=0.0, ramp=0.0).strength(0.0) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (100, 50)}, r"the shorter side comes first"),
        ({"start": 1.5}, r"start \(1.5\)"),
        ({"alpha": 0.8, "beta": 0.4}, r"add up to 1 at most"),
        ({"threshold": 2.0}, r"threshold \(2.0\)"),
    ],
)
def test_wrong_settings_have_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        SelfDistillation(**changes)
