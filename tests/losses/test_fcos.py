"""FCOS losses against formulas in NumPy, areas counted in pixels, and torchvision's exact GIoU."""

import numpy as np
import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from losses.fcos import box_overlaps, focal_loss, giou_loss, quality_loss


def boxes(seed: int = 0, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.rand(count, 4, generator=generator), 0.1 + 4 * torch.rand(count, 4, generator=generator)


def as_corners(ltrb: torch.Tensor) -> torch.Tensor:
    return torch.cat([-ltrb[..., :2], ltrb[..., 2:]], dim=-1)


def test_focal_loss_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 30, 4, generator=generator)
    labels = torch.randint(0, 5, (2, 30), generator=generator)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    total = 0.0
    for place in np.ndindex(2, 30):
        for label in range(1, 5):
            q = p[place][label - 1]
            if labels[place] == label:
                total -= 0.25 * (1 - q) ** 2 * np.log(q)
            else:
                total -= 0.75 * q**2 * np.log(1 - q)
    found = focal_loss(logits, labels=labels, n_positives=torch.tensor(7.0))
    assert found.item() == pytest.approx(total / 7, rel=1e-5)


def test_alpha_and_gamma_are_used():
    logits, labels = torch.tensor([[0.0]]), torch.tensor([1])
    found = focal_loss(logits, labels=labels, n_positives=torch.tensor(1), alpha=0.4, gamma=3)
    assert found.item() == pytest.approx(0.4 * 0.125 * np.log(2), rel=1e-6)


def test_focal_loss_without_positives_is_divided_by_one():
    logits, labels = torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)
    found = focal_loss(logits, labels=labels, n_positives=torch.tensor(0))
    assert found.item() == pytest.approx(6 * 0.75 * 0.25 * np.log(2), rel=1e-6)


def test_overlaps_are_areas_counted_in_pixels():
    ltrb, target = torch.tensor([[3, 1, 2, 5]]), torch.tensor([[1, 2, 4, 3]])
    grids = []
    for left, top, right, bottom in (ltrb[0].tolist(), target[0].tolist()):
        grid = np.zeros((20, 20), dtype=bool)
        grid[10 - top : 10 + bottom, 10 - left : 10 + right] = True
        grids.append(grid)
    intersection, union = (grids[0] & grids[1]).sum(), (grids[0] | grids[1]).sum()
    rows, columns = (np.flatnonzero((grids[0] | grids[1]).any(axis=axis)) for axis in (1, 0))
    hull = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    iou, giou = box_overlaps(ltrb.float(), target=target.float())
    expected = (intersection + 1) / (union + 1)
    assert iou.item() == pytest.approx(expected, rel=1e-6)
    assert giou.item() == pytest.approx(expected - (hull - union) / hull, rel=1e-6)


def test_only_the_added_ones_part_us_from_torchvision():
    ltrb, target = boxes()
    iou, giou = box_overlaps(ltrb, target=target)
    exact = 1 - generalized_box_iou_loss(as_corners(ltrb), as_corners(target))
    # The share of the hull that neither covers is the same, so that what is left is the exact IoU.
    exact_iou = exact + (iou - giou)
    union = (1 - iou) / (iou - exact_iou)  # from (I + 1) / (U + 1) = iou and I / U = exact_iou
    np.testing.assert_allclose((exact_iou * union + 1) / (union + 1), iou, rtol=1e-4)
    assert (iou >= exact_iou - 1e-6).all()
    large = box_overlaps(1e4 * ltrb, target=1e4 * target)[1]
    np.testing.assert_allclose(large, exact, atol=1e-5)


def test_equal_boxes_overlap_wholly():
    _, target = boxes()
    iou, giou = box_overlaps(target, target=target)
    torch.testing.assert_close(iou, torch.ones(40))
    torch.testing.assert_close(giou, torch.ones(40))


def test_box_loss_weighs_positives_and_leaves_out_the_rest():
    ltrb, target = boxes()
    weights = torch.rand(40, generator=torch.Generator().manual_seed(1)) * (torch.arange(40) % 3 == 0)
    expected = (weights * (1 - box_overlaps(ltrb, target=target)[1])).sum()
    target = target.masked_fill((weights == 0).unsqueeze(1), float("nan"))
    leaf = ltrb.clone().requires_grad_()
    found = giou_loss(leaf, target=target, weights=weights)
    found.backward()
    assert found.item() == pytest.approx((expected / weights.sum()).item(), rel=1e-5)
    assert leaf.grad.isfinite().all()
    assert (leaf.grad[weights == 0] == 0).all()
    scaled = giou_loss(ltrb, target=target, weights=weights, normaliser=torch.tensor(5.0))
    assert scaled.item() == pytest.approx(expected.item() / 5, rel=1e-5)


def test_box_loss_at_boxes_of_no_extent_has_a_gradient():
    ltrb = torch.zeros(3, 4, requires_grad=True)
    giou_loss(ltrb, target=torch.ones(3, 4), weights=torch.ones(3)).backward()
    assert ltrb.grad.isfinite().all()


def test_quality_loss_is_the_cross_entropy_of_positives():
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 9, generator=generator), torch.rand(2, 9, generator=generator)
    positive = torch.rand(2, 9, generator=generator) > 0.5
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t = target.double().numpy()
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p))[positive.numpy()].sum() / 4
    noisy = target.masked_fill(~positive, float("nan"))
    found = quality_loss(logits, target=noisy, positive=positive, n_positives=torch.tensor(4))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_no_positives_are_a_zero_in_the_graph():
    ltrb, target = boxes()
    ltrb.requires_grad_()
    logits = torch.zeros(40, requires_grad=True)
    none = torch.zeros(40, dtype=torch.bool)
    loss = giou_loss(ltrb, target=0 * target, weights=torch.zeros(40))
    loss = loss + quality_loss(logits, target=torch.zeros(40), positive=none, n_positives=torch.tensor(0))
    loss.backward()
    assert loss.item() == 0
    assert not ltrb.grad.any()
    assert not logits.grad.any()


def test_no_locations_are_a_zero_in_the_graph():
    logits, ltrb = torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 4, requires_grad=True)
    loss = focal_loss(logits, labels=torch.zeros(0, dtype=torch.int64), n_positives=torch.tensor(0))
    loss = loss + giou_loss(ltrb, target=torch.zeros(0, 4), weights=torch.zeros(0))
    loss.backward()
    assert loss.item() == 0


def test_gradcheck():
    ltrb, target = (values[:5].double() for values in boxes())
    weights = torch.rand(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: giou_loss(x, target=target, weights=weights), ltrb.requires_grad_())
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    labels, count = torch.tensor([0, 1, 3, 0, 2]), torch.tensor(3.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, labels=labels, n_positives=count), logits)


def test_half_precision_is_raised():
    ltrb, target = boxes()
    logits, labels = torch.ones(40, 2).half(), torch.ones(40, dtype=torch.int64)
    positive = labels > 0
    found = [
        focal_loss(logits, labels=labels, n_positives=torch.tensor(4)),
        giou_loss(ltrb.half(), target=target.half(), weights=torch.ones(40).half()),
        quality_loss(logits[:, 0], target=logits[:, 1], positive=positive, n_positives=torch.tensor(4)),
    ]
    assert all(loss.dtype == torch.float32 for loss in found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: focal_loss(torch.zeros(3, 2), labels=torch.zeros(4), n_positives=torch.tensor(1)),
            r"shapes \(3, 2\) and \(4,\)",
        ),
        (lambda: box_overlaps(torch.zeros(3, 3), target=torch.zeros(3, 3)), r"shape \(3, 3\)"),
        (lambda: box_overlaps(torch.zeros(3, 4), target=torch.zeros(2, 4)), r"shapes \(3, 4\) and \(2, 4\)"),
        (
            lambda: giou_loss(torch.zeros(3, 4), target=torch.zeros(3, 4), weights=torch.zeros(3, 1)),
            r"\(3, 4\) and \(3, 1\)",
        ),
        (
            lambda: quality_loss(
                torch.zeros(3), target=torch.zeros(3), positive=torch.zeros(3), n_positives=torch.tensor(1)
            ),
            r"torch\.float32 \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
