"""COCO data module: samples, counted faults and refused files."""

import json
import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.coco.datamodule import CocoDataModule
from datamodules.files.run_lengths import decode_masks
from tests.data.make_coco import CATEGORIES, make_coco, without_masks


def module(root: Path, **changes) -> CocoDataModule:
    return CocoDataModule(root=str(root), **({"batch_size": 1, "image_size": (40, 64)} | changes))


def edited(tmp_path: Path, change, split: str = "train") -> CocoDataModule:
    return module(make_coco(tmp_path / "coco", edit=lambda s, content: change(content) if s == split else None))


def test_classes_are_those_of_the_file(tmp_path: Path) -> None:
    data = module(make_coco(tmp_path), mask_share=1.0)
    assert data.n_classes == 3
    assert data.category_ids == [1, 18, 90]
    assert data.class_names == ["person", "dog", "toothbrush"]
    data.setup("fit")
    frame = data.datasets["train"].source.read(0, masks=True)
    record = json.loads((tmp_path / "annotations/instances_train2017.json").read_text())
    first = [a for a in record["annotations"] if a["image_id"] == frame.image_id]
    assert [data.category_ids[label - 1] for label in frame.labels] == [a["category_id"] for a in first]
    for box, mask, annotation in zip(frame.boxes, frame.masks, first, strict=True):
        x, y, w, h = annotation["bbox"]
        assert box.tolist() == [x, y, x + w, y + h]
        assert mask[y : y + h, x : x + w].all()
        assert mask.sum() == w * h


def test_images_without_boxes_and_invalid_boxes_are_counted_and_skipped(tmp_path: Path, caplog) -> None:
    def change(content: dict) -> None:
        first = content["annotations"]
        first[0]["bbox"] = [3, 3, 0, 9]
        first[1]["bbox"] = [500, 3, 9, 9]
        first[2]["bbox"] = [-4, 3, 9, 9]
        first[3]["bbox"] = [float("nan"), 3, 9, 9]

    data = edited(tmp_path, change)
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert "boxes without area: 2 (left out); first: the annotation 10, bbox [3, 3, 0, 9]" in caplog.text
    assert "images without boxes: 1 of 6 (left out)" in caplog.text
    assert len(data.datasets["train"]) == 5
    file = data._file("train")
    counts = file.findings.counts
    assert (counts["no_area"], counts["outside"], counts["clipped"]) == (2, 1, 1)
    assert file.images[0].boxes[0].tolist() == [0, 3, 5, 12]  # the remaining part of the third


def test_crowds_are_scored_but_not_trained_on(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    data = module(root, train_json="annotations/instances_val2017.json", train_images="val2017")
    data.setup("fit")
    trained, truth = data.datasets["train"].source.read(0, masks=True), data.datasets["val"][0]["truth"]
    assert truth["crowd"].tolist() == [False] * len(trained.labels) + [True]
    assert len(trained.masks) == len(trained.labels) == len(truth["labels"]) - 1
    height, width = trained.original_size
    masks = decode_masks(truth["masks"], (height, width))
    expected = np.zeros((height, width), bool)
    expected[:, width - 10 :] = True
    np.testing.assert_array_equal(masks[-1], expected)
    np.testing.assert_array_equal(masks[:-1], trained.masks)


def test_evaluation_keeps_images_without_boxes(tmp_path: Path) -> None:
    def empty(content: dict) -> None:
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 102]

    data = edited(tmp_path, empty, split="val")
    data.setup("validate")
    assert len(data.datasets["val"]) == 3
    sample = data.datasets["val"][1]
    assert sample["labels"].shape == (0,)
    assert sample["masks"].shape[0] == 0
    assert sample["truth"]["boxes"].shape == (0, 4)


def test_files_without_masks_are_evaluated_on_boxes_alone(tmp_path: Path) -> None:
    data = module(make_coco(tmp_path, edit=without_masks))
    data.setup("validate")
    sample = data.datasets["val"][0]
    assert sample["truth"]["masks"] is None
    assert not sample["has_masks"]
    assert not sample["masks"].any()


def test_validation_is_the_test_split_without_a_file_of_its_own(tmp_path: Path) -> None:
    assert module(tmp_path).val_is_test
    assert not module(tmp_path, test_json="annotations/t.json", test_images="test2017").val_is_test
    with pytest.raises(ValueError, match="both or none"):
        module(tmp_path, test_json="annotations/t.json")


def test_teacher_input_is_every_image_with_unknown_depth(tmp_path: Path) -> None:
    source = module(make_coco(tmp_path)).make_source("train")
    assert len(source) == 6  # including the one without boxes
    frame = source.read(1)
    assert frame.name == "000000000002"
    assert not frame.depth.any()
    assert not frame.K_known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"][0].update(category_id=7),
            r"the annotation 10 has the category 7, which is none of",
        ),
        (lambda c: c["annotations"][0].update(image_id=99), r"belongs to the image 99, which is not in the file"),
        (lambda c: c["annotations"][0].pop("bbox"), r"the annotation 10 has the box None, but four numbers"),
        (lambda c: c["images"][0].pop("width"), r"the height 64 and the width None"),
        (lambda c: c["images"][1].update(id=1), r"two images have the id 1"),
        (lambda c: c["images"][1].update(file_name="000000000001.jpg"), r"two images are called 000000000001"),
        (lambda c: c["images"][0].update(id="1"), r"the id of an image is '1'"),
        (lambda c: c.update(categories=[]), r"has no categories"),
        (lambda c: c.update(categories=[*CATEGORIES, CATEGORIES[0]]), r"two categories have the id 1"),
        (
            lambda c: c.update(categories=[*CATEGORIES, {"id": 91, "name": "cup"}]),
            r"other categories than .*: the id 91 is 'cup' in the one and 'missing'",
        ),
        (lambda c: c.pop("images"), r"no COCO-format file: it has no list of images"),
        (lambda c: c.update(images=[], annotations=[]), r"The train split of CocoDataModule holds no images"),
    ],
)
def test_invalid_file_is_refused_with_a_sentence(tmp_path: Path, change, message: str) -> None:
    data = edited(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        data.setup("fit")


def test_empty_validation_set_is_refused(tmp_path: Path) -> None:
    data = edited(tmp_path, lambda c: c.update(images=[], annotations=[]), split="val")
    with pytest.raises(ValueError, match="The val split of CocoDataModule holds no images"):
        data.setup("fit")


def test_missing_files_and_folders_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no annotation file"):
        module(tmp_path / "nowhere").setup("fit")
    root = make_coco(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"elsewhere does not exist: set data.init_args.train_images, or root"):
        module(root, train_images="elsewhere").setup("fit")
    with pytest.raises(FileNotFoundError, match=r"json is a file, but the folder of images is needed"):
        module(root, train_images="annotations/instances_val2017.json").setup("fit")
    with pytest.raises(IsADirectoryError, match="is a folder, but the path of a COCO-format JSON is needed"):
        module(root, train_json="annotations").setup("fit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:20]),
            r"An image is broken, cannot read '.*000000000001.png'",
        ),
        (lambda path: path.unlink(), r"There is no image .*000000000001.png: file_name starts from the folder"),
        (
            lambda path: Image.new("RGB", (30, 20)).save(path),
            r"has 30x20 pixels \(width x height\), but .* states 48x64,",
        ),
        (lambda path: Image.new("RGB", (64, 48)).save(path), r"states 48x64 \(width and height swapped\?\)"),
    ],
)
def test_image_that_cannot_be_used_is_refused_before_training(tmp_path: Path, change, message: str) -> None:
    root = make_coco(tmp_path)
    change(root / "train2017/000000000001.png")
    with pytest.raises(ValueError, match=message):
        module(root).setup("fit")


def test_invalid_images_are_counted_and_unused_ones_ignored(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    images = sorted((root / "train2017").iterdir())
    images[5].unlink()  # without a box
    module(root).setup("fit")
    with pytest.raises(ValueError, match=r"There is no image .*000000000006.png"):
        module(root).make_source("train")  # the teacher needs every image
    images[0].unlink()
    images[3].unlink()
    with pytest.raises(ValueError, match=r"000000000001.png: .* \(2 of 5 images cannot be used; make coco-check lists"):
        module(root).setup("fit")


def test_image_that_is_cut_off_is_refused_when_it_is_read(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    path = root / "train2017/000000000001.png"
    path.write_bytes(path.read_bytes()[:-40])  # the header is complete
    data = module(root)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"An image is broken, cannot read '.*000000000001.png' as an image"):
        data.datasets["train"][0]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_of_a_name_may_be_encoded_in_either_way(tmp_path: Path, form: str) -> None:
    def rename(split: str, content: dict) -> None:
        if split == "train":
            content["images"][0]["file_name"] = unicodedata.normalize(form, "caf\u00e9.png")

    root = make_coco(tmp_path, edit=rename)
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    (root / "train2017/000000000001.png").rename(root / "train2017" / unicodedata.normalize(other, "caf\u00e9.png"))
    data = module(root)
    data.setup("fit")
    assert data.datasets["train"][0]["image"].shape[0] == 3


def test_image_whose_mask_is_broken_is_trained_on_its_boxes_and_the_others_on_masks(tmp_path: Path, caplog) -> None:
    data = module(
        make_coco(tmp_path, edit=lambda s, c: c["annotations"][0].update(segmentation=[[5, 5]])), mask_share=1.0
    )
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert (
        "polygons with fewer than three corners or without area: 1 (left out); first: the annotation 10" in caplog.text
    )
    assert "images with an object without a mask: 1 of 5 (trained on boxes alone)" in caplog.text
    assert [bool(data.datasets["train"][k]["has_masks"]) for k in range(5)] == [False, True, True, True, True]
    assert len(data.datasets["train"][0]["labels"]) == 3
    truth = data.datasets["val"][0]["truth"]
    assert truth["unmasked"].tolist() == [True, False, False, False]  # the crowd has a mask
    masks = decode_masks(truth["masks"], (40, 40))
    assert not masks[0].any()
    assert all(mask.any() for mask in masks[1:])


def test_images_without_any_mask_are_not_scored_on_masks(tmp_path: Path) -> None:
    def edit(split: str, content: dict) -> None:
        for annotation in content["annotations"]:
            if annotation["image_id"] == 102:
                annotation["segmentation"] = [[]]

    data = module(make_coco(tmp_path, edit=edit))
    data.setup("validate")
    assert [data.datasets["val"][k]["truth"]["masks"] is None for k in range(3)] == [False, True, False]


def test_message_is_given_once_for_a_file_that_validates_and_tests(tmp_path: Path, caplog) -> None:
    data = module(make_coco(tmp_path, edit=lambda s, c: c["annotations"][0].update(bbox=[3, 3, 0, 9])))
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert caplog.text.count("boxes without area") == 2  # of the training file, and of the other


def test_exact_depth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="COCO-format data have no depth"):
        module(tmp_path, pseudo_depth="exact")
