"""Segmentation scores against a closed form, against torchmetrics, and over uneven batches."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from metrics.segmentation import SegmentationMetrics, confusion_matrix, merged_by_majority, scores_from_confusion


def random_maps(n_classes, *, lowest, batch=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, n_classes + 1, (batch, 12, 16), generator=generator)
    wrong = torch.randint(lowest, n_classes + 1, target.shape, generator=generator)
    keep = torch.rand(target.shape, generator=generator) < 0.6
    return torch.where(keep & (target >= lowest), target, wrong), target


def test_scores_can_be_counted_by_hand():
    target = torch.tensor([[[1, 1, 1, 1, 2, 2, 0, 0]]])
    prediction = torch.tensor([[[1, 1, 1, 2, 2, 0, 1, 2]]])
    confusion = confusion_matrix(prediction, target=target, n_classes=4)
    assert confusion.tolist() == [[0, 0, 0, 0, 0], [0, 3, 1, 0, 0], [1, 0, 1, 0, 0], [0] * 5, [0] * 5]
    scores = scores_from_confusion(confusion)
    # class 1: 3 of 4; class 2: 1 of 3, the prediction of "none" being a miss; classes 3 and 4 are nowhere
    assert scores["miou"] == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert scores["pixel_accuracy"] == pytest.approx(4 / 6)


def test_uneven_batches_equal_torchmetrics_over_everything():
    prediction, target = random_maps(6, lowest=1)
    metrics = SegmentationMetrics(6)
    for batch in ((0, 1), (1, 5)):
        metrics.update(prediction[slice(*batch)], target=target[slice(*batch)])
    scores = metrics.compute()
    expected = multiclass_jaccard_index(prediction, target, num_classes=7, ignore_index=0, average="macro")
    torch.testing.assert_close(scores["miou"], expected.double(), rtol=1e-6, atol=0)
    expected = multiclass_accuracy(prediction, target, num_classes=7, ignore_index=0, average="micro")
    torch.testing.assert_close(scores["pixel_accuracy"], expected.double(), rtol=1e-6, atol=0)
    metrics.reset()
    assert metrics.confusion.sum() == 0


def test_a_miss_with_none_counts():
    prediction, target = random_maps(3, lowest=0)
    scores = scores_from_confusion(confusion_matrix(prediction, target=target, n_classes=3))
    known = target > 0
    assert scores["pixel_accuracy"] == pytest.approx(float((prediction == target)[known].double().mean()))
    union = [((prediction == c) | (target == c))[known].sum() for c in (1, 2, 3)]
    both = [((prediction == c) & (target == c)).sum() for c in (1, 2, 3)]
    assert scores["miou"] == pytest.approx(sum(float(b / u) for b, u in zip(both, union, strict=True)) / 3)


def test_renaming_by_majority_undoes_a_permutation_and_merges_parts():
    _, target = random_maps(3, lowest=1)
    permuted = torch.tensor([0, 5, 2, 7])[target]
    parts = torch.where((permuted == 7) & (torch.arange(16) < 8), 4, permuted)  # one class in two parts
    confusion = confusion_matrix(parts, target=target, n_classes=7)
    assert scores_from_confusion(confusion)["pixel_accuracy"] < 0.5
    merged = merged_by_majority(confusion)
    assert merged.sum() == confusion.sum() == (target > 0).sum()
    assert {name: float(value) for name, value in scores_from_confusion(merged).items()} == {
        "miou": 1.0,
        "pixel_accuracy": 1.0,
    }


def test_renaming_leaves_none_a_miss():
    target = torch.full((1, 2, 2), 2)
    prediction = torch.tensor([[[0, 0], [0, 1]]])
    merged = merged_by_majority(confusion_matrix(prediction, target=target, n_classes=2))
    assert scores_from_confusion(merged)["pixel_accuracy"] == 0.25


def test_wrong_ids_and_shapes_are_named():
    ids = torch.ones(1, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="prediction run from 1 to 1, allowed are 0 to 0"):
        confusion_matrix(ids, target=0 * ids, n_classes=0)
    with pytest.raises(ValueError, match="target run from -1 to -1"):
        confusion_matrix(ids, target=-ids, n_classes=2)
    with pytest.raises(ValueError, match=r"\(1, 2, 2\) and \(1, 2, 1\)"):
        confusion_matrix(ids, target=ids[..., :1], n_classes=2)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        SegmentationMetrics(0)
