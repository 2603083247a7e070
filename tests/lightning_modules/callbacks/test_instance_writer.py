"""Results that COCO's tools read, and pictures of what was found."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

from datamodules.prediction_images import ImageFiles
from lightning_modules.boxinst_depth import BoxInstDepth
from lightning_modules.callbacks.instance_pictures import InstancePictures
from lightning_modules.callbacks.instance_writer import InstancePredictionWriter, coco_results, original_pixels
from renderers.figure import draw_figure
from renderers.instance_drawing import draw_instances, instance_colour
from structures.batch import PADDING_INDEX
from structures.sample_file import read_samples
from tests.data.make_instance_batch import HEIGHT, WIDTH, rectangles_batch, tiny_network
from tests.helpers import quiet_trainer


def truth_as_found(batch, index):
    real = batch["labels"][index] > 0
    boxes = batch["boxes"][index][real].clone()
    boxes[:, 2:] += 0.5
    return {
        "boxes": boxes,
        "labels": batch["labels"][index][real],
        "scores": torch.linspace(0.9, 0.2, int(real.sum())),
        "masks": batch["masks"][index][real],
    }


class Finder(LightningModule):
    def predict_step(self, batch, batch_idx):
        return [truth_as_found(batch, index) for index in range(len(batch["image"]))]


def predict(writer, module, data, root):
    trainer = quiet_trainer(callbacks=[writer], default_root_dir=root)
    trainer.predict(module, data, return_predictions=False)


def test_results_are_what_the_coco_tools_score_as_perfect(tmp_path):
    from faster_coco_eval import COCO, COCOeval_faster

    batch = rectangles_batch()
    writer = InstancePredictionWriter()
    predict(writer, Finder(), DataLoader([batch], batch_size=None), tmp_path)
    folder = tmp_path / "predictions"
    results = json.loads((folder / "results.json").read_text())
    assert {result["image_id"] for result in results} == {7, 9}
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert results[0]["bbox"] == [8, 8, 32, 28]
    annotations = [
        {
            **{key: result[key] for key in ("image_id", "category_id", "bbox", "segmentation")},
            **{"id": k, "iscrowd": 0, "area": result["bbox"][2] * result["bbox"][3]},
        }
        for k, result in enumerate(results, start=1)
    ]
    images = [{"id": number, "height": HEIGHT, "width": WIDTH} for number in (7, 9)]
    truth = COCO({"images": images, "annotations": annotations, "categories": [{"id": 1}, {"id": 2}]})
    for kind in ("bbox", "segm"):
        evaluation = COCOeval_faster(truth, truth.loadRes(str(folder / "results.json")), iouType=kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)
    drawn = cv2.imread(str(folder / "a" / "one_instances.png"))
    assert drawn.shape == (4 * HEIGHT, 4 * WIDTH, 3)
    assert (folder / "two.v2_instances.png").is_file()
    assert writer.n_written == 2


def test_categories_are_the_datas_own():
    found = truth_as_found(rectangles_batch(), 0)
    results = coco_results(found, image_id=3, category_ids=[18, 90])
    assert [result["category_id"] for result in results] == [18, 90]
    nothing = {key: value[:0] for key, value in found.items()}
    assert coco_results(nothing, image_id=3) == []


def test_padding_is_left_out_and_errors_are_counted(tmp_path):
    batch = rectangles_batch() | {"index": torch.tensor([0, PADDING_INDEX])}
    writer = InstancePredictionWriter(str(tmp_path / "out"), pictures=False)
    predict(writer, Finder(), DataLoader([batch], batch_size=None), tmp_path)
    assert writer.n_written == 1
    assert len(json.loads((tmp_path / "out" / "results.json").read_text())) == 2
    assert not list((tmp_path / "out").glob("**/*.png"))
    broken = rectangles_batch() | {"error": ["", "the file is broken"]}
    predict(writer, Finder(), DataLoader([broken], batch_size=None), tmp_path)
    assert writer.failures == [("two.v2", "the file is broken")]


def test_photos_of_ones_own_are_drawn_at_their_size_and_count_from_one(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(photos / name), np.full((50, 70, 3), 200, np.uint8))
    weights = dict.fromkeys(("classification", "boxes", "quality", "mask"), 1)
    module = BoxInstDepth(network=tiny_network(), loss_weights=weights)
    module.score_threshold = 0.0
    writer = InstancePredictionWriter(str(tmp_path / "out"), draw_score=0.0)
    predict(writer, module, ImageFiles(path=str(photos), image_size=(64, 96)), tmp_path)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {(result["image_id"], result["file_name"]) for result in results} == {(1, "a"), (2, "b")}
    assert all(result["segmentation"]["size"] == [50, 70] for result in results)
    assert cv2.imread(str(tmp_path / "out" / "a_instances.png")).shape == (50 * 6, 70 * 6, 3)


def test_a_padded_image_is_cut_and_brought_to_its_original_size():
    image = torch.zeros(1, 3, 64, 64)
    image[:, 0, :32, :48] = 1.0
    batch = {"image": image, "original_size": torch.tensor([[64, 96]]), "scale": torch.tensor([[0.5, 0.5]])}
    pixels = original_pixels(batch, 0)
    assert pixels.shape == (64, 96, 3)
    assert (pixels[..., 0] == 255).all()


def test_masks_boxes_and_words_are_drawn_and_the_best_lies_on_top():
    pixels = np.full((200, 300, 3), 100, np.uint8)
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 50:150, 50:150], masks[1, 50:150, 100:250] = True, True
    boxes = np.array([[50, 50, 150, 150], [100, 50, 250, 150]], np.float32)
    drawn = draw_instances(pixels, boxes=boxes, labels=[1, 2], masks=masks, scores=[0.9, 0.5], min_side=100)
    assert drawn.shape == pixels.shape
    assert (pixels == 100).all()
    first, second = (np.array(instance_colour(k)) for k in (0, 1))
    np.testing.assert_allclose(drawn[140, 200], 50 + second / 2, atol=1)
    np.testing.assert_allclose(drawn[140, 60], 50 + first / 2, atol=1)
    assert (drawn[150 - 1, 100] == first).all()
    assert (drawn[52:62, 52:90] == 255).all(axis=2).any()


@pytest.mark.filterwarnings("ignore")
def test_pictures_show_image_truth_and_detections(tmp_path):
    batch = rectangles_batch()
    from faster_coco_eval.core import mask as coco_masks

    for index in range(2):
        found = truth_as_found(batch, index)
        masks = np.asfortranarray(found["masks"].permute(1, 2, 0).numpy().astype(np.uint8))
        flags = torch.zeros(2, dtype=torch.bool)
        batch["truth"][index] = {
            **{"boxes": found["boxes"], "labels": found["labels"], "masks": coco_masks.encode(masks)},
            **{"crowd": flags, "ignored": flags, "area": torch.tensor([10.0, 10.0])},
        }
    weights = dict.fromkeys(("classification", "boxes", "quality", "mask"), 1)
    module = BoxInstDepth(network=tiny_network(), loss_weights=weights)
    module.detect = lambda sample: [truth_as_found(sample, index) for index in range(len(sample["image"]))]
    module.detections_and_object_masks = lambda sample: (module.detect(sample), [None] * len(sample["image"]))
    callback = InstancePictures(count=2)
    trainer = quiet_trainer(callbacks=[callback], default_root_dir=tmp_path)
    (metrics,) = trainer.validate(module, DataLoader([batch], batch_size=None), verbose=False)
    assert metrics["val/mask_iou"] == pytest.approx(1)
    assert metrics["val/mask_ap"] == pytest.approx(1)
    assert metrics["val/score"] == pytest.approx(0)
    picture = cv2.imread(str(tmp_path / "pictures" / "instances_validate.png"))[..., ::-1]
    rows = callback.drawn_rows
    np.testing.assert_array_equal(picture, draw_figure(rows).pixels)
    assert picture.shape[1] <= 1200
    assert [one.title for one in rows[0].pictures] == ["image", "ground truth", "prediction, scores from 0.3"]
    assert rows[0].score == "mask IoU 1.000, 2 objects, 1 found"
    assert not np.array_equal(rows[0].pictures[0].pixels, rows[0].pictures[1].pixels)
    assert len(callback.summary_rows()) == 2
    (kept, _), about = read_samples(tmp_path / "samples" / "instances_val.npz")
    assert about["step"] == 0
    assert kept.scores == {"objects": 2, "found": 1, "mask_iou": 1}  # the other score is below draw_score
    assert list(kept.panels) == ["ground truth", "prediction"]
    assert not np.array_equal(kept.panels["prediction"], kept.image)


def test_modules_without_instances_are_refused():
    with pytest.raises(ValueError, match=r"Finder is none: leave the callback out"):
        InstancePictures().draw_rows(Finder(), {})
    for callback in (InstancePictures, InstancePredictionWriter):
        with pytest.raises(ValueError, match=r"draw_score is 2"):
            callback(draw_score=2.0)
    with pytest.raises(ValueError, match=r"by one process, not by 2"):
        InstancePredictionWriter().on_predict_start(SimpleNamespace(world_size=2), Finder())
