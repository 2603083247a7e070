"""Conversion of Cityscapes in its original layout to COCO format."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.coco.datamodule import CocoDataModule
from structures.files import write_png
from tools.cityscapes_to_coco import main


def make_cityscapes(root: Path) -> Path:
    """Two training images and one validation image, each with two cars, a group of persons, sky and a caravan."""
    for split, city, count in (("train", "aachen", 2), ("val", "munster", 1)):
        for number in range(count):
            stem = f"{city}_{number:06d}_000019"
            ids = np.full((32, 64), 23, dtype=np.uint16)
            ids[4:14, 2:12] = 26000
            ids[8:20, 20:30] = 26001
            ids[10:30, 40:60] = 24
            ids[0:3, 40:50] = 29000  # a caravan is none of the eight classes
            write_png(root / f"gtFine/{split}/{city}/{stem}_gtFine_instanceIds.png", ids)
            pixels = np.full((32, 64, 3), 90, dtype=np.uint8)
            write_png(root / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", pixels)
    return root


def test_objects_and_groups_are_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(make_cityscapes(tmp_path))]) == 0
    assert "instances_train.json: 2 images, 4 objects, 2 groups as crowds" in capsys.readouterr().out
    data = CocoDataModule(
        root=str(tmp_path), train_json="annotations/instances_train.json", train_images="leftImg8bit/train",
        val_json="annotations/instances_val.json", val_images="leftImg8bit/val", image_size=(32, 64), mask_share=1.0,
    )  # fmt: skip
    data.setup("fit")
    assert (data.n_classes, data.category_ids[0], data.class_names[2]) == (8, 24, "car")
    frame = data.datasets["train"].source.read(1, masks=True)
    assert frame.name == "aachen/aachen_000001_000019_leftImg8bit"
    assert frame.boxes.tolist() == [[2, 4, 12, 14], [20, 8, 30, 20]]
    assert frame.labels.tolist() == [3, 3]
    assert frame.masks.sum(axis=(1, 2)).tolist() == [100, 120]
    assert frame.masks[0, 4:14, 2:12].all()
    truth = data.datasets["val"][0]["truth"]
    assert truth["crowd"].tolist() == [True, False, False]
    assert truth["area"].tolist() == [400, 100, 120]


def test_missing_files_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == 1
    assert "unpack gtFine_trainvaltest.zip" in capsys.readouterr().err
    make_cityscapes(tmp_path)
    next((tmp_path / "leftImg8bit/val/munster").iterdir()).unlink()
    assert main(["--root", str(tmp_path)]) == 1
    assert "unpack leftImg8bit_trainvaltest.zip" in capsys.readouterr().err


def test_files_in_place_of_folders_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--root", str(tmp_path / "file")]) == 1
    assert "file' is a file, but a folder is needed" in capsys.readouterr().err
    make_cityscapes(tmp_path)
    (tmp_path / "annotations").write_text("")
    assert main(["--root", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "annotations' is a file, but a folder is needed" in err
    assert "Errno" not in err
