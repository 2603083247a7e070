"""Refused, skipped and corrected content of COCO-format JSON files."""

import json
from pathlib import Path

import numpy as np
import pytest

from datamodules.coco.file import CocoFile
from datamodules.coco.findings import CocoFileError
from tests.data.make_coco import CATEGORIES, make_coco

NAN = float("nan")


def read(tmp_path: Path, change, *, keep_masks: bool = True) -> CocoFile:
    root = make_coco(tmp_path, edit=lambda split, content: change(content) if split == "train" else None)
    return CocoFile(root / "annotations/instances_train2017.json", keep_masks=keep_masks)


def first(**values):
    """Return an edit of the first annotation, whose id is 10."""
    return lambda content: content["annotations"][0].update(values)


def image(**values):
    """Return an edit of the first image."""
    return lambda content: content["images"][0].update(values)


def every(**values):
    """Return an edit of all annotations."""
    return lambda content: [annotation.update(values) for annotation in content["annotations"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            first(category_id="90"),
            r"the annotation 10 has the category '90', .*; the number 90 is: write ids as numbers",
        ),
        (first(category_id=[1]), r"the annotation 10 has the category \[1\], which is none of the 3 in the file"),
        (first(category_id=True), r"has the category True, which"),
        (first(category_id=None), r"has the category None, which"),
        (first(category_id=1.5), r"has the category 1.5, which"),
        (first(image_id="1"), r"belongs to the image '1', which is not in the file; the number 1 is: write ids"),
        (first(image_id=[1]), r"belongs to the image \[1\], which"),
        (first(image_id=True), r"belongs to the image True, which"),
        (first(image_id=99), r"belongs to the image 99, which is not in the file"),
        (first(iscrowd="0"), r"has the iscrowd '0', but 0 or 1 is needed"),
        (first(iscrowd=2), r"has the iscrowd 2, but"),
        (first(iscrowd=[0]), r"has the iscrowd \[0\], but"),
        (first(bbox=None), r"has the box None, but four numbers"),
        (first(bbox=[1, 2, 3]), r"has the box \[1, 2, 3\], but four numbers"),
        (first(bbox=[1, 2, "3", 4]), r"has the box \[1, 2, '3', 4\], but four numbers"),
        (first(bbox=[1, 2, True, 4]), r"has the box \[1, 2, True, 4\], but"),
        (first(bbox={"x": 1}), r"has the box \{'x': 1\}, but"),
        (first(area="175"), r"has the area '175', but a number of pixels"),
        (first(area=[175]), r"has the area \[175\], but"),
        (
            first(segmentation=[[1, 2, "3", 4, 5, 6]]),
            r"the annotation 10, of the image 000000000001.png, cannot be used:",
        ),
        (first(segmentation={"size": [1, 2], "counts": "e"}), r"its segmentation is in run lengths for \[1, 2\]"),
        (image(id="1"), r"the id of an image is '1', but a whole number from 0 is needed; its file_name is '0000"),
        (image(id=True), r"the id of an image is True"),
        (image(id=-1), r"the id of an image is -1"),
        (image(id=2**64 - 5), r"is 18446744073709551611, but none above 9223372036854775807 .*: number them anew"),
        (image(id=2), r"two images have the id 2: 000000000001.png and 000000000002.png"),
        (image(height=48.5), r"has the height 48.5 and the width 48, but both are needed in pixels"),
        (image(height="64"), r"has the height '64' and the width 48"),
        (image(width=0), r"and the width 0, but"),
        (image(width=None), r"and the width None, but"),
        (image(width=True), r"and the width True, but"),
        (image(width=10**400), r"and the width 1000"),
        (image(file_name=None), r"the image 1 has the file_name None, but that of a file is needed"),
        (image(file_name="."), r"the image 1 has the file_name '.', but"),
        (image(file_name=7), r"the image 1 has the file_name 7, but"),
        (image(file_name="/photos/a.jpg"), r"file_name of the image 1 is '/photos/a.jpg', but a path below the folder"),
        (image(file_name="C:\\photos\\a.jpg"), r"is 'C:/photos/a.jpg', but a path below"),
        (image(file_name="../a.jpg"), r"is '../a.jpg', but a path below"),
        (image(file_name="000000000002.png"), r"two images are called 000000000002, those with the ids 1 and 2"),
        (lambda c: c.update(categories=[{"id": "1", "name": "x"}]), r"the id of a category is '1', but a whole number"),
        (lambda c: c.update(categories=[{"id": 2**64, "name": "x"}]), r"none above 9223372036854775807"),
        (lambda c: c.update(categories=[{"id": 1, "name": ["x"]}]), r"the name of the category 1 is \['x'\]"),
        (lambda c: c.update(categories=[]), r"has no categories"),
        (lambda c: c.update(images=None), r"it has no list of images"),
        (lambda c: c.update(annotations=[7]), r"7 among its annotations is no record"),
        (
            lambda c: [a.update(bbox=[v / 64 for v in a["bbox"]]) for a in c["annotations"]],
            r"have no number above 1, as",
        ),
        (
            lambda c: [a.update(bbox=corners(a["bbox"])) for a in c["annotations"]],
            r"corners x1, y1, x2, y2, but x, y, w",
        ),
        (
            lambda c: [a.update(bbox=centres(a["bbox"])) for a in c["annotations"]],
            r"seem to be the centre x, y and width, height",
        ),
        (
            lambda c: [a.update(segmentation=[[40, 40, 44, 40, 44, 44]]) for a in c["annotations"]],
            r"lie elsewhere than it",
        ),
    ],
)
def test_invalid_content_is_refused_with_file_id_and_value(tmp_path: Path, change, message: str) -> None:
    for keep_masks in (True, False):  # faults do not depend on the use of masks
        with pytest.raises(CocoFileError, match=r"instances_train2017.json") as refused:
            read(tmp_path, change, keep_masks=keep_masks)
        assert refused.match(message)


def centres(box: list[float]) -> list[float]:
    return [box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3]]


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def test_every_kind_of_fault_is_reported_once_with_its_count(tmp_path: Path) -> None:
    def change(content: dict) -> None:
        for annotation in content["annotations"][:3]:
            annotation["iscrowd"] = "0"
        content["annotations"][5]["category_id"] = "90"

    with pytest.raises(CocoFileError) as refused:
        read(tmp_path, change)
    assert len(refused.value.problems) == 2
    assert refused.value.problems[0].endswith(
        "the annotation 10 has the iscrowd '0', but 0 or 1 is needed. There are 3 like it."
    )
    assert str(refused.value).endswith("There are 3 like it. Further kinds of fault: 1; make coco-check shows all.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("[]", "it is a list, as results are"),
        ("7", "it has no list of images and annotations and categories"),
        ("null", "it has no list of images"),
        ('{"images": [', "is no JSON, or it is cut off"),
        (b"\xff\xfe\x00", "is no JSON, or it is cut off"),
        ("[" * 100000, "is no JSON, or it is cut off"),
    ],
)
def test_other_files_than_coco_are_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        CocoFile(path, keep_masks=True)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (first(bbox=[3, 3, 0, 9]), "no_area"),
        (first(bbox=[3, 3, -5, 9]), "no_area"),
        (first(bbox=[30, 3, 1e-9, 9], segmentation=[]), "no_area"),  # 30 + 1e-9 is 30 as a float32
        (first(bbox=[NAN, 3, 5, 9]), "no_area"),
        (first(bbox=[3, 3, float("inf"), 9]), "no_area"),
        (first(bbox=[500, 3, 9, 9]), "outside"),
        (first(bbox=[-4, 3, 9, 9]), "clipped"),
        (first(bbox=[0.1, 0.1, 0.5, 0.5], segmentation=[]), "first_pixel"),
        (first(bbox=[20, 40, 10, 10]), "apart"),
        (first(bbox=[10, 10, 45, 60], segmentation=None, area=None), "like_corners"),
        (first(area=-5), "area"),
        (first(area=0), "area"),
        (first(area=NAN), "area"),
        (first(segmentation=[[5, 5]]), "unmasked"),
        (first(segmentation=[[]]), "thin_polygon"),
        (first(segmentation=[3, 3, 9, 10]), "box_polygon"),
        (first(segmentation=[[1, 1, NAN, 5, 9, 9]]), "odd_polygon"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "repeated"),
        (lambda c: c["annotations"][1].update(id=10), "same_id"),
        (lambda c: c.update(categories=[*CATEGORIES, {"id": 91, "name": "dog"}]), "same_class"),
    ],
)
def test_harmless_faults_are_counted_once(tmp_path: Path, change, kind: str) -> None:
    file = read(tmp_path, change)
    assert file.findings.counts[kind] == 1
    assert any(": 1 (" in line and "; first: " in line for line in file.findings.lines())


@pytest.mark.parametrize(
    "change",
    [
        lambda c: None,
        every(iscrowd=None),
        every(iscrowd=False),
        every(iscrowd=0.0),
        lambda c: [a.pop("iscrowd") for a in c["annotations"]],
        lambda c: [i.update(height=float(i["height"]), width=float(i["width"])) for i in c["images"]],
        lambda c: [
            a.update(category_id=float(a["category_id"]), image_id=float(a["image_id"])) for a in c["annotations"]
        ],
        lambda c: [a.update(id=str(a["id"])) for a in c["annotations"]],
        lambda c: [a.pop("id") for a in c["annotations"]],
        lambda c: [a.update(segmentation=a["segmentation"][0]) for a in c["annotations"][:1]],
        lambda c: c.update(info={}, licenses=None),
    ],
)
def test_other_spellings_of_a_good_file_are_read_as_the_same(tmp_path: Path, change) -> None:
    expected, found = read(tmp_path / "good", lambda c: None), read(tmp_path / "other", change)
    assert set(found.findings.counts) <= {"flat_polygon"}
    assert found.categories == expected.categories
    for one, two in zip(expected.images, found.images, strict=True):
        assert (one.image_id, one.name, one.height, one.width) == (two.image_id, two.name, two.height, two.width)
        for key in ("boxes", "labels", "crowd", "area"):
            np.testing.assert_array_equal(getattr(one, key), getattr(two, key))
        assert one.segmentations == two.segmentations


def test_missing_areas_are_computed_and_given_ones_kept(tmp_path: Path) -> None:
    def change(content: dict) -> None:
        for annotation, area in zip(content["annotations"], (-5, 0, 77.5), strict=False):
            annotation["area"] = area
        del content["annotations"][3]["area"]

    file = read(tmp_path, change)
    boxes = np.concatenate([image.boxes for image in file.images])
    areas = np.concatenate([image.area for image in file.images])
    of_boxes = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert areas[[0, 1, 3]].tolist() == of_boxes[[0, 1, 3]].tolist()
    assert areas[2] == 77.5
    assert file.findings.counts == {"area": 2}


def test_repeated_annotations_are_left_out_and_those_that_share_an_id_are_kept(tmp_path: Path) -> None:
    def change(content: dict) -> None:
        content["annotations"].append(dict(content["annotations"][0]))
        content["annotations"][1]["id"] = content["annotations"][0]["id"]

    file = read(tmp_path, change)
    assert len(file.images[0].labels) == 3
    assert file.findings.counts == {"repeated": 1, "same_id": 1}


def test_boxes_in_percent_of_large_images_are_reported(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    boxes = np.concatenate([generator.uniform(0, 50, (30, 2)), generator.uniform(10, 50, (30, 2))], axis=1)
    boxes[0] = [60, 60, 40, 40]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 480, "width": 640}],
        "annotations": [
            {"id": k, "image_id": 1, "category_id": 1, "bbox": box} for k, box in enumerate(boxes.tolist())
        ],
        "categories": [{"id": 1, "name": "x"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert "percent" in CocoFile(path, keep_masks=True).findings.counts
    content["annotations"][0]["bbox"] = [400, 300, 40, 40]
    path.write_text(json.dumps(content))
    assert CocoFile(path, keep_masks=True).findings.counts == {}


def test_windows_separators_and_names_of_any_script_are_read(tmp_path: Path) -> None:
    file = read(tmp_path, image(file_name="фото\\a b.jpg"))
    assert file.images[0].file_name == "фото/a b.jpg"
    assert file.images[0].name == "фото/a b"
