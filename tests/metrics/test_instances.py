"""Average precision against closed forms and torchmetrics, mask quality against counting, ranks against one process."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as coco_masks
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from metrics.instances import InstanceMetrics, best_masks_in_boxes, boundary_f

SIZE = (60, 80)


def rectangles(boxes: list[list[int]], size: tuple[int, int] = SIZE) -> Tensor:
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def truth(boxes: list[list[int]], labels: list[int] | None = None, *, masks: Tensor | None = None, **changes) -> dict:
    masks = rectangles(boxes) if masks is None else masks
    packed = coco_masks.encode(np.asfortranarray(masks.permute(1, 2, 0).to(torch.uint8).numpy())) if boxes else []
    none = torch.zeros(len(boxes), dtype=torch.bool)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor([1] * len(boxes) if labels is None else labels, dtype=torch.int64),
        "crowd": none,
        "ignored": none,
        "area": masks.flatten(1).sum(dim=1).double(),
        "masks": packed,
        "camouflaged": none,
    } | changes


def found(boxes: list[list[int]], scores: list[float], labels: list[int] | None = None, masks: Tensor | None = None):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        "labels": torch.tensor([1] * len(boxes) if labels is None else labels, dtype=torch.int64),
        "scores": torch.tensor(scores),
        "masks": rectangles(boxes) if masks is None else masks,
    }


def score(*images: tuple[dict, dict], **arguments) -> dict[str, float]:
    metric = InstanceMetrics(**arguments)
    for number, (detections, target) in enumerate(images):
        metric.update([detections], truths=[target], image_ids=[number])
    return {name: float(value) for name, value in metric.compute().items()}


def random_images(count: int, seed: int = 0) -> list[tuple[dict, dict]]:
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        n = int(generator.integers(0, 5))
        corner = generator.integers(0, 20, (n, 2))
        true = np.concatenate([corner, corner + generator.integers(6, 40, (n, 2))], axis=1)
        labels = generator.integers(1, 4, n)
        moved = np.concatenate([true + generator.integers(-2, 3, true.shape), true[:1] + 9]).clip(0, 58)
        classes = np.concatenate([np.where(generator.random(n) < 0.8, labels, 1), labels[:1]])
        scores = generator.permutation(len(moved)) / 10 + 0.05
        camouflaged = torch.from_numpy(generator.random(n) < 0.4)
        masks = rectangles(moved.tolist())
        masks[:, ::4, ::3] = False  # so that masks score differently from boxes
        images.append(
            (
                found(moved.tolist(), scores.tolist(), classes.tolist(), masks),
                truth(true.tolist(), labels.tolist(), camouflaged=camouflaged),
            )
        )
    return images


def test_perfect_detections_score_one_and_none_score_zero() -> None:
    boxes = [[2, 3, 12, 20], [30, 10, 60, 50]]
    perfect = score((found(boxes, [0.9, 0.8]), truth(boxes)))
    for name in ("mask_ap", "box_ap", "mask_ap50", "box_ap75", "mask_ap_small", "mask_ap_medium", "mask_iou"):
        assert perfect[name] == pytest.approx(1), name
    assert perfect["boundary_f"] == pytest.approx(1)
    assert np.isnan(perfect["mask_ap_large"])
    nothing = score((found([], [], masks=torch.zeros(0, *SIZE, dtype=torch.bool)), truth(boxes)))
    for name in ("mask_ap", "box_ap", "mask_iou", "boundary_f"):
        assert nothing[name] == 0, name


def test_average_precision_is_that_of_counting() -> None:
    # Of two objects one is found with IoU 0.8, below a mistake of higher score: precision 1/2 up to recall 0.5, which
    # are 51 of the 101 recalls, at the seven thresholds 0.50 to 0.80.
    boxes = [[0, 0, 10, 10], [40, 20, 60, 40]]
    detections = found([[0, 0, 10, 8], [30, 50, 40, 60]], [0.5, 0.9])
    values = score((detections, truth(boxes)))
    assert values["mask_ap50"] == values["box_ap75"] == pytest.approx(51 / 101 / 2)
    assert values["mask_ap"] == values["box_ap"] == pytest.approx(0.7 * 51 / 101 / 2)


def test_scores_agree_with_torchmetrics() -> None:
    images = random_images(30)
    # Its own thresholds are rounded to float32, where an IoU of 0.6 is not what it is for pycocotools.
    thresholds = np.linspace(0.5, 0.95, 10).tolist()
    reference = MeanAveragePrecision(iou_type=["bbox", "segm"], iou_thresholds=thresholds, backend="faster_coco_eval")
    for detections, target in images:
        masks = torch.from_numpy(coco_masks.decode(target["masks"])).permute(2, 0, 1).bool() if target["masks"] else (
            torch.zeros(0, *SIZE, dtype=torch.bool))  # fmt: skip
        reference.update([detections], [target | {"masks": masks}])
    expected = reference.compute()
    values = score(*images)
    for kind, name in (("mask", "segm"), ("box", "bbox")):
        for ours, theirs in (
            ("ap", "map"),
            ("ap50", "map_50"),
            ("ap75", "map_75"),
            ("ap_small", "map_small"),
            ("ap_medium", "map_medium"),
        ):
            assert values[f"{kind}_{ours}"] == pytest.approx(float(expected[f"{name}_{theirs}"]), abs=1e-6)
    assert 0.1 < values["mask_ap"] < 0.9


def test_subset_needs_only_its_own_objects_and_pays_for_mistakes_alone() -> None:
    boxes = [[0, 0, 10, 10], [40, 20, 60, 40]]
    target = truth(boxes, camouflaged=torch.tensor([True, False]))
    only_first = score((found(boxes[:1], [0.5]), target), subsets=["camouflaged"])
    assert only_first["mask_ap_camouflaged"] == only_first["box_ap_camouflaged"] == pytest.approx(1)
    assert only_first["mask_ap"] == pytest.approx(51 / 101)
    both = score((found(boxes, [0.5, 0.9]), target), subsets=["camouflaged"])
    assert both["mask_ap_camouflaged"] == pytest.approx(1)  # the other object, found first, is no mistake
    mistaken = score((found([boxes[0], [20, 50, 30, 60]], [0.5, 0.9]), target), subsets=["camouflaged"])
    assert mistaken["mask_ap_camouflaged"] == pytest.approx(1 / 2)
    assert only_first["mask_iou_camouflaged"] == 1
    assert only_first["mask_iou"] == 0.5
    empty = score((found(boxes, [0.5, 0.9]), truth(boxes)), subsets=["camouflaged"])
    assert np.isnan(empty["mask_ap_camouflaged"])
    assert np.isnan(empty["mask_iou_camouflaged"])


def test_masks_beyond_their_boxes_score_whole_and_cut() -> None:
    box = [20, 20, 40, 40]
    # Twice as large as the object: whole an IoU of 0.5 (one threshold of ten), cut to its box a perfect one.
    detections = found([box], [0.9], masks=rectangles([[20, 20, 60, 40]]))
    detections["boxes"] = torch.tensor([[20.2, 20.3, 39.7, 39.6]])  # covers the pixels of the object
    values = score((detections, truth([box])))
    assert (values["mask_ap50"], values["mask_ap75"], values["mask_ap"]) == pytest.approx((1, 0, 0.1))
    assert (values["mask_ap50_cut"], values["mask_ap75_cut"], values["mask_ap_cut"]) == pytest.approx((1, 1, 1))
    assert values["mask_iou"] == 1  # blind to what lies outside


def test_iou_at_objects_is_that_of_whole_masks_and_needs_no_detection() -> None:
    boxes = [[0, 0, 10, 10], [20, 20, 40, 40], [50, 20, 60, 40], [70, 0, 80, 10]]
    ignored = torch.tensor([True, False, False, False])
    flags = {"standing": torch.tensor([True, True, False, False]), "flush": torch.tensor([False, False, True, True])}
    target = truth(boxes, ignored=ignored, **flags)
    metric = InstanceMetrics(subsets=["standing", "flush"])
    nothing = found([], [], masks=torch.zeros(0, *SIZE, dtype=torch.bool))
    located = {  # the last object has no location
        "index": torch.tensor([0, 1, 2]),
        "masks": rectangles([[0, 0, 80, 60], [20, 20, 60, 40], [50, 20, 60, 40]]),
    }
    metric.update([nothing, nothing], truths=[target, None], image_ids=[0, -1], at_objects=[located, None])
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values["object_iou"] == pytest.approx((0.5 + 1) / 2)
    assert values["object_iou_standing"] == pytest.approx(0.5)
    assert values["object_iou_flush"] == pytest.approx(1)
    assert values["mask_iou"] == values["mask_iou_flush"] == 0
    assert np.isnan(score((nothing, target))["object_iou"])


def test_ignored_objects_and_crowds_need_not_be_found() -> None:
    boxes = [[0, 0, 10, 10], [40, 20, 60, 40]]
    second = torch.tensor([False, True])
    for name in ("ignored", "crowd"):
        target = truth(boxes, **{name: second})
        for detections in (found(boxes[:1], [0.5]), found(boxes, [0.5, 0.9])):
            values = score((detections, target))
            assert values["mask_ap"] == values["box_ap"] == pytest.approx(1), name
            assert values["mask_iou"] == pytest.approx(1)
    within = found([boxes[0], [42, 22, 48, 28], [50, 30, 58, 38]], [0.5, 0.9, 0.8])
    assert score((within, truth(boxes, crowd=second)))["mask_ap"] == pytest.approx(1)  # a crowd takes any number
    assert score((within, truth(boxes, ignored=second)))["mask_ap"] == pytest.approx(1 / 3)


def test_images_without_masks_count_for_boxes_alone() -> None:
    boxes = [[0, 0, 10, 10]]
    values = score((found(boxes, [0.5]), truth(boxes, masks=rectangles(boxes)) | {"masks": None}))
    assert values["box_ap"] == 1
    assert np.isnan(values["mask_ap"])
    assert np.isnan(values["mask_iou"])


def test_object_whose_mask_is_not_known_is_scored_on_its_box_and_left_alone_by_masks() -> None:
    boxes = [[2, 3, 12, 20], [30, 10, 60, 50]]
    masks = rectangles(boxes)
    masks[1] = False
    known = truth(boxes[:1])
    target = truth(
        boxes, masks=masks, unmasked=torch.tensor([False, True]), area=torch.tensor([170.0, 1200.0]).double()
    )
    one, both = found(boxes[:1], [0.5]), found(boxes, [0.5, 0.9])
    missed, hit = score((one, target)), score((both, target))
    for values in (missed, hit):  # whether it is found or not, masks score as if it were not there
        assert values["mask_ap"] == pytest.approx(score((one, known))["mask_ap"]) == pytest.approx(1)
        assert values["mask_iou"] == values["boundary_f"] == pytest.approx(1)
    assert missed["box_ap"] == pytest.approx(51 / 101)
    assert hit["box_ap"] == pytest.approx(1)
    beside = found([*boxes[:1], [62, 10, 78, 50]], [0.5, 0.9])
    assert score((beside, target))["mask_ap"] == pytest.approx(0.5)  # a mistake elsewhere still costs


def test_crowd_without_a_mask_is_its_box() -> None:
    boxes = [[2, 3, 12, 20], [30, 10, 60, 50]]
    masks = rectangles(boxes)
    masks[1] = False
    second = torch.tensor([False, True])
    target = truth(boxes, masks=masks, unmasked=second, crowd=second, area=torch.tensor([170.0, 1200.0]).double())
    values = score((found([*boxes, [32, 12, 40, 20]], [0.5, 0.9, 0.8]), target))
    assert values["mask_ap"] == values["box_ap"] == pytest.approx(1)


def test_subset_that_truths_lack_is_named() -> None:
    target = truth([[2, 3, 12, 20]])
    with pytest.raises(ValueError, match=r"subsets holds 'plain', but the truth of the image 0 has no such flags"):
        score((found([[2, 3, 12, 20]], [0.5]), target), subsets=["plain"])


def test_best_iou_inside_of_a_box_is_that_of_counting() -> None:
    target = rectangles([[10, 10, 30, 30]])
    candidates = rectangles([[0, 0, 80, 60], [10, 10, 30, 20], [50, 0, 60, 9]])
    candidates[0, 15:25, 12:20] = False
    iou, best = best_masks_in_boxes(candidates, target=target, boxes=torch.tensor([[10.0, 10, 30, 30]]))
    assert iou.tolist() == [pytest.approx(1 - 80 / 400)]
    assert best.tolist() == [0]
    iou, best = best_masks_in_boxes(candidates[1:], target=target, boxes=torch.tensor([[10.0, 10, 30, 30]]))
    assert iou.tolist() == [0.5]
    assert best.tolist() == [0]
    iou, best = best_masks_in_boxes(candidates[:0], target=target, boxes=torch.tensor([[10.0, 10, 30, 30]]))
    assert iou.tolist() == [0]
    assert best.tolist() == [-1]


def boundary_f_by_loops(prediction: np.ndarray, target: np.ndarray, box: list[int], tolerance: float) -> float:
    """F1 of boundary pixels, pair by pair."""
    x1, y1, x2, y2 = box
    height, width = target.shape
    edges = []
    for whole in (prediction, target):
        mask = np.zeros_like(whole)
        mask[y1:y2, x1:x2] = whole[y1:y2, x1:x2]
        edges.append(
            [
                (y, x)
                for y, x in itertools.product(range(height), range(width))
                if mask[y, x]
                and any(
                    0 <= v < height and 0 <= u < width and not mask[v, u]
                    for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                )
            ]
        )
    near = [
        np.mean([any(np.hypot(y - v, x - u) <= tolerance for v, u in there) for y, x in here]) if here else 0.0
        for here, there in (edges, edges[::-1])
    ]
    return 0.0 if sum(near) == 0 else 2 * near[0] * near[1] / sum(near)


@pytest.mark.parametrize("tolerance", [1.0, 1.5, 2.0])
def test_boundary_f_is_that_of_loops(tolerance: float) -> None:
    generator = np.random.default_rng(0)
    shape = (20, 24)
    boxes = [[0, 0, 14, 12], [5, 4, 24, 20], [3, 2, 20, 17]]
    smooth = generator.random((6, 5, 6)).repeat(4, axis=1).repeat(4, axis=2)[:, :20, :24] > 0.4
    prediction, target = torch.from_numpy(smooth[:3].copy()), torch.from_numpy(smooth[3:].copy())
    values = boundary_f(prediction, target=target, boxes=torch.tensor(boxes), tolerance_px=tolerance)
    expected = [boundary_f_by_loops(*(m[i].numpy() for m in (prediction, target)), box, tolerance)
                for i, box in enumerate(boxes)]  # fmt: skip
    assert prediction.shape[1:] == shape
    np.testing.assert_allclose(values, expected, atol=1e-9)
    assert min(expected) < 0.99


def test_boundary_that_is_shifted_beyond_the_tolerance_is_not_found() -> None:
    box = torch.tensor([[0, 0, 80, 60]])
    target = rectangles([[20, 20, 50, 40]])
    for shift, expected in ((0, 1.0), (2, 1.0), (10, 0.5)):
        value = boundary_f(rectangles([[20 + shift, 20, 50 + shift, 40]]), target=target, boxes=box).item()
        assert value == pytest.approx(expected, abs=0.25 if shift > 2 else 1e-9)
    assert boundary_f(torch.zeros_like(target), target=target, boxes=box).item() == 0
    assert boundary_f(target, target=torch.ones_like(target), boxes=box).isnan().item()  # it fills the whole image


def test_batches_of_any_size_give_one_result_and_reset_forgets() -> None:
    images = random_images(7)
    expected = score(*images, subsets=["camouflaged"])
    metric = InstanceMetrics(subsets=["camouflaged"])
    for _ in range(2):
        for part in (range(0, 1), range(1, 5), range(5, 7)):
            metric.update(
                [images[k][0] for k in part], truths=[images[k][1] for k in part], image_ids=torch.tensor(list(part))
            )
        metric.update([found([], [], masks=torch.zeros(0, *SIZE, dtype=torch.bool))], truths=[None], image_ids=[-1])
        values = {name: float(value) for name, value in metric.compute().items()}
        assert values == pytest.approx(expected, nan_ok=True)
        metric.reset()


def test_two_ranks_with_uneven_shares_give_the_result_of_one(tmp_path: Path) -> None:
    """One rank has five images, the other two, and a third nothing but padding."""
    script = Path(__file__).parent / "ddp_instances.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=240, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    expected = score(*random_images(7), subsets=["camouflaged"])
    for rank in range(3):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(expected, nan_ok=True)


def test_bad_input_is_refused_with_a_sentence() -> None:
    detections, target = random_images(3)[2]
    metric = InstanceMetrics()
    with pytest.raises(ValueError, match="There are 1 images with detections, 2 truths and 1 ids"):
        metric.update([detections], truths=[target, target], image_ids=[1])
    with pytest.raises(ValueError, match="The image 4 comes without a truth"):
        metric.update([detections], truths=[None], image_ids=[4])
    with pytest.raises(ValueError, match="The image -1 comes with a truth"):
        metric.update([detections], truths=[target], image_ids=[-1])
    boxes = [[0, 0, 10, 10]]
    small = found(boxes, [0.5], masks=rectangles(boxes, (30, 40)))
    with pytest.raises(ValueError, match=r"masks of \(30, 40\) pixels, but the original image has \(60, 80\)"):
        metric.update([small], truths=[truth(boxes)], image_ids=[0])
    with pytest.raises(ValueError, match="boundary_tolerance_px is 0"):
        InstanceMetrics(boundary_tolerance_px=0)
